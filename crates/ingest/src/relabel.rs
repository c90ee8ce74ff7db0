//! Rewriting labels by rules, as Prometheus does (`model/relabel`).

use md5::{Digest, Md5};
use regex::Regex;
use serde::{Deserialize, Deserializer, de};
use signal::{Labels, LabelsBuilder, go_regex};

/// What a rule does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Action {
    /// Writes `replacement` to `target_label` when `regex` matches.
    #[default]
    Replace,
    /// Keeps only what matches.
    Keep,
    /// Drops what matches.
    Drop,
    /// Keeps only what has the source text in `target_label`.
    KeepEqual,
    /// Drops what has the source text in `target_label`.
    DropEqual,
    /// Writes the hash of the source text modulo `modulus` to `target_label`.
    HashMod,
    /// Copies labels whose names match to the name `replacement` gives.
    LabelMap,
    /// Removes labels whose names match.
    LabelDrop,
    /// Removes labels whose names do not match.
    LabelKeep,
    /// Writes the source text in lower case to `target_label`.
    Lowercase,
    /// Writes the source text in upper case to `target_label`.
    Uppercase,
}

/// Words of a configuration, in any case.
const ACTIONS: [(&str, Action); 11] = [
    ("replace", Action::Replace),
    ("keep", Action::Keep),
    ("drop", Action::Drop),
    ("keepequal", Action::KeepEqual),
    ("dropequal", Action::DropEqual),
    ("hashmod", Action::HashMod),
    ("labelmap", Action::LabelMap),
    ("labeldrop", Action::LabelDrop),
    ("labelkeep", Action::LabelKeep),
    ("lowercase", Action::Lowercase),
    ("uppercase", Action::Uppercase),
];

impl<'de> Deserialize<'de> for Action {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        let found = ACTIONS.iter().find(|(known, _)| word.eq_ignore_ascii_case(known));
        found.map(|(_, action)| *action).ok_or_else(|| {
            let known = ACTIONS.map(|(known, _)| format!("`{known}`")).join(", ");
            de::Error::custom(format!("unknown relabel action `{word}`, expected one of {known}"))
        })
    }
}

/// One rule as written in a configuration file.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleFile {
    /// Labels whose values make the source text. Default none.
    #[serde(default)]
    pub source_labels: Vec<String>,
    /// Stands between them. Default `;`.
    pub separator: Option<String>,
    /// RE2 syntax, matches the whole text. Default `(.*)`.
    pub regex: Option<String>,
    /// For `hashmod`.
    pub modulus: Option<u64>,
    /// Where the result goes.
    pub target_label: Option<String>,
    /// What is written; `$1` and `${name}` stand for groups. Default `$1`.
    pub replacement: Option<String>,
    /// Default `replace`.
    #[serde(default)]
    pub action: Action,
}

/// A rule that can only be valid.
#[derive(Clone, Debug)]
pub struct Rule {
    action: Action,
    source_labels: Vec<String>,
    separator: String,
    regex: Regex,
    modulus: u64,
    target_label: String,
    replacement: String,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        self.action == other.action
            && self.source_labels == other.source_labels
            && self.separator == other.separator
            && self.regex.as_str() == other.regex.as_str()
            && self.modulus == other.modulus
            && self.target_label == other.target_label
            && self.replacement == other.replacement
    }
}

/// Why a rule is not usable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// The pattern cannot be compiled.
    #[error("`regex` of a relabel rule: {0}")]
    Regex(String),
    /// The action needs somewhere to write.
    #[error("relabel action `{action:?}` needs `target_label`")]
    NoTarget {
        /// The rule's action.
        action: Action,
    },
    /// `hashmod` by nothing.
    #[error("relabel action `hashmod` needs a `modulus` of at least 1")]
    NoModulus,
    /// A key the action does not use.
    #[error("relabel action `{action:?}` does not use `{key}`")]
    Unused {
        /// The rule's action.
        action: Action,
        /// The key to remove.
        key: &'static str,
    },
}

impl Rule {
    /// Checks a rule as written.
    ///
    /// # Errors
    /// `RuleError` names the first key that does not fit the action.
    pub fn check(file: RuleFile) -> Result<Self, RuleError> {
        let action = file.action;
        // The default written out does no harm.
        let differs = |given: &Option<String>, default: &str| given.as_ref().is_some_and(|given| given != default);
        let (has_regex, has_separator, has_replacement) =
            (differs(&file.regex, "(.*)"), differs(&file.separator, ";"), differs(&file.replacement, "$1"));
        let unused = match action {
            Action::LabelDrop | Action::LabelKeep => [
                ("source_labels", !file.source_labels.is_empty()),
                ("target_label", file.target_label.is_some()),
                ("modulus", file.modulus.is_some()),
                ("separator", has_separator),
                ("replacement", has_replacement),
            ],
            Action::KeepEqual | Action::DropEqual => [
                ("regex", has_regex),
                ("modulus", file.modulus.is_some()),
                ("separator", has_separator),
                ("replacement", has_replacement),
                ("", false),
            ],
            Action::Replace
            | Action::Keep
            | Action::Drop
            | Action::HashMod
            | Action::LabelMap
            | Action::Lowercase
            | Action::Uppercase => [("", false); 5],
        };
        if let Some((key, _)) = unused.into_iter().find(|(_, used)| *used) {
            return Err(RuleError::Unused { action, key });
        }
        let target_label = file.target_label.unwrap_or_default();
        match action {
            Action::Replace
            | Action::KeepEqual
            | Action::DropEqual
            | Action::HashMod
            | Action::Lowercase
            | Action::Uppercase
                if target_label.is_empty() =>
            {
                return Err(RuleError::NoTarget { action });
            }
            Action::HashMod if file.modulus.unwrap_or(0) == 0 => return Err(RuleError::NoModulus),
            Action::Replace
            | Action::Keep
            | Action::Drop
            | Action::KeepEqual
            | Action::DropEqual
            | Action::HashMod
            | Action::LabelMap
            | Action::LabelDrop
            | Action::LabelKeep
            | Action::Lowercase
            | Action::Uppercase => {}
        }
        let pattern = file.regex.as_deref().unwrap_or("(.*)");
        let regex = go_regex::compile_whole(pattern).map_err(RuleError::Regex)?;
        Ok(Self {
            action,
            source_labels: file.source_labels,
            separator: file.separator.unwrap_or_else(|| ";".to_owned()),
            regex,
            modulus: file.modulus.unwrap_or(1).max(1),
            target_label,
            replacement: file.replacement.unwrap_or_else(|| "$1".to_owned()),
        })
    }

    /// False when the labels' owner is to be dropped.
    fn apply(&self, labels: &mut LabelsBuilder) -> bool {
        match self.action {
            Action::Keep => return self.regex.is_match(&self.source(labels)),
            Action::Drop => return !self.regex.is_match(&self.source(labels)),
            Action::KeepEqual => return labels.get(&self.target_label).unwrap_or("") == self.source(labels),
            Action::DropEqual => return labels.get(&self.target_label).unwrap_or("") != self.source(labels),
            Action::Replace => self.replace(labels),
            Action::HashMod => {
                let [.., a, b, c, d, e, f, g, h] = <[u8; 16]>::from(Md5::digest(self.source(labels)));
                let hash = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
                let bucket = hash.checked_rem(self.modulus).unwrap_or(0);
                labels.set(&self.target_label, &bucket.to_string());
            }
            Action::LabelMap => {
                for (name, value) in labels.clone().build().iter() {
                    if let Some(groups) = self.regex.captures(name) {
                        let mut renamed = String::new();
                        groups.expand(&self.replacement, &mut renamed);
                        if !renamed.is_empty() {
                            labels.set(&renamed, value);
                        }
                    }
                }
            }
            Action::LabelDrop => *labels = self.filtered(labels, false),
            Action::LabelKeep => *labels = self.filtered(labels, true),
            Action::Lowercase => {
                let text = self.source(labels).to_lowercase();
                labels.set(&self.target_label, &text);
            }
            Action::Uppercase => {
                let text = self.source(labels).to_uppercase();
                labels.set(&self.target_label, &text);
            }
        }
        true
    }

    fn replace(&self, labels: &mut LabelsBuilder) {
        let source = self.source(labels);
        let Some(groups) = self.regex.captures(&source) else { return };
        let (mut target, mut value) = (String::new(), String::new());
        groups.expand(&self.target_label, &mut target);
        groups.expand(&self.replacement, &mut value);
        if !target.is_empty() {
            labels.set(&target, &value);
        }
    }

    fn source(&self, labels: &LabelsBuilder) -> String {
        let mut source = String::new();
        for (at, name) in self.source_labels.iter().enumerate() {
            if at > 0 {
                source.push_str(&self.separator);
            }
            source.push_str(labels.get(name).unwrap_or(""));
        }
        source
    }

    fn filtered(&self, labels: &LabelsBuilder, matching: bool) -> LabelsBuilder {
        LabelsBuilder::from(&labels.clone().build().without(|name| self.regex.is_match(name) != matching))
    }
}

/// Applies `rules` in order; `None` when one of them drops the owner of `labels`.
#[must_use]
pub fn relabel(labels: &Labels, rules: &[Rule]) -> Option<Labels> {
    if rules.is_empty() {
        return Some(labels.clone());
    }
    let mut builder = LabelsBuilder::from(labels);
    rules.iter().all(|rule| rule.apply(&mut builder)).then(|| builder.build())
}

#[cfg(test)]
mod tests;
