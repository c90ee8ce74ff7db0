//! `aegis query logs`: lines, or numbers made from them, and lines as they come.

mod lines;
mod pages;
mod tail;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::{Args, ValueEnum};
use query::logql::{self, Direction, Expr, RangeQuery};
use query::promql::Steps;
use signal::{Labels, Matcher, Nanos, Timestamp};

use super::place::{Place, PlaceArgs};
use super::{MAX_STEPS, Output, USUAL_STEPS, When, note, render, times, unless_closed};
use crate::clock;
use lines::Printer;
use pages::Pages;

#[derive(Debug, Args)]
#[command(
    allow_negative_numbers = true,
    after_help = "Examples:\n  aegis query logs '{job=\"api\"} |= \"error\"'\n  \
                  aegis query logs '{job=\"api\"} | json | duration_ms > 1000' --since 6h --limit 0 -o raw\n  \
                  aegis query logs '{job=\"api\"}' --tail\n  \
                  aegis query logs 'sum by (level) (rate({job=\"api\"} | json [5m]))' --since 1d\n  \
                  aegis query logs '{job=\"api\"}' --url http://loki:3100 -o jsonl\n\n\
                  Times are unix seconds, RFC 3339, `now`, or `now-1h30m`. Newest lines come first unless --forward is \
                  given.\nExit status: 0 answered, 1 not answered, 2 wrong usage."
)]
pub(crate) struct LogsArgs {
    /// The LogQL expression.
    expr: String,
    #[command(flatten)]
    place: PlaceArgs,
    /// How far back to look.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = times::step, conflicts_with = "from")]
    since: Duration,
    /// First moment.
    #[arg(long, visible_alias = "start", value_name = "TIME", value_parser = times::parse)]
    from: Option<times::Moment>,
    /// Last moment; now without it.
    #[arg(long, visible_alias = "end", value_name = "TIME", value_parser = times::parse)]
    to: Option<times::Moment>,
    /// Most lines; 0 for all. With --tail, as many from before come first.
    #[arg(long, value_name = "COUNT", default_value_t = 30)]
    limit: usize,
    /// Oldest lines first.
    #[arg(long)]
    forward: bool,
    /// How lines are written.
    #[arg(long, short, value_enum, default_value = "default")]
    output: LineOutput,
    /// Which labels stand before a line.
    #[arg(long, value_enum, default_value = "unique")]
    labels: Shown,
    /// Go on with lines as they come, until interrupted.
    #[arg(long, short, visible_alias = "follow", conflicts_with_all = ["to", "forward", "step", "instant"])]
    tail: bool,
    /// Hold lines back for so many seconds while tailing, so that late ones find their place; up to 5.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=5))]
    delay_for: u8,
    /// Time between two points of a metric query; a 250th of the range without it, at least a second.
    #[arg(long, value_name = "DURATION", value_parser = times::step)]
    step: Option<Duration>,
    /// Only the last moment of a metric query.
    #[arg(long, conflicts_with_all = ["step", "from"])]
    instant: bool,
}

/// How lines are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum LineOutput {
    /// Time, labels and line; numbers as a table.
    Default,
    /// The line alone; numbers as `promtool query` prints them.
    Raw,
    /// One JSON object for each line; numbers as the `data` of the HTTP API.
    Jsonl,
}

/// Which labels stand before a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Shown {
    /// Those that are not the same everywhere; the others are told once, on standard error.
    Unique,
    /// Every label.
    All,
    /// None.
    None,
}

/// Runs `aegis query logs`.
pub(super) fn logs(args: &LogsArgs) -> anyhow::Result<ExitCode> {
    let expr = logql::parse(&args.expr)?;
    let now = clock::now();
    let place = args.place.locate()?;
    match expr {
        Expr::Metric(_) if args.tail => bail!("only lines can be followed, and this query gives numbers"),
        Expr::Metric(_) => numbers(args, &expr, &place, now),
        Expr::Log(_) if args.tail => tail::follow(args, place, args.range(now).0),
        Expr::Log(_) => lines(args, &expr, &place, now),
    }
}

impl LogsArgs {
    /// First and last moment.
    fn range(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        let to = self.to.map_or(now, |to| to.at(now));
        (self.from.map_or_else(|| to.minus(self.since), |from| from.at(now)), to)
    }

    fn direction(&self) -> Direction {
        if self.forward { Direction::Forward } else { Direction::Backward }
    }
}

fn lines(args: &LogsArgs, expr: &Expr, place: &Place, now: Timestamp) -> anyhow::Result<ExitCode> {
    let (from, to) = args.range(now);
    if to < from {
        bail!("the range ends before it starts: {to} is before {from}");
    }
    // The end of a search for lines is outside of it.
    let end = to.to_nanos().plus(Duration::from_millis(1));
    let limit = if args.limit == 0 { usize::MAX } else { args.limit };
    let question = RangeQuery { direction: args.direction(), ..RangeQuery::lines(from.to_nanos(), end, limit) };
    let mut printer = Printer::new(args.output, args.labels);
    let mut pages = Pages::new(place, expr, &args.expr, question)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    while let Some(page) = pages.next()? {
        printer.look(&page);
        let written = page.iter().try_for_each(|line| printer.write(&mut out, line)).and_then(|()| out.flush());
        if written.is_err() {
            return unless_closed(written);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn numbers(args: &LogsArgs, expr: &Expr, place: &Place, now: Timestamp) -> anyhow::Result<ExitCode> {
    let (start, end) = args.range(now);
    if end < start {
        bail!("the range ends before it starts: {end} is before {start}");
    }
    let when = if args.instant {
        When::At(end)
    } else {
        let usual = Duration::from_secs((end.since(start) / USUAL_STEPS).as_secs().max(1));
        let step = args.step.unwrap_or(usual);
        let steps = end.0.saturating_sub(start.0) / i64::try_from(step.as_millis()).unwrap_or(i64::MAX).max(1);
        if steps >= MAX_STEPS {
            bail!("the range has {steps} steps, more than the limit of {MAX_STEPS}; make --step larger");
        }
        When::Over(Steps { start, end, step })
    };
    let answered = pages::numbers(place, expr, &args.expr, when)?;
    let output = match args.output {
        LineOutput::Default => Output::Table,
        LineOutput::Raw => Output::Prom,
        LineOutput::Jsonl => Output::Json,
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    unless_closed(render::write(&mut out, &answered, when, output).and_then(|()| out.flush()))
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  aegis query labels\n  aegis query labels job --since 1d\n  \
                        aegis query labels job --match '{env=\"prod\"}'")]
pub(crate) struct LabelsArgs {
    /// A label whose values are wanted; without it, the names of all labels.
    name: Option<String>,
    #[command(flatten)]
    place: PlaceArgs,
    /// How far back to look.
    #[arg(long, value_name = "DURATION", default_value = "6h", value_parser = times::step)]
    since: Duration,
    /// Only of streams that this selects.
    #[arg(long = "match", value_name = "SELECTOR")]
    selector: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  aegis query series '{job=~\".+\"}' --since 1d")]
pub(crate) struct SeriesArgs {
    /// A stream selector.
    selector: String,
    #[command(flatten)]
    place: PlaceArgs,
    /// How far back to look.
    #[arg(long, value_name = "DURATION", default_value = "6h", value_parser = times::step)]
    since: Duration,
}

/// Runs `aegis query labels`.
pub(super) fn labels(args: &LabelsArgs) -> anyhow::Result<ExitCode> {
    let found = pages::streams(&args.place.locate()?, args.selector.as_deref(), since(args.since))?;
    let mut words: Vec<&str> = match &args.name {
        Some(name) => found.iter().filter_map(|labels| labels.get(name)).collect(),
        None => found.iter().flat_map(Labels::iter).map(|(name, _)| name).collect(),
    };
    words.sort_unstable();
    words.dedup();
    let mut out = io::BufWriter::new(io::stdout().lock());
    unless_closed(words.iter().try_for_each(|word| writeln!(out, "{word}")).and_then(|()| out.flush()))
}

/// Runs `aegis query series`.
pub(super) fn series(args: &SeriesArgs) -> anyhow::Result<ExitCode> {
    let found = pages::streams(&args.place.locate()?, Some(&args.selector), since(args.since))?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    unless_closed(found.iter().try_for_each(|labels| writeln!(out, "{labels}")).and_then(|()| out.flush()))
}

fn since(back: Duration) -> (Nanos, Nanos) {
    let now = clock::now();
    (now.minus(back).to_nanos(), now.to_nanos())
}

fn selector(text: Option<&str>) -> anyhow::Result<Vec<Matcher>> {
    text.map_or_else(|| Ok(Vec::new()), |text| Ok(logql::parse_selector(text)?))
}

#[cfg(test)]
mod tests;
