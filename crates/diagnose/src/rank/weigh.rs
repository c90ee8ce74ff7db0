//! How findings become a confidence.

use crate::{CauseKind, Finding, RuledOut};

/// Without its decisive finding no hypothesis gets further than this: it may be shown, never acted on.
const UNDECIDED: f64 = 0.55;
/// Nothing seen from outside is certain.
const MOST: f64 = 0.97;

/// What the evidence says about one check.
pub(super) enum Seen {
    /// It is so.
    Yes(Finding),
    /// It is not so.
    No(Finding),
    /// Nobody knows.
    Unknown,
}

impl Seen {
    pub(super) fn is_yes(&self) -> bool {
        matches!(self, Self::Yes(_))
    }

    /// A finding that speaks for something or against it.
    pub(super) fn from(holds: bool, finding: Finding) -> Self {
        if holds { Self::Yes(finding) } else { Self::No(finding) }
    }
}

/// One hypothesis while it is being weighed.
///
/// Every check has a weight for and one against. The confidence is what was found, minus what contradicts, over all that
/// could have been found: missing evidence lowers it by itself.
pub(super) struct Scale {
    kind: CauseKind,
    support: f64,
    contradiction: f64,
    possible: f64,
    is_decided: bool,
    missing: Vec<&'static str>,
    pub(super) evidence: Vec<Finding>,
    pub(super) against: Vec<Finding>,
}

impl Scale {
    pub(super) fn new(kind: CauseKind) -> Self {
        Self {
            kind,
            support: 0.0,
            contradiction: 0.0,
            possible: 0.0,
            is_decided: false,
            missing: Vec::new(),
            evidence: Vec::new(),
            against: Vec::new(),
        }
    }

    /// The check without which nothing can be concluded.
    pub(super) fn decisive(&mut self, what: &'static str, weights: (f64, f64), seen: Seen) {
        self.is_decided = seen.is_yes();
        self.check(what, weights, seen);
    }

    /// One more check; `weights` are for and against.
    pub(super) fn check(&mut self, what: &'static str, weights: (f64, f64), seen: Seen) {
        self.possible += weights.0;
        match seen {
            Seen::Yes(finding) => {
                self.support += weights.0;
                if weights.0 > 0.0 {
                    self.evidence.push(finding);
                }
            }
            Seen::No(finding) => {
                self.contradiction += weights.1;
                if weights.1 > 0.0 {
                    self.against.push(finding);
                }
            }
            Seen::Unknown => self.missing.push(what),
        }
    }

    /// From 0 to 1, two decimals.
    pub(super) fn confidence(&self) -> f64 {
        if self.possible <= 0.0 {
            return 0.0;
        }
        let most = if self.is_decided { MOST } else { UNDECIDED };
        let raw = ((self.support - self.contradiction) / self.possible).clamp(0.0, most);
        (raw * 100.0).round() / 100.0
    }

    /// Why it is not this one: the first thing that contradicts, or else what nobody could say.
    pub(super) fn ruled_out(&self) -> RuledOut {
        let reason = match (self.against.first(), self.missing.is_empty()) {
            (Some(finding), _) => finding.claim.clone(),
            (None, false) => format!("nothing points to it; not known: {}", self.missing.join(", ")),
            (None, true) => "nothing points to it".to_owned(),
        };
        RuledOut { kind: self.kind, reason }
    }
}
