//! The tables.

use std::fmt::Write;

use super::super::send::CONNECTIONS;
use super::super::servers::Contender;
use super::super::settings::Settings;
use super::super::table::{Better, Row, command, grouped, head, row, table};
use super::load::PER_HOST;
use super::queries::QUESTIONS;
use super::{HOSTS, Measured, STEPS, covered_seconds};

pub(super) fn write(
    settings: &Settings,
    arguments: &[String],
    contenders: &[Contender],
    results: &[Vec<Measured>],
) -> anyhow::Result<String> {
    let mut out = String::new();
    let command = command(arguments);
    let hosts = ((HOSTS * settings.scale / 10.0).round() * 10.0).max(10.0);
    let series = hosts * PER_HOST as f64;
    head(&mut out, "Metrics", settings, contenders)?;
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
            row("samples per server CPU second", Better::More, 0, |one: &Measured| Some(one.samples_per_cpu_second)),
            row("samples per second", Better::More, 0, |one: &Measured| Some(one.samples_per_second)),
            row("memory afterwards, MiB", Better::Less, 0, move |one: &Measured| mib(one.resident)),
            row("most memory, queries included, MiB", Better::Less, 0, move |one: &Measured| mib(one.peak)),
            row("bytes per sample on disk, running", Better::Less, 2, |one: &Measured| Some(one.disk_running)),
            row("bytes per sample in the long term", Better::Less, 2, |one: &Measured| one.disk_long_term),
            row("bytes per sample on disk, stopped", Better::Less, 2, |one: &Measured| Some(one.disk_stopped)),
            row("seconds from a start after `kill -9` to the first right answer", Better::Less, 2, |one: &Measured| {
                one.restart_seconds
            }),
            row("samples not found again", Better::Neither, 0, |one: &Measured| Some(one.lost)),
            row("cores used by others meanwhile", Better::Neither, 2, |one: &Measured| Some(one.others)),
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
    let questions: Vec<Row<Measured>> = QUESTIONS
        .iter()
        .enumerate()
        .map(|(at, question)| {
            row(question.title, Better::Less, 2, move |one: &Measured| one.queries.get(at).map(|timed| timed.ms))
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
                row("bytes of memory per series", Better::Less, 0, |one: &Measured| {
                    Some(one.many?.resident_per_series)
                }),
                row("most bytes of memory per series", Better::Less, 0, |one: &Measured| {
                    Some(one.many?.peak_per_series)
                }),
                row("new series per server CPU second", Better::More, 0, |one: &Measured| {
                    Some(one.many?.new_per_cpu_second)
                }),
                row("series not found afterwards", Better::Neither, 0, |one: &Measured| Some(one.many?.missing)),
            ],
        )?;
    }
    Ok(out)
}
