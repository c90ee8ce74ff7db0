//! From a diagnosis to a proposal, and from an outcome to a verdict.
//!
//! One remediation is: [`propose`] what to do, ask `policy` for a permit, let a driver carry it out (its answer is an
//! [`Outcome`]), then [`judge`] from the service's own signals whether it helped. This crate is *not* a driver and never
//! reaches outside: it takes values and answers values.
//!
//! ```
//! use aegis_remediate::Verdict;
//!
//! assert!(Verdict::Fixed.is_success());
//! assert!(!Verdict::Unproven.is_success());
//! ```

mod outcome;
mod propose;
mod verify;

pub use outcome::{Outcome, Verdict};
pub use propose::{Refusal, propose};
pub use verify::{Assessment, Forecast, VerifySettings, Watching, judge, verification_questions};
