//! `aegis tsdb analyze`.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use signal::{Labels, TimeRange, Timestamp};
use store::SeriesReader;

use super::{AnalyzeArgs, find};
use crate::query_commands::unless_closed;

pub(super) fn run(args: &AnalyzeArgs) -> anyhow::Result<ExitCode> {
    let store = args.which.open()?;
    let selectors = args.which.matchers()?;
    let range = args.which.range();
    let found = find(&store.snapshot(), &selectors, range)
        .into_iter()
        .fold(Found::default(), |found, reader| found.with(&reader, range));
    let mut out = io::BufWriter::new(io::stdout().lock());
    let is_whole = args.which.selectors.is_empty() && range == TimeRange::all();
    let disk = is_whole.then(|| store.status().metrics.disk_bytes);
    unless_closed(found.write(&mut out, disk, args.limit).and_then(|()| out.flush()))
}

/// What was counted over all series.
#[derive(Debug, Default)]
pub(super) struct Found {
    series: Vec<Seen>,
    samples: u64,
    histograms: u64,
    oldest: Option<Timestamp>,
    newest: Option<Timestamp>,
}

/// A series, and from when to when there are samples of it.
#[derive(Debug)]
struct Seen {
    labels: Labels,
    extent: Duration,
}

impl Found {
    pub(super) fn with(mut self, reader: &SeriesReader<'_>, range: TimeRange) -> Self {
        let (mut samples, mut histograms) = (Vec::new(), Vec::new());
        reader.read(range, &mut samples, &mut histograms);
        let floats = samples.iter().map(|sample| sample.at);
        let times = || floats.clone().chain(histograms.iter().map(|sample| sample.at));
        let Some((oldest, newest)) = times().min().zip(times().max()) else { return self };
        self.samples += samples.len() as u64;
        self.histograms += histograms.len() as u64;
        self.oldest = Some(self.oldest.map_or(oldest, |other| other.min(oldest)));
        self.newest = self.newest.max(Some(newest));
        self.series.push(Seen { labels: reader.labels().clone(), extent: newest.since(oldest) });
        self
    }

    pub(super) fn write(&self, out: &mut impl Write, disk: Option<u64>, limit: usize) -> io::Result<()> {
        let Some((oldest, newest)) = self.oldest.zip(self.newest) else { return writeln!(out, "no samples") };
        let whole = newest.since(oldest);
        let all = self.samples + self.histograms;
        let counts = Counts::of(&self.series, whole);
        writeln!(out, "From: {oldest}")?;
        writeln!(out, "To: {newest}")?;
        writeln!(out, "Duration: {}", signal::format_duration(whole))?;
        writeln!(out, "Series: {}", self.series.len())?;
        writeln!(out, "Samples: {all}")?;
        writeln!(out, "Native histograms among them: {}", self.histograms)?;
        writeln!(out, "Samples per series: {:.1}", all as f64 / self.series.len() as f64)?;
        if let Some(disk) = disk {
            writeln!(out, "Bytes on disk: {disk}")?;
            writeln!(out, "Bytes per sample: {:.2}", disk as f64 / all as f64)?;
        }
        writeln!(out, "Label names: {}", counts.values.len())?;
        writeln!(out, "Unique label pairs: {}", counts.pairs.len())?;
        writeln!(out, "Label pairs in all: {}", counts.pairs.values().map(|pair| pair.series).sum::<u64>())?;

        let pair_name = |(name, value): &(&str, &str)| format!("{name}={value}");
        let pairs = |of: fn(&Count) -> u64| counts.pairs.iter().map(move |(pair, count)| (of(count), pair_name(pair)));
        let names =
            |of: fn(&Count) -> u64| counts.names.iter().map(move |(name, count)| (of(count), (*name).to_owned()));
        let lengths = counts
            .values
            .iter()
            .map(|(name, values)| (values.iter().map(|value| value.len() as u64).sum(), (*name).to_owned()));
        let values = counts.values.iter().map(|(name, values)| (values.len() as u64, (*name).to_owned()));
        let metrics = counts.pairs.iter().filter(|((name, _), _)| *name == Labels::NAME);
        let metrics = metrics.map(|((_, metric), count)| (count.series, (*metric).to_owned()));
        list(out, "Label pairs most involved in churning", pairs(|count| count.churn), limit)?;
        list(out, "Label names most involved in churning", names(|count| count.churn), limit)?;
        list(out, "Most common label pairs", pairs(|count| count.series), limit)?;
        list(out, "Label names with highest cumulative label value length", lengths, limit)?;
        list(out, "Highest cardinality labels", values, limit)?;
        list(out, "Highest cardinality metric names", metrics, limit)
    }
}

/// Sums over series that have a label, or a label with one value.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    series: u64,
    /// The time in which such series were not there, in lengths of the whole time: high for labels whose series come and
    /// go.
    churn: u64,
    absent: Duration,
}

impl Count {
    fn add(&mut self, absent: Duration) {
        self.series += 1;
        self.absent += absent;
    }
}

#[derive(Debug, Default)]
struct Counts<'a> {
    pairs: HashMap<(&'a str, &'a str), Count>,
    names: HashMap<&'a str, Count>,
    values: HashMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> Counts<'a> {
    fn of(series: &'a [Seen], whole: Duration) -> Self {
        let mut counts = Self::default();
        for Seen { labels, extent } in series {
            let absent = whole.saturating_sub(*extent);
            for (name, value) in labels.iter() {
                counts.pairs.entry((name, value)).or_default().add(absent);
                counts.names.entry(name).or_default().add(absent);
                counts.values.entry(name).or_default().insert(value);
            }
        }
        if !whole.is_zero() {
            for count in counts.pairs.values_mut().chain(counts.names.values_mut()) {
                count.churn = (count.absent.as_secs_f64() / whole.as_secs_f64()) as u64;
            }
        }
        counts
    }
}

fn list(out: &mut impl Write, title: &str, lines: impl Iterator<Item = (u64, String)>, limit: usize) -> io::Result<()> {
    let mut lines: Vec<_> = lines.collect();
    lines.sort_by(|(a, one), (b, other)| b.cmp(a).then_with(|| one.cmp(other)));
    writeln!(out, "\n{title}:")?;
    for (count, what) in lines.iter().take(limit) {
        writeln!(out, "{count} {what}")?;
    }
    Ok(())
}
