//! The load: an hour of lines of some dozens of streams, packed as Loki takes them, with what is true about them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::super::load::{Body, Packer, Random, field, packed, varint};
use super::lines::{Facts, Format, RARE_EVERY, SERVICES, Service};

/// Seconds between the first and the last line.
pub(super) const SPAN_S: i64 = 3600;
pub(super) const SECOND_NS: i64 = 1_000_000_000;
/// Each service runs so often. A request has the lines of one pod of each service.
pub(super) const PODS: usize = 4;
/// Lines of a service in one request, times its weight.
const TOGETHER: usize = 85;
/// One JSON line in so many is remembered, to be looked for.
const REMEMBERED_EVERY: u64 = 4_001;

/// A packed load and the truth about it.
#[derive(Clone, Debug, Default)]
pub(super) struct Load {
    pub(super) bodies: Vec<Body>,
    /// Unix seconds, whole minutes. All lines lie in between.
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) truth: Truth,
    /// The lines of each stream as a file.
    pub(super) files: Vec<PathBuf>,
}

/// What the right answers are.
#[derive(Clone, PartialEq, Default, Debug)]
pub(super) struct Truth {
    pub(super) lines: u64,
    /// Of lines, without anything around them.
    pub(super) bytes: u64,
    pub(super) rare: u64,
    pub(super) timeouts: u64,
    pub(super) lines_of_service: BTreeMap<&'static str, u64>,
    pub(super) bytes_of_format: BTreeMap<&'static str, u64>,
    /// JSON only.
    pub(super) lines_of_level: BTreeMap<&'static str, u64>,
    /// Trace ids that stand in one line each.
    pub(super) needles: Vec<String>,
    /// Times of JSON lines at level error.
    pub(super) errors: Vec<i64>,
    /// Times of JSON lines of more than a second.
    pub(super) slow: Vec<i64>,
    /// Times of logfmt lines at level warn and of more than half a second.
    pub(super) slow_warnings: Vec<i64>,
    pub(super) refused: Vec<i64>,
    /// Times of the lines of the first service.
    pub(super) of_first: Vec<i64>,
    /// Of logfmt, by service and minute.
    pub(super) took_ms: BTreeMap<&'static str, Vec<Vec<f64>>>,
}

impl Truth {
    fn add(&mut self, service: Service, at_ns: i64, minute: usize, line: &str, facts: &Facts) {
        let format = service.format();
        self.lines += 1;
        self.bytes += line.len() as u64;
        *self.lines_of_service.entry(service.name).or_default() += 1;
        *self.bytes_of_format.entry(format.name()).or_default() += line.len() as u64;
        if SERVICES.first().is_some_and(|first| first.name == service.name) {
            self.of_first.push(at_ns);
        }
        match format {
            Format::Json => {
                let count = self.lines_of_level.entry(facts.level).or_default();
                *count += 1;
                let seen: u64 = self.lines_of_level.values().sum();
                if let Some(trace) = facts.trace.filter(|_| seen % REMEMBERED_EVERY == REMEMBERED_EVERY / 2) {
                    self.needles.push(format!("{trace:032x}"));
                }
                self.timeouts += u64::from(facts.is_timeout);
                if facts.level == "error" {
                    self.errors.push(at_ns);
                }
                if facts.ms > 1000.0 {
                    self.slow.push(at_ns);
                }
            }
            Format::Logfmt => {
                if facts.level == "warn" && facts.ms > 500.0 {
                    self.slow_warnings.push(at_ns);
                }
                let minutes = self.took_ms.entry(service.name).or_default();
                if minutes.len() <= minute {
                    minutes.resize(minute + 1, Vec::new());
                }
                if let Some(values) = minutes.get_mut(minute) {
                    values.push(facts.ms);
                }
            }
            Format::Plain => {
                if facts.is_refused {
                    self.refused.push(at_ns);
                }
            }
        }
    }
}

/// As Loki writes a set of labels.
pub(super) fn labels(service: Service, pod: usize) -> String {
    format!(
        "{{cluster=\"prod-1\", env=\"prod\", format=\"{}\", job=\"bench\", pod=\"{}-{pod}\", service=\"{}\"}}",
        service.format().name(),
        service.name,
        service.name
    )
}

/// One entry of a stream in Loki's push message.
pub(super) fn put_entry(stream: &mut Vec<u8>, at_ns: i64, line: &str) {
    let mut time = Vec::with_capacity(12);
    time.push(1 << 3);
    varint(&mut time, at_ns.unsigned_abs() / SECOND_NS.unsigned_abs());
    time.push(2 << 3);
    varint(&mut time, at_ns.unsigned_abs() % SECOND_NS.unsigned_abs());
    let mut entry = Vec::with_capacity(line.len() + 24);
    field(&mut entry, 1, &time);
    field(&mut entry, 2, line.as_bytes());
    field(stream, 2, &entry);
}

/// A whole push message of one stream, packed.
pub(super) fn one_stream(labels: &str, entries: &[(i64, String)]) -> anyhow::Result<Vec<u8>> {
    let (mut stream, mut raw, mut out) = (Vec::new(), Vec::new(), Vec::new());
    field(&mut stream, 1, labels.as_bytes());
    for (at_ns, line) in entries {
        put_entry(&mut stream, *at_ns, line);
    }
    field(&mut raw, 1, &stream);
    packed(&mut snap::raw::Encoder::new(), &raw, &mut out)?;
    Ok(out)
}

/// About so many lines of the hour until `end`, which is a whole minute. Bodies go to `file`, lines to a file for each
/// stream in `dir`. One seed gives one load, byte for byte, for the same end.
pub(super) fn hour(file: &Path, dir: &Path, lines: f64, end: i64, seed: u64) -> anyhow::Result<Load> {
    let mut random = Random(seed);
    let start = end - SPAN_S;
    let in_round: usize = PODS * TOGETHER * SERVICES.iter().map(|service| service.weight).sum::<usize>();
    let rounds = ((lines / in_round as f64).round() as usize).max(1);
    let mut packer = Packer::new(file)?;
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut files = Vec::new();
    let mut writers = Vec::new();
    for pod in 0..PODS {
        for service in SERVICES {
            let path = dir.join(format!("{}-{pod}.log", service.name));
            let writer = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
            writers.push(BufWriter::with_capacity(1 << 17, writer));
            files.push(path);
        }
    }
    let mut truth = Truth::default();
    let (mut raw, mut stream, mut line) = (Vec::new(), Vec::new(), String::new());
    let mut accesses = 0;
    for round in 0..rounds {
        for (pod, writers) in writers.chunks_mut(SERVICES.len()).enumerate() {
            raw.clear();
            for (service, writer) in SERVICES.into_iter().zip(writers) {
                let together = TOGETHER * service.weight;
                // Every line has a moment within its part of the hour, never on the edge of it.
                let part_ns = SPAN_S * SECOND_NS / (rounds * together) as i64;
                stream.clear();
                field(&mut stream, 1, labels(service, pod).as_bytes());
                for number in 0..together {
                    let at = (round * together + number) as i64 * part_ns
                        + 1
                        + random.below(part_ns.unsigned_abs() - 1) as i64;
                    let at_ns = start * SECOND_NS + at;
                    let is_rare = service.format() == Format::Plain && {
                        accesses += 1;
                        accesses % RARE_EVERY == RARE_EVERY / 2
                    };
                    line.clear();
                    let facts = service.line(&mut line, at_ns, &mut random, is_rare)?;
                    truth.rare += u64::from(is_rare);
                    truth.add(service, at_ns, (at / (60 * SECOND_NS)) as usize, &line, &facts);
                    put_entry(&mut stream, at_ns, &line);
                    writer.write_all(line.as_bytes())?;
                    writer.write_all(b"\n")?;
                }
                field(&mut raw, 1, &stream);
            }
            packer.add(&raw, pod)?;
        }
    }
    for mut writer in writers {
        writer.flush()?;
    }
    Ok(Load { bodies: packer.finish()?, start, end, truth, files })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field at the front of a message: its number, its bytes, the rest.
    fn split(message: &[u8]) -> Option<(u8, &[u8], &[u8])> {
        let (&tag, mut rest) = message.split_first()?;
        let (mut value, mut shift) = (0, 0);
        loop {
            let (&byte, more) = rest.split_first()?;
            (value, rest) = (value | u64::from(byte & 0x7f) << shift, more);
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        if tag & 7 == 0 {
            return Some((tag >> 3, &[], rest));
        }
        let (bytes, rest) = rest.split_at(value as usize);
        Some((tag >> 3, bytes, rest))
    }

    fn fields(mut message: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut all = Vec::new();
        while let Some((number, bytes, rest)) = split(message) {
            all.push((number, bytes.to_vec()));
            message = rest;
        }
        all
    }

    #[test]
    fn one_seed_gives_one_load() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let lines = dir.path().join("lines");
        let end = 1_795_000_020;
        let load = hour(&a, &lines, 30_000.0, end, 7).unwrap();
        let again = hour(&b, &lines, 30_000.0, end, 7).unwrap();
        assert_eq!(load.truth, again.truth);
        let all = std::fs::read(&a).unwrap();
        assert_eq!(all, std::fs::read(&b).unwrap());

        let truth = &load.truth;
        assert_eq!((truth.lines, load.bodies.len(), load.files.len()), (32_640, 8, 48));
        assert_eq!(truth.lines_of_service.values().sum::<u64>(), truth.lines);
        assert_eq!(truth.took_ms.values().map(Vec::len).collect::<Vec<_>>(), [60; 3]);
        let in_files: u64 = load.files.iter().map(|file| std::fs::metadata(file).unwrap().len()).sum();
        assert_eq!(in_files, truth.bytes + truth.lines, "each line has an end");
        let mut errors = truth.errors.clone();
        errors.retain(|at| (load.start * SECOND_NS + 1..end * SECOND_NS).contains(at));
        assert_eq!(errors.len(), truth.errors.len());
        assert_eq!(truth.needles.len(), 4);

        // What is sent is what is in the files.
        let Body { offset, len, group } = load.bodies[5];
        assert_eq!(group, 1);
        let raw = snap::raw::Decoder::new().decompress_vec(&all[offset as usize..offset as usize + len]).unwrap();
        let streams = fields(&raw);
        assert_eq!(streams.len(), SERVICES.len());
        let stream = fields(&streams[0].1);
        let shown = "{cluster=\"prod-1\", env=\"prod\", format=\"json\", job=\"bench\", pod=\"checkout-1\", service=\"checkout\"}";
        assert_eq!(String::from_utf8(stream[0].1.clone()).unwrap(), shown);
        let sent: Vec<String> = stream[1..]
            .iter()
            .map(|(number, entry)| {
                assert_eq!(*number, 2);
                String::from_utf8(fields(entry)[1].1.clone()).unwrap()
            })
            .collect();
        let written = std::fs::read_to_string(lines.join("checkout-1.log")).unwrap();
        assert_eq!(sent, written.lines().skip(510).collect::<Vec<_>>());
    }
}
