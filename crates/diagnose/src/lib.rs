//! From symptoms and evidence to a ranked list of causes, or an honest "unresolved".
//!
//! The shell asks the [`questions`], brings back [`Evidence`], and [`rank`] weighs it: every hypothesis lists what speaks for
//! and against it, and every such finding names the query a reader can open. This crate fetches nothing and decides nothing
//! about acting.
//!
//! ```
//! use aegis_diagnose::{Evidence, rank};
//! use signal::Timestamp;
//! use std::time::Duration;
//!
//! let nothing = Evidence { gathered_at: Timestamp(0), items: Vec::new() };
//! assert!(!rank("shop", Timestamp(0), &[], &nothing, Duration::from_secs(30)).is_resolved);
//! ```

mod evidence;
mod operations;
mod questions;
mod rank;

pub use evidence::{Answer, Change, ChangeKind, Evidence, Item, Question, Revision, SeriesAnswer, Workload};
pub use operations::{OperationStats, Operations, SpanSummary, TraceSummary, operations};
pub use questions::questions;
pub use rank::{CauseKind, Diagnosis, Finding, Hypothesis, Language, RuledOut, Sizing, rank};
