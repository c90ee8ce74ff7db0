//! The tables.

use std::fmt::Write;
use std::fs;

use super::load::PER_HOST;
use super::process::machine_seconds;
use super::queries::QUESTIONS;
use super::servers::{Contender, Product};
use super::{CONNECTIONS, HOSTS, Measured, STEPS, Settings, covered_seconds};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Better {
    More,
    Less,
    Neither,
}

/// A figure of a run, if it has one.
type Figure = Box<dyn Fn(&Measured) -> Option<f64>>;

/// A line of a table.
struct Row {
    title: String,
    better: Better,
    decimals: usize,
    of: Figure,
}

fn row(title: &str, better: Better, decimals: usize, of: impl Fn(&Measured) -> Option<f64> + 'static) -> Row {
    Row { title: title.to_owned(), better, decimals, of: Box::new(of) }
}

pub(super) fn write(
    settings: &Settings,
    arguments: &[String],
    contenders: &[Contender],
    results: &[Vec<Measured>],
) -> anyhow::Result<String> {
    let mut out = String::new();
    let command = format!("cargo run --release --package xtask -- bench {}", arguments.join(" "));
    let hosts = ((HOSTS * settings.scale / 10.0).round() * 10.0).max(10.0);
    let series = hosts * PER_HOST as f64;
    writeln!(out, "# Metrics: Aegis beside other servers\n")?;
    writeln!(out, "Written by the command above each table; do not edit.")?;
    writeln!(out, "{}", machine())?;
    for contender in contenders {
        writeln!(out, "{}: `{}`.", contender.product.title(), contender.version)?;
    }
    for product in Product::ALL.iter().filter(|product| !contenders.iter().any(|one| one.product == **product)) {
        writeln!(out, "{} was not measured.", product.title())?;
    }
    writeln!(
        out,
        "The servers ran one after the other, each on an empty directory and with its default settings; {}.",
        match settings.repeat {
            1 => "shown is one run".to_owned(),
            runs => format!("shown is the median of {runs} runs, with the lowest and the highest"),
        }
    )?;
    writeln!(out, "The last column is Aegis against the better of the others; **bold** is where Aegis is behind.\n")?;

    writeln!(out, "## Taking samples in\n\n```sh\n{command}\n```\n")?;
    writeln!(
        out,
        "{hosts} hosts, {PER_HOST} series each, a sample every 15 s for {} min: {} samples of {} series by remote write 1.0 \
         over {CONNECTIONS} connections, 2,000 samples a request.",
        covered_seconds() / 60,
        grouped(series * STEPS as f64, 0),
        grouped(series, 0)
    )?;
    writeln!(
        out,
        "CPU seconds are user and system time of the server from the first byte until it is quiet again; bytes are those of \
         all files.\n"
    )?;
    let mib = |bytes: f64| Some(bytes / f64::from(1 << 20));
    table(
        &mut out,
        contenders,
        results,
        &[
            row("samples per server CPU second", Better::More, 0, |one| Some(one.samples_per_cpu_second)),
            row("samples per second", Better::More, 0, |one| Some(one.samples_per_second)),
            row("memory afterwards, MiB", Better::Less, 0, move |one| mib(one.resident)),
            row("most memory, queries included, MiB", Better::Less, 0, move |one| mib(one.peak)),
            row("bytes per sample on disk, running", Better::Less, 2, |one| Some(one.disk_running)),
            row("bytes per sample in the long term", Better::Less, 2, |one| one.disk_long_term),
            row("bytes per sample on disk, stopped", Better::Less, 2, |one| Some(one.disk_stopped)),
            row("seconds from a start after `kill -9` to the first right answer", Better::Less, 2, |one| {
                one.restart_seconds
            }),
            row("samples not found again", Better::Neither, 0, |one| Some(one.lost)),
            row("cores used by others meanwhile", Better::Neither, 2, |one| Some(one.others)),
        ],
    )?;
    writeln!(
        out,
        "\nLong term: for Prometheus and Aegis the block that a snapshot makes, for VictoriaMetrics its data and index after a \
         forced merge.\n"
    )?;

    writeln!(out, "## Queries\n\n```sh\n{command}\n```\n")?;
    writeln!(
        out,
        "Median milliseconds of fifteen runs after a first, each a second earlier than the one before, and with VictoriaMetrics' \
         cache off.{}\n",
        if settings.scale == 1.0 { "" } else { "\nNumbers of series are those of `--scale 1`." }
    )?;
    let questions: Vec<Row> = QUESTIONS
        .iter()
        .enumerate()
        .map(|(at, question)| {
            row(question.title, Better::Less, 2, move |one| one.queries.get(at).map(|timed| timed.ms))
        })
        .collect();
    table(&mut out, contenders, results, &questions)?;
    for (at, question) in QUESTIONS.iter().enumerate() {
        let shapes: Vec<_> = results
            .iter()
            .map(|runs| runs.first().and_then(|one| one.queries.get(at)).map(|timed| (timed.rows, timed.points)))
            .collect();
        if shapes.windows(2).any(|pair| pair.first() != pair.last()) {
            writeln!(out, "\nDifferent answers (rows, points) to “{}”: {shapes:?}.", question.title)?;
        }
    }

    if settings.series > 0 {
        writeln!(out, "\n## Many series\n\n```sh\n{command}\n```\n")?;
        writeln!(out, "{} new series with four samples each.\n", grouped(settings.series as f64, 0))?;
        table(
            &mut out,
            contenders,
            results,
            &[
                row("bytes of memory per series", Better::Less, 0, |one| Some(one.many?.resident_per_series)),
                row("most bytes of memory per series", Better::Less, 0, |one| Some(one.many?.peak_per_series)),
                row("new series per server CPU second", Better::More, 0, |one| Some(one.many?.new_per_cpu_second)),
                row("series not found afterwards", Better::Neither, 0, |one| Some(one.many?.missing)),
            ],
        )?;
    }
    Ok(out)
}

fn table(out: &mut String, contenders: &[Contender], results: &[Vec<Measured>], rows: &[Row]) -> std::fmt::Result {
    let titles: Vec<_> = contenders.iter().map(|one| one.product.title()).collect();
    writeln!(out, "| | {} | Aegis : best other |", titles.join(" | "))?;
    writeln!(out, "|---|{}", "---:|".repeat(titles.len() + 1))?;
    for Row { title, better, decimals, of } in rows {
        let runs: Vec<Vec<f64>> = results
            .iter()
            .map(|runs| {
                let mut values: Vec<f64> = runs.iter().filter_map(of).collect();
                values.sort_by(f64::total_cmp);
                values
            })
            .collect();
        let medians: Vec<Option<f64>> = runs.iter().map(|values| median(values)).collect();
        let cells: Vec<String> = runs.iter().map(|values| cell(values, *decimals)).collect();
        let ratio = ratio(contenders, &medians, *better);
        writeln!(out, "| {title} | {} | {ratio} |", cells.join(" | "))?;
    }
    Ok(())
}

fn ratio(contenders: &[Contender], medians: &[Option<f64>], better: Better) -> String {
    let pairs = || contenders.iter().zip(medians).filter_map(|(one, median)| Some((one.product, (*median)?)));
    let ours = pairs().find(|(product, _)| *product == Product::Aegis).map(|(_, median)| median);
    let others = pairs().filter(|(product, _)| *product != Product::Aegis).map(|(_, median)| median);
    let best = match better {
        Better::More => others.max_by(f64::total_cmp),
        Better::Less => others.min_by(f64::total_cmp),
        Better::Neither => None,
    };
    let Some((ours, best)) = ours.zip(best).filter(|(_, best)| *best > 0.0) else { return String::new() };
    let ratio = ours / best;
    let is_behind = if better == Better::More { ratio < 1.0 } else { ratio > 1.0 };
    if is_behind { format!("**{ratio:.2}**") } else { format!("{ratio:.2}") }
}

fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    let upper = sorted.get(middle).copied()?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some((sorted.get(middle - 1).copied()? + upper) / 2.0)
}

fn cell(sorted: &[f64], decimals: usize) -> String {
    let (Some(middle), Some(first), Some(last)) = (median(sorted), sorted.first(), sorted.last()) else {
        return "–".to_owned();
    };
    let shown = |value: f64| grouped(value, decimals);
    if sorted.len() == 1 || shown(*first) == shown(*last) {
        return shown(middle);
    }
    format!("{} ({} … {})", shown(middle), shown(*first), shown(*last))
}

/// `1,234,567.8`
fn grouped(value: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", value.abs());
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let mut out = String::new();
    if value < 0.0 && text.bytes().any(|byte| matches!(byte, b'1'..=b'9')) {
        out.push('-');
    }
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if !part.is_empty() {
        out.push('.');
        out.push_str(part);
    }
    out
}

/// What the numbers were measured on.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let of = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_once(':'))
            .map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = of(&read("/proc/meminfo"), "MemTotal");
    let gib = memory.split(' ').next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / f64::from(1 << 20);
    let since_start = read("/proc/uptime").split(' ').next().and_then(|up| up.parse::<f64>().ok()).unwrap_or(0.0);
    let busy = machine_seconds() / since_start.max(1.0);
    format!(
        "Machine: {cores} cores of {}, {gib:.0} GiB of memory, Linux {}; since its start on average {busy:.1} cores were busy.",
        of(&read("/proc/cpuinfo"), "model name"),
        read("/proc/sys/kernel/osrelease").trim()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_shows_medians_and_says_where_aegis_is_behind() {
        let contender = |product| Contender { product, program: "x".into(), version: "1".to_owned() };
        let contenders = [Product::Aegis, Product::Prometheus, Product::VictoriaMetrics].map(contender);
        let run = |rate: f64, disk: f64| Measured {
            samples_per_cpu_second: rate,
            disk_running: disk,
            disk_long_term: (disk > 1.0).then_some(disk),
            ..Measured::default()
        };
        let results = [
            vec![run(2_500_000.0, 1.0), run(2_000_000.0, 1.0), run(1_500_000.4, 1.0)],
            vec![run(230_000.0, 9.0), run(220_000.0, 11.0)],
            vec![run(800_000.0, 0.5)],
        ];
        let rows = [
            row("rate", Better::More, 0, |one| Some(one.samples_per_cpu_second)),
            row("disk", Better::Less, 2, |one| Some(one.disk_running)),
            row("long", Better::Less, 2, |one| one.disk_long_term),
        ];
        let mut out = String::new();
        table(&mut out, &contenders, &results, &rows).unwrap();
        let want = "| | Aegis | Prometheus | VictoriaMetrics | Aegis : best other |\n\
                    |---|---:|---:|---:|---:|\n\
                    | rate | 2,000,000 (1,500,000 … 2,500,000) | 225,000 (220,000 … 230,000) | 800,000 | 2.50 |\n\
                    | disk | 1.00 | 10.00 (9.00 … 11.00) | 0.50 | **2.00** |\n\
                    | long | – | 10.00 (9.00 … 11.00) | – |  |\n";
        assert_eq!(out, want);
    }
}
