//! Files are followed across rotation and kills: every line arrives, and arrives once.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::server::{Server, wait_until};

/// Lines after which the file is renamed.
const ROTATE: usize = 400;
/// Lines that must have arrived before the next kill.
const ENOUGH: usize = 150;
/// The most one query gives.
const MOST: usize = 4_500;

/// Appends numbered lines until told to stop; how many there are.
fn write(logs: &Path, is_over: &AtomicBool) -> usize {
    let path = logs.join("app.log");
    let mut count = 0;
    while !is_over.load(Ordering::Acquire) && count < MOST {
        let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        for _ in 0..5 {
            writeln!(file, "level=info line={count:05}").unwrap();
            count += 1;
        }
        if count.is_multiple_of(ROTATE) {
            fs::rename(&path, logs.join(format!("app.log.{}", count / ROTATE))).unwrap();
        }
        thread::park_timeout(Duration::from_millis(4));
    }
    count
}

fn lines(server: &Server) -> Vec<String> {
    let now = server.now();
    server.lines(r#"{job="app"}"#, &(now - 3000.0).to_string(), &(now + 60.0).to_string())
}

#[test]
fn kills_neither_lose_nor_double_lines_of_files() {
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("logs");
    fs::create_dir(&logs).unwrap();
    let data = dir.path().join("data");
    let config = format!(
        "log_files:\n  - job: app\n    paths: ['{0}/*.log', '{0}/*.log.*']\n    pipeline:\n      \
         - logfmt: {{mapping: {{level: }}}}\n      - labels: {{level: }}\n",
        logs.display()
    );
    let is_over = Arc::new(AtomicBool::new(false));
    let writer = {
        let is_over = Arc::clone(&is_over);
        thread::spawn(move || write(&logs, &is_over))
    };
    let mut seen = 0;
    for _ in 0..3 {
        let server = Server::configured(&data, &config);
        wait_until("lines arrive", &|| server.log(), || lines(&server).len() >= seen + ENOUGH);
        seen = lines(&server).len();
        server.kill();
    }
    let server = Server::configured(&data, &config);
    is_over.store(true, Ordering::Release);
    let count = writer.join().unwrap();
    wait_until("all lines arrive", &|| server.log(), || lines(&server).len() >= count);
    let mut found = lines(&server);
    found.sort();
    let wanted: Vec<String> = (0..count).map(|number| format!("level=info line={number:05}")).collect();
    assert_eq!(found.len(), wanted.len(), "some came twice");
    assert_eq!(found, wanted);
    assert!(server.get("/metrics").text().contains("aegis_tail_lines_total"));
}
