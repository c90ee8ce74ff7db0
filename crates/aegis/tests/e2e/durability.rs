//! What was acknowledged is there after a kill, whatever the moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;

use serde_json::json;

use crate::http;
use crate::server::{Server, wait_until};
use crate::wire::{Span, export, push_json, series, try_remote_write};

const START_S: i64 = 1_706_189_400;
/// Writes that must be acknowledged before the next kill.
const ENOUGH: i64 = 40;

/// How many writes of each kind were acknowledged, over all rounds. Number `n` is the `n`th second.
#[derive(Default)]
struct Acknowledged {
    samples: AtomicI64,
    lines: AtomicI64,
    traces: AtomicI64,
}

#[test]
fn kills_lose_nothing_that_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let known = Arc::new(Acknowledged::default());
    // The data is from 2024, and nothing but the kills may take it away.
    let config = "store: {retention: 20y}\n";
    for round in 1..=4 {
        let mut server = Server::configured(dir.path(), config);
        check(&server, &known, round);
        let is_over = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = [write_samples, write_lines, write_traces]
            .into_iter()
            .map(|write| {
                let (address, known, is_over) = (server.address.clone(), Arc::clone(&known), Arc::clone(&is_over));
                thread::spawn(move || while !is_over.load(Ordering::Acquire) && write(&address, &known) {})
            })
            .collect();
        wait_until("enough is acknowledged", &|| server.log(), || {
            let all = [&known.samples, &known.lines, &known.traces];
            all.into_iter().all(|count| count.load(Ordering::Acquire) >= round * ENOUGH)
        });
        if round < 4 {
            server.kill();
        } else {
            assert_eq!(server.terminate().code(), Some(0), "a shutdown is orderly while senders write on");
        }
        is_over.store(true, Ordering::Release);
        for writer in writers {
            writer.join().unwrap();
        }
    }
    check(&Server::configured(dir.path(), config), &known, 5);
}

/// Writes the next one; false when the server is gone.
fn write_samples(address: &str, known: &Acknowledged) -> bool {
    let next = known.samples.load(Ordering::Acquire);
    let sample = [((START_S + next) * 1000, next as f64)];
    let sent = try_remote_write(address, &[series("written_total{job=\"kill\"}", sample)]);
    count(&known.samples, sent.map(|reply| reply.status) == Some(204))
}

fn write_lines(address: &str, known: &Acknowledged) -> bool {
    let next = known.lines.load(Ordering::Acquire);
    let push = push_json(&json!({"job": "kill"}), &[((START_S + next) * 1_000_000_000, format!("line {next}"))]);
    let headers = [("Content-Type", "application/json")];
    let sent = http::try_request(address, "POST", "/loki/api/v1/push", &headers, push.to_string().as_bytes());
    count(&known.lines, sent.map(|reply| reply.status) == Some(204))
}

fn write_traces(address: &str, known: &Acknowledged) -> bool {
    let next = known.traces.load(Ordering::Acquire);
    let start_ns = (START_S + next) * 1_000_000_000;
    let span = Span { id: "00000000000000aa", parent: "", name: "work", start_ns, duration_ms: 5, is_error: false };
    let body = export("kill", &trace_id(next), &[span]).to_string();
    let headers = [("Content-Type", "application/json")];
    let sent = http::try_request(address, "POST", "/v1/traces", &headers, body.as_bytes());
    count(&known.traces, sent.map(|reply| reply.status) == Some(200))
}

fn count(known: &AtomicI64, is_acknowledged: bool) -> bool {
    if is_acknowledged {
        known.fetch_add(1, Ordering::AcqRel);
    }
    is_acknowledged
}

fn trace_id(number: i64) -> String {
    format!("{:032x}", number + 1)
}

fn check(server: &Server, known: &Acknowledged, round: i64) {
    let samples = known.samples.load(Ordering::Acquire);
    // One more than acknowledged may be there: written, with the answer lost in the kill.
    let end = (START_S + samples + 1).to_string();
    let found = server.ask("/api/v1/query", &[("query", "written_total[1d]"), ("time", &end)]).json();
    let values = found["data"]["result"][0]["values"].as_array().cloned().unwrap_or_default();
    assert!((samples..=samples + 1).contains(&(values.len() as i64)), "round {round}: {samples} samples, {found}");
    for (number, pair) in values.iter().enumerate() {
        assert_eq!(*pair, json!([START_S + number as i64, number.to_string()]), "round {round}");
    }

    let lines = known.lines.load(Ordering::Acquire);
    let found = server.lines("{job=\"kill\"}", &START_S.to_string(), &(START_S + lines + 2).to_string());
    assert!((lines..=lines + 1).contains(&(found.len() as i64)), "round {round}: {lines} lines, {found:?}");
    for (number, line) in found.iter().enumerate() {
        assert_eq!(*line, format!("line {number}"), "round {round}");
    }

    for number in 0..known.traces.load(Ordering::Acquire) {
        let found = server.get(&format!("/api/traces/{}", trace_id(number)));
        assert_eq!(found.status, 200, "round {round}, trace {number}: {}", found.text());
    }
}
