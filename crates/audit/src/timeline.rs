//! Records folded into what people read: incidents, and their steps in order.

use std::collections::BTreeMap;

use control::{EffectRecord, Ending, Fact, IncidentId, Input};
use diagnose::{Answer, Diagnosis, Evidence};
use policy::{Action, Proposal, ProposalId};
use remediate::{Assessment, Outcome, Verdict};
use serde::{Deserialize, Serialize};
use signal::{Severity, Timestamp};

use crate::Record;

/// Everything that happened, by incident and in order.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Timeline {
    /// Every incident, oldest first.
    pub incidents: Vec<IncidentView>,
    /// Every step, oldest first.
    pub entries: Vec<Entry>,
}

/// One step, in plain words.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// 1, 2, 3 … over all incidents.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Of which incident.
    pub incident: IncidentId,
    /// Which part of the loop.
    pub stage: StageName,
    /// What, in one line.
    pub text: String,
    /// More, a line each.
    pub details: Vec<String>,
}

/// The parts of the loop as the timeline names them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageName {
    /// A symptom fired.
    Detected,
    /// Signals were gathered.
    Evidence,
    /// A cause was named, or could not be.
    Cause,
    /// Policy and limits answered.
    Policy,
    /// A driver was asked, or answered.
    Action,
    /// The effect was judged.
    Verified,
    /// An action was taken back.
    Undo,
    /// A person was called.
    Escalated,
    /// It is over.
    Closed,
}

/// One incident as API and report show it. Times are Unix milliseconds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct IncidentView {
    /// Identity.
    pub id: IncidentId,
    /// The service whose symptoms opened it.
    pub service: String,
    /// What it is about, in one line.
    pub title: String,
    /// The worst severity so far.
    pub severity: Severity,
    /// Where it stands: `gathering`, `acting`, `verifying`, `undoing`, `escalated` or `closed`.
    pub state: String,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When the trouble seems to have begun.
    pub onset: Timestamp,
    /// When a symptom fired.
    pub detected_at: Timestamp,
    /// When the cause was certain enough to act on.
    pub diagnosed_at: Option<Timestamp>,
    /// When policy and limits answered.
    pub decided_at: Option<Timestamp>,
    /// When an action was permitted and begun.
    pub acted_at: Option<Timestamp>,
    /// Since when users no longer notice.
    pub mitigated_at: Option<Timestamp>,
    /// When that was proven.
    pub verified_at: Option<Timestamp>,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// How it ended, once it is closed.
    pub ending: Option<Ending>,
    /// Whether the last action helped.
    pub verdict: Option<Verdict>,
    /// The leading cause, if one is certain enough.
    pub cause: Option<CauseView>,
    /// The last diagnosis with all its reasons.
    pub diagnosis: Option<Diagnosis>,
    /// What was done.
    pub actions: Vec<ActionView>,
    /// Whether it may wake somebody.
    pub pages: bool,
    /// Whether a person was called.
    pub escalated: bool,
}

/// The cause in short.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CauseView {
    /// Snake-case kind.
    pub kind: String,
    /// Where.
    pub service: String,
    /// Which revision, if that is part of the cause.
    pub revision: Option<u64>,
    /// In plain words.
    pub title: String,
    /// 0 to 1.
    pub confidence: f64,
}

/// One action in short.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ActionView {
    /// The proposal's name.
    pub id: ProposalId,
    /// What, as data.
    pub action: Action,
    /// What, in words.
    pub text: String,
    /// When it was permitted.
    pub at: Timestamp,
    /// By which policies.
    pub policies: Vec<String>,
    /// What the driver said.
    pub outcome: Option<String>,
    /// Whether it helped.
    pub verdict: Option<Verdict>,
    /// Whether it was taken back.
    pub undone: bool,
}

/// Folds records, oldest first, into a timeline.
pub fn fold<'a>(records: impl IntoIterator<Item = &'a Record>) -> Timeline {
    let mut timeline = Timeline::default();
    for record in records {
        timeline.add(record);
    }
    timeline
}

impl Timeline {
    /// One incident.
    #[must_use]
    pub fn incident(&self, id: IncidentId) -> Option<&IncidentView> {
        self.incidents.iter().find(|incident| incident.id == id)
    }

    /// Adds the next record.
    pub fn add(&mut self, record: &Record) {
        let at = record.at;
        match &record.heard {
            Input::Gathered { incident, evidence } => self.gathered(*incident, evidence, at),
            Input::Executed { incident, proposal, outcome } => self.executed(*incident, proposal, outcome, at),
            Input::Configured { .. } | Input::Alert(_) | Input::Checked { .. } | Input::Woke | Input::Paused { .. } => {
            }
        }
        for effect in &record.effects {
            match effect {
                EffectRecord::Note { incident, fact } => self.note(*incident, fact, at),
                EffectRecord::Act { incident, proposal, policies, expires: _ } => {
                    self.act(*incident, proposal, policies, at);
                }
                EffectRecord::Inspect { incident, proposal } => {
                    let text = format!("asking the driver what became of {proposal}");
                    self.entry(*incident, StageName::Action, at, text, vec![]);
                }
                EffectRecord::Gather { .. } | EffectRecord::Check { .. } | EffectRecord::Wake { .. } => {}
            }
        }
    }

    fn gathered(&mut self, id: IncidentId, evidence: &Evidence, at: Timestamp) {
        if self.incident(id).is_none() {
            return;
        }
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        let mut missing: BTreeMap<&str, u32> = BTreeMap::new();
        for item in &evidence.items {
            let kind = match &item.answer {
                Answer::Series(_) => "metric",
                Answer::Templates(_) => "log",
                Answer::Operations(_) => "trace",
                Answer::Workloads(_) => "workload",
                Answer::Unavailable(why) => {
                    *missing.entry(why).or_default() += 1;
                    continue;
                }
            };
            *counts.entry(kind).or_default() += 1;
        }
        let queries = |count: u32| if count == 1 { "query" } else { "queries" };
        let missing: Vec<String> =
            missing.iter().map(|(why, count)| format!("{count} {} unavailable: {why}", queries(*count))).collect();
        let text: Vec<String> =
            counts.iter().map(|(kind, count)| format!("{count} {kind} {}", queries(*count))).collect();
        let text = if text.is_empty() { "no question was answered".to_owned() } else { text.join(", ") + " answered" };
        // Later rounds are worth a line only when they see more or less than the one before.
        let known = self.entries.iter().rev().find(|entry| entry.incident == id && entry.stage == StageName::Evidence);
        if known.is_none_or(|entry| entry.text != text) {
            self.entry(id, StageName::Evidence, at, text, missing);
        }
    }

    fn executed(&mut self, id: IncidentId, proposal: &ProposalId, outcome: &Outcome, at: Timestamp) {
        let text = outcome.to_string();
        let Some(incident) = self.incident_mut(id) else { return };
        let undone = incident.actions.iter_mut().find(|action| format!("{}/undo", action.id) == proposal.0);
        let stage = if let Some(action) = undone {
            action.undone = matches!(outcome, Outcome::Done { .. });
            StageName::Undo
        } else {
            if let Some(action) = incident.actions.iter_mut().find(|action| action.id == *proposal) {
                action.outcome = Some(text.clone());
            }
            StageName::Action
        };
        if matches!(outcome, Outcome::Done { .. }) {
            "verifying".clone_into(&mut incident.state);
        }
        self.entry(id, stage, at, text, vec![]);
    }

    fn act(&mut self, id: IncidentId, proposal: &Proposal, policies: &[String], at: Timestamp) {
        let text = format!("{} of {}", proposal.action, proposal.target);
        let Some(incident) = self.incident_mut(id) else { return };
        let is_undo = incident.actions.iter().any(|action| format!("{}/undo", action.id) == proposal.id.0);
        if is_undo {
            "undoing".clone_into(&mut incident.state);
            self.entry(id, StageName::Undo, at, text, vec![]);
            return;
        }
        "acting".clone_into(&mut incident.state);
        incident.acted_at.get_or_insert(at);
        incident.actions.push(ActionView {
            id: proposal.id.clone(),
            action: proposal.action.clone(),
            text: text.clone(),
            at,
            policies: policies.to_vec(),
            outcome: None,
            verdict: None,
            undone: false,
        });
        self.entry(id, StageName::Action, at, text, vec![]);
    }

    fn note(&mut self, id: IncidentId, fact: &Fact, at: Timestamp) {
        match fact {
            Fact::Opened { service, severity, onset, summary } => {
                self.incidents.push(opened(id, service, *severity, *onset, summary, at));
                self.entry(id, StageName::Detected, at, summary.clone(), vec![]);
            }
            Fact::Joined { summary } => self.entry(id, StageName::Detected, at, format!("also: {summary}"), vec![]),
            Fact::Diagnosed { diagnosis } => self.diagnosed(id, diagnosis, at),
            Fact::Proposed { proposal: _ } => {}
            Fact::Decided { proposal: _, answer, reason, policies, undo } => {
                if let Some(incident) = self.incident_mut(id) {
                    incident.decided_at.get_or_insert(at);
                }
                let by = if policies.is_empty() { String::new() } else { format!(" ({})", policies.join(", ")) };
                let what = if *undo { "undo: " } else { "" };
                self.entry(id, StageName::Policy, at, format!("{what}{answer}: {reason}{by}"), vec![]);
            }
            Fact::Judged { proposal, assessment, undo } => self.judged(id, proposal, assessment, *undo, at),
            Fact::Escalated { reason } => {
                if let Some(incident) = self.incident_mut(id) {
                    incident.escalated = true;
                    "escalated".clone_into(&mut incident.state);
                }
                self.entry(id, StageName::Escalated, at, format!("a person is needed: {reason}"), vec![]);
            }
            Fact::Closed { ending, mitigated_at } => self.closed(id, *ending, *mitigated_at, at),
        }
    }

    fn diagnosed(&mut self, id: IncidentId, diagnosis: &Diagnosis, at: Timestamp) {
        let leading = diagnosis.hypotheses.first();
        let text = match leading {
            Some(cause) if diagnosis.is_resolved => format!("{} (confidence {:.2})", cause.title, cause.confidence),
            Some(cause) => format!("not certain yet; most likely: {} ({:.2})", cause.title, cause.confidence),
            None => "not certain yet: nothing in the evidence points to a cause".to_owned(),
        };
        let mut details = Vec::new();
        if diagnosis.is_resolved {
            details.extend(leading.into_iter().flat_map(|cause| &cause.evidence).map(|finding| finding.claim.clone()));
            details.extend(
                diagnosis
                    .ruled_out
                    .iter()
                    .map(|out| format!("ruled out {}: {}", out.kind.as_str().replace('_', " "), out.reason)),
            );
        }
        if let Some(incident) = self.incident_mut(id) {
            incident.diagnosis = Some(diagnosis.clone());
            incident.cause = leading.filter(|_| diagnosis.is_resolved).map(|cause| CauseView {
                kind: cause.kind.as_str().to_owned(),
                service: cause.service.clone(),
                revision: cause.revision,
                title: cause.title.clone(),
                confidence: cause.confidence,
            });
            if diagnosis.is_resolved {
                incident.diagnosed_at.get_or_insert(at);
            }
        }
        self.entry(id, StageName::Cause, at, text, details);
    }

    fn judged(&mut self, id: IncidentId, proposal: &ProposalId, assessment: &Assessment, undo: bool, at: Timestamp) {
        let Some(verdict) = assessment.verdict else { return };
        if let Some(incident) = self.incident_mut(id).filter(|_| !undo) {
            incident.verdict = Some(verdict);
            incident.verified_at = Some(at);
            incident.mitigated_at = assessment.mitigated_at.filter(|_| verdict.is_success());
            if let Some(action) = incident.actions.iter_mut().find(|action| action.id == *proposal) {
                action.verdict = Some(verdict);
            }
        }
        let what = if undo { "after the undo: " } else { "" };
        self.entry(id, StageName::Verified, at, format!("{what}{verdict}: {}", assessment.reason), vec![]);
    }

    fn closed(&mut self, id: IncidentId, ending: Ending, mitigated_at: Option<Timestamp>, at: Timestamp) {
        let Some(incident) = self.incident_mut(id) else { return };
        incident.closed_at = Some(at);
        incident.ending = Some(ending);
        incident.mitigated_at = incident.mitigated_at.or(mitigated_at);
        "closed".clone_into(&mut incident.state);
        let seconds = at.since(incident.onset).as_secs();
        let how = match ending {
            Ending::Fixed => "fixed without a person",
            Ending::Recovered => "the symptoms went away before anything was done",
            Ending::AfterEscalation => "the symptoms are gone; a person had been called",
        };
        self.entry(id, StageName::Closed, at, format!("{how}, {seconds} s after the onset"), vec![]);
    }

    fn entry(&mut self, incident: IncidentId, stage: StageName, at: Timestamp, text: String, details: Vec<String>) {
        let seq = self.entries.last().map_or(1, |entry| entry.seq + 1);
        self.entries.push(Entry { seq, at, incident, stage, text, details });
    }

    fn incident_mut(&mut self, id: IncidentId) -> Option<&mut IncidentView> {
        self.incidents.iter_mut().find(|incident| incident.id == id)
    }
}

fn opened(
    id: IncidentId,
    service: &str,
    severity: Severity,
    onset: Timestamp,
    summary: &str,
    at: Timestamp,
) -> IncidentView {
    IncidentView {
        id,
        service: service.to_owned(),
        title: summary.to_owned(),
        severity,
        state: "gathering".to_owned(),
        opened_at: at,
        onset,
        detected_at: at,
        diagnosed_at: None,
        decided_at: None,
        acted_at: None,
        mitigated_at: None,
        verified_at: None,
        closed_at: None,
        ending: None,
        verdict: None,
        cause: None,
        diagnosis: None,
        actions: vec![],
        pages: true,
        escalated: false,
    }
}
