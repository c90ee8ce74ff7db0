//! Carries out, at the supervisor, what policy gave leave for.

use std::path::Path;
use std::time::Duration;

use diagnose::Workload;
use policy::{Action, Leave, ProposalId};
use remediate::Outcome;

use crate::wire::Wish;
use crate::{Client, ClientError, Progress};

const BY: &str = "aegis";

/// The process driver. Every call blocks its thread.
#[derive(Clone, Debug)]
pub struct LocalDriver {
    client: Client,
}

/// Why the driver cannot see its workloads.
#[derive(Debug, thiserror::Error)]
#[error("cannot list local workloads")]
pub struct DriverError(#[from] ClientError);

impl LocalDriver {
    /// Acts through the supervisor that runs in `run_dir`.
    #[must_use]
    pub fn new(run_dir: &Path) -> Self {
        Self { client: Client::new(run_dir) }
    }

    /// Does what `leave` says and waits until the deployment is ready as wished, at most `deadline`.
    ///
    /// The proposal's id is the idempotency key: asked again, also after a crash of either side, nothing is done twice.
    #[must_use]
    pub fn perform(&self, leave: &Leave, deadline: Duration) -> Outcome {
        let target = leave.target().clone();
        let wish = match *leave.action() {
            Action::Scale { from, to } => Wish::Scale { target, from: Some(from), to },
            Action::RollBack { from, to } => Wish::RollBack { target, from: Some(from), to },
            Action::Restart { revision } => Wish::Restart { target, revision: Some(revision) },
        };
        let key = leave.id().0.as_str();
        match self.client.change(key, BY, wish).and_then(|progress| match progress {
            Progress::Running => self.client.wait(key, deadline),
            Progress::NeverSeen | Progress::Settled(_) => Ok(progress),
        }) {
            Ok(Progress::Settled(outcome)) => outcome,
            Ok(Progress::Running) => {
                Outcome::Unknown { reason: format!("{} was not ready within {} s", leave.target(), deadline.as_secs()) }
            }
            Ok(Progress::NeverSeen) => {
                Outcome::Unknown { reason: "the supervisor has forgotten the request".to_owned() }
            }
            Err(error) => outcome_of(&error),
        }
    }

    /// Looks up what became of an earlier intent, without doing anything.
    #[must_use]
    pub fn inspect(&self, id: &ProposalId) -> Outcome {
        match self.client.progress(&id.0) {
            Ok(Progress::Settled(outcome)) => outcome,
            Ok(Progress::Running) => Outcome::Unknown { reason: format!("{id} is still being carried out") },
            Ok(Progress::NeverSeen) => Outcome::NeverStarted,
            Err(error) => Outcome::Unknown { reason: error.to_string() },
        }
    }

    /// Every deployment with its revisions and changes, by name.
    ///
    /// # Errors
    /// `DriverError` when the supervisor cannot be asked.
    pub fn workloads(&self) -> Result<Vec<Workload>, DriverError> {
        Ok(self.client.workloads()?)
    }
}

/// Only what certainly did not reach the supervisor has failed; anything else is not known.
fn outcome_of(error: &ClientError) -> Outcome {
    match error {
        ClientError::Unreachable { .. } | ClientError::Declined { .. } => Outcome::Failed { reason: error.to_string() },
        ClientError::Broken { .. } | ClientError::Strange { .. } => Outcome::Unknown { reason: error.to_string() },
    }
}
