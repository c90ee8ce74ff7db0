//! What a miner knows, written down.

use serde::{Deserialize, Serialize};
use signal::Nanos;

use super::mask::WORDS;
use super::miner::{Held, Miner, MinerLimits, Template, TemplateId, shape_hash};
use super::pattern::Pattern;
use super::words::Level;

/// The version of what is written; others are not read.
const VERSION: u32 = 1;

/// Everything a [`Miner`] knows. One that is restored from it goes on as the one that was saved would have.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MinerState {
    version: u32,
    lines: u64,
    born: u64,
    dropped: u64,
    /// By group, in the order of their members there.
    templates: Vec<Saved>,
    absorbed: Vec<(TemplateId, TemplateId)>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Saved {
    id: TemplateId,
    level: Level,
    pattern: Pattern,
    count: u64,
    first: i64,
    last: i64,
    example: String,
    born: u64,
    weight: u64,
    used: u64,
}

/// Why a state cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// It was written by another version.
    #[error("templates of version {0} cannot be read, only of version {VERSION}")]
    Version(u32),
}

impl Miner {
    /// Everything this miner knows.
    #[must_use]
    pub fn save(&self) -> MinerState {
        let members = self.groups.values().flat_map(|group| &group.members).filter_map(|slot| self.held(*slot));
        let templates = members.map(|held| Saved {
            id: held.template.id,
            level: held.template.level,
            pattern: held.pattern.clone(),
            count: held.template.count,
            first: held.template.first.0,
            last: held.template.last.0,
            example: held.template.example.clone(),
            born: held.born,
            weight: held.weight,
            used: held.used,
        });
        let absorbed = self.absorbed_order.iter().filter_map(|id| Some((*id, *self.absorbed.get(&id.0)?)));
        MinerState {
            version: VERSION,
            lines: self.lines,
            born: self.born,
            dropped: self.dropped,
            templates: templates.collect(),
            absorbed: absorbed.collect(),
        }
    }

    /// Goes on where another miner was saved.
    ///
    /// # Errors
    /// `RestoreError::Version` if another version wrote it.
    pub fn restore(state: MinerState, limits: MinerLimits) -> Result<Self, RestoreError> {
        if state.version != VERSION {
            return Err(RestoreError::Version(state.version));
        }
        let mut miner = Self::new(limits);
        miner.lines = state.lines;
        miner.born = state.born;
        miner.dropped = state.dropped;
        for saved in state.templates {
            let shape = (saved.level, saved.pattern.words.len());
            if shape.1 > WORDS {
                continue;
            }
            let pattern = saved.pattern.restored();
            let sum = pattern.sum(shape_hash(shape));
            let template = Template {
                id: saved.id,
                text: pattern.text(),
                level: saved.level,
                count: saved.count,
                first: Nanos(saved.first),
                last: Nanos(saved.last),
                example: saved.example,
            };
            let held = Held { template, pattern, born: saved.born, weight: saved.weight, used: saved.used };
            let slot = miner.hold(held, sum);
            miner.groups.entry(shape).or_default().members.push(slot);
        }
        let shapes: Vec<_> = miner.groups.keys().copied().collect();
        for shape in shapes {
            miner.tidy(shape);
        }
        for (id, into) in state.absorbed {
            miner.absorb(id, into);
        }
        miner.keep_limits();
        Ok(miner)
    }
}
