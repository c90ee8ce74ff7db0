//! Every foreign wire shape: Prometheus, Loki, Tempo and OTLP over HTTP and gRPC.
//!
//! This crate turns requests into calls of [`ingest`], [`store`] and [`query`] and their answers into the JSON or
//! protobuf that existing clients expect. It decides nothing and reads no clock: the time comes in with [`Parts`]. It is
//! *not* the place of Aegis' own decisions; those sub-routes are merged in through [`Parts::extra`].
//!
//! ```
//! # async fn run() -> std::io::Result<()> {
//! use std::sync::Arc;
//! use aegis_http::{Ingress, Parts, Reader, router, serve};
//! use signal::Timestamp;
//!
//! let (ingress, _requests) = Ingress::new(64); // the other end belongs to the writer thread
//! let reader = Reader::new(Arc::new(store::Store::in_memory()));
//! let parts = Parts::new(ingress, reader, Arc::new(|| Timestamp(1_706_189_400_000)));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! serve(listener, router(parts), async { /* until shutdown */ }).await;
//! # Ok(())
//! # }
//! ```

mod handles;
mod health;
mod json;
mod lifecycle;
mod loki;
mod operator;
mod otlp;
mod params;
mod prometheus;
mod reply;
mod router;
mod serve;
mod tempo;

#[cfg(test)]
mod tests;

pub use handles::{
    Admin, AdminError, AlertState, AlertView, BuildInfo, Clock, Committed, Followed, Health, Ingress, LineFollower,
    LineTap, LogRules, LogRulesError, Missed, Namespaces, PutRules, QueryError, Reader, RemoveRules, RuleGroupView,
    RuleKind, RuleView, SampleLimit, TargetView, Turn, View, Views, WriteError, WriteRequest, Written, commit,
};
pub use lifecycle::{Reload, lifecycle_router};
pub use operator::{Evaluated, LogTemplates, Operator, Pause, operator_router};
pub use router::{Flush, Parts, otlp_router, router};
pub use serve::serve;
