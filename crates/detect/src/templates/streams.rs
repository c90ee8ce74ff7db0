//! Lines of many streams, counted by template: which lines are looked at when there are many, and what becomes a series.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use signal::{Labels, Sample, SeriesWrite, StreamWrite, Timestamp};

use super::miner::{Miner, MinerLimits, TemplateId};
use super::words::{Level, Said};

/// The series of lines by template.
pub const LINES_METRIC: &str = "aegis_log_template_lines_total";

/// Labels of a stream that say whose lines they are; the first that is there counts.
const SERVICE_LABELS: [&str; 5] = ["service_name", "service", "job", "app", "container"];
/// Labels and metadata that say how bad a line is.
const LEVEL_LABELS: [&str; 4] = ["detected_level", "level", "severity_text", "severity"];
/// The template under which lines are counted that have no room for a series of their own.
const OTHER: &str = "other";
/// A series without new lines is written for so long, so that what is rare does not cost.
const QUIET: Duration = Duration::from_secs(10 * 60);
/// Then it is forgotten; when its lines come again it begins anew.
const FORGOTTEN: Duration = Duration::from_secs(60 * 60);

/// How much a [`StreamMiner`] does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamMinerLimits {
    /// Bounds of its templates.
    pub miner: MinerLimits,
    /// Series of counts at most; 5,000 by default. Lines that would need more are counted under template `other`.
    pub series: usize,
    /// Lines of one stream that are looked at in a second; 1,000 by default. Of more lines one in 2, 4, 8 … is looked
    /// at, and counts for as many.
    pub stream_lines: u32,
    /// The same for all streams together; 20,000 by default.
    pub lines: u32,
    /// Streams whose rates are kept apart; 10,000 by default.
    pub streams: usize,
}

impl Default for StreamMinerLimits {
    fn default() -> Self {
        Self { miner: MinerLimits::default(), series: 5_000, stream_lines: 1_000, lines: 20_000, streams: 10_000 }
    }
}

/// What became of lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Looked {
    /// Looked at.
    pub mined: u64,
    /// Not looked at, but counted for by those that were.
    pub estimated: u64,
}

/// Whose lines of which template.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
struct Key {
    template: Option<TemplateId>,
    /// Name and value of the label.
    service: Option<(&'static str, Arc<str>)>,
    level: Level,
}

impl Key {
    fn labels(&self) -> Labels {
        let template = self.template.map_or_else(|| OTHER.to_owned(), |id| id.to_string());
        let service = self.service.as_ref().map(|(name, value)| (*name, &**value));
        let level = Some(("level", self.level.as_str())).filter(|(_, level)| !level.is_empty());
        let pairs = [Some(("__name__", LINES_METRIC)), Some(("template", &template)), service, level];
        Labels::from_pairs(pairs.into_iter().flatten())
    }
}

#[derive(Debug)]
struct Count {
    labels: Labels,
    lines: u64,
    /// When the last of them was counted.
    at: Timestamp,
    is_written: bool,
}

impl Count {
    fn new(key: &Key) -> Self {
        Self { labels: key.labels(), lines: 0, at: Timestamp(0), is_written: false }
    }
}

/// How fast a stream is, and which of its lines are looked at.
#[derive(Debug)]
struct Pace {
    service: Option<(&'static str, Arc<str>)>,
    level: Level,
    second: i64,
    /// Lines in this second.
    lines: u32,
    /// One line in so many is looked at; a power of two.
    every: u32,
    /// Lines until the next that is, and until the next group of `every` begins.
    until: u32,
    left: u32,
}

/// Mines the lines of all streams and counts them by template, service and level.
///
/// When lines come faster than its limits, it looks at some of them only, each of which then counts for several. The
/// same lines at the same times give the same counts.
#[derive(Debug)]
pub struct StreamMiner {
    limits: StreamMinerLimits,
    miner: Miner,
    counts: BTreeMap<Key, Count>,
    paces: HashMap<Labels, Pace>,
    second: i64,
    /// Streams that were heard in the second before.
    active: u32,
    active_now: u32,
    /// State of the choice among lines.
    dice: u64,
    written: Option<Timestamp>,
}

impl StreamMiner {
    /// Counts from zero, with what `miner` knows.
    #[must_use]
    pub fn new(miner: Miner, limits: StreamMinerLimits) -> Self {
        Self {
            limits,
            miner,
            counts: BTreeMap::new(),
            paces: HashMap::new(),
            second: i64::MIN,
            active: 1,
            active_now: 0,
            dice: 0x9E37_79B9_7F4A_7C15,
            written: None,
        }
    }

    /// What it knows of templates; their counts are estimates where not all lines were looked at.
    #[must_use]
    pub fn miner(&self) -> &Miner {
        &self.miner
    }

    /// Takes lines into account that came at `now`.
    pub fn observe(&mut self, streams: &[StreamWrite], now: Timestamp) -> Looked {
        let second = now.0.div_euclid(1_000);
        if second != self.second {
            self.second = second;
            self.active = self.active_now.max(1);
            self.active_now = 0;
        }
        let mut looked = Looked::default();
        for stream in streams {
            self.observe_stream(stream, now, &mut looked);
        }
        looked
    }

    fn observe_stream(&mut self, stream: &StreamWrite, now: Timestamp, looked: &mut Looked) {
        if self.paces.len() >= self.limits.streams && !self.paces.contains_key(&stream.labels) {
            // Who comes again is measured again.
            self.paces.clear();
        }
        let share = self.limits.stream_lines.min(self.limits.lines / self.active).max(1);
        let Self { limits, miner, counts, paces, dice, second, active_now, .. } = self;
        let pace = paces.entry(stream.labels.clone()).or_insert_with(|| Pace::new(&stream.labels));
        if pace.second != *second {
            *active_now += 1;
            pace.turn(*second, share);
        }
        for line in &stream.lines {
            let Some(weight) = pace.weight(share, dice) else { continue };
            looked.mined += 1;
            looked.estimated += u64::from(weight - 1);
            let mut said = Said::read(&line.line);
            if said.level == Level::Unknown {
                said.level = level_of(&line.metadata).unwrap_or(pace.level);
            }
            let level = said.level;
            let template = Some(miner.observe_for(line.at, said, u64::from(weight)).id);
            let mut key = Key { template, service: pace.service.clone(), level };
            if counts.len() >= limits.series && !counts.contains_key(&key) {
                key = Key { template: None, service: None, level };
            }
            let count = counts.entry(key).or_insert_with_key(Count::new);
            count.lines += u64::from(weight);
            count.at = now;
        }
    }

    /// The counters at `now`, a sample for each. A new one begins with a zero at the time of the call before, so that
    /// its first lines are an increase.
    pub fn series(&mut self, now: Timestamp) -> Vec<SeriesWrite> {
        let before = self.written.replace(now).filter(|before| *before < now);
        self.counts.retain(|_, count| now.since(count.at) < FORGOTTEN);
        let lively = self.counts.values_mut().filter(|count| now.since(count.at) < QUIET);
        lively
            .map(|count| {
                let zero = before.filter(|_| !count.is_written).map(|at| Sample { at, value: 0.0 });
                count.is_written = true;
                let sample = Sample { at: now, value: count.lines as f64 };
                SeriesWrite::new(count.labels.clone(), zero.into_iter().chain([sample]))
            })
            .collect()
    }
}

impl Pace {
    fn new(labels: &Labels) -> Self {
        let service = SERVICE_LABELS.iter().find_map(|name| Some((*name, labels.get(name)?.into())));
        let level = level_of(labels).unwrap_or_default();
        Self { service, level, second: i64::MIN, lines: 0, every: 1, until: 0, left: 0 }
    }

    /// A second begins: as many lines as in that before are expected.
    fn turn(&mut self, second: i64, share: u32) {
        let is_next = self.second.checked_add(1) == Some(second);
        let expected = if is_next { self.lines } else { 0 };
        (self.second, self.lines) = (second, 0);
        let every = expected.div_ceil(share).max(1).checked_next_power_of_two().unwrap_or(1 << 31);
        if every < self.every {
            // The group that was begun would be too long.
            self.left = 0;
        }
        self.every = every;
    }

    /// For how many lines the next one counts, if it is looked at.
    fn weight(&mut self, share: u32, dice: &mut u64) -> Option<u32> {
        self.lines = self.lines.saturating_add(1);
        if self.left == 0 {
            // More came than was expected.
            if self.lines / self.every > share && self.every < 1 << 31 {
                self.every *= 2;
            }
            self.left = self.every;
            *dice = dice.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
            self.until = u32::try_from(*dice >> 33).unwrap_or(0) & (self.every - 1);
        }
        self.left -= 1;
        let is_chosen = self.until == 0;
        self.until = self.until.wrapping_sub(1);
        is_chosen.then_some(self.every)
    }
}

fn level_of(labels: &Labels) -> Option<Level> {
    if labels.is_empty() {
        return None;
    }
    let found = LEVEL_LABELS.iter().filter_map(|name| labels.get(name)).map(Level::parse);
    found.into_iter().find(|level| *level != Level::Unknown)
}

#[cfg(test)]
mod tests {
    use signal::{LogLine, Nanos};

    use super::*;

    fn stream(labels: &[(&str, &str)], lines: impl IntoIterator<Item = String>) -> StreamWrite {
        let line = |line| LogLine { at: Nanos(1), line, metadata: Labels::empty() };
        StreamWrite { labels: Labels::from_pairs(labels.iter().copied()), lines: lines.into_iter().map(line).collect() }
    }

    fn miner(limits: StreamMinerLimits) -> StreamMiner {
        StreamMiner::new(Miner::new(limits.miner), limits)
    }

    /// Service, level and values of each series, the template by its text.
    fn shown(miner: &mut StreamMiner, now: i64) -> Vec<String> {
        let series = miner.series(Timestamp(now));
        let mut shown: Vec<String> = series
            .iter()
            .map(|series| {
                let id = series.labels.get_or_empty("template");
                let text =
                    TemplateId::parse(id).and_then(|id| miner.miner().template(id)).map(|template| &*template.text);
                let others = series.labels.without(|name| name == "template" || name == "__name__");
                let others: Vec<String> = others.iter().map(|(name, value)| format!("{name}={value}")).collect();
                let samples: Vec<String> =
                    series.samples.iter().map(|sample| format!("{}@{}", sample.value, sample.at.0)).collect();
                format!("{} [{}] {}", text.unwrap_or(id), others.join(" "), samples.join(" "))
            })
            .collect();
        shown.sort();
        shown
    }

    #[test]
    fn lines_are_counted_by_template_service_and_level() {
        let mut miner = miner(StreamMinerLimits::default());
        let lines = ["took 1ms", "took 2ms", "[ERROR] pool empty"].map(str::to_owned);
        let mut metadata = stream(&[("job", "b")], ["took 3ms".to_owned()]);
        metadata.lines[0].metadata = Labels::from_pairs([("detected_level", "warn")]);
        let first = [stream(&[("service_name", "a"), ("job", "x")], lines), metadata];
        assert_eq!(miner.observe(&first, Timestamp(1_000)), Looked { mined: 4, estimated: 0 });
        assert_eq!(
            shown(&mut miner, 15_000),
            [
                "[ERROR] pool empty [level=error service_name=a] 1@15000",
                "took <*> [job=b level=warn] 1@15000",
                "took <*> [service_name=a] 2@15000",
            ]
        );
        miner.observe(&[stream(&[("level", "info")], ["took 3ms".to_owned()])], Timestamp(20_000));
        // A new one begins with zero; the others go on.
        assert_eq!(
            shown(&mut miner, 30_000),
            [
                "[ERROR] pool empty [level=error service_name=a] 1@30000",
                "took <*> [job=b level=warn] 1@30000",
                "took <*> [level=info] 0@15000 1@30000",
                "took <*> [service_name=a] 2@30000",
            ]
        );
        assert_eq!(shown(&mut miner, 15 * 60_000), Vec::<String>::new());
    }

    #[test]
    fn series_are_bounded() {
        let mut miner = miner(StreamMinerLimits { series: 2, ..StreamMinerLimits::default() });
        let lines = ["a b", "c d e", "f", "g h i j", "[ERROR] k", "f"].map(str::to_owned);
        miner.observe(&[stream(&[("job", "a")], lines)], Timestamp(0));
        assert_eq!(
            shown(&mut miner, 1),
            ["a b [job=a] 1@1", "c d e [job=a] 1@1", "other [] 3@1", "other [level=error] 1@1",]
        );
    }

    #[test]
    fn of_many_lines_some_count_for_all() {
        let limits = StreamMinerLimits { stream_lines: 100, ..StreamMinerLimits::default() };
        let mut miner = miner(limits);
        let mut total = Looked::default();
        for second in 0..10 {
            let lines =
                (0..10_000).map(|at| if at % 2 == 0 { format!("began {at}") } else { format!("took {at}ms to end") });
            let looked = miner.observe(&[stream(&[("job", "a")], lines)], Timestamp(second * 1_000));
            assert!((40..2_000).contains(&looked.mined), "{looked:?}");
            total.mined += looked.mined;
            total.estimated += looked.estimated;
        }
        let all = total.mined + total.estimated;
        assert!((99_000..101_000).contains(&all), "{total:?}");
        // Lines of a regular order are not always the same ones.
        for count in miner.counts.values() {
            assert!((40_000..60_000).contains(&count.lines), "{count:?}");
        }
        // When it is quiet again, every line counts.
        miner.observe(&[stream(&[("job", "a")], [])], Timestamp(11_000));
        let looked = miner.observe(&[stream(&[("job", "a")], ["began 1".to_owned()])], Timestamp(12_000));
        assert_eq!(looked, Looked { mined: 1, estimated: 0 });
    }

    #[test]
    fn many_streams_share_what_is_looked_at() {
        let limits = StreamMinerLimits { lines: 1_000, streams: 50, ..StreamMinerLimits::default() };
        let mut miner = miner(limits);
        let mut mined = 0;
        for second in 0..5 {
            mined = 0;
            for number in 0..40 {
                let lines = (0..200).map(|at| format!("took {at}ms"));
                let name = number.to_string();
                mined += miner.observe(&[stream(&[("job", &name)], lines)], Timestamp(second * 1_000)).mined;
            }
        }
        assert!((500..=1_500).contains(&mined), "{mined}");
        for number in 0..1_000 {
            miner.observe(&[stream(&[("pod", &number.to_string())], ["x".to_owned()])], Timestamp(9_000));
            assert!(miner.paces.len() <= 50);
        }
    }
}
