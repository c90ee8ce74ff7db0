//! The same inputs, decided again.

use control::{Conductor, Effect};

use crate::Record;

/// A replay that agreed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Replayed {
    /// Inputs fed.
    pub inputs: u64,
    /// Effects compared, byte for byte.
    pub effects: u64,
}

/// The first step at which today's conductor decides otherwise.
#[derive(Debug, thiserror::Error)]
#[error("record {seq} decides otherwise\n  recorded: {recorded}\n  replayed: {replayed}")]
pub struct Divergence {
    /// Which record.
    pub seq: u64,
    /// Its effects as JSON.
    pub recorded: String,
    /// The effects of this replay as JSON.
    pub replayed: String,
}

/// Feeds the inputs of `records` to a fresh conductor and compares the effects, as JSON, byte for byte.
///
/// # Errors
/// The first [`Divergence`], which a different version of Aegis or a damaged record can cause.
pub fn replay(records: &[Record]) -> Result<Replayed, Divergence> {
    let mut conductor = Conductor::new();
    let mut effects = 0;
    for record in records {
        let answer = conductor.handle(record.heard.clone(), record.at);
        let replayed = json(&answer.iter().map(Effect::record).collect::<Vec<_>>());
        let recorded = json(&record.effects);
        if replayed != recorded {
            return Err(Divergence { seq: record.seq, recorded, replayed });
        }
        effects += record.effects.len() as u64;
    }
    Ok(Replayed { inputs: records.len() as u64, effects })
}

fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| format!("cannot be written: {error}"))
}
