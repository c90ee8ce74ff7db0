//! `layout.toml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;

use super::read;

/// Name of the file at the root.
pub(super) const FILE: &str = "layout.toml";

/// What the house should look like.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plan {
    pub(super) kinds: BTreeMap<Kind, KindRow>,
    pub(super) crates: BTreeMap<String, CrateRow>,
    pub(super) only: BTreeMap<String, OnlyRow>,
    pub(super) clocks: WordsRow,
    pub(super) randomness: WordsRow,
    pub(super) minted: MintedRow,
    pub(super) effects: EffectsRow,
}

/// What a crate is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Core,
    Keeper,
    Edge,
    Shell,
    Dev,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KindRow {
    /// External packages; a `*` at the end stands for anything.
    pub(super) forbids: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CrateRow {
    pub(super) floor: u32,
    pub(super) kind: Kind,
    /// Exceptions from what the kind forbids.
    #[serde(default)]
    pub(super) allows: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OnlyRow {
    pub(super) crates: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WordsRow {
    pub(super) words: Vec<String>,
    pub(super) files: Vec<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MintedRow {
    #[serde(rename = "crate")]
    pub(super) maker: String,
    pub(super) types: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EffectsRow {
    pub(super) calls: Vec<String>,
    pub(super) files: Vec<PathBuf>,
}

impl Plan {
    pub(super) fn read(root: &Path) -> anyhow::Result<Self> {
        let path = root.join(FILE);
        toml::from_str(&read(&path)?).with_context(|| format!("{} has the wrong shape", path.display()))
    }

    pub(super) fn kind_of(&self, member: &str) -> Option<Kind> {
        self.crates.get(member).map(|row| row.kind)
    }
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Keeper => "keeper",
            Self::Edge => "edge",
            Self::Shell => "shell",
            Self::Dev => "dev",
        }
    }
}

/// Whether `pattern`, which may end in `*`, stands for `name`.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}
