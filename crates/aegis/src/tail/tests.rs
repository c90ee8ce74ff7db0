//! Files of a real directory, followed into a store.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::thread;

use signal::Nanos;
use store::{OsDisk, Store, StoreSettings};
use tempfile::TempDir;
use web::LineTap;

use super::*;
use crate::{config, writer};

/// Aegis as far as lines of files are concerned.
struct Running {
    store: Arc<Store>,
    configs: watch::Sender<Arc<Config>>,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    writer: thread::JoinHandle<()>,
}

fn config(dir: &Path, more: &str) -> Arc<Config> {
    let text = format!("log_files:\n  - job: app\n    paths: ['logs/*.log']\n{more}");
    Arc::new(config::parse("aegis.yaml", &text, dir).unwrap())
}

fn start(dir: &Path, more: &str) -> Running {
    let store = Store::open(&dir.join("data"), StoreSettings::default(), Arc::new(OsDisk)).unwrap();
    let store = Arc::new(store);
    let instruments = Arc::new(Instruments::new());
    let (ingress, requests) = Ingress::new(16);
    let writer = {
        let (store, instruments) = (Arc::clone(&store), Arc::clone(&instruments));
        thread::spawn(move || {
            let is_writable = Arc::new(AtomicBool::new(true));
            let limits = ingest::Limits::default();
            writer::write_until_closed(requests, &store, &instruments, &is_writable, &LineTap::default(), limits);
        })
    };
    let (configs, configured) = watch::channel(config(dir, more));
    let shutdown = CancellationToken::new();
    let tailing = Tailing { ingress, instruments, directory: dir.join("data/tail"), is_synced: true };
    let task = tokio::spawn(tailing.run(configured, shutdown.clone()));
    Running { store, configs, shutdown, task, writer }
}

impl Running {
    /// Lines by stream, once there are as many as this.
    async fn lines(&self, count: usize) -> BTreeMap<String, Vec<String>> {
        for _ in 0..400 {
            let snapshot = self.store.snapshot();
            let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for stream in snapshot.streams(&[], Nanos(i64::MIN), Nanos(i64::MAX)) {
                let name = stream.labels.get_or_empty("filename").rsplit('/').next().unwrap().to_owned();
                found.entry(name).or_default().extend(stream.lines.iter().map(|line| line.line.clone()));
            }
            if found.values().map(Vec::len).sum::<usize>() >= count {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("the lines never came");
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
        drop(self.configs);
        self.writer.join().unwrap();
    }
}

fn append(dir: &Path, name: &str, text: &str) {
    let file = fs::OpenOptions::new().create(true).append(true).open(dir.join("logs").join(name));
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

fn directory() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("logs")).unwrap();
    dir
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_files_reach_the_store_across_rotation_and_restart() {
    let dir = directory();
    let path = dir.path();
    append(path, "app.log", "one\ntwo\n");
    let stages = "    labels: {env: test}\n    pipeline:\n      - drop: {expression: '^debug'}\n";
    let running = start(path, stages);
    running.lines(2).await;
    append(path, "app.log", "debug nothing\nthree\n");
    fs::rename(path.join("logs/app.log"), path.join("logs/app.log.1")).unwrap();
    append(path, "app.log", "four\n");
    let found = running.lines(4).await;
    assert_eq!(found["app.log"], ["one", "two", "three", "four"]);
    running.stop().await;

    append(path, "app.log", "five\n");
    fs::rename(path.join("logs/app.log"), path.join("logs/app.log.2")).unwrap();
    append(path, "app.log", "six\n");
    let running = start(path, stages);
    let found = running.lines(6).await;
    assert_eq!(found["app.log"], ["one", "two", "three", "four", "five", "six"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_configuration_is_followed_without_reading_again() {
    let dir = directory();
    let path = dir.path();
    append(path, "a.log", "one\n");
    let running = start(path, "");
    running.lines(1).await;
    running.configs.send_replace(config(path, "    labels: {new: label}\n"));
    append(path, "a.log", "two\n");
    let found = running.lines(2).await;
    assert_eq!(found["a.log"], ["one", "two"]);
    running.stop().await;
}
