//! `aegis tsdb`: looks into the metrics of a data directory, writes them out, brings others in.

mod analyze;
mod dump;
mod import;
mod metrics_text;
mod prometheus_dir;
mod remote;
mod sink;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};
use query::promql;
use signal::{Labels, Matcher, TimeRange, Timestamp};
use store::{SeriesReader, Snapshot, Store};

use crate::clock;
use crate::query_commands::place::{Place, PlaceArgs};
use crate::query_commands::times::{self, Moment};

#[derive(Debug, Subcommand)]
pub(crate) enum TsdbCommand {
    /// Say what a data directory holds, and which labels make it large.
    Analyze(AnalyzeArgs),
    /// Write samples out as text.
    Dump(DumpArgs),
    /// Bring in a history: OpenMetrics text, or the blocks of a Prometheus.
    Import(ImportArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  aegis tsdb analyze --data-dir /var/lib/aegis\n  \
                        aegis tsdb analyze --start now-2h --match '{job=\"api\"}' --limit 5\n\n\
                        The directory must not be in use: stop the server, or look at a copy of the directory.")]
pub(crate) struct AnalyzeArgs {
    #[command(flatten)]
    which: Which,
    /// Lines of each list.
    #[arg(long, default_value_t = 20)]
    limit: usize,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  aegis tsdb dump --match 'up{job=\"api\"}' --start now-1d > up.om\n  \
                        aegis tsdb dump --format promtool | sort\n\n\
                        The directory must not be in use: stop the server, or read a copy of the directory.\n\
                        OpenMetrics has no text for staleness markers and native histograms; how many were left out goes \
                        to standard error.")]
pub(crate) struct DumpArgs {
    #[command(flatten)]
    which: Which,
    /// How samples are written.
    #[arg(long, value_enum, default_value = "openmetrics")]
    format: DumpFormat,
}

/// How samples are written out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum DumpFormat {
    /// What `aegis tsdb import` and `promtool tsdb create-blocks-from openmetrics` read.
    Openmetrics,
    /// One line for each sample, as `promtool tsdb dump` prints it: labels, value, milliseconds.
    Promtool,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  aegis tsdb import history.om --data-dir /var/lib/aegis\n  \
                        zcat history.om.gz | aegis tsdb import - --url http://127.0.0.1:4300\n  \
                        aegis tsdb import /var/lib/prometheus/metrics2\n\n\
                        An import that was cut short is repeated from the start: what is there already is not kept \
                        twice.\nA Prometheus writes a block every two hours; for what is only in its write-ahead log, \
                        let it make one: POST /api/v1/admin/tsdb/snapshot, and import the directory below `snapshots`.\n\
                        Exit status: 0 everything is there, 1 something was refused or could not be read, 2 wrong usage.")]
pub(crate) struct ImportArgs {
    /// OpenMetrics text, `-` for standard input; or a Prometheus data directory, or one block of it.
    #[arg(value_name = "FILE|DIR")]
    from: PathBuf,
    #[command(flatten)]
    place: PlaceArgs,
    /// How a file is written.
    #[arg(long, value_enum, default_value = "openmetrics")]
    format: TextFormat,
}

/// How metrics are written as text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum TextFormat {
    /// OpenMetrics 1.0: times in seconds, `# EOF` at the end.
    Openmetrics,
    /// The text format of Prometheus 0.0.4: times in milliseconds.
    Prometheus,
}

/// Which samples of a data directory.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The directory given to `aegis serve`.
    #[arg(long, value_name = "DIR", default_value = "aegis-data")]
    data_dir: PathBuf,
    /// Series selector such as `up{job="api"}`; may be given several times. Everything without it.
    #[arg(long = "match", value_name = "SELECTOR")]
    selectors: Vec<String>,
    /// Oldest time: unix seconds, RFC 3339, `now`, or `now-1h30m`.
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    start: Option<Moment>,
    /// Newest time, as above.
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    end: Option<Moment>,
}

/// Runs `aegis tsdb`.
pub(crate) fn tsdb(what: &TsdbCommand) -> anyhow::Result<ExitCode> {
    match what {
        TsdbCommand::Analyze(args) => analyze::run(args),
        TsdbCommand::Dump(args) => dump::run(args),
        TsdbCommand::Import(args) => import::run(args),
    }
}

impl Which {
    fn open(&self) -> anyhow::Result<Store> {
        match PlaceArgs::of(self.data_dir.clone()).locate()? {
            Place::Store(store) => Ok(*store),
            Place::Server(server) => {
                bail!("`{}` is in use by the server at {server}; stop it first", self.data_dir.display())
            }
        }
    }

    fn range(&self) -> TimeRange {
        let now = clock::now();
        let at = |moment: Option<Moment>, otherwise| moment.map_or(otherwise, |moment| moment.at(now));
        TimeRange::new(at(self.start, Timestamp::MIN), at(self.end, Timestamp::MAX))
    }

    fn matchers(&self) -> anyhow::Result<Vec<Vec<Matcher>>> {
        if self.selectors.is_empty() {
            return Ok(vec![Vec::new()]);
        }
        self.selectors.iter().map(|selector| Ok(promql::parse_selector(selector)?)).collect()
    }
}

/// The series that any of the selectors allows, by labels.
fn find<'a>(snapshot: &'a Snapshot, selectors: &[Vec<Matcher>], range: TimeRange) -> Vec<SeriesReader<'a>> {
    let mut found: Vec<_> = selectors.iter().flat_map(|matchers| snapshot.find(matchers, range)).collect();
    let by_labels = |reader: &SeriesReader<'_>| Labels::clone(reader.labels());
    found.sort_by_cached_key(by_labels);
    found.dedup_by(|a, b| a.labels() == b.labels());
    found
}

#[cfg(test)]
mod tests;
