//! The sample application, the people who use it, and what can go wrong with it: `aegis demo`.
//!
//! One command starts a small users API as separate processes behind a proxy, sends it traffic, breaks it, and shows what
//! Aegis does about it; at the end it scores what it saw. This crate talks to Aegis only over HTTP, as any other service
//! and person would. It is *not* a test world with a clock of its own: everything here is real and takes real time.
//!
//! ```
//! use clap::Parser;
//!
//! #[derive(Parser)]
//! struct Cli {
//!     #[command(flatten)]
//!     demo: aegis_demo::DemoArgs,
//! }
//!
//! let cli = Cli::try_parse_from(["demo", "--scenario", "quiet", "--scenario", "bad-deploy", "--exit"])?;
//! assert_eq!(cli.demo.scenario.len(), 2);
//! # Ok::<(), clap::Error>(())
//! ```

mod aegis;
mod capacity;
mod child;
mod clock;
mod config;
mod load;
mod render;
mod rng;
mod run;
mod scenario;
mod score;
mod service;
mod telemetry;
mod terminal;
mod tracecontext;
mod wire;
mod world;

/// One replica of the sample application.
pub mod backend;
/// The proxy in front of it.
pub mod proxy;

pub use run::{DemoArgs, run};
pub use scenario::{Choice, Scenario};
