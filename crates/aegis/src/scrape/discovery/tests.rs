//! Discoveries against files, and servers on loopback.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::StreamExt;
use ingest::scrape::{ScrapeFile, ScrapeGlobal, Surroundings};
use tokio::sync::broadcast;

use super::*;
use crate::scrape::tests::serve;

/// The discoveries of a job with these keys, running.
async fn discover(keys: &str, base: &Path) -> Discoveries {
    let mut discoveries = Discoveries::default();
    discoveries.follow(&config(keys, base)).await;
    discoveries
}

fn config(keys: &str, base: &Path) -> ScrapeConfig {
    let file: ScrapeFile = serde_json::from_str(&format!(r#"{{"job_name":"j",{keys}}}"#)).unwrap();
    let second = Duration::from_secs(1);
    let global = ScrapeGlobal::default();
    file.check(Surroundings { interval: second, timeout: second, global: &global, base }).unwrap()
}

/// Waits until the addresses are these; real files and sockets take the time they take.
async fn until(discoveries: &Discoveries, want: &[&str]) -> Vec<TargetGroup> {
    let wait = async {
        loop {
            let groups: Vec<TargetGroup> =
                discoveries.groups().iter().flat_map(|groups| groups.iter().cloned()).collect();
            let targets = groups.iter().flat_map(|group| &group.targets);
            let addresses: Vec<&str> = targets.map(|target| target.get_or_empty("__address__")).collect();
            if discoveries.are_known() && addresses == want {
                return groups;
            }
            discoveries.changed().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap_or_else(|_| panic!("never became {want:?}"))
}

#[tokio::test]
async fn files_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = dir.path().join(name);
        std::fs::write(file.with_extension("tmp"), text).unwrap();
        std::fs::rename(file.with_extension("tmp"), &file).unwrap();
    };
    write("a.json", r#"[{"targets":["a:1"],"labels":{"x":"1"}}]"#);
    write("b.yml", "- targets: ['b:1', 'b:2']\n  labels: {y: '2'}\n");
    let discoveries = discover(r#""file_sd_configs":[{"files":["*.json","b.yml"]}]"#, dir.path()).await;
    let groups = until(&discoveries, &["a:1", "b:1", "b:2"]).await;
    assert_eq!(groups[1].labels.get("y"), Some("2"));
    assert_eq!(groups[0].labels.get("__meta_filepath"), Some(dir.path().join("a.json").to_str().unwrap()));
    write("a.json", r#"[{"targets":["a:longer"]}]"#);
    until(&discoveries, &["a:longer", "b:1", "b:2"]).await;
    // Half a file is no news.
    write("b.yml", "- targets: [");
    write("c.json", r#"[{"targets":["c:1"]}]"#);
    until(&discoveries, &["a:longer", "b:1", "b:2", "c:1"]).await;
    std::fs::remove_file(dir.path().join("a.json")).unwrap();
    until(&discoveries, &["b:1", "b:2", "c:1"]).await;
}

#[tokio::test]
async fn a_server_that_fails_leaves_what_was_known() {
    let fails = Arc::new(AtomicBool::new(false));
    let is_down = Arc::clone(&fails);
    let list = move |headers: axum::http::HeaderMap| {
        let is_down = is_down.swap(true, Ordering::AcqRel);
        async move {
            assert_eq!(headers["x-prometheus-refresh-interval-seconds"], "0.01");
            if is_down {
                return StatusCode::INTERNAL_SERVER_ERROR.into_response();
            }
            ([("content-type", "application/json; charset=utf-8")], r#"[{"targets":["h:1"]}]"#).into_response()
        }
    };
    let server = serve(Router::new().route("/sd", get(list))).await;
    let keys = format!(r#""http_sd_configs":[{{"url":"{server}/sd","refresh_interval":"10ms"}}]"#);
    let discoveries = discover(&keys, Path::new(".")).await;
    let groups = until(&discoveries, &["h:1"]).await;
    assert_eq!(groups[0].labels.get("__meta_url"), Some(format!("{server}/sd").as_str()));
    assert!(fails.load(Ordering::Acquire));
    until(&discoveries, &["h:1"]).await;
}

#[tokio::test]
async fn what_is_discovered_as_before_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.json"), r#"[{"targets":["a:1"]}]"#).unwrap();
    let mut discoveries = discover(r#""file_sd_configs":[{"files":["a.json"]}]"#, dir.path()).await;
    until(&discoveries, &["a:1"]).await;
    let both = r#""sample_limit":5,"file_sd_configs":[{"files":["b.json"]},{"files":["a.json"]}]"#;
    discoveries.follow(&config(both, dir.path())).await;
    assert_eq!(discoveries.groups().len(), 1, "the old one is known at once");
    until(&discoveries, &["a:1"]).await;
    discoveries.follow(&config(r#""sample_limit":5"#, dir.path())).await;
    assert!(discoveries.groups().is_empty() && discoveries.are_known());
}

/// A Kubernetes API server with pods alone.
#[derive(Clone)]
struct Fake {
    pods: Arc<Mutex<BTreeMap<String, String>>>,
    lists: Arc<Mutex<Vec<String>>>,
    /// Lines for everyone who watches.
    lines: broadcast::Sender<String>,
    watchers: Arc<Notify>,
}

impl Fake {
    fn new() -> Self {
        let lines = broadcast::Sender::new(16);
        Self { pods: Arc::default(), lists: Arc::default(), lines, watchers: Arc::default() }
    }

    fn pod(name: &str, ip: &str) -> String {
        format!(
            r#"{{"metadata":{{"name":"{name}","namespace":"shop","resourceVersion":"2"}},"spec":{{"containers":[{{"name":"c","ports":[{{"containerPort":80}}]}}]}},"status":{{"podIP":"{ip}"}}}}"#
        )
    }

    fn put(&self, name: &str, ip: &str) {
        self.pods.lock().unwrap().insert(name.to_owned(), Self::pod(name, ip));
    }

    fn tell(&self, kind: &str, object: &str) {
        self.lines.send(format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")).unwrap();
    }
}

async fn api(State(fake): State<Fake>, uri: Uri, Query(query): Query<BTreeMap<String, String>>) -> Response {
    if query.contains_key("watch") {
        assert_eq!(query["resourceVersion"], "1");
        let lines = fake.lines.subscribe();
        fake.watchers.notify_one();
        let lines = futures_util::stream::unfold(lines, |mut lines| async move {
            let line = lines.recv().await.ok()?;
            Some((Ok::<_, std::convert::Infallible>(Bytes::from(line)), lines))
        });
        // An error ends the watch.
        let mut is_over = false;
        let until_error = lines.take_while(move |line| {
            let goes_on = !is_over;
            is_over |= line.as_ref().is_ok_and(|line| line.starts_with(b"{\"type\":\"ERROR\""));
            std::future::ready(goes_on)
        });
        return Body::from_stream(until_error).into_response();
    }
    fake.lists.lock().unwrap().push(uri.to_string());
    let pods: Vec<String> = fake.pods.lock().unwrap().values().cloned().collect();
    // One object a page.
    let at: usize = query.get("continue").map_or(0, |at| at.parse().unwrap());
    let next = if at + 1 < pods.len() { (at + 1).to_string() } else { String::new() };
    let items = pods.get(at).cloned().unwrap_or_default();
    format!(r#"{{"metadata":{{"resourceVersion":"1","continue":"{next}"}},"items":[{items}]}}"#).into_response()
}

#[tokio::test]
async fn a_cluster_is_listed_watched_and_listed_again() {
    let fake = Fake::new();
    fake.put("a", "10.0.0.1");
    fake.put("b", "10.0.0.2");
    let server = serve(Router::new().fallback(api).with_state(fake.clone())).await;
    let keys = format!(
        r#""kubernetes_sd_configs":[{{"role":"pod","api_server":"{server}","namespaces":{{"names":["shop"]}},
            "selectors":[{{"role":"pod","label":"app=web","field":"status.phase=Running"}}]}}]"#
    );
    let discoveries = discover(&keys, Path::new(".")).await;
    let groups = until(&discoveries, &["10.0.0.1:80", "10.0.0.2:80"]).await;
    assert_eq!(groups[0].labels.get("__meta_kubernetes_pod_name"), Some("a"));
    assert_eq!(
        fake.lists.lock().unwrap()[0],
        "/api/v1/namespaces/shop/pods?labelSelector=app%3Dweb&fieldSelector=status.phase%3DRunning&limit=500"
    );
    fake.watchers.notified().await;
    fake.tell("ADDED", &Fake::pod("c", "10.0.0.3"));
    fake.tell("MODIFIED", &Fake::pod("a", "10.0.0.9"));
    until(&discoveries, &["10.0.0.9:80", "10.0.0.2:80", "10.0.0.3:80"]).await;
    fake.tell("DELETED", &Fake::pod("b", "10.0.0.2"));
    until(&discoveries, &["10.0.0.9:80", "10.0.0.3:80"]).await;

    // While nobody watched, everything became different; the server has forgotten how.
    fake.pods.lock().unwrap().clear();
    fake.put("z", "10.0.0.7");
    fake.tell("ERROR", r#"{"kind":"Status","code":410,"reason":"Expired","message":"too old"}"#);
    until(&discoveries, &["10.0.0.7:80"]).await;
    fake.watchers.notified().await;
    fake.tell("DELETED", &Fake::pod("z", "10.0.0.7"));
    until(&discoveries, &[]).await;
}
