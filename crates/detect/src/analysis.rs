//! Is anything unusual in a list of metric points? The question behind `detect-anomaly`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use signal::{Severity, Timestamp};

use crate::detector::median;
use crate::transition::{significant, two_decimals};
use crate::{Baseline, Role, Unit, Watch};

/// One value of one metric type at one time.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MetricPoint {
    /// `request_rate`, `error_rate`, …
    pub metric_type: String,
    /// The value.
    pub value: f64,
    /// When.
    pub timestamp: Timestamp,
    /// Whose; `service` is understood.
    pub labels: BTreeMap<String, String>,
}

/// The answer: one verdict over all points, and why.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Analysis {
    /// Whether anything is unusual enough to tell.
    pub is_anomaly: bool,
    /// How unusual all together, from 0 to 1.
    pub anomaly_score: f64,
    /// How bad the worst metric is.
    pub severity: Severity,
    /// `scale_up`, `roll_back`, `investigate` or `none`.
    pub recommended_action: String,
    /// How far the answer can be trusted, from 0 to 1; 0 without any history.
    pub confidence: f64,
    /// The unusual metric types, in the order of the watches.
    pub affected_metrics: Vec<String>,
    /// Numbers by metric type, for every one that could be judged.
    pub details: BTreeMap<String, Detail>,
}

/// The numbers behind one metric type.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Detail {
    /// The latest value.
    pub current: f64,
    /// The usual value.
    pub expected: f64,
    /// Distance in robust standard deviations, signed.
    pub deviation: f64,
}

/// Points of one metric type and label set that make a history of their own.
const HISTORY: usize = 8;
/// Standard deviations from which a metric counts as unusual.
const UNUSUAL: f64 = 2.0;
/// Standard deviations beyond which more says no more.
const MOST: f64 = 6.0;

/// Judges the latest point of every metric type and label set against its own history (when the list holds at least eight
/// points of it) or else against the baseline of its service. What has neither is left out; when nothing can be judged the
/// answer is "no anomaly" with confidence 0. Points that are no numbers are ignored.
#[must_use]
pub fn analyse(points: &[MetricPoint], watches: &[Watch], baselines: &[Baseline]) -> Analysis {
    let mut groups: BTreeMap<(&str, &BTreeMap<String, String>), Vec<&MetricPoint>> = BTreeMap::new();
    for point in points.iter().filter(|point| point.value.is_finite()) {
        groups.entry((&point.metric_type, &point.labels)).or_default().push(point);
    }
    let mut judged: Vec<Judged<'_>> = Vec::new();
    for ((metric_type, labels), mut group) in groups {
        group.sort_by_key(|point| point.timestamp);
        let watch = watches.iter().find(|watch| watch.metric_type == metric_type);
        if let Some(found) = judge(metric_type, labels, &group, watch, baselines) {
            judged.push(found);
        }
    }
    judged.sort_by(|a, b| b.deviation.abs().total_cmp(&a.deviation.abs()).then(a.metric_type.cmp(b.metric_type)));
    summarise(&judged, points, watches)
}

/// One metric type of one label set, judged.
struct Judged<'a> {
    metric_type: &'a str,
    role: Role,
    unit: Unit,
    current: f64,
    expected: f64,
    deviation: f64,
    samples: u64,
    is_unusual: bool,
}

fn judge<'a>(
    metric_type: &'a str,
    labels: &BTreeMap<String, String>,
    group: &[&MetricPoint],
    watch: Option<&Watch>,
    baselines: &[Baseline],
) -> Option<Judged<'a>> {
    let (latest, history) = group.split_last()?;
    let current = latest.value;
    let (role, unit) = watch.map_or((Role::Load, Unit::Count), |watch| (watch.role, watch.unit));
    let min_effect = watch.map_or(0.0, |watch| watch.min_effect);
    let (expected, spread, samples) = if history.len() >= HISTORY {
        let mut values: Vec<f64> = history.iter().map(|point| point.value).collect();
        let middle = median(&mut values);
        let mut distances: Vec<f64> = values.iter().map(|value| (value - middle).abs()).collect();
        (middle, 1.4826 * median(&mut distances), values.len() as u64)
    } else {
        let service = labels.get("service").map_or("", String::as_str);
        let known = baselines.iter().find(|known| known.metric_type == metric_type && known.service == service)?;
        (known.expected, known.spread, known.samples)
    };
    // A history without any noise would make every change endless.
    let floor = match unit {
        Unit::Ratio => 0.002,
        Unit::PerSecond | Unit::Seconds | Unit::Count => (0.05 * expected.abs()).max(unit.smallest()),
    };
    let deviation = (current - expected) / spread.max(floor);
    let effect = match role {
        Role::Load => (current - expected).abs(),
        Role::Symptom | Role::Saturation => current - expected,
    };
    let is_unusual = deviation.abs() >= UNUSUAL && effect >= min_effect && effect > 0.0;
    Some(Judged { metric_type, role, unit, current, expected, deviation, samples, is_unusual })
}

fn summarise(judged: &[Judged<'_>], points: &[MetricPoint], watches: &[Watch]) -> Analysis {
    let mut details = BTreeMap::new();
    let mut affected: Vec<String> = Vec::new();
    let (mut severity, mut weight) = (Severity::Info, 0.0);
    // Worst first, so the first of a metric type is the one to show.
    for found in judged {
        details.entry(found.metric_type.to_owned()).or_insert_with(|| Detail {
            current: significant(found.current),
            expected: significant(found.expected),
            deviation: two_decimals(found.deviation),
        });
        if !found.is_unusual || affected.iter().any(|name| name == found.metric_type) {
            continue;
        }
        affected.push(found.metric_type.to_owned());
        let (low, high) = if found.current < found.expected {
            (found.current, found.expected)
        } else {
            (found.expected, found.current)
        };
        severity = severity.max(found.unit.severity(low, high));
        weight += found.deviation.abs().min(MOST);
    }
    affected.sort_by_key(|name| watches.iter().position(|watch| watch.metric_type == *name).unwrap_or(watches.len()));
    let is_anomaly = !affected.is_empty();
    // The trust grows with the history behind the numbers: an hour of minutes gives 0.92.
    let samples = judged.iter().filter(|found| found.is_unusual || !is_anomaly).map(|found| found.samples).min();
    let confidence = samples.map_or(0.0, |samples| samples as f64 / (samples as f64 + 5.0));
    Analysis {
        is_anomaly,
        anomaly_score: two_decimals(1.0 - (-weight / 3.0).exp()),
        severity,
        recommended_action: recommend(judged, points).to_owned(),
        confidence: two_decimals(confidence),
        affected_metrics: affected,
        details,
    }
}

/// What the numbers alone suggest. The loop does not act on it: it asks for the cause first.
fn recommend(judged: &[Judged<'_>], points: &[MetricPoint]) -> &'static str {
    let unusual = |role| judged.iter().any(|found| found.is_unusual && found.role == role);
    let is_loaded = judged.iter().any(|found| {
        found.is_unusual
            && found.current > found.expected
            && (found.role == Role::Saturation || found.metric_type == "request_rate")
    });
    if !unusual(Role::Symptom) {
        return if unusual(Role::Load) || unusual(Role::Saturation) { "investigate" } else { "none" };
    }
    if is_loaded {
        return "scale_up";
    }
    let blames_newest = judged
        .iter()
        .any(|found| found.is_unusual && found.role == Role::Symptom && newest_is_worst(found.metric_type, points));
    if blames_newest { "roll_back" } else { "investigate" }
}

/// Whether the newest of several revisions has clearly the worst latest value.
fn newest_is_worst(metric_type: &str, points: &[MetricPoint]) -> bool {
    let mut latest: BTreeMap<u64, (Timestamp, f64)> = BTreeMap::new();
    for point in points.iter().filter(|point| point.metric_type == metric_type && point.value.is_finite()) {
        let Some(revision) = point.labels.get("revision").and_then(|text| text.parse().ok()) else { continue };
        let entry = latest.entry(revision).or_insert((point.timestamp, point.value));
        if point.timestamp >= entry.0 {
            *entry = (point.timestamp, point.value);
        }
    }
    let Some((_, (_, newest))) = latest.pop_last() else { return false };
    !latest.is_empty() && latest.values().all(|(_, value)| newest > 2.0 * value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::default_watches;

    fn point(metric: &str, minute: i64, value: f64, labels: &[(&str, &str)]) -> MetricPoint {
        MetricPoint {
            metric_type: metric.to_owned(),
            value,
            timestamp: Timestamp(minute * 60_000),
            labels: labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        }
    }

    /// An hour of a value that goes evenly up and down around `middle` with the given robust deviation.
    fn hour(metric: &str, middle: f64, sigma: f64, last: f64, labels: &[(&str, &str)]) -> Vec<MetricPoint> {
        let mut points: Vec<_> = (0..60)
            .map(|minute| {
                let side = if minute % 2 == 0 { 1.0 } else { -1.0 };
                point(metric, minute, middle + side * sigma / 1.4826, labels)
            })
            .collect();
        points.push(point(metric, 60, last, labels));
        points
    }

    const BACKEND: &[(&str, &str)] = &[("service", "backend")];

    #[test]
    fn answers_the_hour_of_a_surge_in_full() {
        let mut points = hour("request_rate", 50.0, 30.2, 125.5, BACKEND);
        points.extend(hour("error_rate", 0.01, 0.02, 0.08, BACKEND));
        points.extend(hour("latency_p99", 0.06, 0.01, 0.062, BACKEND));
        let answer = analyse(&points, &default_watches(), &[]);
        insta::assert_snapshot!(serde_json::to_string_pretty(&answer).unwrap(), @r#"
        {
          "is_anomaly": true,
          "anomaly_score": 0.86,
          "severity": "high",
          "recommended_action": "scale_up",
          "confidence": 0.92,
          "affected_metrics": [
            "request_rate",
            "error_rate"
          ],
          "details": {
            "error_rate": {
              "current": 0.08,
              "expected": 0.01,
              "deviation": 3.5
            },
            "latency_p99": {
              "current": 0.062,
              "expected": 0.06,
              "deviation": 0.2
            },
            "request_rate": {
              "current": 125.5,
              "expected": 50.0,
              "deviation": 2.5
            }
          }
        }
        "#);
    }

    #[test]
    fn judges_each_list_by_what_it_holds() {
        let known = [
            Baseline {
                service: "backend".into(),
                metric_type: "request_rate".into(),
                expected: 50.0,
                spread: 30.0,
                samples: 100,
            },
            Baseline {
                service: "backend".into(),
                metric_type: "error_rate".into(),
                expected: 0.01,
                spread: 0.02,
                samples: 100,
            },
        ];
        let two = |rate, errors| vec![point("request_rate", 0, rate, BACKEND), point("error_rate", 0, errors, BACKEND)];
        let old: &[(&str, &str)] = &[("service", "backend"), ("revision", "1")];
        let new: &[(&str, &str)] = &[("service", "backend"), ("revision", "2")];
        let mut deploy = hour("error_rate", 0.004, 0.002, 0.004, old);
        deploy.extend(hour("error_rate", 0.004, 0.002, 0.3, new));
        type Case<'a> = (&'a str, Vec<MetricPoint>, &'a [Baseline], bool, &'a str);
        let cases: [Case<'_>; 8] = [
            ("nothing", vec![], &known, false, "none"),
            ("one point each, known", two(125.5, 0.08), &known, true, "scale_up"),
            ("one point each, unknown", two(125.5, 0.08), &[], false, "none"),
            ("as usual", two(51.0, 0.011), &known, false, "none"),
            ("more load, well carried", two(120.0, 0.01), &known, true, "investigate"),
            ("fewer errors are no anomaly", hour("error_rate", 0.1, 0.01, 0.0, BACKEND), &[], false, "none"),
            ("only the new revision fails", deploy, &[], true, "roll_back"),
            ("no numbers", two(f64::NAN, f64::INFINITY), &known, false, "none"),
        ];
        for (case, points, baselines, is_anomaly, action) in cases {
            let answer = analyse(&points, &default_watches(), baselines);
            assert_eq!((answer.is_anomaly, answer.recommended_action.as_str()), (is_anomaly, action), "{case}");
            assert!((0.0..=1.0).contains(&answer.anomaly_score) && (0.0..=1.0).contains(&answer.confidence), "{case}");
        }
    }

    #[test]
    fn says_nothing_without_history() {
        let answer = analyse(&[point("error_rate", 0, 0.9, BACKEND)], &default_watches(), &[]);
        assert_eq!((answer.is_anomaly, answer.confidence), (false, 0.0));
    }
}
