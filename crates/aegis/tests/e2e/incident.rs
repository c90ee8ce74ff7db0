//! The loop end to end: a real deployment overflows, Aegis finds out why, and does what its policy lets it do.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use diagnose::ChangeKind;
use local::{Client, DeploymentSpec, Port, Progress, Template, targets_file};
use serde_json::{Value, json};

use crate::server::{Server, aegis, printed, run, wait_until};
use crate::target::Target;
use crate::wire::series;

/// Requests per second that the service gets when all is well, and when it is not.
const USUAL: f64 = 50.0;
const SURGE: f64 = 400.0;
/// How long a query holds one of the ten connections, and what that makes per second.
const HOLD_S: f64 = 0.05;
const POOL: f64 = 10.0;
const CAPACITY: f64 = POOL / HOLD_S;
const ACT: &str = r#"
@id("scale up production")
permit (principal == Agent::"aegis", action == Action::"scale_up", resource in Namespace::"production");
"#;

/// From when on how many requests per second and replica are served, and refused for want of a connection.
#[derive(Clone, Copy)]
struct Phase {
    from: f64,
    served: f64,
    refused: f64,
}

impl Phase {
    fn usual(from: f64) -> Self {
        Self { from, served: USUAL, refused: 0.0 }
    }

    /// The surge spread over `replicas`.
    fn surge(from: f64, replicas: u32) -> Self {
        let offered = SURGE / f64::from(replicas);
        Self { from, served: offered.min(CAPACITY), refused: (offered - CAPACITY).max(0.0) }
    }
}

/// One replica, whose numbers follow from the clock and from what happened so far.
#[derive(Clone)]
struct Story(Vec<Phase>);

impl Story {
    /// Every series at a time, with its value.
    fn at(&self, now: f64) -> Vec<(String, f64)> {
        let total = |per_second: &dyn Fn(&Phase) -> f64| -> f64 {
            let ends = self.0.iter().skip(1).map(|next| next.from).chain([f64::MAX]);
            self.0.iter().zip(ends).map(|(phase, end)| per_second(phase) * (now.min(end) - phase.from).max(0.0)).sum()
        };
        let is_full = |phase: &Phase| phase.refused > 0.0;
        let (served, refused) = (total(&|phase| phase.served), total(&|phase| phase.refused));
        let fast = total(&|phase| if is_full(phase) { 0.0 } else { phase.served });
        let request = |status: &str| {
            format!(
                "http_requests_total{{service=\"backend\",method=\"POST\",path=\"/api/v1/users\",status=\"{status}\"}}"
            )
        };
        let mut all = vec![(request("201"), served), (request("503"), refused)];
        for (le, count) in [("0.1", fast), ("1", fast), ("2.5", served + refused), ("+Inf", served + refused)] {
            all.push((format!("http_request_duration_seconds_bucket{{service=\"backend\",le=\"{le}\"}}"), count));
        }
        let phase = self.0.iter().rfind(|phase| phase.from <= now).unwrap();
        let used = if is_full(phase) { POOL } else { (phase.served * HOLD_S).ceil() };
        let of = |name: &str| format!("{name}{{service=\"backend\"}}");
        all.extend([
            (of("db_query_duration_seconds_sum"), served * HOLD_S),
            (of("db_query_duration_seconds_count"), served),
            (of("db_pool_connections_max"), POOL),
            (of("db_pool_pending_requests"), if is_full(phase) { 40.0 } else { 0.0 }),
            (of("db_pool_acquire_timeouts_total"), refused),
            (of("process_cpu_seconds_total"), served / 1000.0),
        ]);
        for (state, value) in [("used", used), ("idle", POOL - used)] {
            all.push((format!("db_pool_connections{{service=\"backend\",state=\"{state}\"}}"), value));
        }
        all
    }

    fn page(&self, now: f64) -> String {
        self.at(now).iter().map(|(name, value)| format!("{name} {value}\n")).collect()
    }
}

/// A supervisor with one deployment; both end when dropped.
struct Supervised {
    client: Client,
    supervisor: Child,
}

impl Supervised {
    /// One replica of `production/backend` that says it listens where `target` does.
    fn start(run_dir: &Path, target: &Target) -> Self {
        let owner = std::process::id().to_string();
        let supervisor = aegis()
            .args(["supervise", "--with-owner", &owner, "--run-dir", run_dir.to_str().unwrap()])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Self { client: Client::new(run_dir), supervisor };
        wait_until("the supervisor listens", &String::new, || started.client.status().is_ok());
        let port = target.address.rsplit(':').next().unwrap();
        let script = format!("printf {port} > \"$AEGIS_PORT_FILE\"; exec sleep 600");
        let mut template = Template::new("1.0.0", ["sh", "-c", &script], Port::Reported);
        template.drain_s = 1;
        let spec = DeploymentSpec {
            namespace: "production".to_owned(),
            name: "backend".to_owned(),
            service: "backend".to_owned(),
            replicas: 1,
            template,
        };
        let ready = started.client.apply(&spec, "test", Duration::from_secs(60)).unwrap();
        assert!(matches!(ready, Progress::Settled(_)), "{ready:?}");
        started
    }

    fn replicas(&self) -> u32 {
        self.client.workloads().unwrap().first().unwrap().desired
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        let _ = self.client.shutdown(Duration::from_secs(10));
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
    }
}

fn now() -> f64 {
    UNIX_EPOCH.elapsed().unwrap().as_secs_f64()
}

/// The deployment, its story so far, and the directory of the Aegis that watches it.
struct World {
    dir: tempfile::TempDir,
    story: Arc<Mutex<Story>>,
    supervised: Supervised,
    endpoints: PathBuf,
    _target: Target,
}

impl World {
    /// A deployment at work, and ten quiet minutes of it on record from which the next start learns what is normal.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let run_dir = dir.path().join("run");
        let story = Arc::new(Mutex::new(Story(vec![Phase::usual(now() - 600.0)])));
        let told = Arc::clone(&story);
        let target = Target::new(move || told.lock().unwrap().page(now()));
        let supervised = Supervised::start(&run_dir, &target);
        let endpoints = targets_file(&run_dir, &backend());
        let world = Self { dir, story, supervised, endpoints, _target: target };
        wait_until("the endpoint is listed", &String::new, || world.labels().len() == 1);
        let server = Server::start(&world.data());
        remember(&server, &world.story.lock().unwrap(), &world.labels()[0]);
        server.kill();
        world
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The labels of every ready replica.
    fn labels(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.endpoints).unwrap_or_default();
        let groups: Value = serde_json::from_str(&text).unwrap_or_default();
        groups.as_array().into_iter().flatten().map(|group| group["labels"].clone()).collect()
    }

    fn turn_to(&self, phase: Phase) {
        self.story.lock().unwrap().0.push(phase);
    }

    fn serve(&self, policies: &str) -> Server {
        let config = format!(
            "global: {{scrape_interval: 1s}}\ndetect: {{interval: 1s, window: 4s}}\nverify: {{window: 4s, hold: 3s}}\n\
             policy: {{namespace: production, files: [{policies}]}}\ndrivers: {{local: {{run_dir: ../run}}}}\n\
             scrape_configs:\n  - job_name: backend\n    file_sd_configs: [{{files: [{}]}}]\n",
            self.endpoints.display()
        );
        Server::configured(&self.data(), &config)
    }

    /// Waits until scraping goes on where the record ends, then lets the surge and its log lines come.
    fn overflow(&self, server: &Server) {
        wait_until("scraping goes on", &|| server.log(), || {
            server.number("sum(count_over_time(up{job=\"backend\"}[1m]))").is_some_and(|count| count >= 4.0)
        });
        assert_eq!(server.get("/api/v1/incidents").text(), "[]", "nothing is wrong yet");
        self.turn_to(Phase::surge(now(), 1));
        let at = now() as i64;
        let line = |after: i64, level: &str, message: &str| {
            let body = json!({"level": level, "service": "aegis-backend", "message": message});
            ((at * 1_000 + after) * 1_000_000, body.to_string())
        };
        let mut lines = vec![line(0, "info", "Marketing campaign started"), line(1, "info", "Traffic spike detected")];
        lines.extend((2..40).map(|after| line(after, "error", "Error: Connection pool exhausted")));
        server.push(&json!({"job": "aegis-backend", "service": "backend", "namespace": "production"}), &lines);
    }
}

/// The incident, once there is one and `holds` for it. There is never more than one.
fn incident(server: &Server, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let mut found = Value::Null;
    let seen = || server.get("/api/v1/incidents").text();
    wait_until(what, &seen, || {
        let all = server.get("/api/v1/incidents").json();
        assert!(all.as_array().unwrap().len() <= 1, "{all:#}");
        found = all[0].clone();
        found.is_object() && holds(&found)
    });
    found
}

#[test]
fn by_default_an_overflow_is_explained_and_left_to_a_person() {
    let world = World::new();
    let server = world.serve("");
    world.overflow(&server);
    let escalated = incident(&server, "a person is called", |one| one["state"] == "escalated");
    assert_eq!((&escalated["service"], &escalated["pages"]), (&json!("backend"), &json!(true)));
    assert_eq!(escalated["cause"]["kind"], "pool_exhaustion", "{escalated:#}");
    let report = server.get("/api/v1/incidents/1/report").text();
    for words in
        ["database connection pool of backend exhausted, by a traffic surge", "scale 1 -> 3", "was not allowed"]
    {
        assert!(report.contains(words), "`{words}` in {report}");
    }
    assert_eq!(world.supervised.replicas(), 1, "nothing was done");
    assert!(!server.get("/metrics").text().contains("executor_actions_total{"), "and nothing was tried");

    server.kill();
    let mut server = world.serve("");
    let after = incident(&server, "the incident is still known after a crash", |_| true);
    assert_eq!((&after["id"], &after["state"]), (&escalated["id"], &json!("escalated")));
    ledger_is_checked(&world.data(), &mut server);
}

#[test]
fn what_another_server_keeps_is_as_good_as_the_own_store() {
    let world = World::new();
    let keeper = world.serve("");
    let url = format!("http://{}", keeper.address);
    let config = format!(
        "global: {{scrape_interval: 1s}}\ndetect: {{interval: 1s, window: 4s}}\npolicy: {{namespace: production}}\n\
         drivers: {{local: {{run_dir: ../run}}}}\n\
         sources: {{metrics: {{url: \"{url}\"}}, logs: {{url: \"{url}\"}}, traces: {{url: \"{url}\"}}}}\n"
    );
    let reader = Server::configured(&world.dir.path().join("reader"), &config);
    world.overflow(&keeper);
    let escalated = incident(&reader, "a person is called", |one| one["state"] == "escalated");
    assert_eq!(escalated["cause"]["kind"], "pool_exhaustion", "{escalated:#}");
    let report = reader.get("/api/v1/incidents/1/report").text();
    assert!(report.contains("scale 1 -> 3"), "{report}");
    assert_eq!(reader.instant("http_requests_total", None), [Value::Null; 0], "it keeps none of it itself");
}

#[test]
fn a_permitted_action_helps_once_through_two_kills() {
    let world = World::new();
    std::fs::write(world.data().join("act.cedar"), ACT).unwrap();
    let server = world.serve("act.cedar");
    world.overflow(&server);
    incident(&server, "the action is under way", |one| !one["acted_at"].is_null());
    server.kill();
    let server = world.serve("act.cedar");
    incident(&server, "the action is done", |one| one["state"] == "verifying");
    server.kill();
    let server = world.serve("act.cedar");
    wait_until("every new replica is ready", &|| server.log(), || world.labels().len() == 3);
    world.turn_to(Phase::surge(now(), 3));
    let closed = incident(&server, "the incident is closed", |one| one["state"] == "closed");
    assert_eq!((&closed["ending"], &closed["verdict"]), (&json!("fixed"), &json!("fixed")), "{closed:#}");
    // A kill between decision and deed is found out, and only then is the deed proposed anew.
    let outcomes: Vec<&str> =
        closed["actions"].as_array().unwrap().iter().filter_map(|one| one["outcome"].as_str()).collect();
    let (last, earlier) = outcomes.split_last().unwrap();
    assert!(last.starts_with("done: "), "{closed:#}");
    assert!(earlier.iter().all(|outcome| *outcome == "never started"), "{closed:#}");
    assert_eq!(world.supervised.replicas(), 3);
    let changes = world.supervised.client.workloads().unwrap().remove(0).changes;
    let scaled = changes.iter().filter(|change| change.kind == ChangeKind::Scale).count();
    assert_eq!(scaled, 1, "{changes:?}");
    let kpis = server.get("/api/v1/kpis");
    assert_eq!(kpis.status, 200, "{}", kpis.text());
    let folder = world.data();
    for args in [["audit", "verify", "--data-dir"].as_slice(), &["replay"]] {
        let output = aegis().args(args).arg(&folder).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", printed(&output));
    }
}

/// The ledger holds, decides the same again, and a changed byte in it does not pass unnoticed.
fn ledger_is_checked(data: &Path, server: &mut Server) {
    let folder = data.to_str().unwrap();
    let verify = || run(&["audit", "verify", "--data-dir", folder]);
    let running = verify();
    assert!(running.status.success(), "while Aegis runs: {}", printed(&running));
    assert_eq!(server.terminate().code(), Some(0));
    let verified = verify();
    assert!(verified.status.success() && printed(&verified).contains("records hold"), "{}", printed(&verified));
    let replayed = run(&["replay", folder]);
    assert!(replayed.status.success() && printed(&replayed).contains("equal byte for byte"), "{}", printed(&replayed));
    let shown = run(&["audit", "show", "--data-dir", folder, "1"]);
    assert!(shown.status.success() && printed(&shown).contains("connection pool"), "{}", printed(&shown));

    // What a loss of power may leave: the beginning of a record. Nobody was told of it, so nobody misses it.
    let file = data.join("audit/ledger.jsonl");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}{{\"seq\":")).unwrap();
    assert!(printed(&verify()).contains("7 bytes at the end are an unfinished record"), "{}", printed(&verify()));
    let restarted = Server::start(data);
    assert!(restarted.log().contains("cut off an unfinished record"), "{}", restarted.log());
    restarted.kill();
    assert!(verify().status.success(), "{}", printed(&verify()));

    let text = std::fs::read_to_string(&file).unwrap();
    let place = text.find("backend").unwrap();
    let line = text[..place].matches('\n').count() + 1;
    std::fs::write(&file, text.replacen("backend", "bockend", 1)).unwrap();
    let named = format!("record {line} ");
    let verified = verify();
    assert_eq!(verified.status.code(), Some(1), "{}", printed(&verified));
    assert!(printed(&verified).contains(&named), "`{named}` in {}", printed(&verified));
    let args = ["serve", "--listen", "127.0.0.1:0", "--otlp-grpc", "off", "--otlp-http", "off", "--data-dir", folder];
    for refused in [run(&args), run(&["replay", folder])] {
        assert_eq!(refused.status.code(), Some(1), "{}", printed(&refused));
        let said = printed(&refused);
        assert!(said.contains("cannot be trusted") && said.contains(&named), "{said}");
    }
}

/// Writes what was scraped of `story` so far, one sample a second.
fn remember(server: &Server, story: &Story, labels: &Value) {
    let labels: String = labels
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| format!(",{name}=\"{}\"", value.as_str().unwrap()))
        .collect();
    let until = now();
    let times: Vec<f64> =
        (0..).map(|second| story.0[0].from + f64::from(second)).take_while(|at| *at < until).collect();
    let columns: Vec<Vec<(String, f64)>> = times.iter().map(|at| story.at(*at)).collect();
    let all: Vec<_> = (0..columns[0].len())
        .map(|row| {
            let name = columns[0][row].0.replace('}', &format!("{labels}}}"));
            let samples = times.iter().zip(&columns).map(|(at, column)| ((at * 1000.0) as i64, column[row].1));
            series(&name, samples.collect::<Vec<_>>())
        })
        .collect();
    server.remote_write(&all);
}

fn backend() -> policy::Target {
    policy::Target { namespace: "production".to_owned(), name: "backend".to_owned() }
}
