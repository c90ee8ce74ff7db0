//! Metrics: the same samples for all, then the same questions, then a crash, then many series.

mod load;
mod queries;
mod report;

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use super::clock::{self, Stopwatch};
use super::process;
use super::send::{Bodies, Sent, send};
use super::servers::{Contender, Server};
use super::settings::Settings;
use super::{BEFORE_CRASH, SEED, say};
use load::{Load, STEP_MS};
use queries::{QUESTIONS, Timed};

const HOSTS: f64 = 100.0;
/// Two hours.
const STEPS: i64 = 480;
const TARGET: &str = "/api/v1/write";
const HEADERS: &str = "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n\
                       X-Prometheus-Remote-Write-Version: 0.1.0\r\n";
/// How long a server that is ready may take to answer right after a start.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// One run of one server.
#[derive(Clone, Debug, Default)]
struct Measured {
    samples_per_cpu_second: f64,
    samples_per_second: f64,
    /// Cores that everything but server and sender used meanwhile.
    others: f64,
    resident: f64,
    peak: f64,
    disk_running: f64,
    disk_long_term: Option<f64>,
    disk_stopped: f64,
    queries: Vec<Timed>,
    /// `None` when it did not find everything again.
    restart_seconds: Option<f64>,
    lost: f64,
    many: Option<Many>,
}

/// What many series cost.
#[derive(Clone, Copy, Debug, Default)]
struct Many {
    resident_per_series: f64,
    peak_per_series: f64,
    new_per_cpu_second: f64,
    missing: f64,
}

pub(super) fn run(settings: &Settings, contenders: &[Contender], arguments: &[String]) -> anyhow::Result<String> {
    let mut results: Vec<Vec<Measured>> = vec![Vec::new(); contenders.len()];
    for round in 1..=settings.repeat {
        // Servers drop what is old, so every round has a load of its own that ends now; with one seed the values are equal.
        let end = clock::unix_seconds();
        say(&format!("round {round} of {}: packing the load", settings.repeat));
        let hosts = ((HOSTS * settings.scale / 10.0).round() as usize * 10).max(10);
        let (file, many_file) = (settings.work.join("hosts.load"), settings.work.join("pods.load"));
        let load = load::hosts(&file, hosts, STEPS, end, SEED)?;
        let many = if settings.series > 0 { Some(load::pods(&many_file, settings.series, end, SEED)?) } else { None };
        for (contender, results) in contenders.iter().zip(&mut results) {
            let mut measured = measure(contender, settings, &load, &file)?;
            if let Some(many) = &many {
                measured.many = Some(measure_many(contender, settings, many, &many_file)?);
            }
            results.push(measured);
        }
    }
    report::write(settings, arguments, contenders, &results)
}

fn measure(contender: &Contender, settings: &Settings, load: &Load, file: &Path) -> anyhow::Result<Measured> {
    let title = contender.product.title();
    let dir = settings.work.join(title.to_lowercase());
    let mut server = Server::fresh(contender, &dir)?;
    let mut measured = Measured::default();
    let sent = hand_over(&server, load, file)?;
    let written = Stopwatch::start();
    let samples = load.samples as f64;
    measured.samples_per_cpu_second = samples / sent.server_cpu;
    measured.samples_per_second = samples / sent.seconds;
    measured.others = sent.others;
    let memory = process::memory(server.process());
    (measured.resident, measured.peak) = (memory.resident, memory.peak);
    measured.disk_running = process::disk_bytes(&server.data()) / samples;
    say(&format!("{title}: {:.0} samples per CPU second", measured.samples_per_cpu_second));

    // Every target has a sample in the 14 s before the end.
    let end = (load.end - 16) / 60 * 60;
    for question in &QUESTIONS {
        let timed = question.time(&server, end)?;
        say(&format!("{title}: {:.2} ms, {} rows: {}", timed.ms, timed.rows, question.title));
        measured.queries.push(timed);
    }
    measured.peak = measured.peak.max(process::memory(server.process()).peak);

    sleep(BEFORE_CRASH.saturating_sub(written.elapsed()));
    let watch = Stopwatch::start();
    server = server.crash()?;
    server.wait_until_ready()?;
    measured.restart_seconds = finds_all(&server, load, end).then(|| watch.elapsed().as_secs_f64());
    measured.lost = samples - queries::samples(&server, load.end + 60)?;
    say(&format!("{title}: {:?} s after a crash, {} samples lost", measured.restart_seconds, measured.lost));

    measured.disk_long_term = server.long_term_bytes(settings.signal)?.map(|bytes| bytes / samples);
    server.stop()?;
    measured.disk_stopped = process::disk_bytes(&server.data()) / samples;
    drop(server);
    std::fs::remove_dir_all(&dir)?;
    Ok(measured)
}

/// Waits until as many series are found as there are.
fn finds_all(server: &Server, load: &Load, at: i64) -> bool {
    let watch = Stopwatch::start();
    while watch.elapsed() < ANSWER_WITHIN {
        let found = queries::total(server, "count({env=\"prod\"})", at);
        if found.is_ok_and(|found| found >= load.series as f64) {
            return true;
        }
        sleep(Duration::from_millis(2));
    }
    false
}

fn measure_many(contender: &Contender, settings: &Settings, load: &Load, file: &Path) -> anyhow::Result<Many> {
    let title = contender.product.title();
    let dir = settings.work.join(title.to_lowercase());
    let mut server = Server::fresh(contender, &dir)?;
    process::settle(server.process());
    let before = process::memory(server.process()).resident;
    let sent = hand_over(&server, load, file)?;
    let memory = process::memory(server.process());
    let series = load.series as f64;
    let many = Many {
        resident_per_series: (memory.resident - before) / series,
        peak_per_series: (memory.peak - before) / series,
        new_per_cpu_second: series / sent.server_cpu,
        missing: series - queries::total(&server, "count({env=\"prod\"})", load.end)?,
    };
    say(&format!("{title}: {:.0} bytes per series", many.resident_per_series));
    server.stop()?;
    drop(server);
    std::fs::remove_dir_all(&dir)?;
    Ok(many)
}

fn hand_over(server: &Server, load: &Load, file: &Path) -> anyhow::Result<Sent> {
    send(server, Bodies { list: &load.bodies, file, target: TARGET, headers: HEADERS })
}

/// Seconds that a load of this many steps covers.
fn covered_seconds() -> i64 {
    STEPS * STEP_MS / 1000
}
