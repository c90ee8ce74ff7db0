//! `cargo xtask bench metrics`: Aegis beside the servers it wants to replace, on one machine, under one load.
//!
//! Servers run one after the other, each on an empty directory. What a server costs is read from the kernel, so the
//! sender's own work does not count. Linux only.

mod clock;
mod http;
mod load;
mod process;
mod queries;
mod report;
mod servers;

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::{scope, sleep};
use std::time::Duration;

use anyhow::{Context, bail};

use clock::Stopwatch;
use http::Connection;
use load::{Body, Load, STEP_MS};
use queries::{QUESTIONS, Timed};
use servers::{Contender, Product, Server};

const SEED: u64 = 20_240_125;
const HOSTS: f64 = 100.0;
/// Two hours.
const STEPS: i64 = 480;
const CONNECTIONS: usize = 4;
const HEADERS: &str = "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n\
                       X-Prometheus-Remote-Write-Version: 0.1.0\r\n";
/// How long a server that is ready may take to answer right after a start.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Time between the last write and a crash: servers without a log of writes keep the last seconds in memory only, and
/// that is not what a restart is to show.
const BEFORE_CRASH: Duration = Duration::from_secs(10);

const USAGE: &str = "cargo run --release --package xtask -- bench metrics [flags]

  --aegis PATH              release binary to measure        (target/release/aegis)
  --prometheus PATH         Prometheus beside it             (prometheus)
  --victoria-metrics PATH   VictoriaMetrics beside it        (victoria-metrics)
  --only NAME[,NAME]        aegis, prometheus, victoria-metrics
  --scale X                 share of the 100 hosts           (1)
  --series N                series of the second load; 0: none (500000)
  --repeat N                runs; medians are reported       (3)
  --work DIR                scratch space, about 2 GB        (target/bench)
  --out FILE                where the tables go              (bench/COMPARE.md)";

/// What to do.
#[derive(Clone, Debug)]
struct Settings {
    programs: Vec<(Product, PathBuf)>,
    scale: f64,
    series: usize,
    repeat: usize,
    work: PathBuf,
    out: PathBuf,
}

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

pub(crate) fn run(root: &Path, arguments: &[String]) -> anyhow::Result<ExitCode> {
    let settings = Settings::parse(root, arguments)?;
    let mut contenders = Vec::new();
    for (product, program) in &settings.programs {
        match Contender::find(*product, program) {
            Some(contender) => contenders.push(contender),
            None if *product == Product::Aegis => {
                bail!(
                    "there is no {}; `{}` makes it, {} PATH names another",
                    program.display(),
                    product.how_to_get(),
                    product.flag()
                )
            }
            None => say(&format!(
                "!! {} is NOT measured: there is no `{}`. `{}` installs it, {} PATH names another.",
                product.title(),
                program.display(),
                product.how_to_get(),
                product.flag()
            )),
        }
    }
    std::fs::create_dir_all(&settings.work).with_context(|| format!("cannot make {}", settings.work.display()))?;
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
            let mut measured = measure(contender, &settings, &load, &file)?;
            if let Some(many) = &many {
                measured.many = Some(measure_many(contender, &settings, many, &many_file)?);
            }
            results.push(measured);
        }
    }
    let text = report::write(&settings, arguments, &contenders, &results)?;
    std::fs::write(&settings.out, text).with_context(|| format!("cannot write {}", settings.out.display()))?;
    say(&format!("written: {}", settings.out.display()));
    Ok(ExitCode::SUCCESS)
}

impl Settings {
    fn parse(root: &Path, arguments: &[String]) -> anyhow::Result<Self> {
        let mut settings = Self {
            programs: Product::ALL.map(|product| (product, PathBuf::from(product.program()))).into(),
            scale: 1.0,
            series: 500_000,
            repeat: 3,
            work: root.join("target/bench"),
            out: root.join("bench/COMPARE.md"),
        };
        let mut rest = arguments.iter();
        if rest.next().map(String::as_str) != Some("metrics") {
            bail!("{USAGE}");
        }
        let mut only = None;
        while let Some(flag) = rest.next() {
            let value = rest.next().with_context(|| format!("{flag} needs a value\n\n{USAGE}"))?;
            let wrong = || format!("`{value}` is no value for {flag}");
            match flag.as_str() {
                "--scale" => settings.scale = value.parse().with_context(wrong)?,
                "--series" => settings.series = value.parse().with_context(wrong)?,
                "--repeat" => settings.repeat = value.parse().with_context(wrong)?,
                "--work" => settings.work = value.into(),
                "--out" => settings.out = value.into(),
                "--only" => only = Some(value.clone()),
                _ => match settings.programs.iter_mut().find(|(product, _)| product.flag() == flag) {
                    Some((_, program)) => *program = value.into(),
                    None => bail!("there is no flag {flag}\n\n{USAGE}"),
                },
            }
        }
        if let Some(only) = only {
            let names: Vec<&str> = only.split(',').collect();
            let name = |product: Product| product.flag().trim_start_matches("--");
            settings.programs.retain(|(product, _)| names.contains(&name(*product)));
        }
        if settings.repeat == 0 || settings.programs.is_empty() || !(settings.scale > 0.0 && settings.scale <= 100.0) {
            bail!("nothing to measure\n\n{USAGE}");
        }
        for (_, program) in &mut settings.programs {
            // The server runs in a directory of its own.
            if program.components().count() > 1 {
                *program = std::path::absolute(&*program)?;
            }
        }
        settings.work = std::path::absolute(&settings.work)?;
        Ok(settings)
    }
}

fn measure(contender: &Contender, settings: &Settings, load: &Load, file: &Path) -> anyhow::Result<Measured> {
    let title = contender.product.title();
    let dir = settings.work.join(title.to_lowercase());
    let mut server = Server::fresh(contender, &dir)?;
    let mut measured = Measured::default();
    let sent = send(&server, load, file)?;
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

    measured.disk_long_term = server.long_term_bytes()?.map(|bytes| bytes / samples);
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
    let sent = send(&server, load, file)?;
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

/// What it took to hand over a load.
#[derive(Clone, Copy, Debug)]
struct Sent {
    /// Until the last answer.
    seconds: f64,
    /// Until the server was quiet again.
    server_cpu: f64,
    others: f64,
}

fn send(server: &Server, load: &Load, file: &Path) -> anyhow::Result<Sent> {
    let process = server.process();
    process::forget_peak(process);
    let own = std::process::id();
    let cpu = || (process::cpu_seconds(process), process::cpu_seconds(own), process::machine_seconds());
    let (before, own_before, machine_before) = cpu();
    let watch = Stopwatch::start();
    scope(|scope| {
        let senders: Vec<_> =
            (0..CONNECTIONS).map(|number| scope.spawn(move || send_groups(server.port, load, file, number))).collect();
        senders.into_iter().try_for_each(|sender| match sender.join() {
            Ok(outcome) => outcome,
            Err(_) => bail!("a sender stopped"),
        })
    })?;
    let seconds = watch.elapsed().as_secs_f64();
    let (after, own_after, machine_after) = cpu();
    let others = (machine_after - machine_before) - (after - before) - (own_after - own_before);
    process::settle(process);
    // A tick is the least that can be seen.
    let server_cpu = (process::cpu_seconds(process) - before).max(0.01);
    Ok(Sent { seconds, server_cpu, others: (others / seconds).max(0.0) })
}

/// Sends every group that falls to connection `number`, in order.
fn send_groups(port: u16, load: &Load, file: &Path, number: usize) -> anyhow::Result<()> {
    let file = File::open(file)?;
    let mut connection = Connection::open(port)?;
    let mut bytes = Vec::new();
    for Body { offset, len, .. } in load.bodies.iter().filter(|body| body.group % CONNECTIONS == number) {
        bytes.resize(*len, 0);
        file.read_exact_at(&mut bytes, *offset)?;
        let mut tries = 0;
        loop {
            let (status, answer) = connection.ask("POST", "/api/v1/write", HEADERS, &bytes)?;
            tries += 1;
            match status {
                200..=299 => break,
                429 | 503 if tries < 1000 => sleep(Duration::from_millis(20)),
                _ => bail!("a write was answered with {status}: {}", String::from_utf8_lossy(&answer)),
            }
        }
    }
    Ok(())
}

/// Seconds that a load of this many steps covers.
fn covered_seconds() -> i64 {
    STEPS * STEP_MS / 1000
}

fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
