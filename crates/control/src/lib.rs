//! The control loop as one deterministic machine: [`Conductor::handle`] takes an [`Input`] and answers [`Effect`]s.
//!
//! Everything that can change a decision is an input, so a fresh conductor fed the recorded inputs gives the same
//! effects: that is crash recovery, replay and test oracle in one. This crate is *not* the loop's runtime: it never
//! waits, reads a clock, or reaches outside; the shell carries effects out and brings their results back as inputs.
//!
//! ```
//! use aegis_control::{Conductor, Input};
//! use signal::Timestamp;
//!
//! let mut conductor = Conductor::new();
//! // Nothing is configured and nothing is wrong, so there is nothing to do.
//! assert!(conductor.handle(Input::Woke, Timestamp(0)).is_empty());
//! ```

mod conductor;
mod effect;
mod incident;
mod input;

pub use conductor::Conductor;
pub use effect::{Effect, EffectRecord, Ending, Fact};
pub use incident::{Incident, IncidentId, Remediation, Stage};
pub use input::{Input, Settings};
