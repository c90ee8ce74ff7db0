//! `aegis tsdb import`.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use ingest::prometheus_tsdb::BlockError;
use signal::{Labels, SeriesWrite, Timestamp, WriteBatch};
use store::StoreSettings;

use super::metrics_text::Pages;
use super::prometheus_dir::{blocks, has_log, open};
use super::sink::{Sink, Taken};
use super::{ImportArgs, TextFormat};
use crate::clock::{self, Stopwatch};
use crate::query_commands::note;

/// Samples that are handed over together.
const TOGETHER: usize = 20_000;
/// Time between two words about the progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// Most damages that are shown of a block.
const SHOWN: u64 = 10;

pub(super) fn run(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let is_dir = args.from.is_dir();
    // What cannot be read should not cost the opening of the store.
    let found = if is_dir { Some(blocks(&args.from)?) } else { None };
    let mut import = Import::new(Sink::new(args.place.locate_or_make()?)?);
    match found {
        Some(found) => {
            let count = found.len();
            for (number, (dir, meta)) in found.iter().enumerate() {
                note(&format!(
                    "block {} of {count}: {} from {} to {}, {} series, {} samples",
                    number + 1,
                    meta.ulid,
                    meta.range.start,
                    meta.range.end,
                    meta.series,
                    meta.samples
                ));
                import.block(dir)?;
            }
            if has_log(&args.from) {
                note(
                    "the write-ahead log of that Prometheus was not read; `aegis tsdb import --help` says how to get it",
                );
            }
        }
        None if args.from == Path::new("-") => import.text(io::stdin().lock(), args.format)?,
        None => {
            let file = File::open(&args.from).with_context(|| format!("cannot open {}", args.from.display()))?;
            import.text(BufReader::with_capacity(1 << 16, file), args.format)?;
        }
    }
    import.finish()?;
    import.sink.finish()?;
    let Taken { samples, duplicates, refused, reasons } = &import.sink.taken;
    let known = if *duplicates > 0 { format!(", {duplicates} of them were there already") } else { String::new() };
    note(&format!("{samples} samples read{known}, {refused} refused"));
    for reason in reasons {
        note(&format!("refused: {reason}"));
    }
    if let Some(oldest) = import.oldest.filter(|oldest| *oldest < clock::now().minus(usual_retention())) {
        note(&format!(
            "the oldest sample is from {oldest}: a server drops what is older than its `store.retention`, {} unless its \
             configuration says more",
            signal::format_duration(usual_retention())
        ));
    }
    let is_whole = *refused == 0 && import.damages == 0;
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How long a server keeps samples when nobody told it.
fn usual_retention() -> Duration {
    StoreSettings::default().retention
}

/// An import under way.
#[derive(Debug)]
pub(super) struct Import {
    pub(super) sink: Sink,
    batch: WriteBatch,
    waiting: usize,
    /// Series that could not be read.
    pub(super) damages: u64,
    /// Time of the oldest sample.
    pub(super) oldest: Option<Timestamp>,
    watch: Stopwatch,
    told: Duration,
}

impl Import {
    pub(super) fn new(sink: Sink) -> Self {
        let watch = Stopwatch::start();
        Self { sink, batch: WriteBatch::default(), waiting: 0, damages: 0, oldest: None, watch, told: Duration::ZERO }
    }

    pub(super) fn text(&mut self, reader: impl BufRead, format: TextFormat) -> anyhow::Result<()> {
        let mut pages = Pages::new(reader, format);
        loop {
            let next = pages.next();
            match next {
                Ok(Some(batch)) => {
                    self.batch.metadata.extend(batch.metadata);
                    for series in batch.series {
                        self.add(series)?;
                    }
                }
                Ok(None) => return Ok(()),
                Err(error) => {
                    // What was read before is good, and will not be kept twice by the next try.
                    self.finish()?;
                    return Err(error);
                }
            }
        }
    }

    pub(super) fn block(&mut self, dir: &Path) -> anyhow::Result<()> {
        let mut block = open(dir).with_context(|| format!("cannot use block {}", dir.display()))?;
        let mut damages = 0;
        loop {
            match block.next_series() {
                Ok(Some(series)) => self.add(series)?,
                Ok(None) => break,
                Err(error @ BlockError::Io { .. }) => return Err(error.into()),
                Err(error) => {
                    damages += 1;
                    if damages <= SHOWN {
                        note(&format!("{}: {error}; that series is left out", dir.display()));
                    }
                }
            }
        }
        if damages > SHOWN {
            note(&format!("{}: {damages} series are left out in all", dir.display()));
        }
        self.damages += damages;
        Ok(())
    }

    fn add(&mut self, series: SeriesWrite) -> anyhow::Result<()> {
        let SeriesWrite { labels, samples, histograms, exemplars } = series;
        let times = samples.iter().map(|sample| sample.at).chain(histograms.iter().map(|sample| sample.at));
        self.oldest = times.chain(self.oldest).min();
        let mut exemplars = Some(exemplars);
        // A series of a long block has more samples than a request may have.
        for piece in samples.chunks(TOGETHER) {
            let exemplars = exemplars.take().unwrap_or_default();
            self.put(SeriesWrite { exemplars, ..SeriesWrite::new(labels.clone(), piece.iter().copied()) })?;
        }
        for piece in histograms.chunks(TOGETHER / 100) {
            self.put(SeriesWrite { histograms: piece.to_vec(), ..SeriesWrite::new(Labels::clone(&labels), []) })?;
        }
        Ok(())
    }

    fn put(&mut self, series: SeriesWrite) -> anyhow::Result<()> {
        // A histogram takes the room of many samples.
        self.waiting += series.samples.len() + 100 * series.histograms.len();
        self.batch.series.push(series);
        if self.waiting >= TOGETHER { self.finish() } else { Ok(()) }
    }

    /// Hands over what waits.
    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        let batch = std::mem::take(&mut self.batch);
        self.waiting = 0;
        if !batch.is_empty() {
            self.sink.write(batch)?;
        }
        let elapsed = self.watch.elapsed();
        if elapsed - self.told >= PROGRESS_EVERY {
            self.told = elapsed;
            let samples = self.sink.taken.samples;
            let rate = samples as f64 / elapsed.as_secs_f64();
            note(&format!("{samples} samples, {rate:.0} a second"));
        }
        Ok(())
    }
}
