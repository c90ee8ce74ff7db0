//! Aegis scrapes what the target file names, and notices what goes away.

use std::sync::atomic::Ordering;

use serde_json::json;

use crate::server::{Server, wait_until};
use crate::target::Target;

#[test]
fn targets_come_go_and_die() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("targets.json");
    let name = |targets: &[&Target]| {
        let addresses: Vec<&str> = targets.iter().map(|target| target.address.as_str()).collect();
        let text = json!([{"targets": addresses, "labels": {"service": "shop"}}]).to_string();
        // In one step, as a supervisor does it: half a file would be a problem of its own.
        std::fs::write(file.with_extension("new"), text).unwrap();
        std::fs::rename(file.with_extension("new"), &file).unwrap();
    };
    let first = Target::fixed("# TYPE sold_total counter\nsold_total{service=\"till\"} 41\nstock 7\n");
    name(&[&first]);
    let server = Server::configured(
        &dir.path().join("data"),
        "global: {scrape_interval: 1s}\nscrape_configs:\n  - job_name: shop\n    \
         file_sd_configs: [{files: [../targets.json]}]\n",
    );
    let eventually = |what: &str, query: &str, want: Option<f64>| {
        let context = || {
            format!(
                "{query}: {:?}\n{}\n{}",
                server.instant(query, None),
                server.get("/api/v1/targets").text(),
                server.log()
            )
        };
        wait_until(what, &context, || server.number(query) == want);
    };
    let of_first = format!("{{job=\"shop\",service=\"shop\",instance=\"{}\"}}", first.address);
    eventually("the target is up", &format!("up{of_first}"), Some(1.0));
    eventually("its samples are kept", "sold_total{exported_service=\"till\"}", Some(41.0));
    eventually("a scrape counts its samples", &format!("scrape_samples_scraped{of_first}"), Some(2.0));

    first.show("sold_total{service=\"till\"} 42\n");
    eventually("a new value shows", "sold_total", Some(42.0));
    eventually("a series that is gone from the page ends", "stock", None);

    first.show("sold_total{service=\"till\"} 43\nsold_total{\n");
    eventually("a page that cannot be read counts as down", &format!("up{of_first}"), Some(0.0));
    eventually("and none of it is kept", "sold_total", None);
    assert!(server.get("/api/v1/targets").text().contains("\"health\":\"down\""));
    first.show("sold_total{service=\"till\"} 44\n");
    eventually("until it can be read again", "sold_total", Some(44.0));

    let second = Target::fixed("visitors 3\n");
    name(&[&first, &second]);
    eventually("a target added to the file is scraped", "visitors", Some(3.0));
    eventually("both are up", "sum(up)", Some(2.0));

    let address = first.address.clone();
    drop(first);
    eventually("a dead target is down", &format!("up{of_first}"), Some(0.0));
    eventually("and its series end", "sold_total", None);
    let targets = server.get("/api/v1/targets").json();
    let shown = targets["data"]["activeTargets"].as_array().unwrap();
    let dead = shown.iter().find(|one| one["labels"]["instance"] == address.as_str()).unwrap();
    assert_eq!(dead["health"], "down", "{targets}");
    assert!(dead["lastError"].as_str().unwrap().to_lowercase().contains("refused"), "{targets}");

    name(&[]);
    eventually("a target taken from the file ends", "visitors", None);
    eventually("with its own series", "sum(up)", None);
}

#[test]
fn a_silent_world_does_not_hold_up_the_shutdown() {
    let dir = tempfile::tempdir().unwrap();
    let (scraped, asked) = (Target::silent(), Target::silent());
    let config = format!(
        "global: {{scrape_interval: 10m, scrape_timeout: 10m}}\ndetect: {{interval: 1s, window: 20m}}\n\
         scrape_configs:\n  - job_name: silent\n    static_configs: [{{targets: [{scraped}]}}]\n\
         sources: {{metrics: {{url: \"http://{asked}\", timeout: 2s}}}}\n",
        scraped = scraped.address,
        asked = asked.address
    );
    let mut server = Server::configured(dir.path(), &config);
    wait_until("both are being waited for", &|| server.log(), || {
        [&scraped, &asked].iter().all(|target| target.connections.load(Ordering::Acquire) > 0)
    });
    assert_eq!(server.terminate().code(), Some(0));
}

#[test]
fn a_new_configuration_is_followed_and_a_bad_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (kept, added) = (Target::fixed("kept_total 1\n"), Target::fixed("added_total 1\n"));
    let data = dir.path().join("data");
    let config = |jobs: &[(&str, &Target, &str)]| {
        let mut text = "global: {scrape_interval: 1s}\nscrape_configs:\n".to_owned();
        for (name, target, more) in jobs {
            text.push_str(&format!(
                "  - job_name: {name}\n    static_configs: [{{targets: ['{}']}}]\n{more}",
                target.address
            ));
        }
        text
    };
    let server = Server::configured(&data, &config(&[("kept", &kept, "")]));
    let write = |text: &str| std::fs::write(data.join("aegis.yaml"), text).unwrap();
    let eventually = |what: &str, query: &str, want: Option<f64>| {
        let context = || format!("{query}: {:?}\n{}", server.instant(query, None), server.log());
        wait_until(what, &context, || server.number(query) == want);
    };
    eventually("the target is up", "up{job=\"kept\"}", Some(1.0));
    eventually("all its series are known", "scrape_series_added{job=\"kept\"}", Some(0.0));

    write(&config(&[("kept", &kept, ""), ("added", &added, "")]));
    assert_eq!(server.post("/-/reload", &[], b"").status, 200);
    eventually("the new job is scraped", "added_total", Some(1.0));
    let drops = "    metric_relabel_configs: [{source_labels: [__name__], regex: kept_total, action: drop}]\n";
    write(&config(&[("kept", &kept, drops), ("added", &added, "")]));
    server.signal("HUP");
    eventually("new rules apply, and what they drop ends", "kept_total", None);
    assert_eq!(server.number("min_over_time(up{job=\"kept\"}[1m])"), Some(1.0));
    eventually("nothing of it broke off", "changes(up{job=\"kept\"}[1m])", Some(0.0));

    write("scrape_configs:\n  - job_name: a\n    scrape_intervall: 1s\n");
    let refused = server.post("/-/reload", &[], b"");
    assert_eq!(refused.status, 500);
    assert!(refused.text().starts_with("failed to reload config: ") && refused.text().contains("aegis.yaml:3:"));
    assert!(server.get("/api/v1/status/runtimeinfo").text().contains("\"reloadConfigSuccess\":false"));
    let shown = server.get("/api/v1/status/config").json();
    assert!(shown["data"]["yaml"].as_str().unwrap().contains("job_name: added"), "{shown}");
    assert_eq!(server.post("/-/quit", &[], b"").status, 403);

    write(&config(&[("added", &added, "")]));
    assert_eq!(server.post("/-/reload", &[], b"").status, 200);
    eventually("a job that is gone ends with its series", "up{job=\"kept\"}", None);
    eventually("the other goes on", "added_total", Some(1.0));
    let targets = server.get("/api/v1/targets").text();
    assert!(targets.contains(&added.address) && !targets.contains(&kept.address), "{targets}");
}

#[test]
fn limits_and_rules_of_a_job_show_on_its_targets() {
    let dir = tempfile::tempdir().unwrap();
    let target = Target::fixed("# HELP a_total How many.\n# TYPE a_total counter\na_total 1\nb 2\n");
    let address = &target.address;
    let server = Server::configured(
        dir.path(),
        &format!(
            "global: {{scrape_interval: 1s, extra_scrape_metrics: true}}\nscrape_configs:\n\
             - job_name: over\n  sample_limit: 1\n  static_configs: [{{targets: ['{address}']}}]\n\
             - job_name: many\n  target_limit: 1\n  static_configs: [{{targets: ['{address}', '127.0.0.1:1']}}]\n\
             - job_name: some\n  static_configs: [{{targets: ['{address}', 'gone:1']}}]\n  \
             relabel_configs: [{{source_labels: [__address__], regex: gone.*, action: drop}}]\n"
        ),
    );
    let eventually = |what: &str, query: &str, want: Option<f64>| {
        let context = || format!("{query}: {:?}\n{}", server.instant(query, None), server.log());
        wait_until(what, &context, || server.number(query) == want);
    };
    eventually("a page over the limit is down", "up{job=\"over\"}", Some(0.0));
    eventually("its limit is a series", "scrape_sample_limit{job=\"over\"}", Some(1.0));
    eventually("too many targets are down", "count(up{job=\"many\"} == 0)", Some(2.0));
    eventually("a good one is up", "up{job=\"some\"}", Some(1.0));
    let targets = server.get("/api/v1/targets").json();
    let error = |job: &str| {
        let active = targets["data"]["activeTargets"].as_array().unwrap();
        active.iter().find(|one| one["scrapePool"] == job).unwrap()["lastError"].as_str().unwrap().to_owned()
    };
    assert_eq!(error("over"), "page has 2 samples, more than the limit of 1 (sample_limit)");
    assert_eq!(error("many"), "job has 2 targets, more than the limit of 1 (target_limit)");
    let dropped = &targets["data"]["droppedTargets"][0];
    assert_eq!(dropped["discoveredLabels"]["__address__"], "gone:1", "{targets}");
    assert_eq!(targets["data"]["droppedTargetCounts"]["some"], 1, "{targets}");
}
