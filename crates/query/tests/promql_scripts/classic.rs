//! Classic histograms as native ones with custom buckets, for `load_with_nhcb`.

use std::collections::BTreeMap;
use std::sync::Arc;

use aegis_query::lex::parse_number;
use signal::{BucketSpan, Buckets, Histogram, Labels, is_stale};

use super::compare::Point;

/// What a classic histogram says at one time.
#[derive(Default)]
struct Classic {
    /// Bound and cumulative count.
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: Option<f64>,
    stale: bool,
}

/// The native series of all classic histograms among `loaded`.
pub(crate) fn to_native(loaded: &[(Labels, Vec<Option<Point>>)]) -> Vec<(Labels, Vec<Option<Point>>)> {
    let mut found: BTreeMap<Labels, BTreeMap<usize, Classic>> = BTreeMap::new();
    for (labels, points) in loaded {
        let name = labels.metric_name().unwrap_or_default();
        let Some((base, part)) = name.rsplit_once('_').filter(|(_, part)| ["bucket", "count", "sum"].contains(part))
        else {
            continue;
        };
        let bound = parse_number(labels.get_or_empty("le"));
        if part == "bucket" && bound.is_none() {
            continue;
        }
        let identity = labels.without(|label| label == "le").with(Labels::NAME, base);
        for (index, point) in points.iter().enumerate() {
            let Some(Point::Float(value)) = point else {
                continue;
            };
            let classic = found.entry(identity.clone()).or_default().entry(index).or_default();
            classic.stale |= is_stale(*value);
            match part {
                "count" => classic.count = Some(*value),
                "sum" => classic.sum = Some(*value),
                _ => classic.buckets.push((bound.unwrap(), *value)),
            }
        }
    }
    let row = |times: BTreeMap<usize, Classic>| {
        let last = times.keys().next_back().copied().unwrap_or(0);
        let mut row = vec![None; last + 1];
        for (index, classic) in times {
            let point = (!classic.stale).then(|| Point::Histogram(Arc::new(classic.native())));
            *row.get_mut(index).unwrap() = point;
        }
        row
    };
    found.into_iter().map(|(labels, times)| (labels, row(times))).collect()
}

impl Classic {
    fn native(mut self) -> Histogram {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        // One bound written in two ways is one bucket.
        self.buckets.dedup_by_key(|bucket| bucket.0);
        let (mut before, mut counts, mut bounds) = (0.0, Vec::new(), Vec::new());
        for (bound, count) in self.buckets {
            counts.push(count - before);
            before = count;
            if bound.is_finite() {
                bounds.push(bound);
            }
        }
        let count = self.count.unwrap_or(before);
        if counts.len() == bounds.len() {
            counts.push(count - before);
        }
        let spans = vec![BucketSpan { offset: 0, length: u32::try_from(counts.len()).unwrap() }];
        Histogram {
            schema: Histogram::CUSTOM_BUCKETS,
            count,
            sum: self.sum.unwrap_or(0.0),
            positive: Buckets { spans, counts },
            custom_values: bounds.into(),
            ..Histogram::default()
        }
    }
}
