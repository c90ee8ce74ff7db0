use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use signal::{Nanos, Timestamp};

mod mask;
mod merge;
mod miner;
mod pattern;
mod state;
mod streams;
mod words;

pub use miner::{Match, Miner, MinerLimits, Template, TemplateId};
pub use state::{MinerState, RestoreError};
pub use streams::{LINES_METRIC, Looked, StreamMiner, StreamMinerLimits};
pub use words::{Level, Said};

use mask::ANY;

/// Lines that say the same with different values.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TemplateCount {
    /// The common text, `<*>` where it varies.
    pub template: String,
    /// How many lines.
    pub count: u64,
    /// `error`, `warn`, …; empty if the lines do not say.
    pub level: String,
    /// The message of the first line.
    pub example: String,
    /// A trace one of the lines belongs to.
    pub trace: Option<String>,
    /// The earliest line.
    pub first: Timestamp,
    /// The latest line.
    pub last: Timestamp,
}

/// How many templates are told apart in one answer; the lines of others are counted as one rest.
const ALTOGETHER: usize = 2_000;

/// Groups lines by template, most frequent first.
///
/// Lines may be plain, logfmt or JSON objects; see [`Said`]. The same lines in the same order give the same answer.
pub fn mine<'a>(lines: impl Iterator<Item = (Nanos, &'a str)>) -> Vec<TemplateCount> {
    let mut miner = Miner::new(MinerLimits { templates: ALTOGETHER, ..MinerLimits::default() });
    let mut tallies: BTreeMap<TemplateId, Tally> = BTreeMap::new();
    let mut rest: Option<Tally> = None;
    for (at, line) in lines {
        let mut said = Said::read_with(line, true);
        let trace = said.trace.take();
        let id = miner.observe_said(at, said).id;
        let is_one_more = tallies.len() >= ALTOGETHER && !tallies.contains_key(&id);
        let tally = if is_one_more { rest.get_or_insert_default() } else { tallies.entry(id).or_default() };
        if tally.count == 0
            && let Some(template) = miner.template(id)
        {
            tally.begin(template, at);
        }
        tally.count(at, trace.as_deref());
    }
    let mut found: BTreeMap<TemplateId, Tally> = BTreeMap::new();
    for (id, tally) in tallies {
        let id = miner.resolve(id);
        found.entry(id).or_default().add(tally);
    }
    for (id, tally) in &mut found {
        if let Some(template) = miner.template(*id) {
            tally.text.clone_from(&template.text);
        }
    }
    if let Some(rest) = &mut rest {
        ANY.clone_into(&mut rest.text);
        rest.level = Level::Unknown;
    }
    let mut found: Vec<TemplateCount> = found.into_values().chain(rest).map(Tally::finish).collect();
    found.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| (&a.template, &a.level).cmp(&(&b.template, &b.level))));
    found
}

/// The lines of one template so far.
#[derive(Default)]
struct Tally {
    text: String,
    level: Level,
    example: String,
    count: u64,
    trace: Option<String>,
    first: Nanos,
    last: Nanos,
}

impl Tally {
    fn begin(&mut self, template: &Template, at: Nanos) {
        self.text.clone_from(&template.text);
        self.level = template.level;
        self.example.clone_from(&template.example);
        (self.first, self.last) = (at, at);
    }

    fn count(&mut self, at: Nanos, trace: Option<&str>) {
        self.count += 1;
        self.first = self.first.min(at);
        self.last = self.last.max(at);
        if self.trace.is_none() {
            self.trace = trace.filter(|trace| !trace.is_empty()).map(str::to_owned);
        }
    }

    fn add(&mut self, other: Self) {
        if self.count == 0 {
            *self = other;
            return;
        }
        self.count += other.count;
        if other.first < self.first {
            self.example = other.example;
        }
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.trace = self.trace.take().or(other.trace);
    }

    fn finish(self) -> TemplateCount {
        TemplateCount {
            template: self.text,
            count: self.count,
            level: self.level.as_str().to_owned(),
            example: self.example,
            trace: self.trace,
            first: self.first.to_timestamp(),
            last: self.last.to_timestamp(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mined(lines: &[&str]) -> Vec<(u64, String, String)> {
        mine(lines.iter().enumerate().map(|(at, line)| (Nanos(at as i64 * 1_000_000), *line)))
            .into_iter()
            .map(|found| (found.count, found.level, found.template))
            .collect()
    }

    #[test]
    fn lines_that_differ_in_values_are_one_template() {
        type Case = (&'static str, &'static [&'static str], &'static [(u64, &'static str, &'static str)]);
        let cases: [Case; 8] = [
            ("nothing", &[], &[]),
            (
                "numbers and units",
                &["Database query slow: 2.3s", "Database query slow: 1.7s"],
                &[(2, "", "Database query slow: <*>")],
            ),
            (
                "addresses and ids",
                &[
                    "lost 10.0.0.1:9000 id=3f2504e0-4f89-11d3-9a0c-0305e82c3301",
                    "lost 10.0.0.7:9000 id=a1b2c3d4e5f60718",
                ],
                &[(2, "", "lost <*> id=<*>")],
            ),
            (
                "json, by level",
                &[
                    r#"{"level":"error","message":"Error: Connection pool exhausted","trace_id":"a1"}"#,
                    r#"{"level":"ERROR","msg":"Error: Connection pool exhausted"}"#,
                    r#"{"level":"info","message":"User created successfully"}"#,
                ],
                &[(2, "error", "Error: Connection pool exhausted"), (1, "info", "User created successfully")],
            ),
            (
                "words that vary",
                &[
                    "user anna logged in",
                    "user bert logged in",
                    "user carl logged in",
                    "user dora logged in",
                    "user emil logged in",
                    "user fritz logged in",
                ],
                &[(6, "", "user <*> logged in")],
            ),
            (
                "different things",
                &["disk is full", "pool is empty"],
                &[(1, "", "disk is full"), (1, "", "pool is empty")],
            ),
            ("plain with a level", &["2024-01-25T14:30:45Z WARN slow 12ms"], &[(1, "warn", "<*> WARN slow <*>")]),
            ("not quite json", &["{\"level\": broken"], &[(1, "", "{\"level\": broken")]),
        ];
        for (case, lines, want) in cases {
            let want: Vec<_> =
                want.iter().map(|(n, level, text)| (*n, (*level).to_owned(), (*text).to_owned())).collect();
            assert_eq!(mined(lines), want, "{case}");
        }
    }

    #[test]
    fn a_template_remembers_a_trace_and_its_times() {
        let lines = [
            (Nanos(5_000_000), r#"{"message":"slow 1s"}"#),
            (Nanos(3_000_000), r#"{"message":"slow 2s","trace_id":"a1b2"}"#),
        ];
        let found = mine(lines.into_iter());
        assert_eq!(
            (found[0].trace.as_deref(), found[0].first, found[0].last),
            (Some("a1b2"), Timestamp(3), Timestamp(5))
        );
        assert_eq!(found[0].example, "slow 1s");
    }

    #[test]
    fn memory_is_bounded() {
        let lines: Vec<String> = (0..5_000_u32)
            .map(|at| {
                let word = |seed: u32| -> String {
                    (0..6).map(|place| char::from(b'a' + (at.wrapping_mul(seed) >> (place * 4)) as u8 % 26)).collect()
                };
                format!("{} {} {}", word(2_654_435_761), word(40_503), word(97))
            })
            .collect();
        let found = mine(lines.iter().map(|line| (Nanos(0), line.as_str())));
        assert!(found.len() <= ALTOGETHER + 1);
        assert_eq!(found.iter().map(|one| one.count).sum::<u64>(), 5_000);
    }

    proptest::proptest! {
        #[test]
        fn every_line_is_counted_once(lines in proptest::collection::vec(".{0,60}", 0..50)) {
            let found = mine(lines.iter().map(|line| (Nanos(1), line.as_str())));
            proptest::prop_assert_eq!(found.iter().map(|one| one.count).sum::<u64>(), lines.len() as u64);
            proptest::prop_assert_eq!(&found, &mine(lines.iter().map(|line| (Nanos(1), line.as_str()))));
        }
    }
}
