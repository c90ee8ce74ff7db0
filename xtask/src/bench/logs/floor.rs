//! What plain files would do: every stream through `zstd -3`, and a search through all of them.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use memchr::memmem::Finder;
use memchr::{memchr, memrchr};

use super::super::clock::Stopwatch;
use super::super::process;
use super::lines::RARE;
use super::load::Load;

const LEVEL: i32 = 3;
const BUFFER: usize = 1 << 18;

/// What files and a search cost, on one thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Floor {
    pub(super) lines_per_cpu_second: f64,
    pub(super) mb_per_cpu_second: f64,
    pub(super) bytes_per_line: f64,
    pub(super) needle: Cost,
    pub(super) rare: Cost,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    pub(super) cpu_seconds: f64,
    pub(super) ms: f64,
}

/// Packs the files of a load beside themselves, searches, and removes all of them.
pub(super) fn measure(load: &Load) -> anyhow::Result<Floor> {
    let packed: Vec<PathBuf> = load.files.iter().map(|file| file.with_extension("log.zst")).collect();
    let (cost, ()) = cost(|| {
        load.files.iter().zip(&packed).try_for_each(|(from, to)| {
            let to = BufWriter::new(File::create(to).with_context(|| format!("cannot write {}", to.display()))?);
            let mut encoder = zstd::stream::Encoder::new(to, LEVEL)?;
            std::io::copy(&mut File::open(from)?, &mut encoder)?;
            encoder.finish()?.flush()?;
            anyhow::Ok(())
        })
    })?;
    let bytes: u64 = packed.iter().filter_map(|file| file.metadata().ok()).map(|file| file.len()).sum();
    let search = |text: &str, want: u64| {
        let finder = Finder::new(text);
        let (cost, found): (_, u64) =
            self::cost(|| packed.iter().map(|file| lines_with(File::open(file)?, &finder)).sum())?;
        if found != want {
            bail!("`{text}` is in {found} lines of the files and not in {want}");
        }
        anyhow::Ok(cost)
    };
    let needle = search(load.truth.looked_for().first().context("a load without needles")?, 1)?;
    let rare = search(RARE, load.truth.rare)?;
    for file in load.files.iter().chain(&packed) {
        std::fs::remove_file(file)?;
    }
    let (lines, cpu) = (load.truth.lines as f64, cost.cpu_seconds.max(0.01));
    Ok(Floor {
        lines_per_cpu_second: lines / cpu,
        mb_per_cpu_second: load.truth.bytes as f64 / 1e6 / cpu,
        bytes_per_line: bytes as f64 / lines,
        needle,
        rare,
    })
}

fn cost<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(Cost, T)> {
    let own = std::process::id();
    let (before, watch) = (process::cpu_seconds(own), Stopwatch::start());
    let outcome = work()?;
    let ms = watch.elapsed().as_secs_f64() * 1000.0;
    Ok((Cost { cpu_seconds: process::cpu_seconds(own) - before, ms }, outcome))
}

/// How many lines of a packed file have a text in them.
fn lines_with(packed: impl Read, finder: &Finder) -> anyhow::Result<u64> {
    let mut decoder = zstd::stream::Decoder::new(packed)?;
    let mut buffer = Vec::new();
    let mut found = 0;
    loop {
        let kept = buffer.len();
        buffer.resize(kept + BUFFER, 0);
        let read = decoder.read(buffer.get_mut(kept..).unwrap_or_default())?;
        buffer.truncate(kept + read);
        // A line that goes on is looked at with what follows.
        let end = if read == 0 { buffer.len() } else { memrchr(b'\n', &buffer).map_or(0, |end| end + 1) };
        found += lines_in(buffer.get(..end).unwrap_or_default(), finder);
        if read == 0 {
            return Ok(found);
        }
        buffer.drain(..end);
    }
}

fn lines_in(mut text: &[u8], finder: &Finder) -> u64 {
    let mut found = 0;
    while let Some(rest) = finder.find(text).and_then(|at| text.get(at..)) {
        found += 1;
        text = memchr(b'\n', rest).and_then(|end| rest.get(end + 1..)).unwrap_or_default();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_across_buffers() {
        let mut text = String::new();
        for number in 0..40_000 {
            let word = if number % 1_000 == 7 { "needle and needle" } else { "hay" };
            text.push_str(&format!("{number} {word}\n"));
        }
        text.push_str("needle without an end");
        let packed = zstd::stream::encode_all(text.as_bytes(), LEVEL).unwrap();
        for (word, want) in [("needle", 41), ("hay", 39_960), ("39007 needle", 1), ("straw", 0)] {
            assert_eq!(lines_with(&packed[..], &Finder::new(word)).unwrap(), want, "{word}");
        }
    }
}
