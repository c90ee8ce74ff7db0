//! Leave to do one thing once.

use std::time::Duration;

use serde::Serialize;
use signal::Timestamp;

use crate::{Action, Proposal, ProposalId, Target};

/// Proof that limits and policies allowed one proposal. Good for a short time, for one use.
///
/// Nobody else can make one:
/// ```compile_fail,E0451
/// fn forge(proposal: aegis_policy::Proposal) -> aegis_policy::Permit {
///     aegis_policy::Permit { proposal, policies: Vec::new(), expires: signal::Timestamp(0) }
/// }
/// ```
/// nor copy one:
/// ```compile_fail,E0277
/// fn needs_clone<T: Clone>() {}
/// needs_clone::<aegis_policy::Permit>();
/// ```
/// nor read one from bytes:
/// ```compile_fail,E0277
/// fn needs_bytes<T: for<'de> serde::Deserialize<'de>>() {}
/// needs_bytes::<aegis_policy::Permit>();
/// ```
#[derive(Debug, PartialEq, Serialize)]
pub struct Permit {
    proposal: Proposal,
    policies: Vec<String>,
    expires: Timestamp,
}

/// Leave to do one thing once; what drivers take. Made only by [`Permit::redeem`], which consumes the permit.
///
/// ```compile_fail,E0451
/// fn forge(proposal: aegis_policy::Proposal) -> aegis_policy::Leave {
///     aegis_policy::Leave { proposal }
/// }
/// ```
/// ```compile_fail,E0277
/// fn needs_clone<T: Clone>() {}
/// needs_clone::<aegis_policy::Leave>();
/// ```
/// ```compile_fail,E0277
/// fn needs_bytes<T: for<'de> serde::Deserialize<'de>>() {}
/// needs_bytes::<aegis_policy::Leave>();
/// ```
/// A permit is spent by redeeming it:
/// ```compile_fail,E0382
/// fn twice(permit: aegis_policy::Permit, now: signal::Timestamp) {
///     let _ = permit.redeem(now);
///     let _ = permit.redeem(now);
/// }
/// ```
#[derive(Debug, PartialEq, Serialize)]
pub struct Leave {
    proposal: Proposal,
}

/// Why a permit gives no leave.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PermitError {
    /// It was kept too long.
    #[error("the permit for `{id}` expired {late_ms} ms ago")]
    Expired {
        /// Which proposal.
        id: ProposalId,
        /// How long ago.
        late_ms: u64,
    },
}

impl Permit {
    pub(crate) fn mint(proposal: Proposal, policies: Vec<String>, now: Timestamp, valid: Duration) -> Self {
        Self { proposal, policies, expires: now.plus(valid) }
    }

    /// The proposal's name.
    #[must_use]
    pub fn id(&self) -> &ProposalId {
        &self.proposal.id
    }

    /// Names of the policies that permitted it.
    #[must_use]
    pub fn policies(&self) -> &[String] {
        &self.policies
    }

    /// Last instant it can be redeemed.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// What was permitted.
    #[must_use]
    pub fn proposal(&self) -> &Proposal {
        &self.proposal
    }

    /// Turns the permit into leave to act.
    ///
    /// # Errors
    /// `PermitError::Expired` when `now` is after [`Permit::expires`].
    pub fn redeem(self, now: Timestamp) -> Result<Leave, PermitError> {
        if now > self.expires {
            let late_ms = u64::try_from(now.since(self.expires).as_millis()).unwrap_or(u64::MAX);
            return Err(PermitError::Expired { id: self.proposal.id, late_ms });
        }
        Ok(Leave { proposal: self.proposal })
    }
}

impl Leave {
    /// The proposal's name, and the idempotency key of the action.
    #[must_use]
    pub fn id(&self) -> &ProposalId {
        &self.proposal.id
    }

    /// What may be changed.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.proposal.target
    }

    /// What may be done.
    #[must_use]
    pub fn action(&self) -> &Action {
        &self.proposal.action
    }

    /// Why, in plain words, for the record the driver leaves at the target.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.proposal.reason
    }
}
