//! Blocks as a whole.

pub(super) mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::Index;
use signal::{
    BucketSpan, Buckets, Histogram, HistogramSample, Labels, MatchOp, Matcher, Sample, TimeRange, Timestamp, all_match,
};

use self::values::{histograms, values};
use super::format::{BlockMeta, FORMAT, Footer};
use super::section::{self, PagePlace};
use super::{Block, BlockSeries, BlockWriter, PageCache, merge};
use crate::block_file::UNFINISHED;
use crate::block_file::{self, BlockError, BlockOrigin, HEADER, TRAILER, WriteBlockError};
use crate::disk::{Disk, Fault, MemoryDisk};
use crate::snapshot::Latest;

/// Few names and values, so that many series share some.
fn series_set(most: usize) -> impl Strategy<Value = Vec<BlockSeries>> {
    let labels = proptest::collection::btree_map(
        prop_oneof![Just("__name__"), Just("job"), Just("a"), Just("ü")],
        prop_oneof![Just("up".to_owned()), Just("x".to_owned()), "[a-c]{1,2}"],
        0..4,
    );
    let one = (labels, samples(), histograms(20), any::<bool>());
    proptest::collection::vec(one, 0..most).prop_map(|all| {
        let mut series: Vec<BlockSeries> = all
            .into_iter()
            .map(|(labels, samples, histograms, is_both)| BlockSeries {
                labels: Labels::from_pairs(labels),
                histograms: if is_both { histograms } else { Vec::new() },
                // Histograms lie on multiples of 15 s, samples a little behind.
                samples,
            })
            .filter(|series| !series.samples.is_empty() || !series.histograms.is_empty())
            .collect();
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        series.dedup_by(|a, b| a.labels == b.labels);
        series
    })
}

fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let steps = prop_oneof![
        3 => Just((15_000, 0)),
        1 => Just((15_000, 5)),
        1 => Just((60_000, 1)),
        1 => (1_i64..1 << 50, 0_i64..100),
    ];
    (values(100), steps, 0_i64..5).prop_map(|(values, (step, jitter), start)| {
        let instant = |at: i64| 1 + start * 60_000 + at * step + if jitter == 0 { 0 } else { at * 31 % jitter };
        let all = values.into_iter().enumerate();
        all.map(|(at, value)| Sample { at: Timestamp(instant(at as i64)), value }).collect()
    })
}

const FILE: &str = "/blocks/one.blk";

fn disk() -> (MemoryDisk, Arc<dyn Disk>) {
    let disk = MemoryDisk::new();
    (disk.clone(), Arc::new(disk))
}

fn write(disk: &Arc<dyn Disk>, file: &str, series: &[BlockSeries]) -> Result<BlockMeta, WriteBlockError> {
    let origin = BlockOrigin { level: 2, sources: vec![7, 9] };
    let mut writer = BlockWriter::create(Arc::clone(disk), Path::new(file), origin)?;
    for series in series {
        writer.push(series)?;
    }
    writer.finish()
}

fn open(disk: &Arc<dyn Disk>, file: &str) -> Result<Block, BlockError> {
    Block::open(&**disk, Path::new(file), &Arc::new(PageCache::new(1 << 20)))
}

fn written(series: &[BlockSeries]) -> Block {
    let (_, disk) = disk();
    write(&disk, FILE, series).unwrap();
    open(&disk, FILE).unwrap()
}

/// Everything in a block, with values as bits.
fn everything(block: &Block) -> Result<Vec<BlockSeries>, BlockError> {
    let ids = block.select(&[])?;
    let labels = block.labels(&ids)?;
    let read = ids.into_iter().zip(labels).map(|(id, labels)| {
        let mut series = BlockSeries { labels, ..BlockSeries::default() };
        block.read(id, TimeRange::all(), &mut series.samples, &mut series.histograms)?;
        Ok(series)
    });
    read.collect()
}

fn is_same(a: &[BlockSeries], b: &[BlockSeries]) -> bool {
    let same_samples = |a: &Sample, b: &Sample| a.at == b.at && a.value.to_bits() == b.value.to_bits();
    let same_histograms =
        |a: &HistogramSample, b: &HistogramSample| a.at == b.at && a.histogram.is_identical(&b.histogram);
    let same = |a: &BlockSeries, b: &BlockSeries| {
        a.labels == b.labels
            && a.samples.len() == b.samples.len()
            && a.samples.iter().zip(&b.samples).all(|(a, b)| same_samples(a, b))
            && a.histograms.len() == b.histograms.len()
            && a.histograms.iter().zip(&b.histograms).all(|(a, b)| same_histograms(a, b))
    };
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
}

fn within(series: &BlockSeries, range: TimeRange) -> BlockSeries {
    BlockSeries {
        labels: series.labels.clone(),
        samples: series.samples.iter().filter(|sample| range.contains(sample.at)).copied().collect(),
        histograms: series.histograms.iter().filter(|sample| range.contains(sample.at)).cloned().collect(),
    }
}

/// What is newest, as text: NaNs are not equal to themselves.
fn newest(series: &BlockSeries) -> String {
    let sample = series.samples.last().map(|sample| (sample.at, Latest::Sample(*sample)));
    let histogram = series.histograms.last().map(|sample| (sample.at, Latest::Histogram(sample.clone())));
    let newest = [sample, histogram].into_iter().flatten().max_by_key(|(at, _)| *at);
    format!("{:?}", newest.map(|(_, latest)| latest))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_block_answers_as_its_series_do(all in series_set(12), from in 0_i64..1_000, length in 0_i64..1_000) {
        let block = written(&all);
        prop_assert!(is_same(&everything(&block).unwrap(), &all));
        block.verify().unwrap();
        let range = TimeRange::new(Timestamp(from * 3_000), Timestamp((from + length) * 3_000));
        for (id, series) in all.iter().enumerate() {
            let inside = within(series, range);
            let mut read = BlockSeries { labels: series.labels.clone(), ..BlockSeries::default() };
            block.read(id as u32, range, &mut read.samples, &mut read.histograms).unwrap();
            prop_assert!(is_same(std::slice::from_ref(&read), std::slice::from_ref(&inside)));
            let latest = format!("{:?}", block.latest(id as u32, range).unwrap());
            prop_assert_eq!(latest, newest(&inside));
            let has = !inside.samples.is_empty() || !inside.histograms.is_empty();
            prop_assert_eq!(block.has_samples(id as u32, range).unwrap(), has);
        }
        let meta = block.meta();
        prop_assert_eq!(meta.series, all.len() as u64);
        prop_assert_eq!(meta.samples, all.iter().map(|series| series.samples.len() as u64).sum::<u64>());
        prop_assert_eq!((meta.level, &meta.sources[..]), (2, &[7, 9][..]));
        prop_assert!(all.iter().flat_map(|series| &series.samples).all(|sample| meta.range.contains(sample.at)));
    }

    #[test]
    fn matchers_allow_the_same_series_as_label_by_label(all in series_set(16)) {
        let block = written(&all);
        let names = ["__name__", "job", "a", "ü", "nobody"];
        let values = ["", "up", "x", "a|b", "x|up", "[ab].*", ".*", ".+", "a.?|", "nothing"];
        let ops = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
        let matcher = |name, op, value: &str| Matcher::new(name, op, value).unwrap();
        let one = |name| values.into_iter().flat_map(move |value| ops.map(|op| vec![matcher(name, op, value)]));
        let single = names.into_iter().flat_map(one);
        let pairs = ops.into_iter().flat_map(|op| {
            ops.map(|other| vec![matcher("job", op, "x"), matcher("__name__", other, "up"), matcher("a", op, "a.*")])
        });
        for matchers in single.chain(pairs).chain([vec![]]) {
            let want: Vec<u32> =
                (0..).zip(&all).filter(|(_, series)| all_match(&matchers, &series.labels)).map(|(id, _)| id).collect();
            let found = block.select(&matchers).unwrap();
            prop_assert_eq!(&found, &want, "{:?}", &matchers);
        }
    }

    #[test]
    fn labels_are_those_of_series_with_something_there(all in series_set(16), from in 0_i64..400, length in 0_i64..400) {
        let block = written(&all);
        let part = TimeRange::new(Timestamp(from * 9_000), Timestamp((from + length) * 9_000));
        for range in [TimeRange::all(), part] {
            let times = |series: &BlockSeries| {
                let samples = series.samples.iter().map(|sample| sample.at);
                samples.chain(series.histograms.iter().map(|sample| sample.at)).any(|at| range.contains(at))
            };
            let there: Vec<_> = all.iter().filter(|series| times(series)).collect();
            let pairs = || there.iter().flat_map(|series| series.labels.iter());
            let names: BTreeSet<&str> = pairs().map(|(name, _)| name).collect();
            prop_assert_eq!(block.label_names(range, |_| true).unwrap(), names.into_iter().collect::<Vec<_>>());
            prop_assert!(block.label_names(range, |_| false).unwrap().is_empty());
            for name in ["job", "a", "nobody"] {
                let values: BTreeSet<&str> = pairs().filter(|(other, _)| *other == name).map(|(_, value)| value).collect();
                prop_assert_eq!(block.label_values(name, range).unwrap(), values.into_iter().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_merge_is_the_last_word_of_each_block(
        blocks in proptest::collection::vec(series_set(6), 0..4),
        cut in (0_i64..200, 0_i64..200),
    ) {
        let (_, disk) = disk();
        let mut want: BTreeMap<Labels, BTreeMap<Timestamp, Result<Sample, HistogramSample>>> = BTreeMap::new();
        let mut opened = Vec::new();
        let deleted = TimeRange::new(Timestamp(cut.0 * 9_000), Timestamp((cut.0 + cut.1) * 9_000));
        for (at, block) in blocks.iter().enumerate() {
            let file = format!("/blocks/{at}.blk");
            write(&disk, &file, block).unwrap();
            opened.push(Arc::new(open(&disk, &file).unwrap()));
            for series in block {
                let all = want.entry(series.labels.clone()).or_default();
                all.extend(series.samples.iter().map(|sample| (sample.at, Ok(*sample))));
                all.extend(series.histograms.iter().map(|sample| (sample.at, Err(sample.clone()))));
            }
        }
        let mut writer = BlockWriter::create(Arc::clone(&disk), Path::new(FILE), BlockOrigin::default()).unwrap();
        let ranges = |labels: &Labels| if labels.get("job").is_some() { vec![deleted] } else { vec![] };
        merge(&opened, &ranges, &mut writer).unwrap();
        writer.finish().unwrap();
        let mut left = Vec::new();
        for (labels, all) in want {
            let mut series = BlockSeries { labels, ..BlockSeries::default() };
            let ranges = ranges(&series.labels);
            for (at, sample) in all {
                if ranges.iter().any(|range| range.contains(at)) {
                    continue;
                }
                match sample {
                    Ok(sample) => series.samples.push(sample),
                    Err(sample) => series.histograms.push(sample),
                }
            }
            if !series.samples.is_empty() || !series.histograms.is_empty() {
                left.push(series);
            }
        }
        prop_assert!(is_same(&everything(&open(&disk, FILE).unwrap()).unwrap(), &left));
    }

    #[test]
    fn bytes_under_right_checksums_are_read_or_refused(
        all in series_set(5),
        changes in proptest::collection::vec((any::<Index>(), any::<Index>(), any::<u8>()), 1..4),
    ) {
        let (memory, disk) = disk();
        write(&disk, FILE, &all).unwrap();
        memory.put(Path::new(FILE), forged(&memory.read(Path::new(FILE)).unwrap(), &changes));
        let Ok(block) = open(&disk, FILE) else { return Ok(()) };
        let Ok(ids) = block.select(&[]) else { return Ok(()) };
        let _ = block.labels(&ids);
        for range in [TimeRange::all(), TimeRange::new(Timestamp(100_000), Timestamp(100_010))] {
            let _ = block.label_values("job", range);
            let _ = block.label_names(range, |_| true);
        }
        let _ = block.select(&[Matcher::equal("job", "x")]);
        for id in ids {
            let _ = block.read(id, TimeRange::all(), &mut vec![], &mut vec![]);
            let _ = block.latest(id, TimeRange::new(Timestamp(0), Timestamp(100_000)));
            let _ = block.has_samples(id, TimeRange::new(Timestamp(100_000), Timestamp(100_010)));
        }
    }
}

/// A block in which some bytes of unpacked pages are others, and every checksum is right again.
fn forged(bytes: &[u8], changes: &[(Index, Index, u8)]) -> Vec<u8> {
    let end = bytes.len() - TRAILER;
    let (offset, len, _) = block_file::read_trailer(bytes[end..].try_into().unwrap()).unwrap();
    let mut footer = Footer::take(&bytes[offset as usize..offset as usize + len as usize]).unwrap();
    let mut pages: Vec<(usize, usize, Vec<u8>)> = Vec::new();
    for (kind, section) in footer.sections.iter().enumerate() {
        for (number, page) in section.pages.iter().enumerate() {
            let stored = bytes[page.offset as usize..][..page.stored as usize].to_vec();
            pages.push((kind, number, section::unpack(stored, section.page_len(number)).unwrap()));
        }
    }
    if pages.is_empty() {
        return bytes.to_vec();
    }
    for (page, place, value) in changes {
        let count = pages.len();
        let page = &mut pages[page.index(count)].2;
        let place = place.index(page.len());
        page[place] = *value;
    }
    let mut out = bytes[..HEADER].to_vec();
    for section in &mut footer.sections {
        section.pages.clear();
    }
    for (kind, _, page) in pages {
        let (offset, stored) = (out.len() as u64, page.len() as u32);
        footer.sections[kind].pages.push(PagePlace { offset, stored, checksum: crc32c::crc32c(&page) });
        out.extend_from_slice(&page);
    }
    let offset = out.len() as u64;
    let mut said = Vec::new();
    footer.put(&mut said);
    out.extend_from_slice(&said);
    out.extend_from_slice(&block_file::trailer(offset, &said));
    out
}

/// A small block with everything in it.
fn small() -> Vec<BlockSeries> {
    let sample = |at: i64, value| Sample { at: Timestamp(at * 15_000), value };
    let histogram = |at: i64| {
        let counts = vec![at as f64, 2.0, 0.5];
        let positive = Buckets { spans: vec![BucketSpan { offset: 1, length: 3 }], counts };
        let histogram = Histogram { count: at as f64 + 2.5, sum: 7.25, positive, ..Histogram::default() };
        HistogramSample { at: Timestamp(at * 15_000), histogram: Arc::new(histogram) }
    };
    vec![
        BlockSeries {
            labels: Labels::from_pairs([("__name__", "latency"), ("job", "api")]),
            samples: vec![sample(9, signal::stale_marker())],
            histograms: (1..6).map(histogram).collect(),
        },
        BlockSeries {
            labels: Labels::from_pairs([("__name__", "requests_total"), ("job", "api")]),
            samples: (0..40).map(|at| sample(at, (at * at) as f64)).collect(),
            histograms: vec![],
        },
        BlockSeries {
            labels: Labels::from_pairs([("__name__", "temperature"), ("job", "bücher")]),
            samples: (0..40).map(|at| sample(at, (200 + at % 7) as f64 / 10.0)).collect(),
            histograms: vec![],
        },
    ]
}

/// A block with every way to keep values and instants.
fn large() -> Vec<BlockSeries> {
    let noise = |at: i64| (at.wrapping_mul(0x5851_f42d_4c95_7f2d).cast_unsigned() >> 33) as i64;
    let named = |name: &str, values: &dyn Fn(i64) -> f64, count: i64, jitter: i64| BlockSeries {
        labels: Labels::from_pairs([("__name__", name), ("instance", &format!("host-{count}"))]),
        samples: (0..count)
            .map(|at| Sample { at: Timestamp(1_000_000 + at * 15_000 + noise(at) % (jitter + 1)), value: values(at) })
            .collect(),
        histograms: vec![],
    };
    let mut all = small();
    all.extend([
        named("constant", &|_| 0.1, 2_000, 0),
        named("counter", &|at| (at % 700 * 37 + noise(at) % 20) as f64, 2_000, 0),
        named("flagged", &|at| if noise(at) % 2 == 0 { 7.0 } else { (noise(at) % 1_000) as f64 }, 300, 0),
        named("fractions", &|at| at as f64 / 7.0, 300, 3),
        named("gauge", &|at| (5_000 + noise(at) % 100) as f64 / 100.0, 2_000, 0),
        named("line", &|at| (at * 1_000 + noise(at) % 9) as f64, 300, 3),
        named("pages", &|at| (noise(at) % 64 * 4_096) as f64, 300, 0),
        named("parabola", &|at| (at * at) as f64, 300, 0),
        named("rare", &|at| if at % 60 == 59 { signal::stale_marker() } else { (at / 100) as f64 }, 300, 0),
        named("thirds", &|at| (noise(at) % 5) as f64 / 3.0, 300, 0),
    ]);
    all.sort_by(|a, b| a.labels.cmp(&b.labels));
    all
}

#[test]
fn a_flipped_byte_is_found_or_does_no_harm() {
    let (memory, disk) = disk();
    write(&disk, FILE, &small()).unwrap();
    let sound = memory.read(Path::new(FILE)).unwrap();
    for place in 0..sound.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = sound.clone();
            bytes[place] ^= flip;
            memory.put(Path::new(FILE), bytes);
            let read = open(&disk, FILE).and_then(|block| block.verify().and_then(|()| everything(&block)));
            match read {
                Ok(read) => assert!(is_same(&read, &small()), "byte {place}"),
                Err(error) => assert!(error.to_string().contains(FILE), "byte {place}: {error}"),
            }
        }
    }
    for len in 0..sound.len() {
        memory.put(Path::new(FILE), sound[..len].to_vec());
        let error = open(&disk, FILE).unwrap_err().to_string();
        assert!(error.contains(FILE) && error.contains("damaged"), "{len} bytes: {error}");
    }
}

#[test]
fn damage_is_named_and_the_rest_is_served() {
    let many: Vec<BlockSeries> = (0..2_000)
        .map(|number| BlockSeries {
            labels: Labels::from_pairs([("__name__", "noise"), ("n", &format!("{number:05}"))]),
            samples: (0..50)
                .map(|at| Sample {
                    at: Timestamp(at),
                    value: f64::from_bits((number * 50 + at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                })
                .collect(),
            histograms: vec![],
        })
        .collect();
    let (memory, disk) = disk();
    write(&disk, FILE, &many).unwrap();
    let mut bytes = memory.read(Path::new(FILE)).unwrap();
    bytes[100_000] ^= 1;
    memory.put(Path::new(FILE), bytes);
    let block = open(&disk, FILE).unwrap();
    let page = HEADER + 3 * section::PAGE;
    assert_eq!(
        block.verify().unwrap_err().to_string(),
        format!("`{FILE}` is damaged at byte {page}: a page does not match its checksum")
    );
    let ids = block.select(&[Matcher::new("n", MatchOp::Regex, "0.*").unwrap()]).unwrap();
    assert_eq!(ids.len(), 2_000);
    let read = |id| block.read(id, TimeRange::all(), &mut vec![], &mut vec![]);
    let lost = ids.iter().filter(|id| read(**id).is_err()).count();
    assert!((1..100).contains(&lost), "{lost} series in the damaged page");
    let newer = {
        let mut bytes = memory.read(Path::new(FILE)).unwrap();
        bytes[8] = 9;
        let checksum = crc32c::crc32c(&bytes[..12]).to_le_bytes();
        bytes[12..16].copy_from_slice(&checksum);
        bytes
    };
    memory.put(Path::new(FILE), newer);
    let error = open(&disk, FILE).unwrap_err().to_string();
    assert_eq!(error, format!("`{FILE}` has format version 9; this version of Aegis reads up to 1"));
}

#[test]
fn a_crash_leaves_the_whole_block_or_none() {
    let file = Path::new(FILE);
    let (memory, whole) = disk();
    write(&whole, FILE, &small()).unwrap();
    for fault in [
        Fault::PowerLoss { kept: 0 },
        Fault::PowerLoss { kept: 50 },
        Fault::Fails { kind: std::io::ErrorKind::StorageFull, kept: 10 },
    ] {
        for after in 0..memory.operations() {
            let (memory, disk) = disk();
            memory.arm(after, fault);
            let finished = write(&disk, FILE, &small());
            assert!(finished.is_err(), "{fault:?} after {after}");
            if matches!(fault, Fault::PowerLoss { .. }) {
                memory.restart();
            } else {
                assert_eq!(
                    memory.files().iter().filter(|file| file.extension().is_some_and(|end| end == UNFINISHED)).count(),
                    0
                );
            }
            if memory.files().iter().any(|there| there == file) {
                assert!(
                    is_same(&everything(&open(&disk, FILE).unwrap()).unwrap(), &small()),
                    "{fault:?} after {after}"
                );
            }
            // What is left behind does not stand in the way.
            write(&disk, FILE, &small()).unwrap();
            memory.restart();
            assert!(is_same(&everything(&open(&disk, FILE).unwrap()).unwrap(), &small()), "{fault:?} after {after}");
        }
    }
}

#[test]
fn long_series_are_read_from_anywhere() {
    let all = large();
    let block = written(&all);
    let ends = [-1_i64, 0, 1_000_000, 1_000_001, 2_919_999, 2_920_000, 9_000_000, 20_000_000, 30_985_000, 40_000_000];
    for (id, series) in (0..).zip(&all) {
        for (start, end) in ends.iter().flat_map(|start| ends.map(|end| (*start, end))) {
            let range = TimeRange::new(Timestamp(start), Timestamp(end));
            let inside = within(series, range);
            let mut read = BlockSeries { labels: series.labels.clone(), ..BlockSeries::default() };
            block.read(id, range, &mut read.samples, &mut read.histograms).unwrap();
            assert!(is_same(std::slice::from_ref(&read), std::slice::from_ref(&inside)), "{} {range:?}", series.labels);
            assert_eq!(
                format!("{:?}", block.latest(id, range).unwrap()),
                newest(&inside),
                "{} {range:?}",
                series.labels
            );
            let has = !inside.samples.is_empty() || !inside.histograms.is_empty();
            assert_eq!(block.has_samples(id, range).unwrap(), has, "{} {range:?}", series.labels);
        }
    }
}

#[test]
fn patterns_find_among_many_values_what_they_match() {
    let names = (0..1_200).map(|number| format!("{}-{number}", ["api", "db", "Api", "x"][number % 4]));
    let mut many: Vec<BlockSeries> = names
        .map(|pod| BlockSeries {
            labels: Labels::from_pairs([("pod", &pod)]),
            samples: vec![Sample { at: Timestamp(1), value: 1.0 }],
            histograms: vec![],
        })
        .collect();
    many.sort_by(|a, b| a.labels.cmp(&b.labels));
    let block = written(&many);
    let patterns = [
        "api-.*",
        "api-1|db-1|nothing",
        "(api|db)-1.",
        "(?i)api-.+",
        ".*-7",
        "x|",
        "api-(12|16).?",
        "b.*",
        "api-4{2}",
        "",
    ];
    for pattern in patterns {
        for op in [MatchOp::Regex, MatchOp::NotRegex] {
            let matchers = [Matcher::new("pod", op, pattern).unwrap()];
            let want: Vec<u32> =
                (0..).zip(&many).filter(|(_, series)| all_match(&matchers, &series.labels)).map(|(id, _)| id).collect();
            assert_eq!(block.select(&matchers).unwrap(), want, "{op}{pattern}");
        }
    }
}

#[test]
fn series_must_ascend() {
    let (_, disk) = disk();
    let mut unsorted = small();
    unsorted.reverse();
    let error = write(&disk, FILE, &unsorted).unwrap_err().to_string();
    assert_eq!(error, format!("series requests_total{{job=\"api\"}} is out of order in `{FILE}`"));
    let mut twice = small();
    let first = twice[1].samples[0];
    twice[1].samples.push(first);
    assert!(matches!(write(&disk, FILE, &twice), Err(WriteBlockError::Order { .. })));
}

#[test]
fn a_small_cache_is_enough() {
    let (_, disk) = disk();
    write(&disk, FILE, &small()).unwrap();
    for limit in [0, 1 << 10, 1 << 16] {
        let cache = Arc::new(PageCache::new(limit));
        let block = Block::open(&*disk, Path::new(FILE), &cache).unwrap();
        assert!(is_same(&everything(&block).unwrap(), &small()));
        assert!(cache.bytes() <= limit);
        drop(block);
        assert_eq!(cache.bytes(), 0);
    }
}

fn released(version: u16) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/formats/v{version}/metrics.blk"))
}

#[test]
fn every_released_format_is_read() {
    for version in 1..=FORMAT.version {
        let (memory, disk) = disk();
        memory.put(Path::new(FILE), std::fs::read(released(version)).unwrap());
        let block = open(&disk, FILE).unwrap();
        block.verify().unwrap();
        assert!(is_same(&everything(&block).unwrap(), &large()), "{version}");
        assert_eq!((block.meta().level, &block.meta().sources[..]), (2, &[7, 9][..]));
    }
}

/// Run once for a new version, before its release: `cargo test -p aegis-store write_a_block -- --ignored`.
#[test]
#[ignore = "writes the file of a new format; never over an existing one"]
fn write_a_block_of_the_current_format() {
    let (memory, disk) = disk();
    write(&disk, FILE, &large()).unwrap();
    let file = released(FORMAT.version);
    assert!(!file.exists(), "{} is there", file.display());
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, memory.read(Path::new(FILE)).unwrap()).unwrap();
}
