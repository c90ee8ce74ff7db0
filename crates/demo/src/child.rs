//! What every process of the sample application agrees on with its supervisor.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

/// The name of this replica; its address when nobody gave it a name.
pub(crate) fn instance(address: SocketAddr) -> String {
    std::env::var("AEGIS_INSTANCE").unwrap_or_else(|_| address.to_string())
}

/// Tells the supervisor where this process listens.
pub(crate) fn report_ready(address: SocketAddr) -> anyhow::Result<()> {
    local::report_port(address.port()).context("reporting the port to the supervisor")
}

/// Completes when this process should stop: SIGTERM, or SIGINT when run by hand.
pub(crate) async fn told_to_stop() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        // Without handlers the default action ends the process, which is what was asked for.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
