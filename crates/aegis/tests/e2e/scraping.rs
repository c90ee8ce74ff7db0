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
