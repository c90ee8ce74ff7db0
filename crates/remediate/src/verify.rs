//! Did it help? Judged from the service's own signals, against what would have happened without the action.

use std::time::Duration;

use detect::{Role, Watch};
use diagnose::{Evidence, Question, Sizing};
use serde::{Deserialize, Serialize};
use signal::Timestamp;

use crate::Verdict;

/// How long before the onset counts as "normal".
const NORMAL_LOOKBACK: Duration = Duration::from_secs(240);
/// The seconds right before the onset are left out of "normal": the onset is an estimate.
const ONSET_MARGIN: Duration = Duration::from_secs(15);

/// How verification reads the service.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct VerifySettings {
    /// The rate window of the queries; readings younger than this after the action still contain the time before it.
    pub window: Duration,
    /// Distance between readings.
    pub step: Duration,
    /// How long the symptoms must be gone without a break.
    pub hold: Duration,
    /// After this long without a verdict it is `NotFixed`, or `Unproven` without data.
    pub deadline: Duration,
    /// What to look at: symptoms and load.
    pub watches: Vec<Watch>,
}

/// One remediation being verified.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Watching {
    /// The service whose signals decide.
    pub service: String,
    /// When the trouble began.
    pub onset: Timestamp,
    /// When the action was permitted.
    pub acted_at: Timestamp,
    /// When the driver said it was done.
    pub done_at: Timestamp,
    /// Measured load and capacity when more replicas were the answer: the forecast of doing nothing.
    pub forecast: Option<Forecast>,
}

/// What would have gone on without more replicas.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Forecast {
    /// What was asked of the limited thing when the action was decided, per second.
    pub offered_per_s: f64,
    /// What could be given before the action, per second.
    pub capacity_per_s: f64,
}

impl Forecast {
    /// From what the diagnosis measured, with the replicas that ran before the action.
    #[must_use]
    pub fn new(sizing: &Sizing, replicas_before: u32) -> Self {
        let capacity_per_s = sizing.capacity_per_replica_per_s * f64::from(replicas_before);
        Self { offered_per_s: sizing.offered_per_s, capacity_per_s }
    }
}

/// What the readings say so far.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Assessment {
    /// The verdict, or `None`: look again.
    pub verdict: Option<Verdict>,
    /// First reading of the unbroken run of good ones, if there is one.
    pub mitigated_at: Option<Timestamp>,
    /// Why, in plain words with numbers.
    pub reason: String,
}

/// What to ask before each judgement: every watch from before the onset until `now`.
#[must_use]
pub fn verification_questions(watching: &Watching, settings: &VerifySettings, now: Timestamp) -> Vec<Question> {
    let window = signal::format_duration(settings.window);
    let start = watching.onset.minus(NORMAL_LOOKBACK);
    settings
        .watches
        .iter()
        .map(|watch| Question::Metric {
            name: watch.metric_type.clone(),
            query: of_service(&watch.query.replace("$window", &window), &watching.service),
            start,
            end: now,
            step_ms: i64::try_from(settings.step.as_millis()).unwrap_or(i64::MAX).max(1),
        })
        .collect()
}

/// Narrows an answer to one service, in PromQL every server understands: the record keeps what is judged, not the house.
fn of_service(query: &str, service: &str) -> String {
    // `$` means a group in a replacement, and the text stands in a quoted literal.
    let literal = service.replace('$', "$$").replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("({query}) and on (service) label_replace(vector(1), \"service\", \"{literal}\", \"\", \"\")")
}

/// Judges the readings in `evidence`, which answers [`verification_questions`].
///
/// A symptom counts as gone when it has come back at least nine tenths of the way, or to within its minimum effect, of
/// its level before the onset. `Fixed` needs that for `hold` without a break, enough traffic to tell, and a forecast
/// that says the trouble would have gone on: had the load fallen below the old capacity by itself, the answer is
/// `Unproven`. `MadeWorse` needs a symptom half as bad again for the same `hold`.
#[must_use]
pub fn judge(watching: &Watching, evidence: &Evidence, settings: &VerifySettings, now: Timestamp) -> Assessment {
    let settled_from = watching.done_at.plus(settings.window);
    let symptoms: Vec<Symptom> = settings
        .watches
        .iter()
        .filter(|watch| watch.role == Role::Symptom)
        .filter_map(|watch| Symptom::read(watch, watching, evidence, settings.window))
        .collect();
    let load = settings.watches.iter().find(|watch| watch.role == Role::Load);
    let load = load.map(|watch| readings(&watch.metric_type, watching, evidence)).unwrap_or_default();
    let late = now.since(watching.done_at) >= settings.deadline;

    let times = reading_times(&symptoms, settled_from);
    // What could not be asked may be the very thing that is still wrong.
    let unread = settings
        .watches
        .iter()
        .filter(|watch| matches!(watch.role, Role::Symptom | Role::Load))
        .find_map(|watch| Some((watch, evidence.unavailable(&watch.metric_type)?)));
    let good_since = run_since(&times, settings.window, |at| symptoms.iter().all(|symptom| symptom.is_gone(at)));
    let worse_since = run_since(&times, settings.window, |at| symptoms.iter().any(|symptom| symptom.is_worse(at)));
    let last = times.last().copied().unwrap_or(watching.done_at);
    let held = |since: Option<Timestamp>| since.is_some_and(|since| last.since(since) >= settings.hold);
    let described = describe(&symptoms, last);

    if held(worse_since) {
        return Assessment { verdict: Some(Verdict::MadeWorse), mitigated_at: None, reason: described };
    }
    if let Some((watch, why)) = unread {
        let reason = format!("{} cannot be read: {why}", watch.metric_type);
        return Assessment { verdict: late.then_some(Verdict::Unproven), mitigated_at: None, reason };
    }
    if let Some(since) = good_since.filter(|_| held(good_since)) {
        let (verdict, reason) = match other_explanation(watching, &load, since, last) {
            Some(other) => (Verdict::Unproven, format!("{described}; but {other}")),
            None => (Verdict::Fixed, described),
        };
        return Assessment { verdict: Some(verdict), mitigated_at: Some(since), reason };
    }
    if !late {
        return Assessment { verdict: None, mitigated_at: good_since, reason: described };
    }
    if times.is_empty() {
        let reason = "the service's signals gave no reading after the action".to_owned();
        return Assessment { verdict: Some(Verdict::Unproven), mitigated_at: None, reason };
    }
    Assessment { verdict: Some(Verdict::NotFixed), mitigated_at: None, reason: described }
}

/// One symptom's readings with its two anchors.
struct Symptom<'a> {
    watch: &'a Watch,
    normal: f64,
    bad: f64,
    /// How much larger than `bad` the trouble may have been already: acting within seconds of the onset, the rates still
    /// contain mostly the time before it.
    stretch: f64,
    points: Vec<(Timestamp, f64)>,
}

impl<'a> Symptom<'a> {
    fn read(watch: &'a Watch, watching: &Watching, evidence: &Evidence, window: Duration) -> Option<Self> {
        let points = readings(&watch.metric_type, watching, evidence);
        let normal_until = watching.onset.minus(ONSET_MARGIN);
        let normal = quantile(points.iter().filter(|(at, _)| *at <= normal_until), 0.5)?;
        let troubled = points.iter().filter(|(at, _)| *at > watching.onset && *at <= watching.done_at);
        let bad = quantile(troubled, 0.9).unwrap_or(normal).max(normal);
        let covered = watching.done_at.since(watching.onset).as_secs_f64();
        let stretch = (window.as_secs_f64() / covered.max(1.0)).clamp(1.0, 4.0);
        Some(Self { watch, normal, bad, stretch, points })
    }

    fn at(&self, at: Timestamp) -> Option<f64> {
        self.points.iter().find(|(time, _)| *time == at).map(|(_, value)| *value)
    }

    fn is_gone(&self, at: Timestamp) -> bool {
        let room = self.watch.min_effect.max(0.1 * (self.bad - self.normal));
        self.at(at).is_some_and(|value| value <= self.normal + room)
    }

    fn is_worse(&self, at: Timestamp) -> bool {
        let trouble = self.stretch * (self.bad - self.normal);
        let room = self.watch.min_effect.max(0.5 * trouble);
        self.at(at).is_some_and(|value| value > self.normal + trouble + room)
    }
}

fn readings(metric_type: &str, watching: &Watching, evidence: &Evidence) -> Vec<(Timestamp, f64)> {
    let Some(series) = evidence.series(metric_type) else { return Vec::new() };
    let own = series.iter().find(|one| one.labels.get("service") == Some(&watching.service));
    own.map(|one| {
        one.points.iter().filter(|(_, value)| value.is_finite()).map(|(at, value)| (Timestamp(*at), *value)).collect()
    })
    .unwrap_or_default()
}

/// Times after `from` at which every symptom that has been read at all has a reading.
fn reading_times(symptoms: &[Symptom<'_>], from: Timestamp) -> Vec<Timestamp> {
    let Some(first) = symptoms.first() else { return Vec::new() };
    let times = first.points.iter().map(|(at, _)| *at).filter(|at| *at >= from);
    times.filter(|at| symptoms.iter().all(|symptom| symptom.at(*at).is_some())).collect()
}

/// Start of the run of readings, up to the last one, for which `holds` is true throughout.
/// A gap longer than the window of the rates is a break: nobody knows what happened in it.
fn run_since(times: &[Timestamp], window: Duration, holds: impl Fn(Timestamp) -> bool) -> Option<Timestamp> {
    let mut since: Option<Timestamp> = None;
    for at in times.iter().rev().copied() {
        if !holds(at) || since.is_some_and(|later| later.since(at) > window) {
            break;
        }
        since = Some(at);
    }
    since
}

/// A reason why the symptoms would have gone without the action, or why the readings cannot tell.
fn other_explanation(
    watching: &Watching,
    load: &[(Timestamp, f64)],
    since: Timestamp,
    last: Timestamp,
) -> Option<String> {
    let between =
        |from: Timestamp, to: Timestamp| quantile(load.iter().filter(|(at, _)| *at >= from && *at <= to), 0.5);
    let Some(now) = between(since, last) else { return Some("the load cannot be read".to_owned()) };
    let normal = between(Timestamp::MIN, watching.onset.minus(ONSET_MARGIN));
    if let Some(normal) = normal.filter(|normal| now < 0.2 * normal) {
        return Some(format!("traffic fell from {normal:.1}/s to {now:.1}/s: too little to tell"));
    }
    let forecast = watching.forecast?;
    // Right after a step the rate still contains the time before it, or cannot be read at all; what was offered had been
    // freed from that.
    let then = between(watching.acted_at.minus(ONSET_MARGIN), watching.acted_at).unwrap_or(0.0);
    let demand = forecast.offered_per_s * now / then.max(forecast.offered_per_s);
    let old_capacity = forecast.capacity_per_s;
    (demand.is_finite() && demand < 0.95 * old_capacity).then(|| {
        format!("the load itself fell: {demand:.1}/s now, and {old_capacity:.1}/s could be served before the action")
    })
}

fn describe(symptoms: &[Symptom<'_>], last: Timestamp) -> String {
    let parts: Vec<_> = symptoms
        .iter()
        .map(|symptom| {
            let unit = symptom.watch.unit;
            let now = symptom.at(last).map_or_else(|| "no reading".to_owned(), |value| unit.words(value));
            format!(
                "{} {} (was {}, normal {})",
                symptom.watch.metric_type,
                now,
                unit.words(symptom.bad),
                unit.words(symptom.normal)
            )
        })
        .collect();
    if parts.is_empty() { "no symptom can be read".to_owned() } else { parts.join(", ") }
}

fn quantile<'a>(points: impl Iterator<Item = &'a (Timestamp, f64)>, q: f64) -> Option<f64> {
    let mut values: Vec<f64> = points.map(|(_, value)| *value).collect();
    values.sort_by(f64::total_cmp);
    let at = (q * values.len().saturating_sub(1) as f64).round() as usize;
    values.get(at).copied()
}

#[cfg(test)]
mod tests {
    use diagnose::{Answer, Item, SeriesAnswer};
    use signal::Labels;

    use super::*;

    const STEP: i64 = 5_000;
    const ONSET: i64 = 300_000;
    const ACTED: i64 = 330_000;
    const DONE: i64 = 335_000;

    fn settings() -> VerifySettings {
        VerifySettings {
            window: Duration::from_secs(20),
            step: Duration::from_secs(5),
            hold: Duration::from_secs(15),
            deadline: Duration::from_secs(90),
            watches: detect::default_watches(),
        }
    }

    /// Readings before, during and after; `None` = no reading.
    fn judged(now_s: i64, errors_after: Option<f64>, load: [f64; 3], forecast: Option<Forecast>) -> Assessment {
        let now = now_s * 1000;
        let series = |name: &str, value: &dyn Fn(i64) -> Option<f64>| Item {
            question: Question::Metric {
                name: name.into(),
                query: String::new(),
                start: Timestamp(0),
                end: Timestamp(now),
                step_ms: STEP,
            },
            answer: Answer::Series(vec![SeriesAnswer {
                labels: Labels::from_pairs([("service", "backend")]),
                points: (0..=now / STEP).filter_map(|k| value(k * STEP).map(|v| (k * STEP, v))).collect(),
            }]),
        };
        let phase = |at: i64, before: f64, during: f64, after: Option<f64>| match at {
            at if at <= ONSET => Some(before),
            at if at < DONE + 20_000 => Some(during),
            _ => after,
        };
        let evidence = Evidence {
            gathered_at: Timestamp(now),
            items: vec![
                series("error_rate", &|at| phase(at, 0.005, 0.28, errors_after)),
                series("latency_p99", &|at| phase(at, 0.06, 0.06, errors_after.map(|_| 0.06))),
                series("request_rate", &|at| {
                    phase(at, load[0], load[1], Some(load[2])).filter(|load| load.is_finite())
                }),
            ],
        };
        let watching = Watching {
            service: "backend".into(),
            onset: Timestamp(ONSET),
            acted_at: Timestamp(ACTED),
            done_at: Timestamp(DONE),
            forecast,
        };
        judge(&watching, &evidence, &settings(), Timestamp(now))
    }

    #[test]
    fn four_verdicts_and_patience() {
        let forecast = || Some(Forecast { offered_per_s: 125.0, capacity_per_s: 90.0 });
        for (case, now, errors, load, forecast, want) in [
            ("still inside the window", 350, Some(0.004), [50.0, 125.0, 125.0], forecast(), None),
            ("gone, not yet for long", 365, Some(0.004), [50.0, 125.0, 125.0], forecast(), None),
            ("gone for the whole hold", 370, Some(0.004), [50.0, 125.0, 125.0], forecast(), Some(Verdict::Fixed)),
            ("gone, but so is the load", 370, Some(0.004), [50.0, 125.0, 50.0], forecast(), Some(Verdict::Unproven)),
            ("as before, not read then", 370, Some(0.004), [50.0, f64::NAN, 50.0], forecast(), Some(Verdict::Unproven)),
            ("load not read any more", 370, Some(0.004), [50.0, 125.0, f64::NAN], forecast(), Some(Verdict::Unproven)),
            ("no sooner acted than over", 370, Some(0.004), [50.0, 60.0, 50.0], forecast(), Some(Verdict::Unproven)),
            ("gone after a roll-back", 370, Some(0.004), [50.0, 50.0, 50.0], None, Some(Verdict::Fixed)),
            ("nobody is left to fail", 370, Some(0.0), [50.0, 50.0, 2.0], None, Some(Verdict::Unproven)),
            ("still there at the deadline", 425, Some(0.25), [50.0, 125.0, 125.0], forecast(), Some(Verdict::NotFixed)),
            ("half as bad again", 370, Some(0.6), [50.0, 125.0, 125.0], forecast(), Some(Verdict::MadeWorse)),
            ("no data until the deadline", 425, None, [50.0, 125.0, 125.0], forecast(), Some(Verdict::Unproven)),
            ("no data yet", 400, None, [50.0, 125.0, 125.0], forecast(), None),
        ] {
            let judged = judged(now, errors, load, forecast);
            assert_eq!(judged.verdict, want, "{case}: {}", judged.reason);
        }
    }

    #[test]
    fn mitigation_is_dated_to_the_first_good_reading() {
        let judged = judged(375, Some(0.004), [50.0, 50.0, 50.0], None);
        assert_eq!(judged.mitigated_at, Some(Timestamp(DONE + 20_000)));
        assert!(judged.reason.contains("error_rate"), "{}", judged.reason);
    }

    #[test]
    fn nothing_is_fixed_while_a_signal_cannot_be_asked() {
        let down = |name: &str, now: i64| Item {
            question: Question::Metric {
                name: name.into(),
                query: String::new(),
                start: Timestamp(0),
                end: Timestamp(now),
                step_ms: STEP,
            },
            answer: Answer::Unavailable("cannot reach http://prometheus:9090".into()),
        };
        let steady = |name: &str, until: i64| Item {
            question: down(name, until).question,
            answer: Answer::Series(vec![SeriesAnswer {
                labels: Labels::from_pairs([("service", "backend")]),
                points: (0..=until / STEP).map(|k| (k * STEP, 0.05)).collect(),
            }]),
        };
        let watching = Watching {
            service: "backend".into(),
            onset: Timestamp(ONSET),
            acted_at: Timestamp(ACTED),
            done_at: Timestamp(DONE),
            forecast: None,
        };
        for (case, now, is_down, want) in [
            ("all can be asked", 370_000, "", Some(Verdict::Fixed)),
            ("errors cannot be asked", 370_000, "error_rate", None),
            ("the load cannot be asked", 370_000, "request_rate", None),
            ("nor at the deadline", 425_000, "error_rate", Some(Verdict::Unproven)),
        ] {
            let item = |name: &str| if name == is_down { down(name, now) } else { steady(name, now) };
            let items = ["error_rate", "latency_p99", "request_rate"].map(item).to_vec();
            let evidence = Evidence { gathered_at: Timestamp(now), items };
            let judged = judge(&watching, &evidence, &settings(), Timestamp(now));
            assert_eq!(judged.verdict, want, "{case}: {}", judged.reason);
            assert_eq!(judged.reason.contains("cannot reach"), !is_down.is_empty(), "{case}: {}", judged.reason);
        }
    }

    #[test]
    fn a_gap_longer_than_the_window_breaks_a_run() {
        let times = |seconds: &[i64]| seconds.iter().map(|at| Timestamp(at * 1000)).collect::<Vec<_>>();
        for (case, seconds, since) in [
            ("no gap", &[0, 5, 10][..], 0),
            ("a gap of one window", &[0, 5, 25], 0),
            ("a longer gap", &[0, 5, 26, 31], 26),
        ] {
            let since = Some(Timestamp(since * 1000));
            assert_eq!(run_since(&times(seconds), settings().window, |_| true), since, "{case}");
        }
    }
}
