//! Aegis' own questions and answers, as the mission document asks them.

use serde_json::{Value, json};

use crate::server::{Server, wait_until};

const POLICY: &str = r#"
@id("scale up production")
permit (principal == Agent::"aegis", action == Action::"scale_up", resource in Namespace::"production")
when { ["high", "critical"].contains(context.severity) };
"#;

#[test]
fn policy_answers_the_questions_of_the_mission() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("act.cedar"), POLICY).unwrap();
    let acting = Server::configured(dir.path(), "policy: {namespace: production, files: [act.cedar]}\n");
    let other = tempfile::tempdir().unwrap();
    let careful = Server::start(other.path());
    let question = |action: &str, resource: &str, severity: &str| json!({"action": action, "resource": resource, "context": {"severity": severity, "automated": true}});
    for (case, server, asked, allowed, policies) in [
        (
            "as in the mission",
            &acting,
            question("scale_up", "deployment:backend", "high"),
            true,
            json!(["scale up production"]),
        ),
        (
            "named in full",
            &acting,
            question("scale_up", "deployment:production/backend", "critical"),
            true,
            json!(["scale up production"]),
        ),
        ("not bad enough", &acting, question("scale_up", "deployment:backend", "low"), false, json!([])),
        ("elsewhere", &acting, question("scale_up", "deployment:staging/backend", "high"), false, json!([])),
        ("another action", &acting, question("restart", "deployment:backend", "high"), false, json!([])),
        ("an action nobody knows", &acting, question("explode", "deployment:backend", "high"), false, json!([])),
        ("the default permits nothing", &careful, question("scale_up", "deployment:backend", "high"), false, json!([])),
    ] {
        let reply = server.post_json("/api/v1/policy/evaluate", &asked);
        let answer = reply.json();
        assert_eq!(reply.status, 200, "{case}: {answer}");
        assert_eq!((&answer["allowed"], &answer["appliedPolicies"]), (&json!(allowed), &policies), "{case}: {answer}");
        assert!(answer["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{case}: {answer}");
        assert_eq!(keys(&answer), ["allowed", "appliedPolicies", "reason"], "{case}");
    }
    let counted = acting.get("/metrics").text();
    for line in [
        "policy_evaluations_total{action=\"scale_up\",result=\"allow\"} 2",
        "policy_evaluations_total{action=\"unknown\",result=\"deny\"} 1",
    ] {
        assert!(counted.contains(line), "{line} in {counted}");
    }
}

#[test]
fn anomalies_are_judged_in_the_shape_of_the_mission() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let point = |metric: &str, value: f64, minute: u32| {
        json!({"metric_type": metric, "value": value, "timestamp": format!("2024-01-25T14:{minute:02}:00Z"),
               "labels": {"service": "backend"}})
    };
    let history = |requests: f64, errors: f64| {
        let mut points: Vec<Value> = (0..30)
            .flat_map(|minute| {
                let wobble = f64::from(minute % 3) - 1.0;
                [point("request_rate", 50.0 + wobble, minute), point("error_rate", 0.01 + 0.001 * wobble, minute)]
            })
            .collect();
        points.extend([point("request_rate", requests, 30), point("error_rate", errors, 30)]);
        points
    };
    let alone = vec![point("request_rate", 125.5, 30), point("error_rate", 0.08, 30)];
    for (case, body, is_anomaly, affected, action) in [
        ("a spike", json!(history(125.5, 0.08)), true, json!(["request_rate", "error_rate"]), "scale_up"),
        (
            "a spike, under its name",
            json!({"metrics": history(125.5, 0.08)}),
            true,
            json!(["request_rate", "error_rate"]),
            "scale_up",
        ),
        ("as ever", json!(history(50.0, 0.01)), false, json!([]), "none"),
        ("without any history", json!(alone), false, json!([]), "none"),
    ] {
        let reply = server.post_json("/api/v1/detect-anomaly", &body);
        let answer = reply.json();
        assert_eq!(reply.status, 200, "{case}: {answer}");
        assert_eq!(
            keys(&answer),
            [
                "affected_metrics",
                "anomaly_score",
                "confidence",
                "details",
                "is_anomaly",
                "recommended_action",
                "severity"
            ],
            "{case}"
        );
        assert_eq!(answer["is_anomaly"], is_anomaly, "{case}: {answer}");
        assert_eq!(answer["affected_metrics"], affected, "{case}: {answer}");
        assert_eq!(answer["recommended_action"], action, "{case}: {answer}");
        if is_anomaly {
            assert_eq!(answer["severity"], "high", "{case}: {answer}");
            assert!(answer["anomaly_score"].as_f64().unwrap() > 0.5, "{case}: {answer}");
            let detail = &answer["details"]["request_rate"];
            assert_eq!((&detail["current"], &detail["expected"]), (&json!(125.5), &json!(50.0)), "{case}: {answer}");
            assert!(detail["deviation"].as_f64().unwrap() > 2.0, "{case}: {answer}");
        }
    }
}

#[test]
fn a_pause_is_heard_and_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let ledger = || std::fs::read_to_string(dir.path().join("audit/ledger.jsonl")).unwrap_or_default();
    for paused in [true, false] {
        let reply = server.post_json("/api/v1/automation/pause", &json!({"paused": paused, "by": "on-call"}));
        assert_eq!((reply.status, &reply.json()["paused"]), (200, &json!(paused)));
        wait_until("the ledger has it", &ledger, || ledger().contains(&format!("\"paused\":{paused}")));
    }
    let text = json!({"paused": true, "by": "page of another origin"}).to_string();
    let reply = server.post("/api/v1/automation/pause", &[("Content-Type", "text/plain")], text.as_bytes());
    assert_eq!(reply.status, 415, "a page of another origin can send text, but no JSON");
    assert!(!reply.head.contains("access-control-allow-origin"), "{}", reply.head);
    assert!(!ledger().contains("another origin"));
    for path in ["/api/v1/incidents", "/api/v1/timeline"] {
        assert_eq!(server.get(path).json(), json!([]), "{path}");
    }
    assert_eq!(server.get("/api/v1/kpis").status, 200);
    assert_eq!(server.get("/api/v1/incidents/7").status, 404);
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}
