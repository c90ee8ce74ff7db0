//! How many log lines are mined a second: `cargo bench -p aegis-detect`.
//!
//! With `TEMPLATE_LINES=FILE` its lines are mined too.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench"
)]

use std::time::Instant;

use aegis_detect::templates::{Miner, MinerLimits, StreamMiner, StreamMinerLimits};
use signal::{Labels, LogLine, Nanos, StreamWrite, Timestamp};

const LINES: usize = 200_000;

fn main() {
    let mut seed = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    let word = |number: usize| -> String {
        let (mut number, mut word) = (number, String::new());
        while word.len() < 3 || number > 0 {
            word.push(char::from(b'a' + (number % 26) as u8));
            number /= 26;
        }
        word
    };
    let cases: [(&str, Vec<String>); 4] = [
        (
            "plain lines of 40 templates",
            (0..LINES)
                .map(|_| {
                    let (at, ms, id) = (random(40), random(5_000), random(1 << 40));
                    let subject = word(at * 7_919 + 17);
                    format!("2024-01-25T14:30:45.{ms:03}Z INFO {subject} request {id:x} from 10.0.{}.{} took {ms}ms status={}", random(256), random(256), 200 + random(5))
                })
                .collect(),
        ),
        (
            "json lines of 40 templates",
            (0..LINES)
                .map(|_| {
                    let (at, ms, id) = (random(40), random(5_000), random(1 << 40));
                    let subject = word(at * 7_919 + 17);
                    format!(
                        r#"{{"ts":"2024-01-25T14:30:45Z","level":"info","service":"shop","trace_id":"{id:032x}","duration_ms":{ms},"message":"{subject} request took {ms} ms","user":{{"id":{id}}}}}"#
                    )
                })
                .collect(),
        ),
        (
            "logfmt lines with many users",
            (0..LINES)
                .map(|_| format!("ts=2024-01-25T14:30:45Z level=warn msg=\"login of {} failed after {} tries\" caller=a.go:7", word(random(5_000)), random(9)))
                .collect(),
        ),
        (
            "lines of random words",
            (0..LINES / 10).map(|_| (0..8).map(|_| word(random(1 << 30))).collect::<Vec<_>>().join(" ")).collect(),
        ),
    ];
    for (name, lines) in &cases {
        mined(name, lines, 5);
    }
    for (name, lines) in &cases {
        as_they_come(name, lines);
    }
    if let Ok(file) = std::env::var("TEMPLATE_LINES") {
        let lines: Vec<String> = std::fs::read_to_string(&file).unwrap().lines().map(str::to_owned).collect();
        mined(&file, &lines, 2_000_000 / lines.len().max(1) + 1);
    }
}

fn mined(name: &str, lines: &[String], times: usize) {
    let mut miner = Miner::new(MinerLimits::default());
    let begun = Instant::now();
    for _ in 0..times {
        for line in lines {
            std::hint::black_box(miner.observe(Nanos(0), line).id);
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let count = (lines.len() * times) as f64;
    println!(
        "{name:<32} {:>12.0} lines/s {:>8.1} ns each {:>8} templates {:>8} dropped",
        count / seconds,
        seconds * 1e9 / count,
        miner.len(),
        miner.dropped()
    );
}

/// What a server spends on lines of twenty streams that come as fast as they can: 400,000 a second.
fn as_they_come(name: &str, lines: &[String]) {
    let limits = StreamMinerLimits::default();
    let mut miner = StreamMiner::new(Miner::new(limits.miner), limits);
    let labels: Vec<Labels> = (0..20).map(|number| Labels::from_pairs([("job", format!("job-{number}"))])).collect();
    let line = |line: &String| LogLine { at: Nanos(0), line: line.clone(), metadata: Labels::empty() };
    let batches = lines.chunks(1_000).zip(labels.iter().cycle());
    let batches: Vec<[StreamWrite; 1]> = batches
        .map(|(lines, labels)| [StreamWrite { labels: labels.clone(), lines: lines.iter().map(line).collect() }])
        .collect();
    let (mut count, mut mined) = (0, 0);
    let begun = Instant::now();
    for _ in 0..20 {
        for batch in &batches {
            mined += miner.observe(batch, Timestamp(count / 400)).mined;
            count += batch[0].lines.len() as i64;
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{name:<32} {:>8.1} ns each as they come, one in {:.0} looked at",
        seconds * 1e9 / count as f64,
        count as f64 / mined as f64
    );
}
