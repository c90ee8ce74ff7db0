//! Every query of the mission document, asked over HTTP of data in the document's shapes.

use serde_json::{Value, json};

use crate::server::Server;
use crate::wire::{Span, series};

/// 2024-01-25T13:30:00Z, the time that the document's LogQL names.
const DOCUMENT_S: i64 = 1_706_189_400;
const TRACE: &str = "a1b2c3d4e5f6";
const ERROR_TRACE: &str = "00000000000000000000000000e44042";

/// The document's service around `at`: five minutes of samples before it, log lines in the five minutes after it.
fn tell(server: &Server, at: i64) {
    // One sample every 15 s: `rate(..[5m])` sees exactly the per-second rate given here.
    let ramp = |rate: f64| (0..=40).map(move |k: i64| ((at - (40 - k) * 15) * 1000, rate * 15.0 * k as f64));
    let requests = |status: &str, rate: f64| {
        let labels = format!("{{service=\"backend\",method=\"POST\",path=\"/api/v1/users\",status=\"{status}\"}}");
        series(&format!("http_requests_total{labels}"), ramp(rate))
    };
    let mut all = vec![requests("201", 23.0), requests("503", 2.0)];
    // Of 25 requests a second 24 take at most 50 ms; the rest takes between 1 s and 2.5 s.
    for (le, rate) in [("0.05", 24.0), ("1", 24.0), ("2.5", 25.0), ("+Inf", 25.0)] {
        all.push(series(
            &format!("http_request_duration_seconds_bucket{{service=\"backend\",le=\"{le}\"}}"),
            ramp(rate),
        ));
    }
    all.push(series("http_request_duration_seconds{service=\"backend\"}", [(at * 1000, 0.045)]));
    all.push(series("policy_evaluations_total{action=\"create_user\",result=\"allow\"}", ramp(25.0)));
    server.remote_write(&all);

    let line = |after: i64, stamp: &str, level: &str, message: &str, more: Value| {
        let mut body = json!({
            "timestamp": stamp, "level": level, "service": "aegis-backend", "message": message, "trace_id": TRACE,
            "method": "POST", "path": "/api/v1/users", "user_id": "admin-uuid",
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ((at + after) * 1_000_000_000, body.to_string())
    };
    let created = json!({"status_code": 201, "duration_ms": 45});
    let lines = [
        line(-200, "2024-01-25T14:21:00Z", "info", "User created successfully", created.clone()),
        line(0, "2024-01-25T14:24:59Z", "info", "User created successfully", created.clone()),
        line(1, "2024-01-25T14:25:00Z", "info", "Marketing campaign started", json!({})),
        line(60, "2024-01-25T14:26:00Z", "warn", "Traffic spike detected", json!({})),
        line(120, "2024-01-25T14:27:00Z", "warn", "Database query slow: 2.3s", json!({"duration_ms": 2300})),
        line(
            180,
            "2024-01-25T14:28:00Z",
            "error",
            "Error: Connection pool exhausted",
            json!({"status_code": 503, "duration_ms": 5001}),
        ),
        line(300, "2024-01-25T14:30:00Z", "info", "User created successfully", created.clone()),
        line(400, "2024-01-25T14:31:40Z", "info", "User created successfully", created),
    ];
    server.push(&json!({"job": "aegis-backend", "service": "backend"}), &lines);

    let start_ns = at * 1_000_000_000;
    let span = |id, parent, name, after_ms: i64, duration_ms| Span {
        id,
        parent,
        name,
        start_ns: start_ns + after_ms * 1_000_000,
        duration_ms,
        is_error: false,
    };
    let spans = [
        span("00000000000000a1", "", "http.request", 0, 2300),
        span("00000000000000a2", "00000000000000a1", "auth.verify", 1, 5),
        span("00000000000000a3", "00000000000000a1", "policy.evaluate", 6, 12),
        span("00000000000000a4", "00000000000000a1", "db.insert", 19, 2280),
    ];
    server.export("aegis-backend", &format!("{TRACE:0>32}"), &spans);
    let failed = Span { is_error: true, ..span("00000000000000b1", "", "http.request", 0, 40) };
    server.export("aegis-backend", ERROR_TRACE, &[failed]);
}

fn ask_everything(server: &Server, at: i64) {
    metrics(server, at);
    logs(server, at);
    traces(server, at);
}

fn metrics(server: &Server, at: i64) {
    let now = at.to_string();
    for (query, want) in [
        (
            "http_requests_total{service=\"backend\",method=\"POST\",path=\"/api/v1/users\",status=\"201\"}",
            vec![("201", 13_800.0)],
        ),
        ("http_request_duration_seconds{service=\"backend\"}", vec![("", 0.045)]),
        ("policy_evaluations_total{action=\"create_user\",result=\"allow\"}", vec![("", 15_000.0)]),
        ("rate(http_requests_total{service=\"backend\"}[5m])", vec![("201", 23.0), ("503", 2.0)]),
        ("rate(http_requests_total{status=~\"5..\"}[5m])", vec![("503", 2.0)]),
        // As written in the document: each failing series over itself, since every label has to match.
        (
            "rate(http_requests_total{service=\"backend\",status=~\"5..\"}[5m]) / rate(http_requests_total{service=\"backend\"}[5m])",
            vec![("503", 1.0)],
        ),
        // What the document means by it: 8 %.
        (
            "sum(rate(http_requests_total{service=\"backend\",status=~\"5..\"}[5m])) / sum(rate(http_requests_total{service=\"backend\"}[5m]))",
            vec![("", 0.08)],
        ),
        // The last 4 % lie between 1 s and 2.5 s; 99 % is reached at three quarters of that.
        ("histogram_quantile(0.99, rate(http_request_duration_seconds_bucket[5m]))", vec![("", 2.125)]),
    ] {
        let mut found: Vec<(String, f64)> = server
            .instant(query, Some(&now))
            .iter()
            .map(|one| {
                let status = one["metric"]["status"].as_str().unwrap_or_default().to_owned();
                (status, one["value"][1].as_str().unwrap().parse().unwrap())
            })
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(found.len(), want.len(), "{query}: {found:?}");
        for ((status, value), (want_status, want_value)) in found.iter().zip(want) {
            assert_eq!(status, want_status, "{query}");
            assert!((value - want_value).abs() < 1e-6, "{query}: {value} instead of {want_value}");
        }
    }
    // The graph of it.
    let (start, query) = ((at - 120).to_string(), "rate(http_requests_total{service=\"backend\"}[5m])");
    let graph = server
        .ask("/api/v1/query_range", &[("query", query), ("start", &start), ("end", &now), ("step", "15s")])
        .json();
    assert_eq!(graph["data"]["resultType"], "matrix");
    for one in graph["data"]["result"].as_array().unwrap() {
        assert_eq!(one["values"].as_array().unwrap().len(), 9, "{graph}");
    }
}

fn logs(server: &Server, at: i64) {
    let (from, until) = (at, at + 300);
    let context = [
        "2024-01-25T14:25:00Z Marketing campaign started",
        "2024-01-25T14:26:00Z Traffic spike detected",
        "2024-01-25T14:27:00Z Database query slow: 2.3s",
        "2024-01-25T14:28:00Z Error: Connection pool exhausted",
    ];
    let earlier = at - 300;
    let (start, end) = ((at - 3600).to_string(), (at + 3600).to_string());
    let query = format!(
        "{{job=\"aegis-backend\"}} \n| json \n| line_format \"{{{{.timestamp}}}} {{{{.message}}}}\" \n\
         | __timestamp__ > {from}\n| __timestamp__ < {until}\n"
    );
    assert_eq!(server.lines(&query, &start, &end), context, "{query}");

    let query =
        format!("{{job=\"aegis-backend\"}} \n| json \n| __timestamp__ >= {earlier}  \n| __timestamp__ <= {until}\n");
    let messages = |query: &str| -> Vec<String> {
        let lines = server.lines(query, &start, &end);
        let message =
            |line: &String| serde_json::from_str::<Value>(line).unwrap()["message"].as_str().unwrap().to_owned();
        lines.iter().map(message).collect()
    };
    assert_eq!(
        messages(&query),
        [
            "User created successfully",
            "User created successfully",
            "Marketing campaign started",
            "Traffic spike detected",
            "Database query slow: 2.3s",
            "Error: Connection pool exhausted",
            "User created successfully",
        ],
        "{query}"
    );
    for (query, want) in [
        (
            "{job=\"aegis-backend\"} | json | duration_ms > 1000",
            vec!["Database query slow: 2.3s", "Error: Connection pool exhausted"],
        ),
        ("{job=\"aegis-backend\"} | json | level=\"error\"", vec!["Error: Connection pool exhausted"]),
    ] {
        assert_eq!(messages(query), want, "{query}");
    }
}

fn traces(server: &Server, at: i64) {
    for id in [TRACE.to_owned(), format!("{TRACE:0>32}")] {
        let trace = server.get(&format!("/api/traces/{id}"));
        assert_eq!(trace.status, 200, "{id}: {}", trace.text());
        let body = trace.json();
        let mut spans: Vec<(String, i64)> = Vec::new();
        for batch in body["batches"].as_array().unwrap() {
            for span in
                batch["scopeSpans"].as_array().unwrap().iter().flat_map(|scope| scope["spans"].as_array().unwrap())
            {
                let ns = |key: &str| span[key].as_str().unwrap().parse::<i64>().unwrap();
                let ms = (ns("endTimeUnixNano") - ns("startTimeUnixNano")) / 1_000_000;
                spans.push((span["name"].as_str().unwrap().to_owned(), ms));
            }
        }
        spans.sort();
        let want = [("auth.verify", 5), ("db.insert", 2280), ("http.request", 2300), ("policy.evaluate", 12)];
        assert_eq!(spans, want.map(|(name, ms)| (name.to_owned(), ms)), "{id}");
    }
    let (start, end) = ((at - 60).to_string(), (at + 60).to_string());
    for (case, query, want) in [
        ("slow traces", "{ duration > 1s }", vec![TRACE]),
        (
            "the slow span",
            "{ resource.service.name = \"aegis-backend\" && name = \"db.insert\" && duration > 2s }",
            vec![TRACE],
        ),
        ("by error status", "{ status = error }", vec!["e44042"]),
        ("of the service", "{ resource.service.name = \"aegis-backend\" }", vec![TRACE, "e44042"]),
    ] {
        let found = server.ask("/api/search", &[("q", query), ("start", &start), ("end", &end)]).json();
        let mut ids: Vec<&str> = found["traces"]
            .as_array()
            .unwrap()
            .iter()
            .map(|trace| trace["traceID"].as_str().unwrap().trim_start_matches('0'))
            .collect();
        ids.sort_unstable();
        assert_eq!(ids, want, "{case}: {found}");
    }
}

#[test]
fn the_documents_queries_hold_at_the_documents_time() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::configured(dir.path(), "store: {retention: 20y}\n");
    tell(&server, DOCUMENT_S);
    ask_everything(&server, DOCUMENT_S);
    // Its literals, letter by letter.
    let literally = "{job=\"aegis-backend\"} \n| json \n| line_format \"{{.timestamp}} {{.message}}\" \n\
                     | __timestamp__ > 1706189400\n| __timestamp__ < 1706189700";
    assert_eq!(server.lines(literally, "1706185800", "1706193000").len(), 4);
}

#[test]
fn the_documents_queries_hold_for_fresh_data() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    // Log lines reach seven minutes past it, and nothing may lie in the future.
    let at = server.now() as i64 - 600;
    tell(&server, at);
    ask_everything(&server, at);
}
