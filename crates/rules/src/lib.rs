//! Prometheus rule files: recording and alerting rules, their templates, and their unit tests. Groups of Loki's rules
//! differ in their language alone.
//!
//! [`RuleFile::parse`] reads a file as Prometheus does, [`Group`] evaluates it: a state machine that is handed the time
//! and asks its questions through [`Ask`]. This crate is *not* the scheduler, reads no clock and no files; `aegis` does
//! both. The rules Aegis ships with are `detect`'s business.
//!
//! ```
//! use aegis_rules::{RuleFile, Group, Surroundings};
//!
//! let text = "groups:\n- name: api\n  rules:\n  - record: job:up:sum\n    expr: sum by (job) (up)\n";
//! let file = RuleFile::parse("api.yaml", text)?;
//! let group = Group::new(&file.groups[0], "api.yaml", &Surroundings::default());
//! assert_eq!(group.rules()[0].rule.expr.to_string(), "sum by (job) (up)");
//! # Ok::<(), aegis_rules::RuleFileError>(())
//! ```

mod alerting;
mod ask;
mod file;
mod group;
mod question;
mod template;
mod unit_test;

pub use alerting::{Alert, AlertState};
pub use ask::{Ask, Element, Reading, elements, log_elements};
pub use file::{GroupSpec, Kind, Problem, Rule, RuleFile, RuleFileError};
pub use group::{Evaluation, Group, Health, RuleState, Surroundings};
pub use question::{Language, Question};
pub use unit_test::TestFile;
