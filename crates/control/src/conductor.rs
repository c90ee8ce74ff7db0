//! The machine itself.

use std::collections::BTreeMap;

use detect::{State, Transition};
use diagnose::Evidence;
use policy::{Action, Decision, Limits, Policy, Proposal, ProposalId};
use remediate::{Assessment, Forecast, Outcome, Verdict, Watching, judge, propose, verification_questions};
use signal::Timestamp;

use crate::{Effect, Ending, Fact, Incident, IncidentId, Input, Remediation, Settings, Stage};

/// How often a driver is asked again while it does not know what became of an action; each pause is twice the last one.
const MOST_UNKNOWNS: u32 = 4;

/// Correlates what fires into incidents and takes each through evidence, cause, permission, action and proof.
///
/// Single-threaded and deterministic: the same inputs at the same times give the same effects.
#[derive(Debug)]
pub struct Conductor {
    settings: Settings,
    policy: Option<Policy>,
    limits: Limits,
    incidents: BTreeMap<IncidentId, Incident>,
    last_id: u64,
    not_opened: u64,
}

impl Default for Conductor {
    fn default() -> Self {
        Self::new()
    }
}

impl Conductor {
    /// A conductor without configuration: it opens incidents and permits nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            settings: Settings::default(),
            policy: None,
            limits: Limits::new(policy::LimitSettings::default()),
            incidents: BTreeMap::new(),
            last_id: 0,
            not_opened: 0,
        }
    }

    /// The open incidents, oldest first.
    pub fn incidents(&self) -> impl Iterator<Item = &Incident> {
        self.incidents.values()
    }

    /// The policy in force, if one is loaded.
    #[must_use]
    pub fn policy(&self) -> Option<&Policy> {
        self.policy.as_ref()
    }

    /// The limits and what has been spent of them.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Symptoms that opened no incident because too many were open.
    #[must_use]
    pub fn not_opened(&self) -> u64 {
        self.not_opened
    }

    /// Takes one input at `now` and answers what is to be done, in order. Inputs about incidents that are closed, or
    /// that come in a stage that does not wait for them, change nothing.
    pub fn handle(&mut self, input: Input, now: Timestamp) -> Vec<Effect> {
        match input {
            Input::Configured { version: _, settings, limits, policies } => {
                self.configure(settings, limits, &policies);
                self.resume(now)
            }
            Input::Alert(transition) => match transition.state {
                State::Fired => self.fired(transition, now),
                State::Resolved => self.resolved(&transition, now),
            },
            Input::Gathered { incident, evidence } => {
                self.with(incident, |this, open| this.gathered(open, &evidence, now))
            }
            Input::Executed { incident, proposal, outcome } => {
                self.with(incident, |this, open| this.executed(open, &proposal, &outcome, now))
            }
            Input::Checked { incident, evidence } => {
                self.with(incident, |this, open| this.checked(open, &evidence, now))
            }
            Input::Woke => self.woke(now),
            Input::Paused { by: _, paused } => {
                self.limits.set_paused(paused);
                Vec::new()
            }
        }
    }

    fn configure(&mut self, settings: Settings, limits: policy::LimitSettings, policies: &[(String, String)]) {
        let sources: Vec<(&str, &str)> = policies.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        // The shell refuses to start with policies that do not load; should one get here, nothing is permitted.
        self.policy = Policy::load(&sources).ok();
        self.limits.reconfigure(limits);
        self.settings = settings;
    }

    /// Takes up every open incident where a stop left it. What may or may not have been done is looked up, not redone.
    fn resume(&mut self, now: Timestamp) -> Vec<Effect> {
        let ids: Vec<IncidentId> = self.incidents.keys().copied().collect();
        let mut effects = Vec::new();
        for id in ids {
            effects.extend(self.with(id, |this, open| match open.stage.clone() {
                Stage::Gathering | Stage::Unclear { .. } => this.gather(open, now),
                Stage::Acting | Stage::Undoing => this.inspect(open),
                Stage::Verifying { .. } | Stage::VerifyingUndo { .. } => this.look(open, now),
                Stage::WithPerson => Vec::new(),
            }));
        }
        effects
    }

    fn fired(&mut self, symptom: Transition, now: Timestamp) -> Vec<Effect> {
        let known = self.incidents.values().find(|incident| incident.service == symptom.service).map(|open| open.id);
        if let Some(id) = known {
            return self.with(id, |_, open| {
                let note = Fact::Joined { summary: symptom.summary.clone() };
                open.join(symptom);
                vec![note_on(open, note)]
            });
        }
        if !symptom.pages || symptom.service.is_empty() {
            return Vec::new();
        }
        if self.incidents.len() >= self.settings.max_open_incidents {
            self.not_opened += 1;
            return Vec::new();
        }
        self.last_id += 1;
        let mut incident = Incident {
            id: IncidentId(self.last_id),
            service: symptom.service.clone(),
            severity: symptom.severity,
            opened_at: now,
            onset: symptom.onset,
            symptoms: Vec::new(),
            stage: Stage::Gathering,
            rounds: 0,
            diagnosis: None,
            remediation: None,
        };
        let opened = Fact::Opened {
            service: symptom.service.clone(),
            severity: symptom.severity,
            onset: symptom.onset,
            summary: symptom.summary.clone(),
        };
        incident.join(symptom);
        let mut effects = vec![note_on(&incident, opened)];
        effects.extend(self.gather(&mut incident, now));
        self.incidents.insert(incident.id, incident);
        effects
    }

    fn resolved(&mut self, symptom: &Transition, now: Timestamp) -> Vec<Effect> {
        let known = self.incidents.values().find(|incident| incident.service == symptom.service).map(|open| open.id);
        let Some(id) = known else { return Vec::new() };
        self.with(id, |_, open| {
            open.leave(symptom);
            if !open.is_quiet() {
                return Vec::new();
            }
            match open.stage {
                Stage::Gathering | Stage::Unclear { .. } => close(open, Ending::Recovered, Some(now)),
                Stage::WithPerson => close(open, Ending::AfterEscalation, Some(now)),
                // An action is under way: only its own verification may end the incident.
                Stage::Acting | Stage::Undoing | Stage::Verifying { .. } | Stage::VerifyingUndo { .. } => Vec::new(),
            }
        })
    }

    fn gather(&self, open: &mut Incident, now: Timestamp) -> Vec<Effect> {
        open.stage = Stage::Gathering;
        open.rounds += 1;
        let questions = diagnose::questions(&open.service, open.onset, now, self.settings.evidence_window);
        vec![Effect::Gather { incident: open.id, questions }]
    }

    fn gathered(&mut self, open: &mut Incident, evidence: &Evidence, now: Timestamp) -> Vec<Effect> {
        if open.stage != Stage::Gathering {
            return Vec::new();
        }
        let age = now.since(evidence.gathered_at);
        if age > self.limits.settings().max_evidence_age && open.rounds < self.settings.gather_rounds {
            // It waited too long to be acted on, for instance for the ledger's disk: look again.
            return self.gather(open, now);
        }
        let diagnosis =
            diagnose::rank(&open.service, open.onset, &open.symptoms, evidence, self.settings.evidence_window);
        let is_news = open.diagnosis.as_ref().is_none_or(|known| {
            known.is_resolved != diagnosis.is_resolved
                || known.hypotheses.first().map(|h| h.kind) != diagnosis.hypotheses.first().map(|h| h.kind)
        });
        let mut effects = Vec::new();
        if is_news {
            effects.push(note_on(open, Fact::Diagnosed { diagnosis: diagnosis.clone() }));
        }
        open.diagnosis = Some(diagnosis.clone());
        if !diagnosis.is_resolved && open.rounds < self.settings.gather_rounds {
            let again_at = now.plus(self.settings.gather_again);
            open.stage = Stage::Unclear { again_at };
            effects.push(Effect::Wake { at: again_at });
            return effects;
        }
        let id = ProposalId(format!("incident-{}/{}", open.id, open.rounds));
        match propose(id, &diagnosis, evidence, open.severity, self.limits.settings()) {
            Ok(proposal) => effects.extend(self.decide(open, proposal, now)),
            Err(refusal) => effects.extend(escalate(open, refusal.to_string())),
        }
        effects
    }

    fn decide(&mut self, open: &mut Incident, proposal: Proposal, now: Timestamp) -> Vec<Effect> {
        let mut effects = vec![note_on(open, Fact::Proposed { proposal: proposal.clone() })];
        let decision = match &self.policy {
            Some(policy) => policy.decide(&proposal, &mut self.limits, now),
            None => no_policy(),
        };
        effects.push(note_on(open, decided(&proposal.id, &decision, false)));
        match decision {
            Decision::Permitted(permit) => {
                open.stage = Stage::Acting;
                open.remediation = Some(Remediation {
                    proposal,
                    acted_at: now,
                    outcome: None,
                    verdict: None,
                    undo: None,
                    ask_at: None,
                    unknowns: 0,
                });
                effects.push(Effect::Act { incident: open.id, permit });
            }
            Decision::NeedsApproval { reason, .. } => {
                effects.extend(escalate(open, format!("{} waits for approval: {reason}", proposal.action)));
            }
            Decision::Denied { reason, .. } => {
                effects.extend(escalate(open, format!("{} was not allowed: {reason}", proposal.action)));
            }
        }
        effects
    }

    /// Asks the driver what became of the action on its way.
    fn inspect(&self, open: &mut Incident) -> Vec<Effect> {
        let Some(remediation) = &mut open.remediation else { return Vec::new() };
        remediation.ask_at = None;
        let mut proposal = remediation.proposal.clone();
        if open.stage == Stage::Undoing {
            proposal.id = undo_id(&proposal.id);
            proposal.action = proposal.action.inverse().unwrap_or(proposal.action);
        }
        vec![Effect::Inspect { incident: open.id, proposal }]
    }

    fn executed(&mut self, open: &mut Incident, id: &ProposalId, outcome: &Outcome, now: Timestamp) -> Vec<Effect> {
        let sized = open.diagnosis.as_ref().and_then(|diagnosis| diagnosis.hypotheses.first()?.sizing);
        let Some(remediation) = &mut open.remediation else { return Vec::new() };
        let is_undo = open.stage == Stage::Undoing && *id == undo_id(&remediation.proposal.id);
        let is_forward = open.stage == Stage::Acting && *id == remediation.proposal.id;
        if !is_undo && !is_forward {
            return Vec::new();
        }
        // What doing nothing would have meant: the replicas there were, not those that were wished for.
        let forecast = match remediation.proposal.action {
            Action::Scale { from, .. } if is_forward => sized.map(|sizing| Forecast::new(&sizing, from)),
            Action::Scale { .. } | Action::RollBack { .. } | Action::Restart { .. } => None,
        };
        let watching = Watching {
            service: remediation.proposal.service.clone(),
            onset: open.onset,
            acted_at: remediation.acted_at,
            done_at: now,
            forecast,
        };
        if is_undo {
            remediation.undo = Some(outcome.clone());
        } else {
            remediation.outcome = Some(outcome.clone());
        }
        match outcome {
            Outcome::Done { .. } => {
                let next_at = now.plus(self.settings.check_every);
                open.stage = if is_undo {
                    Stage::VerifyingUndo { watching, next_at: Some(next_at) }
                } else {
                    Stage::Verifying { watching, next_at: Some(next_at) }
                };
                vec![Effect::Wake { at: next_at }]
            }
            // Nothing happened and it is known: the world may have moved on since, so start from fresh evidence.
            Outcome::NeverStarted if is_forward => {
                self.limits.withdraw(id, now);
                open.remediation = None;
                self.gather(open, now)
            }
            // What was to be taken back is still in place, and was judged already.
            Outcome::NeverStarted => {
                let proposal = remediation.proposal.clone();
                let verdict = remediation.verdict.unwrap_or(Verdict::Unproven);
                self.limits.withdraw(id, now);
                self.undo(open, &proposal, verdict, now)
            }
            // It may still be under way. Look, as long as there is hope, before anybody does anything about it.
            Outcome::Unknown { .. } if remediation.unknowns < MOST_UNKNOWNS => {
                let pause = self.settings.check_every.saturating_mul(1 << remediation.unknowns.min(MOST_UNKNOWNS));
                let ask_at = now.plus(pause);
                remediation.unknowns += 1;
                remediation.ask_at = Some(ask_at);
                vec![Effect::Wake { at: ask_at }]
            }
            Outcome::Refused { .. } | Outcome::Failed { .. } | Outcome::Unknown { .. } => {
                let action = remediation.proposal.action.clone();
                self.limits.settle(id, false, now);
                let what = if is_undo { format!("undoing `{action}`") } else { format!("`{action}`") };
                escalate(open, format!("{what} ended as {outcome}"))
            }
        }
    }

    fn woke(&mut self, now: Timestamp) -> Vec<Effect> {
        let ids: Vec<IncidentId> = self.incidents.keys().copied().collect();
        let mut effects = Vec::new();
        for id in ids {
            effects.extend(self.with(id, |this, open| match &open.stage {
                Stage::Unclear { again_at } if *again_at <= now => this.gather(open, now),
                Stage::Verifying { next_at: Some(at), .. } | Stage::VerifyingUndo { next_at: Some(at), .. }
                    if *at <= now =>
                {
                    this.look(open, now)
                }
                Stage::Acting | Stage::Undoing if open.is_to_ask(now) => this.inspect(open),
                Stage::Gathering
                | Stage::Unclear { .. }
                | Stage::Acting
                | Stage::Undoing
                | Stage::Verifying { .. }
                | Stage::VerifyingUndo { .. }
                | Stage::WithPerson => Vec::new(),
            }));
        }
        effects
    }

    /// Asks for the readings that the verification needs.
    fn look(&self, open: &mut Incident, now: Timestamp) -> Vec<Effect> {
        let (Stage::Verifying { watching, next_at } | Stage::VerifyingUndo { watching, next_at }) = &mut open.stage
        else {
            return Vec::new();
        };
        *next_at = None;
        let questions = verification_questions(watching, &self.settings.verify, now);
        vec![Effect::Check { incident: open.id, questions }]
    }

    fn checked(&mut self, open: &mut Incident, evidence: &Evidence, now: Timestamp) -> Vec<Effect> {
        let again_at = now.plus(self.settings.check_every);
        let (watching, is_undo) = match &mut open.stage {
            Stage::Verifying { watching, next_at: next_at @ None } => {
                *next_at = Some(again_at);
                (watching.clone(), false)
            }
            Stage::VerifyingUndo { watching, next_at: next_at @ None } => {
                *next_at = Some(again_at);
                (watching.clone(), true)
            }
            Stage::Verifying { .. }
            | Stage::VerifyingUndo { .. }
            | Stage::Gathering
            | Stage::Unclear { .. }
            | Stage::Acting
            | Stage::Undoing
            | Stage::WithPerson => return Vec::new(),
        };
        let assessment = judge(&watching, evidence, &self.settings.verify, now);
        let Some(verdict) = assessment.verdict else { return vec![Effect::Wake { at: again_at }] };
        let Some(remediation) = &mut open.remediation else { return Vec::new() };
        let proposal = remediation.proposal.clone();
        if !is_undo {
            remediation.verdict = Some(verdict);
            self.limits.settle(&proposal.id, verdict.is_success(), now);
        }
        let judged = Fact::Judged { proposal: proposal.id.clone(), assessment: assessment.clone(), undo: is_undo };
        let mut effects = vec![note_on(open, judged)];
        effects.extend(if is_undo {
            self.limits.settle(&undo_id(&proposal.id), verdict.is_success(), now);
            escalate(open, format!("`{}` was undone; a person has to look", proposal.action))
        } else {
            self.conclude(open, &proposal, verdict, &assessment, now)
        });
        effects
    }

    /// Keeps, or undoes once, what was done.
    fn conclude(
        &mut self,
        open: &mut Incident,
        proposal: &Proposal,
        verdict: Verdict,
        assessment: &Assessment,
        now: Timestamp,
    ) -> Vec<Effect> {
        let costs_to_keep = matches!(proposal.action, Action::Scale { from, to } if to > from);
        match verdict {
            Verdict::Fixed => close(open, Ending::Fixed, assessment.mitigated_at),
            Verdict::MadeWorse => self.undo(open, proposal, verdict, now),
            Verdict::NotFixed if costs_to_keep => self.undo(open, proposal, verdict, now),
            // Without proof either way, changing things a second time would be acting blindly.
            Verdict::NotFixed | Verdict::Unproven => {
                escalate(open, format!("`{}` is {verdict}: {}", proposal.action, assessment.reason))
            }
        }
    }

    fn undo(&mut self, open: &mut Incident, proposal: &Proposal, verdict: Verdict, now: Timestamp) -> Vec<Effect> {
        let decision = match &self.policy {
            Some(policy) => policy.decide_undo(proposal, &mut self.limits, now),
            None => no_policy(),
        };
        let mut effects = vec![note_on(open, decided(&undo_id(&proposal.id), &decision, true))];
        match decision {
            Decision::Permitted(permit) => {
                open.stage = Stage::Undoing;
                if let Some(remediation) = &mut open.remediation {
                    remediation.ask_at = None;
                    remediation.unknowns = 0;
                }
                // A person hears of it now, not when the undo has been watched for minutes.
                let how = match verdict {
                    Verdict::MadeWorse => "made it worse",
                    Verdict::NotFixed => "did not help",
                    Verdict::Unproven | Verdict::Fixed => "is not wanted",
                };
                let reason = format!("`{}` {how} and is being undone", proposal.action);
                effects.push(note_on(open, Fact::Escalated { reason }));
                effects.push(Effect::Act { incident: open.id, permit });
            }
            Decision::NeedsApproval { reason, .. } | Decision::Denied { reason, .. } => {
                effects.extend(escalate(open, format!("undoing `{}` was not allowed: {reason}", proposal.action)));
            }
        }
        effects
    }

    /// Runs `step` on an open incident, which is taken out meanwhile and dropped if the step closed it.
    fn with(&mut self, id: IncidentId, step: impl FnOnce(&mut Self, &mut Incident) -> Vec<Effect>) -> Vec<Effect> {
        let Some(mut open) = self.incidents.remove(&id) else { return Vec::new() };
        let effects = step(self, &mut open);
        let closed = effects.iter().any(|effect| {
            matches!(effect, Effect::Note { incident, fact } if *incident == id && matches!(**fact, Fact::Closed { .. }))
        });
        if !closed {
            self.incidents.insert(id, open);
        }
        effects
    }
}

fn note_on(open: &Incident, fact: Fact) -> Effect {
    Effect::Note { incident: open.id, fact: Box::new(fact) }
}

fn escalate(open: &mut Incident, reason: String) -> Vec<Effect> {
    open.stage = Stage::WithPerson;
    let mut effects = vec![note_on(open, Fact::Escalated { reason })];
    // Nothing more will resolve when every symptom has gone already.
    if open.is_quiet() {
        effects.extend(close(open, Ending::AfterEscalation, None));
    }
    effects
}

fn close(open: &Incident, ending: Ending, mitigated_at: Option<Timestamp>) -> Vec<Effect> {
    vec![note_on(open, Fact::Closed { ending, mitigated_at })]
}

/// The proposal id under which the inverse of a proposal runs.
fn undo_id(id: &ProposalId) -> ProposalId {
    ProposalId(format!("{}/undo", id.0))
}

fn no_policy() -> Decision {
    Decision::Denied { reason: "no policy is loaded".to_owned(), policies: Vec::new() }
}

fn decided(proposal: &ProposalId, decision: &Decision, undo: bool) -> Fact {
    let (answer, reason, policies) = match decision {
        Decision::Permitted(permit) => ("allow", "policy and limits allow it".to_owned(), permit.policies().to_vec()),
        Decision::NeedsApproval { reason, policies } => ("ask", reason.clone(), policies.clone()),
        Decision::Denied { reason, policies } => ("deny", reason.clone(), policies.clone()),
    };
    Fact::Decided { proposal: proposal.clone(), answer: answer.to_owned(), reason, policies, undo }
}

#[cfg(test)]
mod tests;
