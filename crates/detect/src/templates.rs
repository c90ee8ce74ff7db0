use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use signal::{Nanos, Timestamp};

mod words;

use words::{masked, read};

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

/// Share of equal words from which a line belongs to a template.
const SIMILAR: f64 = 0.5;
/// How many leading words a template is filed under.
const LEADING: usize = 1;
/// How many templates are kept in one place and altogether; further lines are counted as one rest.
const PER_LEAF: usize = 64;
const ALTOGETHER: usize = 2_000;
/// How much of a message is looked at.
const WORDS: usize = 100;
const EXAMPLE: usize = 400;
/// What stands for words that vary.
pub(super) const ANY: &str = "<*>";

/// Groups lines by template, most frequent first.
///
/// Lines may be plain or JSON objects (then `message` or `msg` counts, with `level` and `trace_id`). Works online like Drain
/// (He et al., ICWS 2017): words that look like values are masked, lines are filed by level, length and leading words, and
/// join the most similar template there. The same lines in the same order give the same answer.
pub fn mine<'a>(lines: impl Iterator<Item = (Nanos, &'a str)>) -> Vec<TemplateCount> {
    let mut leaves: BTreeMap<Leaf, Vec<usize>> = BTreeMap::new();
    let mut clusters: Vec<Cluster> = Vec::new();
    let mut rest: Option<Cluster> = None;
    for (at, line) in lines {
        let said = read(line);
        let words: Vec<String> = said.message.split_whitespace().take(WORDS).map(masked).collect();
        let leaf = Leaf { level: said.level.clone(), length: words.len(), leading: leading(&words) };
        let members = leaves.entry(leaf).or_default();
        let best = most_similar(members, &clusters, &words);
        if let Some(cluster) = best.and_then(|best| clusters.get_mut(best)) {
            cluster.join(&words);
            cluster.count(at, said.trace);
            continue;
        }
        let fresh = || Cluster::new(words, said.level, &said.message, at);
        if members.len() < PER_LEAF && clusters.len() < ALTOGETHER {
            members.push(clusters.len());
            let mut cluster = fresh();
            cluster.count(at, said.trace);
            clusters.push(cluster);
            continue;
        }
        rest.get_or_insert_with(|| Cluster { words: vec![ANY.to_owned()], level: String::new(), ..fresh() })
            .count(at, said.trace);
    }
    let mut found: Vec<TemplateCount> = clusters.into_iter().chain(rest).map(Cluster::finish).collect();
    found.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| (&a.template, &a.level).cmp(&(&b.template, &b.level))));
    merge_equal(found)
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Leaf {
    level: String,
    length: usize,
    leading: Vec<String>,
}

struct Cluster {
    words: Vec<String>,
    level: String,
    example: String,
    count: u64,
    trace: Option<String>,
    first: Nanos,
    last: Nanos,
}

impl Cluster {
    fn new(words: Vec<String>, level: String, message: &str, at: Nanos) -> Self {
        let example = message.chars().take(EXAMPLE).collect();
        Self { words, level, example, count: 0, trace: None, first: at, last: at }
    }

    fn count(&mut self, at: Nanos, trace: Option<String>) {
        self.count += 1;
        self.first = self.first.min(at);
        self.last = self.last.max(at);
        if self.trace.is_none() {
            self.trace = trace;
        }
    }

    fn join(&mut self, words: &[String]) {
        for (mine, theirs) in self.words.iter_mut().zip(words) {
            if mine != theirs {
                ANY.clone_into(mine);
            }
        }
    }

    fn finish(self) -> TemplateCount {
        TemplateCount {
            template: self.words.join(" "),
            count: self.count,
            level: self.level,
            example: self.example,
            trace: self.trace,
            first: self.first.to_timestamp(),
            last: self.last.to_timestamp(),
        }
    }
}

/// The words a template is filed under; varying ones all count alike.
fn leading(words: &[String]) -> Vec<String> {
    words.iter().take(LEADING).map(|word| if word.contains(ANY) { ANY.to_owned() } else { word.clone() }).collect()
}

fn most_similar(members: &[usize], clusters: &[Cluster], words: &[String]) -> Option<usize> {
    let mut best: Option<(f64, usize)> = None;
    for &member in members {
        let Some(cluster) = clusters.get(member) else { continue };
        let equal = cluster.words.iter().zip(words).filter(|(mine, theirs)| mine == theirs).count();
        let similar = if words.is_empty() { 1.0 } else { equal as f64 / words.len() as f64 };
        if similar >= SIMILAR && best.is_none_or(|(most, _)| similar > most) {
            best = Some((similar, member));
        }
    }
    best.map(|(_, member)| member)
}

/// Templates may grow alike while words turn out to vary.
fn merge_equal(found: Vec<TemplateCount>) -> Vec<TemplateCount> {
    let mut merged: Vec<TemplateCount> = Vec::with_capacity(found.len());
    let mut places: BTreeMap<(String, String), usize> = BTreeMap::new();
    for one in found {
        let key = (one.template.clone(), one.level.clone());
        let place = *places.entry(key).or_insert(merged.len());
        let Some(same) = merged.get_mut(place) else {
            merged.push(one);
            continue;
        };
        same.count += one.count;
        same.first = same.first.min(one.first);
        same.last = same.last.max(one.last);
        same.trace = same.trace.take().or(one.trace);
    }
    merged.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| (&a.template, &a.level).cmp(&(&b.template, &b.level))));
    merged
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
                &["user anna logged in", "user bert logged in", "user carl logged in"],
                &[(3, "", "user <*> logged in")],
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
