//! How long the lines of which streams are kept.

use std::time::Duration;

use signal::{Labels, Matcher, Nanos, Timestamp, all_match};

/// How long the lines of some streams are kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogRetention {
    /// Of the streams all of these allow.
    pub matchers: Vec<Matcher>,
    /// How long, by the lines' own time.
    pub keep: Duration,
}

/// Since when lines are kept at a moment: what is older counts as gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Floors {
    /// The first one that allows a stream counts.
    rules: Vec<(Vec<Matcher>, Nanos)>,
    /// For all other streams.
    rest: Nanos,
}

impl Default for Floors {
    /// Everything is kept.
    fn default() -> Self {
        Self { rules: Vec::new(), rest: Nanos(i64::MIN) }
    }
}

impl Floors {
    pub(crate) fn at(now: Timestamp, rules: &[LogRetention], retention: Duration) -> Self {
        let floor = |keep: Duration| now.minus(keep).to_nanos();
        let rules = rules.iter().map(|rule| (rule.matchers.clone(), floor(rule.keep))).collect();
        Self { rules, rest: floor(retention) }
    }

    /// For a stream.
    pub(crate) fn of(&self, labels: &Labels) -> Nanos {
        let rule = self.rules.iter().find(|(matchers, _)| all_match(matchers, labels));
        rule.map_or(self.rest, |(_, floor)| *floor)
    }

    /// What is older is gone whatever stream it belongs to.
    pub(crate) fn lowest(&self) -> Nanos {
        self.rules.iter().map(|(_, floor)| *floor).fold(self.rest, Nanos::min)
    }

    /// What is younger is kept whatever stream it belongs to.
    pub(crate) fn highest(&self) -> Nanos {
        self.rules.iter().map(|(_, floor)| *floor).fold(self.rest, Nanos::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_allows_a_stream_counts() {
        let day = Duration::from_secs(24 * 3600);
        let rule =
            |level: &str, days: u32| LogRetention { matchers: vec![Matcher::equal("level", level)], keep: day * days };
        let rules = [rule("debug", 7), rule("error", 180), rule("debug", 99)];
        let now = Timestamp(400 * 86_400_000);
        let floors = Floors::at(now, &rules, day * 30);
        let of = |level: &str| floors.of(&Labels::from_pairs([("level", level)])).0 / 86_400_000_000_000;
        assert_eq!(["debug", "error", "info"].map(of), [393, 220, 370]);
        assert_eq!(floors.lowest().0 / 86_400_000_000_000, 220);
        assert_eq!(floors.highest().0 / 86_400_000_000_000, 393);
        let forever = Floors::at(now, &[], Duration::MAX);
        assert_eq!(forever.of(&Labels::empty()), Nanos(i64::MIN));
        assert_eq!(Floors::default().lowest(), Nanos(i64::MIN));
    }
}
