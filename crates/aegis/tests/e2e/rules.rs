//! Rule files are evaluated, shown, reloaded, and lead to incidents.

use std::path::Path;

use serde_json::Value;

use crate::server::{Server, printed, run, wait_until};

const RULES: &str = "groups:
- name: shop
  interval: 200ms
  labels: {team: core}
  rules:
  - {record: answer, expr: vector(21) * 2}
  - {record: answer:doubled, expr: answer * 2}
  - alert: TooMuch
    expr: answer:doubled > 80
    labels: {service: shop, severity: critical}
    annotations: {summary: '{{ $value }} in {{ $externalLabels.zone }}, {{ $labels.none }}see {{ $externalURL }}'}
- name: slow
  rules:
  - {alert: Later, expr: vector(1), for: 5m}
";

fn served(dir: &Path) -> Server {
    std::fs::create_dir_all(dir.join("rules")).unwrap();
    std::fs::write(dir.join("rules/shop.yaml"), RULES).unwrap();
    Server::configured(dir, "rule_files: ['rules/*.yaml', 'none/*']\nglobal: {external_labels: {zone: eu}}\n")
}

fn eventually(server: &Server, query: &str, want: Option<f64>) {
    let context = || format!("{query}: {:?}\n{}", server.instant(query, None), server.log());
    wait_until(query, &context, || server.number(query) == want);
}

fn group<'a>(groups: &'a Value, name: &str) -> &'a Value {
    let groups = groups["data"]["groups"].as_array().unwrap();
    groups.iter().find(|group| group["name"] == name).unwrap_or_else(|| panic!("no {name} in {groups:?}"))
}

#[test]
fn rules_are_recorded_fire_and_open_an_incident() {
    let dir = tempfile::tempdir().unwrap();
    let server = served(dir.path());
    eventually(&server, "answer:doubled{team=\"core\"}", Some(84.0));
    eventually(
        &server,
        "ALERTS{alertname=\"TooMuch\",alertstate=\"firing\",service=\"shop\",team=\"core\"}",
        Some(1.0),
    );
    eventually(&server, "ALERTS_FOR_STATE > bool 1.5e9", Some(1.0));

    let shown = server.get("/api/v1/rules").json();
    let shop = group(&shown, "shop");
    assert!(shop["file"].as_str().unwrap().ends_with("rules/shop.yaml"), "{shop}");
    assert_eq!((&shop["interval"], &shop["rules"][0]["health"]), (&0.2.into(), &"ok".into()));
    assert_eq!(shop["rules"][2]["state"], "firing");
    assert_eq!(group(&shown, "slow")["interval"], 60, "upstream's default");
    assert_eq!(group(&shown, "aegis")["file"], "built in");
    let alerts = server.get("/api/v1/alerts").json();
    let summary = format!("84 in eu, see http://{}", server.address);
    assert_eq!(alerts["data"]["alerts"][0]["annotations"]["summary"], summary.as_str(), "{alerts}");

    let incidents = || server.get("/api/v1/incidents").text();
    wait_until("an incident of the shop", &incidents, || incidents().contains("84 in eu"));
}

#[test]
fn changed_files_are_taken_up_and_broken_ones_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let server = served(dir.path());
    eventually(&server, "answer:doubled", Some(84.0));
    eventually(&server, "ALERTS{alertname=\"TooMuch\"}", Some(1.0));

    let file = dir.path().join("rules/shop.yaml");
    std::fs::write(&file, RULES.replace("answer:doubled", "answer:tripled").replace("answer * 2", "answer * 3"))
        .unwrap();
    server.signal("HUP");
    eventually(&server, "answer:tripled", Some(126.0));
    eventually(&server, "answer:doubled", None);
    eventually(&server, "ALERTS{alertname=\"TooMuch\"}", Some(1.0));

    std::fs::write(&file, RULES.replace("vector(21)", "vector(21")).unwrap();
    let refused = server.post("/-/reload", &[], b"");
    assert_eq!(refused.status, 500, "{}", refused.text());
    assert!(
        refused.text().contains("shop.yaml:6:28: group \"shop\", rule 1, \"answer\": could not parse"),
        "{}",
        refused.text()
    );
    eventually(&server, "answer:tripled", Some(126.0));

    std::fs::remove_file(&file).unwrap();
    assert_eq!(server.post("/-/reload", &[], b"").status, 200);
    eventually(&server, "answer:tripled", None);
    eventually(&server, "ALERTS", None);
}

#[test]
fn rules_are_checked_and_tested_without_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let good = write("good.yaml", RULES);
    let bad = write("bad.yaml", "groups:\n- name: a\n  rules:\n  - {record: x, expr: 'sum('}\n");
    let test = write(
        "test.yaml",
        "rule_files: [good.yaml]\ntests:\n- promql_expr_test:\n  - expr: answer:doubled\n    eval_time: 1m\n    \
         exp_samples: [{labels: 'answer:doubled{team=\"core\"}', value: 84}]\n",
    );
    let wrong = write("wrong.yaml", &std::fs::read_to_string(&test).unwrap().replace("84", "85"));
    for (arguments, works, says) in [
        (["check", "rules", &good], true, "SUCCESS: 4 rules found"),
        (
            ["check", "rules", &bad],
            false,
            "bad.yaml:4:23: group \"a\", rule 1, \"x\": could not parse expression: 1:5: ",
        ),
        (["test", "rules", &test], true, "SUCCESS"),
        (["test", "rules", &wrong], false, "got: {__name__=\"answer:doubled\", team=\"core\"} 8.4E+01"),
    ] {
        let output = run(&arguments);
        assert_eq!(output.status.success(), works, "{arguments:?}: {}", printed(&output));
        assert!(printed(&output).contains(says), "{arguments:?}: {}", printed(&output));
    }
}
