//! Carries effects out, and brings their results back later.

use std::path::Path;
use std::time::Duration;

use control::{Effect, IncidentId, Input};
use diagnose::{Answer, Evidence, Item, Question};
use policy::Permit;
use remediate::Outcome;

use super::{AUDIT, Event, Sim};
use crate::answers::Sources;
use crate::laws;
use crate::script::{DriverFault, SourceFault};

/// How long the questions of one round take.
const ASKING: Duration = Duration::from_millis(300);

impl Sim {
    pub(super) fn perform(&mut self, effect: Effect) {
        let life = self.life;
        match effect {
            Effect::Gather { incident, questions } => {
                let evidence = self.ask(questions);
                self.bring(Input::Gathered { incident, evidence });
            }
            Effect::Check { incident, questions } => {
                let evidence = self.ask(questions);
                self.bring(Input::Checked { incident, evidence });
            }
            Effect::Act { incident, permit } => {
                if self.is_full {
                    self.broken.push(format!("{} acts while nothing can be put on record", permit.id()));
                }
                laws::check_intent(&self.disk, Path::new(AUDIT), permit.id(), &mut self.broken);
                if let Some(DriverFault::Late { seconds }) = self.world.deployment.fault {
                    self.world.deployment.fault = None;
                    self.after(Duration::from_secs(seconds), Event::Act { life, incident, permit });
                } else {
                    self.act(incident, permit);
                }
            }
            Effect::Inspect { incident, proposal } => {
                let outcome = self.world.deployment.inspect(&proposal.id, self.now);
                let input = Input::Executed { incident, proposal: proposal.id, outcome };
                self.after(ASKING, Event::Hear { life, input });
            }
            Effect::Wake { at } => self.at(at.max(self.now), Event::Wake { life }),
            Effect::Note { .. } => {}
        }
    }

    pub(super) fn act(&mut self, incident: IncidentId, permit: Permit) {
        let id = permit.id().clone();
        let (outcome, at) = match permit.redeem(self.now) {
            Ok(leave) => self.world.deployment.perform(&leave, self.now),
            Err(late) => (Outcome::Refused { reason: late.to_string() }, self.now),
        };
        let life = self.life;
        self.at(at, Event::Hear { life, input: Input::Executed { incident, proposal: id, outcome } });
    }

    fn bring(&mut self, input: Input) {
        let late = match self.sources {
            SourceFault::Stale { seconds } => Duration::from_secs(seconds),
            SourceFault::Up | SourceFault::Down => Duration::ZERO,
        };
        let life = self.life;
        self.after(ASKING.saturating_add(late), Event::Hear { life, input });
    }

    fn ask(&self, questions: Vec<Question>) -> Evidence {
        let snapshot = self.alive.as_ref().map(|alive| alive.store.snapshot());
        let workload = self.world.deployment.workload(self.now);
        let answer = |question: &Question| match (&snapshot, self.sources) {
            (Some(snapshot), SourceFault::Up | SourceFault::Stale { .. }) => {
                Sources { snapshot, workload: &workload }.answer(question)
            }
            (_, SourceFault::Down) | (None, _) => Answer::Unavailable("no answer within 8 s".to_owned()),
        };
        let items = questions.into_iter().map(|question| Item { answer: answer(&question), question });
        Evidence { items: items.collect(), gathered_at: self.now }
    }
}
