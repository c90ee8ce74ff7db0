//! Clients that ask a user's own Prometheus, Loki or Tempo (or anything that speaks their APIs, Aegis included).
//!
//! Answers come back in the types of [`query`] and [`signal`], so that nobody downstream knows whether a signal was stored
//! here or elsewhere. Every call has a deadline and a cap on the size of its answer. This crate does *not* retry, cache or
//! decide, and needs a rustls provider installed by the binary before a client is made.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use aegis_upstream::{Options, Prometheus, Secret};
//! use signal::Timestamp;
//!
//! let options = Options { bearer: Some(Secret::new("token")), ..Options::default() };
//! let metrics = Prometheus::new("http://prometheus:9090", options)?;
//! let up = metrics.query("sum(up)", Timestamp(1_706_189_400_000)).await?;
//! # Ok(())
//! # }
//! ```

mod client;
mod loki;
mod options;
mod prometheus;
mod tempo;

#[cfg(test)]
mod tests;

pub use client::{NewError, UpstreamError};
pub use loki::{Loki, LokiStream};
pub use options::{Options, Secret};
pub use prometheus::Prometheus;
pub use tempo::{FoundTrace, Tempo};
