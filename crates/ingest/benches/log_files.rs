//! What reading lines of files costs, with and without stages, and what a look at idle files costs.
//!
//! `cargo bench -p aegis-ingest --bench log_files` prints nanoseconds of processor time, the least of several rounds.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a benchmark reports to a person, stops at the first surprise and measures time"
)]

use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aegis_ingest::pipeline::{Pipeline, StageFile, Surroundings};
use aegis_ingest::tail::{FileId, Files, Found, Positions, Seen, Start, TailJob, Tailer};
use signal::{Labels, Timestamp};

const LINES: usize = 50_000;
const ROUNDS: usize = 10;
const IDLE: usize = 10_000;

/// One content under many names.
struct Same(Arc<Vec<u8>>);

impl Files for Same {
    type Open = ();

    fn look(&self, path: &str) -> Option<Seen> {
        let inode = path.rsplit('/').next()?.parse().ok()?;
        Some(Seen { id: FileId { device: 1, inode }, size: self.0.len() as u64, modified: 0 })
    }

    fn open(&self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn seen(&self, (): &()) -> io::Result<Seen> {
        Ok(Seen { id: FileId { device: 1, inode: 0 }, size: self.0.len() as u64, modified: 0 })
    }

    fn read_at(&self, (): &(), from: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(from).ok().and_then(|from| self.0.get(from..)).unwrap_or_default();
        let (to, from) = (buffer.len().min(rest.len()), rest);
        for (to, from) in buffer.iter_mut().zip(from.get(..to).unwrap_or_default()) {
            *to = *from;
        }
        Ok(to)
    }

    fn beside(&self, _: &str) -> Vec<String> {
        Vec::new()
    }
}

fn main() {
    let content: String = (0..LINES)
        .map(|line| {
            let id = (line as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            format!(
                r#"{{"timestamp":"2024-01-25T13:30:00.{:06}Z","level":"info","service":"svc-{}","message":"request served","method":"GET","path":"/api/v1/orders/{}","status":200,"duration_ms":{},"trace_id":"{id:016x}","user_id":"u-{}","region":"eu-west-1"}}"#,
                line % 1_000_000,
                line % 10,
                line % 9973,
                line % 977,
                id % 50_021
            ) + "\n"
        })
        .collect();
    println!("{} bytes a line", content.len() / LINES);
    let content = Arc::new(content.into_bytes());
    let fields = r#"{"json": {"expressions": {"level": null, "timestamp": null}}}, {"timestamp": {"source": "timestamp", "format": "RFC3339"}}, {"labels": {"level": null}}"#;
    for (case, stages) in [
        ("lines alone", "[]".to_owned()),
        ("drop by expression", r#"[{"drop": {"expression": "debug|trace: "}}]"#.to_owned()),
        ("json, timestamp, labels", format!("[{fields}]")),
        ("multiline", r#"[{"multiline": {"firstline": "^\\{"}}]"#.to_owned()),
    ] {
        let job = job(&stages);
        let mut least = f64::INFINITY;
        for _ in 0..ROUNDS {
            let mut tailer = Tailer::new(Same(Arc::clone(&content)), Positions::default());
            let found = Found { job: Arc::clone(&job), paths: vec!["/0".to_owned()] };
            tailer.follow(vec![found], Timestamp(0));
            let begun = Instant::now();
            let mut lines = 0;
            loop {
                let round = tailer.round(Timestamp(1_706_189_400_000));
                lines += round.counts.lines;
                tailer.accepted();
                black_box(round.batch);
                if !round.has_more {
                    break;
                }
            }
            least = least.min(begun.elapsed().as_secs_f64() * 1e9 / lines as f64);
        }
        println!("{case:40} {least:8.1} ns/line");
    }

    let job = job("[]");
    let mut tailer = Tailer::new(Same(Arc::default()), Positions::default());
    let paths = (0..IDLE).map(|at| format!("/{at}")).collect();
    tailer.follow(vec![Found { job, paths }], Timestamp(0));
    tailer.round(Timestamp(0));
    tailer.accepted();
    let mut least = f64::INFINITY;
    for round in 1..=20 {
        let begun = Instant::now();
        black_box(tailer.round(Timestamp(round * 1_000)));
        tailer.accepted();
        least = least.min(begun.elapsed().as_secs_f64() * 1e9 / IDLE as f64);
    }
    println!("{:40} {least:8.1} ns/file, beside what the system takes", "a look at idle files");
}

fn job(stages: &str) -> Arc<TailJob> {
    let files: Vec<StageFile> = serde_json::from_str(stages).expect("stages");
    let around = Surroundings { zone: &|_| None, max_line_bytes: 256 << 10 };
    Arc::new(TailJob {
        name: "bench".to_owned(),
        labels: Labels::from_pairs([("job", "bench"), ("env", "prod")]),
        start: Start::Beginning,
        pipeline: Pipeline::new(&files, around).expect("a pipeline"),
        max_line_bytes: 256 << 10,
        half_line_wait: Duration::from_secs(5),
    })
}
