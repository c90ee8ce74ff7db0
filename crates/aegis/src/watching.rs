//! Looks at the services on schedule and tells the control loop what fires.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use control::Input;
use detect::{
    AlertState, Baseline, Detector, DetectorSettings, MetricPoint, Reading, Role, RuleSet, State, Transition, Watch,
    analyse,
};
use futures_util::future::join_all;
use query::promql::Steps;
use signal::{Labels, Severity, Timestamp, format_duration};
use store::Series;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use web::{AlertView, RuleGroupView, RuleKind, RuleView, Views};

use crate::clock::{self, Stopwatch};
use crate::instruments::Instruments;
use crate::rules;
use crate::sources::Sources;

mod sight;

use sight::{News, Sight};

/// How much history a detector learns from after a start, and what the scheduled analysis looks at.
const HISTORY: Duration = Duration::from_secs(3600);
/// Distance of the points of the scheduled analysis.
const ANALYSIS_STEP: Duration = Duration::from_secs(60);

/// What watching needs from the rest of Aegis.
pub(crate) struct Watching {
    pub(crate) sources: Arc<Sources>,
    pub(crate) inputs: Sender<Input>,
    pub(crate) instruments: Arc<Instruments>,
    pub(crate) views: Views,
    /// What is normal, shared with the API.
    pub(crate) baselines: Arc<RwLock<Vec<Baseline>>>,
    pub(crate) watches: Vec<Watch>,
    /// What was firing before this start: whoever was told of it waits to hear that it resolved.
    pub(crate) firing: Vec<Transition>,
    pub(crate) window: Duration,
    pub(crate) interval: Duration,
    pub(crate) rule_interval: Duration,
    pub(crate) analysis_interval: Duration,
}

impl Watching {
    /// Streams readings into the detectors until `shutdown`.
    pub(crate) async fn detect(self: Arc<Self>, shutdown: CancellationToken) {
        let settings = DetectorSettings { window: self.window, ..DetectorSettings::default() };
        let mut detector = Detector::new(settings, self.watches.clone());
        let mut sight = Sight::new(self.window);
        let mut is_warm = false;
        let mut beat = tokio::time::interval(self.interval);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = beat.tick() => {}
            }
            let watch = Stopwatch::start();
            if !is_warm {
                // Whoever knows nothing of the past would take trouble that is there already for normal.
                is_warm = self.warm(&mut detector, &mut sight).await;
                tell(sight.news(), "watches");
                if !is_warm {
                    continue;
                }
                detector.resume(&self.firing);
            }
            let now = clock::now();
            let readings = self.readings(now, &mut sight).await;
            tell(sight.news(), "watches");
            detector.look_away(now, sight.blind());
            let observation = detector.observe(now, &readings);
            self.instruments.observed(&observation, watch.elapsed());
            *self.baselines.write().unwrap_or_else(PoisonError::into_inner) = detector.baselines();
            for anomaly in &observation.anomalies {
                debug!(service = %anomaly.service, metric = %anomaly.metric_type, score = anomaly.score, "unusual");
            }
            self.send(observation.transitions);
        }
    }

    /// Teaches a fresh detector what was normal before the start; false when nothing could be asked.
    async fn warm(&self, detector: &mut Detector, sight: &mut Sight) -> bool {
        let end = clock::now();
        let steps = Steps { start: end.minus(HISTORY), end, step: self.interval };
        let mut rounds: BTreeMap<Timestamp, Vec<Reading>> = BTreeMap::new();
        let mut is_answered = self.watches.is_empty();
        for (watch, answer) in self.ranges(steps).await {
            is_answered |= answer.is_ok();
            for one in sight.look(&watch.metric_type, answer, end).unwrap_or_default() {
                let service = one.labels.get_or_empty("service").to_owned();
                for sample in one.samples {
                    let metric_type = watch.metric_type.clone();
                    let reading = Reading { metric_type, service: service.clone(), value: sample.value };
                    rounds.entry(sample.at).or_default().push(reading);
                }
            }
        }
        if !is_answered {
            return false;
        }
        let learned = rounds.len();
        for (at, readings) in rounds {
            detector.warm(at, &readings);
        }
        info!(rounds = learned, "learned what is normal from history");
        true
    }

    async fn readings(&self, now: Timestamp, sight: &mut Sight) -> Vec<Reading> {
        let asked = self.watches.iter().map(|watch| async move {
            let query = self.query(watch);
            (watch, self.sources.vector(&query, now).await)
        });
        let mut readings = Vec::new();
        for (watch, answer) in join_all(asked).await {
            let vector = sight.look(&watch.metric_type, answer, now).unwrap_or_default();
            readings.extend(vector.into_iter().map(|(labels, value)| Reading {
                metric_type: watch.metric_type.clone(),
                service: labels.get_or_empty("service").to_owned(),
                value,
            }));
        }
        readings.retain(|reading| !reading.service.is_empty());
        readings
    }

    /// Every watch over a stretch of time, asked side by side.
    async fn ranges(&self, steps: Steps) -> Vec<(&Watch, Result<Vec<Series>, String>)> {
        let asked = self.watches.iter().map(|watch| async move {
            let query = self.query(watch);
            (watch, self.sources.range(&query, steps).await)
        });
        join_all(asked).await
    }

    fn query(&self, watch: &Watch) -> String {
        watch.query.replace("$window", &format_duration(self.window))
    }

    /// Evaluates the alert rules until `shutdown`.
    pub(crate) async fn alert(self: Arc<Self>, mut rules: RuleSet, shutdown: CancellationToken) {
        rules.resume(&self.firing);
        let mut sight = Sight::new(self.window);
        let mut beat = tokio::time::interval(self.rule_interval);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = beat.tick() => {}
            }
            let whole = Stopwatch::start();
            let now = clock::now();
            let mut outcomes = Vec::new();
            for rule in rules.rules().to_vec() {
                let watch = Stopwatch::start();
                let answer = self.sources.vector(&rule.expr, now).await;
                let error = answer.as_ref().err().cloned().unwrap_or_default();
                // A rule that could not be asked keeps its alerts as they are.
                if let Some(vector) = sight.look(&rule.name, answer, now) {
                    self.send(rules.observe(&rule.name, &vector, now));
                }
                outcomes.push((rule, error, watch.elapsed()));
            }
            tell(sight.news(), "alert rules");
            self.show(&rules, outcomes, now, whole.elapsed());
        }
    }

    fn show(
        &self,
        rules: &RuleSet,
        outcomes: Vec<(detect::AlertRule, String, Duration)>,
        now: Timestamp,
        evaluation_time: Duration,
    ) {
        let alerts = rules.alerts();
        let rules = outcomes.into_iter().map(|(rule, error, took)| RuleView {
            kind: RuleKind::Alerting {
                hold: rule.hold,
                keep_firing: rule.keep_firing,
                annotations: rule.annotations,
                alerts: alerts.iter().filter(|alert| alert.rule == rule.name).map(alert_view).collect(),
            },
            name: rule.name,
            query: rule.expr,
            labels: rule.labels,
            health: if error.is_empty() { web::Health::Good } else { web::Health::Bad },
            last_error: error,
            evaluation_time: took,
            last_evaluation: Some(now),
        });
        let group = RuleGroupView {
            name: "aegis".to_owned(),
            file: "built in".to_owned(),
            interval: self.rule_interval,
            limit: 0,
            evaluation_time,
            last_evaluation: Some(now),
            rules: rules.collect(),
        };
        self.views.update(|view| rules::put(view, group));
    }

    /// Analyses the last hour on schedule until `shutdown`.
    pub(crate) async fn analyse(self: Arc<Self>, shutdown: CancellationToken) {
        let mut firing: BTreeMap<String, Transition> = BTreeMap::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(self.analysis_interval) => {}
            }
            let watch = Stopwatch::start();
            let now = clock::now();
            // Without some of it the rest would look calm.
            let Some(points) = self.last_hour(now).await else {
                info!("the last hour cannot be read; not analysed");
                continue;
            };
            let baselines = self.baselines.read().unwrap_or_else(PoisonError::into_inner).clone();
            let mut transitions = Vec::new();
            for (service, points) in points {
                let analysis = analyse(&points, &self.watches, &baselines);
                let earlier: Vec<MetricPoint> =
                    points.iter().filter(|point| point.timestamp <= now.minus(ANALYSIS_STEP)).cloned().collect();
                // What has just begun is the streaming detectors' business: they see it sooner and date it better.
                let lasts = analyse(&earlier, &self.watches, &baselines).is_anomaly;
                self.instruments.predicted("analysis", true, watch.elapsed());
                info!(%service, anomaly = analysis.is_anomaly, score = analysis.anomaly_score, "analysed the last hour");
                match (analysis.is_anomaly, firing.remove(&service)) {
                    (true, known) => {
                        let alert = known.unwrap_or_else(|| self.transition(&service, &analysis, lasts, now));
                        transitions.push(alert.clone());
                        firing.insert(service, alert);
                    }
                    (false, Some(known)) => transitions.push(Transition { state: State::Resolved, at: now, ..known }),
                    (false, None) => {}
                }
            }
            self.send(transitions);
        }
    }

    /// The last hour of every watch, by service; `None` when some of it cannot be read.
    async fn last_hour(&self, now: Timestamp) -> Option<BTreeMap<String, Vec<MetricPoint>>> {
        let steps = Steps { start: now.minus(HISTORY), end: now, step: ANALYSIS_STEP };
        let mut points: BTreeMap<String, Vec<MetricPoint>> = BTreeMap::new();
        for (watch, series) in self.ranges(steps).await {
            for one in series.ok()? {
                let Some(service) = one.labels.get("service") else { continue };
                let labels = BTreeMap::from([("service".to_owned(), service.to_owned())]);
                let readings = one.samples.iter().map(|sample| MetricPoint {
                    metric_type: watch.metric_type.clone(),
                    value: sample.value,
                    timestamp: sample.at,
                    labels: labels.clone(),
                });
                points.entry(service.to_owned()).or_default().extend(readings);
            }
        }
        Some(points)
    }

    fn transition(&self, service: &str, analysis: &detect::Analysis, lasts: bool, now: Timestamp) -> Transition {
        let is_symptom =
            |name: &String| self.watches.iter().any(|watch| watch.metric_type == *name && watch.role == Role::Symptom);
        let metric = analysis.affected_metrics.first().cloned().unwrap_or_default();
        let detail = analysis.details.get(&metric);
        Transition {
            alert: "ScheduledAnalysis".to_owned(),
            service: service.to_owned(),
            labels: Labels::from_pairs([("alertname", "ScheduledAnalysis"), ("service", service)]),
            state: State::Fired,
            at: now,
            onset: now.minus(ANALYSIS_STEP * 2),
            severity: analysis.severity,
            pages: lasts && analysis.severity >= Severity::High && analysis.affected_metrics.iter().any(is_symptom),
            value: detail.map_or(0.0, |detail| detail.current),
            expected: detail.map(|detail| detail.expected),
            summary: format!(
                "analysis of the last hour: {} of {service} unusual (score {:.2})",
                analysis.affected_metrics.join(", "),
                analysis.anomaly_score
            ),
            metric,
        }
    }

    fn send(&self, transitions: Vec<Transition>) {
        for transition in transitions {
            // The loop is gone only when Aegis is going down.
            let _ = self.inputs.send(Input::Alert(transition));
        }
    }
}

/// Says once what cannot be read any more, and once that it can again.
fn tell(news: Vec<News>, what: &'static str) {
    for one in news {
        match one {
            News::Lost { names, error } => {
                warn!(%what, metric = %names.join(", "), %error, "cannot be read; what is known about them stays as it is");
            }
            News::Back { names, after } => {
                let elapsed_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
                info!(%what, metric = %names.join(", "), elapsed_ms, "can be read again");
            }
        }
    }
}

fn alert_view(alert: &detect::ActiveAlert) -> AlertView {
    AlertView {
        labels: alert.labels.clone(),
        annotations: alert.annotations.clone(),
        state: match alert.state {
            AlertState::Pending => web::AlertState::Pending,
            AlertState::Firing => web::AlertState::Firing,
        },
        active_at: alert.active_at,
        keep_firing_since: alert.kept_since,
        value: alert.value,
    }
}
