//! Weighs hypotheses against evidence.

use std::fmt;

use std::time::Duration;

use detect::{Transition, Unit};
use serde::{Deserialize, Serialize};
use signal::Timestamp;

use crate::Evidence;
use crate::questions::name;

mod checks;
mod facts;
mod weigh;

use facts::Facts;
use weigh::{Scale, Seen};

/// Kinds of cause.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseKind {
    /// More is asked than the service can do.
    TrafficSurge,
    /// Every connection of a pool is taken.
    PoolExhaustion,
    /// A new revision is broken.
    BadDeploy,
    /// Something the service calls has become slow.
    SlowDependency,
    /// Replicas die again and again.
    CrashLoop,
    /// Processor or memory is used up.
    ResourceExhaustion,
    /// Nothing fits.
    Unknown,
}

impl CauseKind {
    /// The snake-case word used in JSON and policies.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TrafficSurge => "traffic_surge",
            Self::PoolExhaustion => "pool_exhaustion",
            Self::BadDeploy => "bad_deploy",
            Self::SlowDependency => "slow_dependency",
            Self::CrashLoop => "crash_loop",
            Self::ResourceExhaustion => "resource_exhaustion",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for CauseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The language of a finding's query.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// Metrics.
    Promql,
    /// Logs.
    Logql,
    /// Traces.
    Traceql,
    /// What a driver says about a workload.
    Workload,
}

/// One thing that was seen.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// Plain words with numbers and units.
    pub claim: String,
    /// What the reader can open.
    pub query: String,
    /// In which language.
    pub language: Language,
}

/// A possible cause.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Hypothesis {
    /// What kind.
    pub kind: CauseKind,
    /// Where.
    pub service: String,
    /// The one instance concerned, when it is only one.
    pub instance: Option<String>,
    /// The revision concerned, when it is one.
    pub revision: Option<u64>,
    /// One sentence.
    pub title: String,
    /// From 0 to 1, two decimals.
    pub confidence: f64,
    /// What speaks for it.
    pub evidence: Vec<Finding>,
    /// What speaks against it.
    pub against: Vec<Finding>,
    /// How much capacity would be enough, when that can be told.
    pub sizing: Option<Sizing>,
}

/// How much capacity would be enough.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Sizing {
    /// What is asked of the limited thing, per second.
    pub offered_per_s: f64,
    /// What one replica can give, per second.
    pub capacity_per_replica_per_s: f64,
    /// Replicas that carry the offered load with room to spare.
    pub replicas: u32,
}

/// A cause that was considered and dropped.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RuledOut {
    /// What kind.
    pub kind: CauseKind,
    /// The number that rules it out.
    pub reason: String,
}

/// What is wrong, as far as it can be told.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Diagnosis {
    /// The service with the symptoms.
    pub service: String,
    /// When they seem to have begun.
    pub onset: Timestamp,
    /// Whether the first hypothesis is sure enough; if not, nobody may act on it.
    pub is_resolved: bool,
    /// Best first.
    pub hypotheses: Vec<Hypothesis>,
    /// What it is not.
    pub ruled_out: Vec<RuledOut>,
    /// What users see, before and now.
    pub impact: Vec<Finding>,
}

/// Confidence from which a hypothesis may be acted on, and its least distance to the next.
const SURE: f64 = 0.6;
const MARGIN: f64 = 0.2;
/// Hypotheses below this are listed as ruled out.
const WORTH_SHOWING: f64 = 0.2;
/// How full the pools should be after scaling: what is offered is only an estimate.
const TARGET_UTILISATION: f64 = 0.65;

/// Ranks the causes of `symptoms` of `service` that began at `onset`; `window` is that of the rates in the evidence, as
/// given to `questions`.
///
/// Every hypothesis is a fixed set of checks with weights for and against and one decisive check. `is_resolved` holds only
/// when the best has a confidence of at least 0.6 and is at least 0.2 ahead of the next. The same evidence always gives the
/// same diagnosis.
#[must_use]
pub fn rank(
    service: &str,
    onset: Timestamp,
    symptoms: &[Transition],
    evidence: &Evidence,
    window: Duration,
) -> Diagnosis {
    let facts = Facts { service, onset, evidence, window };
    let pool = pool_exhaustion(&facts);
    let mut weighed =
        vec![traffic_surge(&facts), bad_deploy(&facts), slow_dependency(&facts), crash_loop(&facts), resources(&facts)];
    let mut ruled_out = Vec::new();
    if pool.confidence >= SURE {
        // A surge that fills a pool is one cause, not two.
        weighed.retain(|candidate| candidate.kind != CauseKind::TrafficSurge);
        ruled_out.push(RuledOut { kind: CauseKind::TrafficSurge, reason: surge_in_pool(&facts) });
    }
    weighed.push(pool);

    let mut hypotheses: Vec<Hypothesis> = Vec::new();
    for candidate in weighed {
        if candidate.confidence >= WORTH_SHOWING {
            hypotheses.push(candidate.hypothesis(&facts));
        } else {
            ruled_out.push(candidate.scale.ruled_out());
        }
    }
    hypotheses.sort_by(|a, b| b.confidence.total_cmp(&a.confidence).then(a.kind.cmp(&b.kind)));
    ruled_out.sort_by_key(|dropped| dropped.kind);
    let best = hypotheses.first().map_or(0.0, |best| best.confidence);
    let next = hypotheses.get(1).map_or(0.0, |next| next.confidence);
    // Two decimals each: half a step keeps the comparison exact.
    let is_resolved = best >= SURE && best - next >= MARGIN - 0.005;
    if best < SURE {
        hypotheses.extend(unknown(&facts));
        hypotheses.sort_by(|a, b| b.confidence.total_cmp(&a.confidence).then(a.kind.cmp(&b.kind)));
    }
    let impact = impact(&facts, symptoms);
    Diagnosis { service: service.to_owned(), onset, is_resolved, hypotheses, ruled_out, impact }
}

/// A kind of cause with everything weighed.
struct Candidate {
    kind: CauseKind,
    title: String,
    revision: Option<u64>,
    sizing: Option<Sizing>,
    confidence: f64,
    scale: Scale,
}

impl Candidate {
    fn new(kind: CauseKind, title: String, scale: Scale) -> Self {
        Self { kind, title, revision: None, sizing: None, confidence: scale.confidence(), scale }
    }

    fn hypothesis(self, facts: &Facts<'_>) -> Hypothesis {
        Hypothesis {
            kind: self.kind,
            service: facts.service.to_owned(),
            instance: None,
            revision: self.revision,
            title: self.title,
            confidence: self.confidence,
            evidence: self.scale.evidence,
            against: self.scale.against,
            sizing: self.sizing,
        }
    }
}

fn pool_exhaustion(facts: &Facts<'_>) -> Candidate {
    let mut scale = Scale::new(CauseKind::PoolExhaustion);
    let load = checks::load_is_up(facts);
    let is_surge = load.is_yes();
    scale.decisive("pool use", (0.3, 0.7), checks::pool_is_full(facts));
    scale.check("waiting requests", (0.15, 0.25), checks::requests_wait(facts));
    scale.check("timed-out waits", (0.2, 0.1), checks::waits_time_out(facts));
    scale.check("time of queries", (0.15, 0.35), checks::queries_are_as_fast(facts));
    scale.check("time of operations", (0.1, 0.05), checks::an_operation_is_slower(facts));
    scale.check("log lines", (0.1, 0.0), checks::lines_say_pool(facts));
    scale.check("request rate", (0.1, 0.15), load);
    let why = if is_surge { ", by a traffic surge" } else { "" };
    let title = format!("database connection pool of {} exhausted{why}", facts.service);
    let mut candidate = Candidate::new(CauseKind::PoolExhaustion, title, scale);
    candidate.sizing = size_pool(facts);
    candidate
}

/// How many replicas carry the load: one gives its pool size over the time a query holds a connection.
fn size_pool(facts: &Facts<'_>) -> Option<Sizing> {
    let pool = facts.pool()?;
    let hold = facts.course(name::QUERY_TIME)?;
    // While everybody waits the time before is the cleaner one, unless queries really became slower.
    let hold_s = hold.before.filter(|before| *before > 0.0).map_or(hold.now, |before| hold.now.max(before));
    let (_, requests_now, _) = checks::load_factor(facts)?;
    let queries = facts.course(name::QUERY_RATE).and_then(|course| course.before);
    let requests = facts.course(name::REQUESTS).and_then(|course| course.before).filter(|before| *before > 0.1);
    // What share of requests needs the pool is known from when all of them got it.
    let per_request = queries.zip(requests).map_or(1.0, |(queries, requests)| queries / requests);
    // Requests are counted when they are answered: those that pile up meanwhile are asked for as well.
    let pile_up = facts.course(name::POOL_PENDING).map_or(0.0, |waiting| {
        let seconds = waiting.at.since(facts.onset).as_secs_f64().max(5.0);
        ((waiting.now - waiting.before.unwrap_or(0.0)) / seconds).max(0.0)
    });
    let offered = requests_now * per_request + pile_up;
    let capacity = pool.per_instance / hold_s;
    if !offered.is_finite() || !capacity.is_finite() || capacity <= 0.0 {
        return None;
    }
    let needed = (offered / (capacity * TARGET_UTILISATION)).ceil().clamp(1.0, 100_000.0) as u32;
    let running: u32 = facts.workloads().unwrap_or_default().iter().map(|workload| workload.desired).sum();
    // The pools are full as it is: fewer or as many replicas cannot be the answer.
    let replicas = needed.max(running.saturating_add(1));
    Some(Sizing { offered_per_s: tenths(offered), capacity_per_replica_per_s: tenths(capacity), replicas })
}

fn traffic_surge(facts: &Facts<'_>) -> Candidate {
    let mut scale = Scale::new(CauseKind::TrafficSurge);
    scale.check("request rate", (0.3, 0.9), checks::load_is_up(facts));
    scale.decisive("saturation", (0.45, 0.1), checks::something_is_at_its_limit(facts));
    scale.check("failed requests", (0.15, 0.3), checks::users_suffer(facts));
    scale.check("rate of instances", (0.05, 0.1), checks::load_is_everywhere(facts));
    scale.check("deploys", (0.1, 0.1), checks::not_deployed(facts));
    let factor = checks::load_factor(facts).map_or(String::new(), |(_, _, factor)| format!(" {factor:.1} times"));
    let title = format!("{} is asked{factor} as much as before and at its limit", facts.service);
    let mut candidate = Candidate::new(CauseKind::TrafficSurge, title, scale);
    candidate.sizing = size_by_load(facts);
    candidate
}

/// Replicas in proportion to the load.
fn size_by_load(facts: &Facts<'_>) -> Option<Sizing> {
    let (before, now, _) = checks::load_factor(facts)?;
    let running: u32 = facts.workloads()?.iter().map(|workload| workload.desired).sum();
    let capacity = before / f64::from(running.max(1));
    let replicas = (now / capacity).ceil();
    if !replicas.is_finite() || running == 0 {
        return None;
    }
    let replicas = (replicas.clamp(1.0, 100_000.0) as u32).max(running.saturating_add(1));
    Some(Sizing { offered_per_s: tenths(now), capacity_per_replica_per_s: tenths(capacity), replicas })
}

fn surge_in_pool(facts: &Facts<'_>) -> String {
    match checks::load_factor(facts) {
        Some((_, _, factor)) if factor >= checks::SURGE => {
            format!("the request rate is {factor:.1} times as high, but works through the full connection pool")
        }
        Some((_, _, factor)) => format!("the request rate is {factor:.1} times what it was"),
        None => "the request rate is not known".to_owned(),
    }
}

fn bad_deploy(facts: &Facts<'_>) -> Candidate {
    let mut scale = Scale::new(CauseKind::BadDeploy);
    let deploy = checks::find_deploy(facts);
    let revision = deploy.as_ref().map(|deploy| deploy.revision);
    let worse = revision.map_or(Seen::Unknown, |revision| checks::revision_is_worse(facts, revision));
    let news = revision.map_or(Seen::Unknown, |revision| checks::revision_served_well(facts, revision));
    scale.check("deploys", (0.3, 1.0), checks::deployed_shortly_before(facts));
    scale.decisive("failed requests by revision", (0.35, 0.5), worse);
    scale.check("earlier service of the revision", (0.0, 0.5), news);
    scale.check("log lines", (0.15, 0.05), checks::new_error_lines(facts));
    scale.check("failed spans", (0.1, 0.0), checks::an_operation_fails(facts));
    scale.check("request rate", (0.1, 0.2), checks::load_is_steady(facts));
    let title = match revision {
        Some(revision) => format!("revision {revision} of {} answers with errors", facts.service),
        None => format!("a new revision of {} answers with errors", facts.service),
    };
    let mut candidate = Candidate::new(CauseKind::BadDeploy, title, scale);
    candidate.revision = revision;
    candidate
}

fn slow_dependency(facts: &Facts<'_>) -> Candidate {
    let mut scale = Scale::new(CauseKind::SlowDependency);
    scale.decisive("time of queries", (0.45, 0.8), checks::queries_are_slower(facts));
    scale.check("time of operations", (0.2, 0.1), checks::an_operation_is_slower(facts));
    scale.check("request rate", (0.15, 0.15), checks::load_is_steady(facts));
    scale.check("deploys", (0.2, 0.1), checks::not_deployed(facts));
    let title = format!("what {} calls has become slow", facts.service);
    Candidate::new(CauseKind::SlowDependency, title, scale)
}

fn crash_loop(facts: &Facts<'_>) -> Candidate {
    let mut scale = Scale::new(CauseKind::CrashLoop);
    scale.decisive("crashes", (0.6, 0.9), checks::replicas_die(facts));
    scale.check("ready replicas", (0.25, 0.1), checks::replicas_are_missing(facts));
    scale.check("failed requests", (0.15, 0.1), checks::users_suffer(facts));
    let title = format!("replicas of {} die again and again", facts.service);
    Candidate::new(CauseKind::CrashLoop, title, scale)
}

fn resources(facts: &Facts<'_>) -> Candidate {
    let mut scale = Scale::new(CauseKind::ResourceExhaustion);
    scale.decisive("processor and memory", (0.6, 0.9), checks::resources_are_used_up(facts));
    scale.check("request rate", (0.15, 0.3), checks::load_is_steady(facts));
    scale.check("deploys", (0.15, 0.1), checks::not_deployed(facts));
    scale.check("failed requests", (0.1, 0.1), checks::users_suffer(facts));
    let title = format!("{} has used up its processor or memory", facts.service);
    Candidate::new(CauseKind::ResourceExhaustion, title, scale)
}

/// What can be said when no cause is sure: at least where it is.
fn unknown(facts: &Facts<'_>) -> Option<Hypothesis> {
    let odd = checks::odd_one_out(facts);
    let seen = checks::users_suffer(facts);
    let evidence = match (&odd, seen) {
        (Some((instance, share, usual)), _) => {
            let claim = format!(
                "{} of the requests to {instance} fail, {} of those to its peers",
                Unit::Ratio.words(*share),
                Unit::Ratio.words(*usual)
            );
            vec![facts.finding(name::ERRORS_BY_INSTANCE, claim)]
        }
        (None, Seen::Yes(finding)) => vec![finding],
        (None, Seen::No(_) | Seen::Unknown) => return None,
    };
    let title = match &odd {
        Some((instance, ..)) => format!("only instance {instance} of {} fails", facts.service),
        None => format!("why requests to {} fail or lag is not known", facts.service),
    };
    Some(Hypothesis {
        kind: CauseKind::Unknown,
        service: facts.service.to_owned(),
        confidence: if odd.is_some() { 0.5 } else { 0.0 },
        instance: odd.map(|(instance, ..)| instance),
        revision: None,
        title,
        evidence,
        against: Vec::new(),
        sizing: None,
    })
}

/// What users see, before and now; what the symptoms said when the numbers are gone.
fn impact(facts: &Facts<'_>, symptoms: &[Transition]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (asked, what, unit) in [
        (name::ERRORS, "failed requests", Unit::Ratio),
        (name::LATENCY, "p99", Unit::Seconds),
        (name::REQUESTS, "request rate", Unit::PerSecond),
    ] {
        let Some(course) = facts.course(asked) else { continue };
        let (about, worst) =
            if asked == name::REQUESTS { ("about ", facts.rate_now(&course)) } else { ("", course.peak) };
        let before = course.before.map_or("unknown".to_owned(), |before| unit.words(before));
        found.push(facts.finding(asked, format!("{what} {before} -> {about}{}", unit.words(worst))));
    }
    if found.is_empty() {
        let said = symptoms.iter().filter(|symptom| symptom.pages);
        found.extend(said.map(|symptom| facts.finding(name::ERRORS, symptom.summary.clone())));
    }
    found
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests;
