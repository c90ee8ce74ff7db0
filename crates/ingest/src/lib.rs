//! Bytes of any protocol in, an admitted [`WriteBatch`](signal::WriteBatch) out.
//!
//! Decoders know the wire formats (Prometheus remote write, Loki push, OTLP, the text formats of a scrape), [`relabel`]
//! and [`scrape`] hold the pure half of scraping, and [`Intake`] applies the limits that are the same for everybody.
//! Nothing here opens a socket, reads a clock or logs: it is *not* a server, and it does not store.
//!
//! ```
//! use aegis_ingest::{Intake, Limits, exposition};
//! use signal::{Timestamp, WriteBatch};
//!
//! let now = Timestamp(1_706_189_400_000);
//! let limits = Limits::default();
//! let page = exposition::parse(b"# TYPE up gauge\nup{job=\"backend\"} 1\n", None, now, &limits)?;
//! let batch = WriteBatch { series: page.series, metadata: page.metadata, ..WriteBatch::default() };
//! let admitted = Intake::new(limits).admit(batch, now);
//! assert_eq!(admitted.batch.sample_count(), 1);
//! assert!(admitted.rejected.is_empty());
//! # Ok::<(), exposition::ParseError>(())
//! ```

pub mod compression;
pub mod exposition;
mod intake;
mod label_cache;
mod limits;
mod line_gate;
pub mod loki_push;
pub mod native;
pub mod otlp;
pub mod pipeline;
mod prepared;
pub mod prometheus_tsdb;
mod quoted;
mod rate;
mod rejection;
pub mod relabel;
pub mod remote_write;
pub mod scrape;
pub mod syslog;
pub mod tail;
mod wire;

pub use intake::{Admitted, Intake};
pub use limits::{Limits, LongLines};
pub use prepared::{MetricCounts, Prepared};
pub use rate::{RateExceeded, SampleRate};
pub use rejection::{Decoded, Rejection};
pub use wire::WireError;
