//! The record of everything that was decided, and what can be read from it.
//!
//! The [`Ledger`] is append-only and hash-chained: each record holds an input of the control loop with the effects it
//! had, and is on disk before any of those effects is carried out. [`fold`] turns records into the [`Timeline`] that
//! API, report and interface show; [`replay`] feeds the inputs to a fresh conductor and compares. This crate does *not*
//! decide or act, and telemetry logs are not its business.
//!
//! ```
//! use aegis_audit::{Ledger, replay};
//! use control::Input;
//! use signal::Timestamp;
//! use store::MemoryDisk;
//!
//! let disk = MemoryDisk::new();
//! let (mut ledger, opened) = Ledger::open("audit".as_ref(), &disk)?;
//! assert!(opened.records.is_empty());
//! ledger.heard(Timestamp(1), &Input::Woke, &[])?;
//! drop(ledger);
//!
//! let (_, opened) = Ledger::open("audit".as_ref(), &disk)?;
//! assert_eq!(replay(&opened.records)?.inputs, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod kpis;
mod ledger;
mod replay;
mod report;
mod timeline;

pub use kpis::{Kpis, kpis};
pub use ledger::{AppendError, BadRecord, LEDGER_FILE, Ledger, OpenError, Opened, Record, Verified, read, verify};
pub use replay::{Divergence, Replayed, replay};
pub use report::report;
pub use timeline::{ActionView, CauseView, Entry, IncidentView, StageName, Timeline, fold};
