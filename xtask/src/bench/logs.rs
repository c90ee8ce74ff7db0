//! Logs: the same lines for all, then the same questions, then a crash, then a tail.

mod floor;
mod lines;
mod load;
mod queries;
mod report;
mod tail;
mod websocket;

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use super::clock::{self, Stopwatch};
use super::process;
use super::send::{Bodies, send};
use super::servers::{Contender, Product, Server};
use super::settings::Settings;
use super::{BEFORE_CRASH, SEED, say};
use load::Load;
use queries::{NEEDLE, Question, Timed};
use tail::Tailed;

const LINES: f64 = 3_000_000.0;
const PUSH: &str = "/loki/api/v1/push";
/// Fields of JSON become columns at once, as its documentation advises; `msg` is what it calls the message.
const PUSH_VICTORIALOGS: &str = "/insert/loki/api/v1/push?_msg_field=msg";
const HEADERS: &str = "Content-Type: application/x-protobuf\r\n";
/// How long a server that is ready may take to find something right after a start.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// One run of one server.
#[derive(Clone, Debug, Default)]
struct Measured {
    lines_per_cpu_second: f64,
    mb_per_cpu_second: f64,
    lines_per_second: f64,
    /// Cores that everything but server and sender used meanwhile.
    others: f64,
    resident: f64,
    peak_taking_in: f64,
    peak_answering: f64,
    /// Bytes for each line.
    disk_running: f64,
    disk_long_term: Option<f64>,
    disk_stopped: f64,
    queries: Vec<Timed>,
    /// `None` when it did not find the needle again.
    restart_seconds: Option<f64>,
    lost: f64,
    tailed: Option<Tailed>,
}

pub(super) fn run(settings: &Settings, contenders: &[Contender], arguments: &[String]) -> anyhow::Result<String> {
    let mut results: Vec<Vec<Measured>> = vec![Vec::new(); contenders.len()];
    let mut floor = None;
    let mut truth = load::Truth::default();
    let mut titles = Vec::new();
    for round in 1..=settings.repeat {
        // Servers drop what is old, so every round has a load of its own that ends now; with one seed the lines are equal
        // but for their times.
        let end = clock::unix_seconds() / 60 * 60;
        say(&format!("round {round} of {}: packing the load", settings.repeat));
        let (file, dir) = (settings.work.join("lines.load"), settings.work.join("lines"));
        let mut load = load::hour(&file, &dir, LINES * settings.scale, end, SEED)?;
        let questions = queries::questions(&load);
        if floor.is_none() {
            say("the floor: zstd -3 and a search");
            floor = Some(floor::measure(&load)?);
        }
        std::fs::remove_dir_all(&dir)?;
        load.files.clear();
        for (contender, results) in contenders.iter().zip(&mut results) {
            results.push(measure(contender, settings, &load, &file, &questions)?);
        }
        std::fs::remove_file(&file)?;
        titles = questions.iter().map(|question| question.title).collect();
        truth = load.truth;
    }
    let run = report::Run { settings, arguments, contenders, results: &results, truth: &truth, titles: &titles, floor };
    run.written()
}

fn measure(
    contender: &Contender,
    settings: &Settings,
    load: &Load,
    file: &Path,
    questions: &[Question],
) -> anyhow::Result<Measured> {
    let title = contender.product.title();
    let dir = settings.work.join(title.to_lowercase());
    let mut server = Server::fresh(contender, &dir)?;
    let mut measured = Measured::default();
    let target = if contender.product == Product::VictoriaLogs { PUSH_VICTORIALOGS } else { PUSH };
    let sent = send(&server, Bodies { list: &load.bodies, file, target, headers: HEADERS })?;
    let written = Stopwatch::start();
    let lines = load.truth.lines as f64;
    measured.lines_per_cpu_second = lines / sent.server_cpu;
    measured.mb_per_cpu_second = load.truth.bytes as f64 / 1e6 / sent.server_cpu;
    measured.lines_per_second = lines / sent.seconds;
    measured.others = sent.others;
    let memory = process::memory(server.process());
    (measured.resident, measured.peak_taking_in) = (memory.resident, memory.peak);
    measured.disk_running = process::disk_bytes(&server.data()) / lines;
    say(&format!("{title}: {:.0} lines per CPU second", measured.lines_per_cpu_second));

    process::forget_peak(server.process());
    for question in questions {
        let timed = question.time(&server, load)?;
        let note = timed.difference.as_ref().map(|difference| format!("; WRONG: {difference}")).unwrap_or_default();
        say(&format!("{title}: {:.2} ms: {}{note}", timed.ms, question.title));
        measured.queries.push(timed);
    }
    measured.peak_answering = process::memory(server.process()).peak;

    sleep(BEFORE_CRASH.saturating_sub(written.elapsed()));
    let watch = Stopwatch::start();
    server = server.crash()?;
    server.wait_until_ready()?;
    let found = questions.get(NEEDLE).is_some_and(|needle| waits_for(&server, load, needle));
    measured.restart_seconds = found.then(|| watch.elapsed().as_secs_f64());
    measured.lost = lines - queries::count(&server, load)?;
    say(&format!("{title}: {:?} s after a crash, {} lines lost", measured.restart_seconds, measured.lost));

    measured.disk_long_term = server.long_term_bytes(settings.signal)?.map(|bytes| bytes / lines);
    measured.tailed = match contender.product {
        // It has a tail of another kind, which holds lines back for seconds by default.
        Product::VictoriaLogs => None,
        _ => Some(tail::tail(&server)?),
    };
    if let Some(tailed) = measured.tailed {
        say(&format!(
            "{title}: a line is heard of after {:.2} ms, 1 % later than {:.2} ms",
            tailed.median_ms, tailed.p99_ms
        ));
    }
    server.stop()?;
    let more = measured.tailed.map_or(0.0, |tailed| tailed.lines);
    measured.disk_stopped = process::disk_bytes(&server.data()) / (lines + more);
    drop(server);
    std::fs::remove_dir_all(&dir)?;
    Ok(measured)
}

/// Waits until the needle is found.
fn waits_for(server: &Server, load: &Load, needle: &Question) -> bool {
    let watch = Stopwatch::start();
    while watch.elapsed() < ANSWER_WITHIN {
        if queries::finds_needle(server, load, needle).unwrap_or(false) {
            return true;
        }
        sleep(Duration::from_millis(2));
    }
    false
}
