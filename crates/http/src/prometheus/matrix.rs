//! The series of a large answer as JSON: by several threads, because that is most of the time such an answer takes.

use std::panic::resume_unwind;
use std::thread::scope;

use signal::{Sample, Timestamp};
use store::Series;

use super::answer::histogram_point;
use crate::json;

/// Points that are worth another thread.
const POINTS: usize = 50_000;
/// Bytes that a point and what stands around a series take, roughly: megabytes should not be copied while they grow.
const POINT_BYTES: usize = 28;
const SERIES_BYTES: usize = 256;

/// Series with commas between them, in parts to be sent one after the other.
pub(super) fn elements(series: &[Series], threads: usize) -> Vec<String> {
    let points = points(series);
    let parts = (points / POINTS).clamp(1, threads.max(1));
    let stamps = Stamps::of(series);
    if parts == 1 {
        return vec![part(series, false, &stamps)];
    }
    let groups = split(series, points.div_ceil(parts));
    scope(|scope| {
        let stamps = &stamps;
        let begin = |(at, group)| scope.spawn(move || part(group, at > 0, stamps));
        let running: Vec<_> = groups.into_iter().enumerate().map(begin).collect();
        running.into_iter().map(|part| part.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

fn points(series: &[Series]) -> usize {
    series.iter().map(|one| one.samples.len() + one.histograms.len()).sum()
}

/// Neighbours together, at least `enough` points in each group but the last.
fn split(series: &[Series], enough: usize) -> Vec<&[Series]> {
    let mut groups = Vec::new();
    let mut rest = series;
    while !rest.is_empty() {
        let mut held = 0;
        let is_short = |one: &&Series| {
            let takes = held < enough;
            held += one.samples.len() + one.histograms.len();
            takes
        };
        let count = rest.iter().take_while(is_short).count().max(1);
        let (group, after) = rest.split_at_checked(count).unwrap_or((rest, &[]));
        groups.push(group);
        rest = after;
    }
    groups
}

fn part(series: &[Series], continues: bool, stamps: &Stamps) -> String {
    let mut out = String::with_capacity(points(series) * POINT_BYTES + series.len() * SERIES_BYTES);
    for (at, one) in series.iter().enumerate() {
        if at > 0 || continues {
            out.push(',');
        }
        element(&mut out, one, stamps);
    }
    out
}

/// `{"metric":{…},"values":[[ts,"v"],…],"histograms":[[ts,{…}],…]}`; what is empty is left out.
fn element(out: &mut String, series: &Series, stamps: &Stamps) {
    out.push_str(r#"{"metric":"#);
    json::labels(out, &series.labels);
    if !series.samples.is_empty() || series.histograms.is_empty() {
        out.push_str(r#","values":["#);
        stamps.write(out, &series.samples);
        out.push(']');
    }
    if !series.histograms.is_empty() {
        out.push_str(r#","histograms":"#);
        json::array(out, &series.histograms, |out, sample| histogram_point(out, sample.at, &sample.histogram));
    }
    out.push('}');
}

/// The times of a range query, which most series share, ready to be copied.
struct Stamps(Vec<(Timestamp, String)>);

impl Stamps {
    /// Those of the longest series.
    fn of(series: &[Series]) -> Self {
        let longest = series.iter().max_by_key(|one| one.samples.len());
        // Not worth it for one series.
        let samples = longest.filter(|_| series.len() > 1).map_or(&[][..], |one| &one.samples);
        let text = |at| {
            let mut text = String::from("[");
            json::push_seconds(&mut text, at);
            text.push_str(",\"");
            text
        };
        Self(samples.iter().map(|sample| (sample.at, text(sample.at))).collect())
    }

    fn write(&self, out: &mut String, samples: &[Sample]) {
        let mut known = self.0.iter().peekable();
        for (at, sample) in samples.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            while known.next_if(|(stamp, _)| *stamp < sample.at).is_some() {}
            match known.next_if(|(stamp, _)| *stamp == sample.at) {
                Some((_, text)) => {
                    out.push_str(text);
                    json::push_number(out, sample.value);
                    out.push_str("\"]");
                }
                None => json::point(out, sample.at, sample.value),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use signal::{HistogramSample, Labels};

    use super::*;

    #[test]
    fn a_series_shows_what_it_has() {
        let sample = Sample { at: Timestamp(1_000), value: 0.5 };
        let histogram = HistogramSample { at: Timestamp(2_000), histogram: Arc::default() };
        let shown = r#"[2,{"count":"0","sum":"0"}]"#;
        for (samples, histograms, want) in [
            (vec![sample], vec![], r#"{"metric":{"a":"b"},"values":[[1,"0.5"]]}"#.to_owned()),
            (vec![], vec![histogram.clone()], format!(r#"{{"metric":{{"a":"b"}},"histograms":[{shown}]}}"#)),
            (
                vec![sample],
                vec![histogram],
                format!(r#"{{"metric":{{"a":"b"}},"values":[[1,"0.5"]],"histograms":[{shown}]}}"#),
            ),
        ] {
            let series = Series { labels: Labels::from_pairs([("a", "b")]), samples, histograms };
            assert_eq!(elements(&[series], 1), [want]);
        }
    }

    #[test]
    fn many_points_are_shared_out() {
        let one = |name: String| Series {
            labels: Labels::from_pairs([("n", name)]),
            samples: (0..1_000).map(|k| Sample { at: Timestamp(k * 15_000), value: k as f64 / 4.0 }).collect(),
            histograms: Vec::new(),
        };
        let series: Vec<_> = (0..201).map(|k| one(k.to_string())).collect();
        let parts = elements(&series, 3);
        assert_eq!(parts.len(), 3);
        assert_eq!(parts.concat(), elements(&series, 1).concat());
    }

    proptest! {
        #[test]
        fn gaps_and_groups_change_nothing(
            rows in prop::collection::vec(prop::collection::btree_map(0..20_i64, -5..5_i32, 0..12), 0..12),
            enough in 1..30_usize,
        ) {
            let series: Vec<_> = rows.iter().map(|row| Series {
                labels: Labels::empty(),
                samples: row.iter().map(|(at, value)| Sample { at: Timestamp(*at * 500), value: f64::from(*value) }).collect(),
                histograms: Vec::new(),
            }).collect();
            let stamps = Stamps::of(&series);
            let groups = split(&series, enough);
            let found: String = groups.iter().enumerate().map(|(at, group)| part(group, at > 0, &stamps)).collect();
            let mut want = String::new();
            json::array(&mut want, &series, |out, one| {
                out.push_str(r#"{"metric":"#);
                json::labels(out, &one.labels);
                out.push_str(r#","values":"#);
                json::array(out, &one.samples, |out, sample| json::point(out, sample.at, sample.value));
                out.push('}');
            });
            prop_assert_eq!(format!("[{found}]"), want);
        }
    }
}
