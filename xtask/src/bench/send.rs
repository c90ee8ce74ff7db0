//! Handing a load over, and what that takes.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread::{scope, sleep};
use std::time::Duration;

use anyhow::bail;

use super::clock::Stopwatch;
use super::http::Connection;
use super::load::Body;
use super::process;
use super::servers::Server;

pub(super) const CONNECTIONS: usize = 4;

/// Bodies in a file, and where they go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bodies<'a> {
    pub(super) list: &'a [Body],
    pub(super) file: &'a Path,
    pub(super) target: &'a str,
    /// Whole lines, each with its end.
    pub(super) headers: &'a str,
}

/// What it took to hand over a load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    /// Until the last answer.
    pub(super) seconds: f64,
    /// Until the server was quiet again.
    pub(super) server_cpu: f64,
    /// Cores that everything but server and sender used meanwhile.
    pub(super) others: f64,
}

pub(super) fn send(server: &Server, bodies: Bodies) -> anyhow::Result<Sent> {
    let process = server.process();
    process::forget_peak(process);
    let own = std::process::id();
    let cpu = || (process::cpu_seconds(process), process::cpu_seconds(own), process::machine_seconds());
    let (before, own_before, machine_before) = cpu();
    let watch = Stopwatch::start();
    scope(|scope| {
        let senders: Vec<_> =
            (0..CONNECTIONS).map(|number| scope.spawn(move || send_groups(server.port, bodies, number))).collect();
        senders.into_iter().try_for_each(|sender| match sender.join() {
            Ok(outcome) => outcome,
            Err(_) => bail!("a sender stopped"),
        })
    })?;
    let seconds = watch.elapsed().as_secs_f64();
    let (after, own_after, machine_after) = cpu();
    let others = (machine_after - machine_before) - (after - before) - (own_after - own_before);
    process::settle(process);
    // A tick is the least that can be seen.
    let server_cpu = (process::cpu_seconds(process) - before).max(0.01);
    Ok(Sent { seconds, server_cpu, others: (others / seconds).max(0.0) })
}

/// Sends every group that falls to connection `number`, in order.
fn send_groups(port: u16, bodies: Bodies, number: usize) -> anyhow::Result<()> {
    let file = File::open(bodies.file)?;
    let mut connection = Connection::open(port)?;
    let mut bytes = Vec::new();
    for Body { offset, len, .. } in bodies.list.iter().filter(|body| body.group % CONNECTIONS == number) {
        bytes.resize(*len, 0);
        file.read_exact_at(&mut bytes, *offset)?;
        let mut tries = 0;
        loop {
            let (status, answer) = connection.ask("POST", bodies.target, bodies.headers, &bytes)?;
            tries += 1;
            match status {
                200..=299 => break,
                429 | 503 if tries < 1000 => sleep(Duration::from_millis(20)),
                _ => bail!("a write was answered with {status}: {}", String::from_utf8_lossy(&answer)),
            }
        }
    }
    Ok(())
}
