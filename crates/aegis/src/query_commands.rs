//! `aegis query`: asks a running server, or a data directory that no server uses.

mod answer;
mod logs;
pub(crate) mod numbers;
pub(crate) mod place;
mod render;
pub(crate) mod times;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use query::Cancel;
use query::promql::{self, Steps};
use signal::Timestamp;

use crate::clock;
use answer::Answered;
use place::{Place, PlaceArgs};

/// Most steps of a range query; the servers' own limit.
const MAX_STEPS: i64 = 11_000;
/// Steps of a range query that names none.
const USUAL_STEPS: u32 = 250;

#[derive(Debug, Subcommand)]
pub(crate) enum QueryCommand {
    /// Ask for metrics with PromQL: at one time, or over a range of times.
    Metrics(MetricsArgs),
    /// Ask for log lines with LogQL, or for numbers made from them; `--tail` goes on with lines as they come.
    Logs(logs::LogsArgs),
    /// List the labels of log streams, or the values of one.
    Labels(logs::LabelsArgs),
    /// List log streams by their labels.
    Series(logs::SeriesArgs),
}

#[derive(Debug, Args)]
#[command(
    allow_negative_numbers = true,
    after_help = "Examples:\n  aegis query metrics 'sum by (job) (up)'\n  \
                  aegis query metrics 'rate(http_requests_total[5m])' --start now-1h --step 1m\n  \
                  aegis query metrics up --time 2026-01-25T13:30:00Z -o csv\n  \
                  aegis query metrics up --url http://prometheus:9090 -o prom\n\n\
                  Times are unix seconds, RFC 3339, `now`, or `now-1h30m`. Any of --start, --end and --step makes it a \
                  range.\nWarnings of the query go to standard error. Exit status: 0 answered, 1 not answered, 2 wrong \
                  usage."
)]
pub(crate) struct MetricsArgs {
    /// The PromQL expression.
    expr: String,
    #[command(flatten)]
    place: PlaceArgs,
    /// Moment to evaluate at; now without it.
    #[arg(long, value_name = "TIME", value_parser = times::parse, conflicts_with_all = ["start", "end", "step"])]
    time: Option<times::Moment>,
    /// First moment of a range; an hour before its end without it.
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    start: Option<times::Moment>,
    /// Last moment of a range; now without it.
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    end: Option<times::Moment>,
    /// Time between two evaluations of a range, such as `15s`; a 250th of the range without it, at least a second.
    #[arg(long, value_name = "DURATION", value_parser = times::step)]
    step: Option<Duration>,
    /// How the answer is written.
    #[arg(long, short, value_enum, default_value = "table")]
    output: Output,
}

/// How an answer is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Output {
    /// For people: labels that are the same everywhere once, the others as columns.
    Table,
    /// The `data` of the HTTP API, in one line.
    Json,
    /// One line for each sample, one column for each label.
    Csv,
    /// As `promtool query` prints it.
    Prom,
}

/// Which moments are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum When {
    At(Timestamp),
    Over(Steps),
}

/// Runs `aegis query`.
pub(crate) fn query(what: &QueryCommand) -> anyhow::Result<ExitCode> {
    match what {
        QueryCommand::Metrics(args) => metrics(args),
        QueryCommand::Logs(args) => logs::logs(args),
        QueryCommand::Labels(args) => logs::labels(args),
        QueryCommand::Series(args) => logs::series(args),
    }
}

fn metrics(args: &MetricsArgs) -> anyhow::Result<ExitCode> {
    let when = when(args, clock::now())?;
    let answered = match args.place.locate()? {
        Place::Server(server) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(ask(&server, &args.expr, when))?
        }
        Place::Store(store) => evaluate(&store, &args.expr, when)?,
    };
    for remark in answered.warnings.iter().chain(&answered.infos) {
        note(remark);
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = render::write(&mut out, &answered, when, args.output).and_then(|()| out.flush());
    unless_closed(written)
}

fn when(args: &MetricsArgs, now: Timestamp) -> anyhow::Result<When> {
    if args.start.is_none() && args.end.is_none() && args.step.is_none() {
        return Ok(When::At(args.time.map_or(now, |time| time.at(now))));
    }
    let end = args.end.map_or(now, |end| end.at(now));
    let start = args.start.map_or(end.minus(Duration::from_secs(3600)), |start| start.at(now));
    if end < start {
        bail!("the range ends before it starts: {end} is before {start}");
    }
    let usual = Duration::from_secs((end.since(start) / USUAL_STEPS).as_secs().max(1));
    let step = args.step.unwrap_or(usual);
    let steps = end.0.saturating_sub(start.0) / i64::try_from(step.as_millis()).unwrap_or(i64::MAX).max(1);
    if steps >= MAX_STEPS {
        bail!("the range has {steps} steps, more than the limit of {MAX_STEPS}; make --step larger");
    }
    Ok(When::Over(Steps { start, end, step }))
}

async fn ask(server: &place::Server, expr: &str, when: When) -> anyhow::Result<Answered> {
    let seconds = |at: Timestamp| numbers::seconds(at.0);
    let mut form = vec![("query", expr.to_owned())];
    let path = match when {
        When::At(at) => {
            form.push(("time", seconds(at)));
            "api/v1/query"
        }
        When::Over(steps) => {
            form.push(("start", seconds(steps.start)));
            form.push(("end", seconds(steps.end)));
            form.push(("step", steps.step.as_secs_f64().to_string()));
            "api/v1/query_range"
        }
    };
    let body = server.post_form(path, &form).await?;
    answer::parse(&body).with_context(|| format!("cannot understand the answer of {server}"))
}

fn evaluate(store: &store::Store, expr: &str, when: When) -> anyhow::Result<Answered> {
    let parsed = promql::parse(expr)?;
    let (settings, cancel, snapshot) = (promql::Settings::default(), Cancel::default(), store.snapshot());
    let answer = match when {
        When::At(at) => promql::instant(&parsed, &snapshot, at, &settings, &cancel)?,
        When::Over(steps) => promql::range(&parsed, &snapshot, steps, &settings, &cancel)?,
    };
    Ok(Answered::from(answer))
}

/// Tells the person at the terminal something beside the answer.
pub(crate) fn note(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// A reader that has seen enough, such as `head`, is no failure.
pub(crate) fn unless_closed(written: io::Result<()>) -> anyhow::Result<ExitCode> {
    match written {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error).context("cannot write the answer"),
    }
}

#[cfg(test)]
mod tests;
