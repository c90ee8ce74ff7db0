use std::path::Path;

use axum::body::Bytes;
use hyper::Method;
use hyper::header::{AUTHORIZATION, HeaderName};
use serde_json::Value;

use super::*;
use crate::wire::{Answer, Wire};

struct Running {
    base: String,
    app: Arc<App>,
    wire: Wire,
    _dir: tempfile::TempDir,
}

/// A replica in this process, with small numbers.
async fn running(release: &str, change: impl FnOnce(&mut BackendArgs)) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let mut args = args(release, dir.path());
    change(&mut args);
    let telemetry = Telemetry::new(Destination { loki_url: None, otlp_url: None, stream: Vec::new() });
    let app = Arc::new(App::new(&args, "backend-1-1", telemetry).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, api::router(app.clone())).into_future());
    Running { base, app, wire: Wire::new(Duration::from_secs(5)), _dir: dir }
}

fn args(release: &str, dir: &Path) -> BackendArgs {
    BackendArgs {
        listen: "127.0.0.1:0".parse().unwrap(),
        database: dir.join("users.db"),
        release: release.to_owned(),
        db_pool: 1,
        db_service_ms: 1,
        db_acquire_timeout_ms: 200,
        max_in_flight: 100,
        loki_url: None,
        otlp_url: None,
        service: "backend".to_owned(),
        namespace: "production".to_owned(),
    }
}

impl Running {
    async fn send(&self, method: Method, path: &str, headers: &[(HeaderName, &str)], body: &str) -> Answer {
        let body = Bytes::from(body.to_owned());
        self.wire.send(method, &format!("{}{path}", self.base), headers, body).await.unwrap()
    }

    async fn post(&self, token: &str, body: &str) -> (u16, Value) {
        let authorization = format!("Bearer {token}");
        let answer = self.send(Method::POST, "/api/v1/users", &[(AUTHORIZATION, &authorization)], body).await;
        (answer.status.as_u16(), serde_json::from_slice(&answer.body).unwrap())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.send(Method::GET, path, &[(AUTHORIZATION, "Bearer token")], "").await;
        (answer.status.as_u16(), serde_json::from_slice(&answer.body).unwrap())
    }

    async fn metrics(&self) -> String {
        let answer = self.send(Method::GET, "/metrics", &[], "").await;
        String::from_utf8(answer.body.to_vec()).unwrap()
    }
}

const JOHN: &str = r#"{"email": "user@example.com", "firstName": "John"}"#;

#[tokio::test]
async fn every_request_gets_the_status_it_deserves() {
    let backend = running("1.0.0", |_| {}).await;
    let (status, created) = backend.post("token", JOHN).await;
    assert_eq!(
        (status, created["email"].as_str(), created["firstName"].as_str()),
        (201, Some("user@example.com"), Some("John"))
    );
    let id = created["id"].as_str().unwrap().to_owned();

    for (case, token, body, status, code) in [
        ("the same address again", "token", JOHN, 409, "email_exists"),
        ("not JSON", "token", "{", 400, "invalid_request"),
        ("no address", "token", r#"{"email": "nobody", "firstName": "John"}"#, 400, "invalid_request"),
        ("unknown token", "something", JOHN, 401, "unauthorized"),
        ("may only read", "viewer-token", JOHN, 403, "forbidden"),
        ("too long", "token", &" ".repeat(70_000), 413, "body_too_large"),
    ] {
        let (found, body) = backend.post(token, body).await;
        assert_eq!((found, body["error"]["code"].as_str()), (status, Some(code)), "{case}: {body}");
        assert!(body["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{case}");
    }
    let answer = backend.send(Method::POST, "/api/v1/users", &[], JOHN).await;
    assert_eq!(answer.status.as_u16(), 401);

    for (case, path, status) in [
        ("one user", format!("/api/v1/users/{id}"), 200),
        ("nobody", "/api/v1/users/nobody".to_owned(), 404),
        ("all", "/api/v1/users?limit=5".to_owned(), 200),
        ("page too long", "/api/v1/users?limit=101".to_owned(), 400),
        ("no number", "/api/v1/users?limit=x".to_owned(), 400),
        ("elsewhere", "/api/v2".to_owned(), 404),
    ] {
        assert_eq!(backend.get(&path).await.0, status, "{case}");
    }
    let wrong = backend.send(Method::DELETE, "/api/v1/users", &[], "").await;
    assert_eq!(wrong.status.as_u16(), 405);
    let campaign = backend.send(Method::POST, "/api/v1/campaigns", &[(AUTHORIZATION, "Bearer token")], "").await;
    assert_eq!(campaign.status.as_u16(), 202);

    let metrics = backend.metrics().await;
    for line in [
        r#"http_requests_total{service="backend",method="POST",path="/api/v1/users",status="201"} 1"#,
        r#"http_requests_total{service="backend",method="POST",path="/api/v1/users",status="409"} 1"#,
        r#"policy_evaluations_total{service="backend",action="create_user",result="deny"} 1"#,
        r#"db_pool_connections{service="backend",state="used"} 0"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn release_2_fails_for_accented_names_only() {
    for (release, name, status) in
        [("1.0.0", "Zoë", 201), ("1.0.0", "John", 201), ("2.0.0", "Zoë", 500), ("2.0.0", "John", 201)]
    {
        let backend = running(release, |_| {}).await;
        let body = serde_json::json!({ "email": "user@example.com", "firstName": name }).to_string();
        assert_eq!(backend.post("token", &body).await.0, status, "{release} {name}");
    }
}

#[tokio::test]
async fn an_exhausted_pool_answers_503_in_time_and_recovers() {
    let backend = running("1.0.0", |args| args.db_acquire_timeout_ms = 30).await;
    let held = backend.app.pool.acquire().await.unwrap();
    let (status, body) = backend.post("token", JOHN).await;
    assert_eq!((status, body["error"]["code"].as_str()), (503, Some("overloaded")));
    assert!(backend.metrics().await.contains(r#"db_pool_acquire_timeouts_total{service="backend"} 1"#));
    drop(held);
    assert_eq!(backend.post("token", JOHN).await.0, 201);
}

#[tokio::test]
async fn too_many_at_once_are_turned_away() {
    let backend = running("1.0.0", |args| args.max_in_flight = 1).await;
    let guard = backend.app.enter().unwrap();
    assert_eq!(backend.post("token", JOHN).await.0, 429);
    drop(guard);
    assert_eq!(backend.post("token", JOHN).await.0, 201);
}

#[tokio::test]
async fn readiness_ends_when_draining_begins() {
    let backend = running("1.0.0", |_| {}).await;
    assert_eq!(backend.send(Method::GET, "/healthz", &[], "").await.status.as_u16(), 200);
    backend.app.draining.store(true, Ordering::Relaxed);
    assert_eq!(backend.send(Method::GET, "/healthz", &[], "").await.status.as_u16(), 503);
    assert_eq!(backend.post("token", JOHN).await.0, 201);
}

#[tokio::test]
async fn logs_and_traces_arrive_with_the_callers_trace_id() {
    let sink = crate::telemetry::sink::Sink::start().await;
    let dir = tempfile::tempdir().unwrap();
    let stream = vec![("job", "aegis-backend".to_owned()), ("service", "backend".to_owned())];
    let url = Some(sink.url.clone());
    let telemetry = Telemetry::new(Destination { loki_url: url.clone(), otlp_url: url, stream });
    let app = Arc::new(App::new(&args("1.0.0", dir.path()), "backend-1-1", telemetry.clone()).unwrap());
    let exporter = tokio::spawn(telemetry.clone().export());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/api/v1/users", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, api::router(app)).into_future());
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let headers = [(AUTHORIZATION, "Bearer token"), (HeaderName::from_static("traceparent"), parent.as_str())];
    let wire = Wire::new(Duration::from_secs(5));
    wire.send(Method::POST, &url, &headers, Bytes::from_static(JOHN.as_bytes())).await.unwrap();
    telemetry.close();
    exporter.await.unwrap();

    let lines = sink.lines();
    let line: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(line["message"], "User created successfully");
    assert_eq!((line["service"].as_str(), line["trace_id"].as_str()), (Some("aegis-backend"), Some(trace)));
    assert_eq!((line["status_code"].as_u64(), line["user_id"].as_str()), (Some(201), Some("admin-uuid")));
    let spans = sink.spans();
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["auth.verify", "policy.evaluate", "db.insert", "http.request"]);
    let root = spans.last().unwrap();
    assert_eq!(root.parent_span_id, [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]);
    for child in &spans[..3] {
        assert_eq!((&child.trace_id, &child.parent_span_id), (&root.trace_id, &root.span_id), "{}", child.name);
        assert!(child.start_time_unix_nano >= root.start_time_unix_nano, "{}", child.name);
        assert!(child.end_time_unix_nano <= root.end_time_unix_nano, "{}", child.name);
    }
    assert!(spans[2].attributes.iter().any(|attribute| attribute.key == "db.pool.wait_ms"));
}
