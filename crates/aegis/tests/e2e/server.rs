//! One running `aegis serve`, and how long to wait for things.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::http::{self, Reply};

const POLL: Duration = Duration::from_millis(20);

/// The program under test.
pub fn aegis() -> Command {
    Command::new(env!("CARGO_BIN_EXE_aegis"))
}

/// Runs a command of the program to its end.
pub fn run(args: &[&str]) -> Output {
    aegis().args(args).stdin(Stdio::null()).output().unwrap()
}

/// What a command printed, both channels together.
pub fn printed(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A server on a free port; it ends when dropped.
pub struct Server {
    child: Child,
    log: Arc<Mutex<String>>,
    pub address: String,
}

impl Server {
    /// Serves `data_dir` with the defaults.
    pub fn start(data_dir: &Path) -> Self {
        Self::with(data_dir, &[])
    }

    /// Serves `data_dir` with the configuration `yaml`.
    pub fn configured(data_dir: &Path, yaml: &str) -> Self {
        std::fs::create_dir_all(data_dir).unwrap();
        let file = data_dir.join("aegis.yaml");
        std::fs::write(&file, yaml).unwrap();
        Self::with(data_dir, &["--config", file.to_str().unwrap()])
    }

    /// Serves `data_dir` with further arguments, and waits until it is ready.
    pub fn with(data_dir: &Path, more: &[&str]) -> Self {
        let (mut child, lines) = spawn(data_dir, more);
        let log = Arc::new(Mutex::new(String::new()));
        let mut address = None;
        while address.is_none() {
            match lines.recv_timeout(Duration::from_secs(60)) {
                Ok(line) => {
                    address = ready_at(&line);
                    writeln!(log.lock().unwrap(), "{line}").unwrap();
                }
                Err(gone) => {
                    let _ = child.kill();
                    panic!("not ready ({gone}); it said:\n{}", log.lock().unwrap());
                }
            }
        }
        let rest = Arc::clone(&log);
        thread::spawn(move || {
            for line in lines {
                writeln!(rest.lock().unwrap(), "{line}").unwrap();
            }
        });
        Self { child, log, address: address.unwrap() }
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    pub fn get(&self, target: &str) -> Reply {
        http::request(&self.address, "GET", target, &[], b"")
    }

    /// GETs a path with parameters that may need escaping.
    pub fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Reply {
        self.get(&format!("{path}?{}", http::form(parameters)))
    }

    pub fn post(&self, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        http::request(&self.address, "POST", target, headers, body)
    }

    pub fn post_json(&self, target: &str, body: &Value) -> Reply {
        self.post(target, &[("Content-Type", "application/json")], body.to_string().as_bytes())
    }

    /// The result of an instant PromQL query.
    pub fn instant(&self, query: &str, at: Option<&str>) -> Vec<Value> {
        let mut parameters = vec![("query", query)];
        parameters.extend(at.map(|at| ("time", at)));
        let reply = self.ask("/api/v1/query", &parameters);
        assert_eq!(reply.status, 200, "{query}: {}", reply.text());
        reply.json()["data"]["result"].as_array().unwrap().clone()
    }

    /// The value of the only series that a PromQL query finds, if it finds one.
    pub fn number(&self, query: &str) -> Option<f64> {
        let found = self.instant(query, None);
        found.first()?["value"][1].as_str()?.parse().ok()
    }

    /// The server's clock, unix seconds.
    pub fn now(&self) -> f64 {
        let reply = self.ask("/api/v1/query", &[("query", "time()")]).json();
        reply["data"]["result"][1].as_str().unwrap().parse().unwrap()
    }

    /// Lines of a log query, oldest first.
    pub fn lines(&self, query: &str, start: &str, end: &str) -> Vec<String> {
        let parameters =
            [("query", query), ("start", start), ("end", end), ("limit", "5000"), ("direction", "forward")];
        let reply = self.ask("/loki/api/v1/query_range", &parameters);
        assert_eq!(reply.status, 200, "{query}: {}", reply.text());
        let body = reply.json();
        let mut found: Vec<(i64, String)> = Vec::new();
        for stream in body["data"]["result"].as_array().unwrap() {
            for pair in stream["values"].as_array().unwrap() {
                found.push((pair[0].as_str().unwrap().parse().unwrap(), pair[1].as_str().unwrap().to_owned()));
            }
        }
        found.sort();
        found.into_iter().map(|(_, line)| line).collect()
    }

    /// Sends it a signal, such as `HUP`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.child.id())]).status().unwrap();
        assert!(sent.success());
    }

    /// Ends it as a crash does.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it as a service manager does; the status it ends with.
    pub fn terminate(&mut self) -> ExitStatus {
        shutdown(self.child.id());
        let mut ended = None;
        let Self { child, log, .. } = self;
        wait_until("the server stops", &|| log.lock().unwrap().clone(), || {
            ended = child.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the server on {} said:\n{}", self.address, self.log());
        }
    }
}

fn spawn(data_dir: &Path, more: &[&str]) -> (Child, Receiver<String>) {
    let mut command = aegis();
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    for flag in ["--otlp-grpc", "--otlp-http"].iter().filter(|flag| !more.contains(flag)) {
        command.args([flag, "off"]);
    }
    let mut child = command
        .arg("--data-dir")
        .arg(data_dir)
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, lines) = channel();
    let pipe = BufReader::new(child.stderr.take().unwrap());
    thread::spawn(move || {
        for line in pipe.lines().map_while(Result::ok) {
            // Read on when nobody listens, so that the server never waits for its own log.
            let _ = sender.send(line);
        }
    });
    (child, lines)
}

fn ready_at(line: &str) -> Option<String> {
    let rest = line.contains("Aegis is ready").then(|| line.split_once("listen=")).flatten()?.1;
    rest.split_whitespace().next().map(str::to_owned)
}

/// Sends SIGTERM.
pub fn shutdown(process: u32) {
    let sent = Command::new("sh").args(["-c", &format!("kill -TERM {process}")]).status().unwrap();
    assert!(sent.success());
}

/// Looks again and again until `holds`; real processes take the time they take. Fails after a minute with `context`.
pub fn wait_until(what: &str, context: &dyn Fn() -> String, mut holds: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if holds() {
            return;
        }
        thread::park_timeout(POLL);
    }
    panic!("{what}: did not happen within a minute\n{}", context());
}
