//! May we? A [`Proposal`] goes in, a [`Decision`] comes out: the stateful [`Limits`] first, then Cedar policies.
//!
//! This crate is the only mint of a [`Permit`], and a [`Leave`], which every driver demands, comes only from
//! [`Permit::redeem`]. So an action that no policy allowed cannot be written. It is *not* the place that acts, waits or
//! reads a clock: `now` comes in.
//!
//! ```
//! use aegis_policy::{Policy, Question};
//!
//! let policy = Policy::load(&[("example.cedar", r#"
//!     @id("scale up on high severity")
//!     permit (principal == Agent::"aegis", action == Action::"scale_up", resource)
//!     when { context.severity == "high" };
//! "#)])?;
//! let question: Question = serde_json::from_str(
//!     r#"{"action": "scale_up", "resource": "deployment:backend", "context": {"severity": "high", "automated": true}}"#,
//! )?;
//! let evaluation = policy.evaluate(&question);
//! assert!(evaluation.allowed);
//! assert_eq!(evaluation.applied_policies, ["scale up on high severity"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod action;
mod decide;
mod engine;
mod limits;
mod load;
mod permit;

pub use action::{Action, Proposal, ProposalId, Target, TargetError};
pub use decide::{Approver, Decision};
pub use engine::{Evaluation, Policy, Question};
pub use limits::{LimitSettings, Limits};
pub use load::{LoadError, Problem};
pub use permit::{Leave, Permit, PermitError};
