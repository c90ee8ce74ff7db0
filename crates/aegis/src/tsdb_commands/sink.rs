//! Where imported samples go: straight into a store, or to a server by remote write.

use std::time::Duration;

use anyhow::{Context, bail};
use ingest::{Intake, Limits};
use signal::WriteBatch;
use store::Store;

use super::remote;
use crate::clock;
use crate::query_commands::place::{Place, Server, said};

/// How often a server may say that it cannot right now.
const TRIES: u32 = 8;
/// The first pause after that; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Most refusals that are shown.
const SHOWN: usize = 10;

/// Takes batches and counts what became of them.
#[derive(Debug)]
pub(super) struct Sink {
    to: To,
    pub(super) taken: Taken,
}

#[derive(Debug)]
enum To {
    Store { store: Box<Store>, intake: Intake },
    Server { server: Server, runtime: tokio::runtime::Runtime },
}

/// What became of the samples.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Taken {
    /// Handed over.
    pub(super) samples: u64,
    /// Of those, there already, as far as that is known: neither a server tells, nor the store of what is in blocks.
    pub(super) duplicates: u64,
    /// Not kept.
    pub(super) refused: u64,
    /// Why, for the first of them.
    pub(super) reasons: Vec<String>,
}

impl Sink {
    pub(super) fn new(place: Place) -> anyhow::Result<Self> {
        let to = match place {
            Place::Store(store) => To::Store { store, intake: Intake::new(Limits::default()) },
            Place::Server(server) => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                To::Server { server, runtime }
            }
        };
        Ok(Self { to, taken: Taken::default() })
    }

    pub(super) fn write(&mut self, batch: WriteBatch) -> anyhow::Result<()> {
        self.taken.samples += batch.sample_count() as u64;
        match &mut self.to {
            To::Store { store, intake } => keep(store, intake, batch, &mut self.taken),
            To::Server { server, runtime } => {
                let body = remote::encode(&batch.series, &batch.metadata);
                let body = snap::raw::Encoder::new().compress_vec(&body).context("cannot compress a batch")?;
                runtime.block_on(send(server, &body, &mut self.taken))
            }
        }
    }

    /// Makes everything durable.
    pub(super) fn finish(&self) -> anyhow::Result<()> {
        match &self.to {
            To::Store { store, .. } => {
                store.flush()?;
                while store.maintain(clock::now())?.compacted {}
                Ok(())
            }
            // A server answers once it has done so.
            To::Server { .. } => Ok(()),
        }
    }
}

fn keep(store: &Store, intake: &mut Intake, batch: WriteBatch, taken: &mut Taken) -> anyhow::Result<()> {
    let admitted = intake.admit(batch, clock::now());
    for rejection in admitted.rejected {
        taken.refuse(rejection.count, || rejection.example);
    }
    let receipt = store.append(&[admitted.batch])?;
    // A long history must not wait in memory.
    store.maintain(clock::now())?;
    taken.duplicates += receipt.duplicates;
    taken.refuse(receipt.rejected, || match receipt.conflicts.first() {
        Some(conflict) => format!(
            "`{}` has another value at {} already: {} stays, {} was refused",
            conflict.series, conflict.at, conflict.kept, conflict.refused
        ),
        None => "a series has another value at that time already".to_owned(),
    });
    Ok(())
}

async fn send(server: &Server, body: &[u8], taken: &mut Taken) -> anyhow::Result<()> {
    const HEADERS: [(&str, &str); 3] = [
        ("content-type", "application/x-protobuf"),
        ("content-encoding", "snappy"),
        ("x-prometheus-remote-write-version", "0.1.0"),
    ];
    let mut pause = FIRST_PAUSE;
    for _ in 0..TRIES {
        let (status, answer) = server.send(server.post("api/v1/write", &HEADERS, body.to_vec())).await?;
        match status.as_u16() {
            200..=299 => return Ok(()),
            // What is valid of a batch is kept; the answer does not say how much that is.
            400 => {
                taken.refuse(1, || said(&answer));
                return Ok(());
            }
            429 | 500..=599 => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            other => bail!("{server} answered {other}: {}", said(&answer)),
        }
    }
    bail!("{server} did not take a batch after {TRIES} tries")
}

impl Taken {
    fn refuse(&mut self, count: u64, why: impl FnOnce() -> String) {
        self.refused += count;
        if count > 0 && self.reasons.len() < SHOWN {
            self.reasons.push(why());
        }
    }
}
