//! The tables.

use std::fmt::Write;

use super::super::send::CONNECTIONS;
use super::super::servers::{Contender, Product};
use super::super::settings::Settings;
use super::super::table::{Better, Row, command, grouped, head, median, row, table};
use super::Measured;
use super::floor::Floor;
use super::lines::SERVICES;
use super::load::{PODS, SPAN_S, Truth};
use super::queries::{NEEDLE, RARE_TEXT};
use super::tail::LINES_PER_SECOND;

/// All that was measured, and how.
pub(super) struct Run<'a> {
    pub(super) settings: &'a Settings,
    pub(super) arguments: &'a [String],
    pub(super) contenders: &'a [Contender],
    pub(super) results: &'a [Vec<Measured>],
    pub(super) truth: &'a Truth,
    pub(super) titles: &'a [&'static str],
    pub(super) floor: Option<Floor>,
}

impl Run<'_> {
    pub(super) fn written(&self) -> anyhow::Result<String> {
        let mut out = String::new();
        head(&mut out, "Logs", self.settings, self.contenders)?;
        self.taking_in(&mut out)?;
        self.questions(&mut out)?;
        self.beside_files(&mut out)?;
        Ok(out)
    }

    fn section(&self, out: &mut String, title: &str) -> std::fmt::Result {
        writeln!(out, "## {title}\n\n```sh\n{}\n```\n", command(self.arguments))
    }

    fn taking_in(&self, out: &mut String) -> std::fmt::Result {
        self.section(out, "Taking lines in")?;
        let lines = self.truth.lines as f64;
        let shares: Vec<String> = self
            .truth
            .bytes_of_format
            .iter()
            .map(|(format, bytes)| format!("{:.0} % {format}", *bytes as f64 * 100.0 / self.truth.bytes as f64))
            .collect();
        writeln!(
            out,
            "{} lines of {:.0} bytes on average ({} by bytes), of {} streams and {} minutes, by Loki's push (protobuf, snappy) \
             over {CONNECTIONS} connections, about 4,000 lines a request.",
            grouped(lines, 0),
            self.truth.bytes as f64 / lines,
            shares.join(", "),
            SERVICES.len() * PODS,
            SPAN_S / 60
        )?;
        writeln!(
            out,
            "CPU seconds are user and system time of the server from the first byte until it is quiet again; bytes are those \
             of all files, megabytes those of the lines.\n"
        )?;
        let mib = |bytes: f64| Some(bytes / f64::from(1 << 20));
        let rows: [Row<Measured>; 14] = [
            row("lines per server CPU second", Better::More, 0, |one: &Measured| Some(one.lines_per_cpu_second)),
            row("MB per server CPU second", Better::More, 1, |one: &Measured| Some(one.mb_per_cpu_second)),
            row("lines per second", Better::More, 0, |one: &Measured| Some(one.lines_per_second)),
            row("memory afterwards, MiB", Better::Less, 0, move |one: &Measured| mib(one.resident)),
            row("most memory meanwhile, MiB", Better::Less, 0, move |one: &Measured| mib(one.peak_taking_in)),
            row("most memory under queries, MiB", Better::Less, 0, move |one: &Measured| mib(one.peak_answering)),
            row("bytes per line on disk, running", Better::Less, 1, |one: &Measured| Some(one.disk_running)),
            row("bytes per line in the long term", Better::Less, 1, |one: &Measured| one.disk_long_term),
            row("bytes per line on disk, stopped", Better::Less, 1, |one: &Measured| Some(one.disk_stopped)),
            row("seconds from a start after `kill -9` to the needle", Better::Less, 2, |one: &Measured| {
                one.restart_seconds
            }),
            row("lines not found again", Better::Neither, 0, |one: &Measured| Some(one.lost)),
            row("tail: ms from write to frame, median", Better::Less, 2, |one: &Measured| Some(one.tailed?.median_ms)),
            row("tail: ms from write to frame, 99 of 100", Better::Less, 2, |one: &Measured| Some(one.tailed?.p99_ms)),
            row("cores used by others meanwhile", Better::Neither, 2, |one: &Measured| Some(one.others)),
        ];
        table(out, self.contenders, self.results, &rows)?;
        for (contender, runs) in self.contenders.iter().zip(self.results) {
            let missing: f64 = runs.iter().filter_map(|one| Some(one.tailed?.missing)).sum();
            if missing > 0.0 {
                writeln!(out, "\nLines that {} never showed to its tail: {missing}.", contender.product.title())?;
            }
        }
        writeln!(
            out,
            "\nLong term: the blocks of Aegis and the chunks of Loki after everything was flushed, the partitions of VictoriaLogs \
             after a forced merge.\nThe tail has {} lines/s to show, after all else; VictoriaLogs' own kind of tail is not measured.\n",
            grouped(LINES_PER_SECOND as f64, 0)
        )
    }

    fn questions(&self, out: &mut String) -> std::fmt::Result {
        self.section(out, "Queries")?;
        writeln!(
            out,
            "Median milliseconds of fifteen runs after a first, each from a second earlier than the one before and with another \
             needle, over the whole hour.\nThe answer to the first is compared with what the load is known to hold.\n"
        )?;
        let rows: Vec<Row<Measured>> = self
            .titles
            .iter()
            .enumerate()
            .map(|(at, title)| {
                row(title, Better::Less, 2, move |one: &Measured| one.queries.get(at).map(|timed| timed.ms))
            })
            .collect();
        table(out, self.contenders, self.results, &rows)?;
        let mut is_right = true;
        for (contender, runs) in self.contenders.iter().zip(self.results) {
            for (at, title) in self.titles.iter().enumerate() {
                let difference = runs.iter().find_map(|one| one.queries.get(at)?.difference.as_ref());
                if let Some(difference) = difference {
                    is_right = false;
                    writeln!(out, "\nWrong answer of {} to “{title}”: {difference}.", contender.product.title())?;
                }
            }
        }
        if is_right {
            writeln!(out, "\nEvery answer was right.")?;
        }
        if self.contenders.iter().any(|one| one.product == Product::VictoriaLogs) {
            writeln!(
                out,
                "\nVictoriaLogs is asked in LogsQL. It makes fields of JSON when lines come in and does not keep the lines, so that \
                 the needle is looked for in its field both times, quantiles are estimates, and bytes are those of messages."
            )?;
        }
        Ok(())
    }

    /// Aegis against files and a search through them.
    fn beside_files(&self, out: &mut String) -> std::fmt::Result {
        let Some(floor) = self.floor else { return Ok(()) };
        writeln!(out)?;
        self.section(out, "Beside plain files")?;
        writeln!(
            out,
            "The same lines as one file for each stream through `zstd -3`, and what `zstdcat | grep -F` does over all of them, \
             on one thread of the bench itself: no network, no log of writes, no labels.\n"
        )?;
        writeln!(out, "| | Aegis | files | Aegis : files |\n|---|---:|---:|---:|")?;
        let ours = self.contenders.iter().position(|one| one.product == Product::Aegis);
        let runs = ours.and_then(|at| self.results.get(at)).map(Vec::as_slice).unwrap_or_default();
        let query = |at: usize| move |one: &Measured| one.queries.get(at).map(|timed| timed.ms);
        let rows = [
            (
                row("lines per CPU second", Better::More, 0, |one: &Measured| Some(one.lines_per_cpu_second)),
                floor.lines_per_cpu_second,
            ),
            (
                row("MB per CPU second", Better::More, 1, |one: &Measured| Some(one.mb_per_cpu_second)),
                floor.mb_per_cpu_second,
            ),
            (
                row("bytes per line in the long term", Better::Less, 1, |one: &Measured| one.disk_long_term),
                floor.bytes_per_line,
            ),
            (row("needle over everything, ms", Better::Less, 2, query(NEEDLE)), floor.needle.ms),
            (row("rare text over everything, ms", Better::Less, 2, query(RARE_TEXT)), floor.rare.ms),
        ];
        for (row, files) in rows {
            let mut values: Vec<f64> = runs.iter().filter_map(|one| row.figure(one)).collect();
            values.sort_by(f64::total_cmp);
            writeln!(out, "{}", row.against(median(&values), files))?;
        }
        writeln!(
            out,
            "\nCPU seconds of a search through the files: {:.2} for the needle, {:.2} for the rare text.",
            floor.needle.cpu_seconds, floor.rare.cpu_seconds
        )
    }
}
