//! What can be read and what cannot: a source that is down is not a service without readings.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use signal::Timestamp;

/// Follows which questions get answers.
///
/// When answers come back after a gap, the server may have stored nothing during it, and a rate over part of its window is
/// too low. So a question counts as unread for as long again as it went without an answer, at most one window.
#[derive(Debug)]
pub(crate) struct Sight {
    window: Duration,
    /// Since when and until when at least.
    blind: BTreeMap<String, Blind>,
    lost: BTreeMap<String, BTreeSet<String>>,
    back: BTreeMap<Timestamp, BTreeSet<String>>,
    now: Timestamp,
}

#[derive(Clone, Copy, Debug)]
enum Blind {
    Dark { since: Timestamp },
    Clearing { until: Timestamp },
}

/// A change that a person may want to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum News {
    /// These get no answer any more.
    Lost { names: Vec<String>, error: String },
    /// These get answers again.
    Back { names: Vec<String>, after: Duration },
}

impl Sight {
    /// `window` is the rate window of the questions.
    pub(crate) fn new(window: Duration) -> Self {
        let now = Timestamp(0);
        Self { window, blind: BTreeMap::new(), lost: BTreeMap::new(), back: BTreeMap::new(), now }
    }

    /// Takes the answer to the question `name`; gives it back when it can be judged by.
    pub(crate) fn look<T>(&mut self, name: &str, answer: Result<T, String>, now: Timestamp) -> Option<T> {
        self.now = now;
        let known = self.blind.get(name).copied();
        match (answer, known) {
            (Ok(answer), None) => Some(answer),
            (Ok(answer), Some(Blind::Clearing { until })) if until <= now => {
                self.blind.remove(name);
                Some(answer)
            }
            (Ok(_), Some(Blind::Clearing { .. })) => None,
            (Ok(_), Some(Blind::Dark { since })) => {
                self.back.entry(since).or_default().insert(name.to_owned());
                let until = now.plus(now.since(since).min(self.window));
                self.blind.insert(name.to_owned(), Blind::Clearing { until });
                None
            }
            (Err(_), Some(Blind::Dark { .. })) => None,
            (Err(error), None | Some(Blind::Clearing { .. })) => {
                self.lost.entry(error).or_default().insert(name.to_owned());
                self.blind.insert(name.to_owned(), Blind::Dark { since: now });
                None
            }
        }
    }

    /// The questions whose answers cannot be judged by now.
    pub(crate) fn blind(&self) -> impl Iterator<Item = &str> {
        self.blind.keys().map(String::as_str)
    }

    /// What changed since this was last asked.
    pub(crate) fn news(&mut self) -> Vec<News> {
        let lost = std::mem::take(&mut self.lost);
        let lost = lost.into_iter().map(|(error, names)| News::Lost { names: names.into_iter().collect(), error });
        let (back, now) = (std::mem::take(&mut self.back), self.now);
        let back = back
            .into_iter()
            .map(|(since, names)| News::Back { names: names.into_iter().collect(), after: now.since(since) });
        lost.chain(back).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_told_once_and_waited_out() {
        let mut sight = Sight::new(Duration::from_secs(30));
        let down = || Err::<u32, _>("refused".to_owned());
        for (case, second, answer, judged, news) in [
            ("all is well", 0, Ok(1), Some(1), 0),
            ("goes down", 5, down(), None, 1),
            ("stays down", 10, down(), None, 0),
            ("comes back", 15, Ok(2), None, 1),
            ("was away for 10 s, so 10 s are left out", 20, Ok(3), None, 0),
            ("counts again", 25, Ok(4), Some(4), 0),
            ("goes down for long", 30, down(), None, 1),
            ("comes back after a minute", 90, Ok(5), None, 1),
            ("a whole window is left out", 115, Ok(6), None, 0),
            ("and no more", 120, Ok(7), Some(7), 0),
        ] {
            assert_eq!(sight.look("error_rate", answer, Timestamp(second * 1000)), judged, "{case}");
            assert_eq!(sight.news().len(), news, "{case}");
            assert_eq!(sight.blind().count(), usize::from(judged.is_none()), "{case}");
        }
    }

    #[test]
    fn what_fails_for_one_reason_is_told_together() {
        let mut sight = Sight::new(Duration::from_secs(30));
        for (name, reason) in [("a", "refused"), ("b", "too slow"), ("c", "refused")] {
            let _ = sight.look(name, Err::<(), _>(reason.to_owned()), Timestamp(1_000));
        }
        let lost = |names: &[&str], error: &str| News::Lost {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            error: error.to_owned(),
        };
        assert_eq!(sight.news(), [lost(&["a", "c"], "refused"), lost(&["b"], "too slow")]);
        for name in ["a", "b"] {
            let _ = sight.look(name, Ok(()), Timestamp(8_000));
        }
        let names = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(sight.news(), [News::Back { names, after: Duration::from_secs(7) }]);
    }
}
