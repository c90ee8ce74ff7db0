//! Which replica gets the next request: the one with the fewest under way, in turn among equals.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

#[derive(Debug)]
struct Replica {
    target: String,
    under_way: AtomicUsize,
}

/// The replicas and how busy each is.
#[derive(Debug, Default)]
pub(crate) struct Balance {
    replicas: RwLock<Vec<Arc<Replica>>>,
    next: AtomicUsize,
}

/// One request's stay at a replica, until dropped.
#[derive(Debug)]
pub(crate) struct Turn(Arc<Replica>);

impl Balance {
    /// Sets the replicas; those known already keep their count.
    pub(crate) fn replace(&self, targets: &[String]) {
        let mut replicas = self.replicas.write().unwrap_or_else(PoisonError::into_inner);
        let fresh = targets.iter().map(|target| {
            let known = replicas.iter().find(|replica| replica.target == *target).cloned();
            known.unwrap_or_else(|| Arc::new(Replica { target: target.clone(), under_way: AtomicUsize::new(0) }))
        });
        *replicas = fresh.collect();
    }

    pub(crate) fn targets(&self) -> Vec<String> {
        let replicas = self.replicas.read().unwrap_or_else(PoisonError::into_inner);
        replicas.iter().map(|replica| replica.target.clone()).collect()
    }

    /// A replica other than `except`; `None` when there is none.
    pub(crate) fn choose(&self, except: Option<&str>) -> Option<Turn> {
        let replicas = self.replicas.read().unwrap_or_else(PoisonError::into_inner);
        let first = self.next.fetch_add(1, Ordering::Relaxed) % replicas.len().max(1);
        let (later, earlier) = (replicas.iter().skip(first), replicas.iter().take(first));
        let candidates = later.chain(earlier).filter(|replica| except != Some(replica.target.as_str()));
        let chosen = candidates.min_by_key(|replica| replica.under_way.load(Ordering::Relaxed))?;
        chosen.under_way.fetch_add(1, Ordering::Relaxed);
        Some(Turn(chosen.clone()))
    }
}

impl Turn {
    pub(crate) fn target(&self) -> &str {
        &self.0.target
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balance(targets: &[&str]) -> Balance {
        let balance = Balance::default();
        balance.replace(&targets.iter().map(|target| (*target).to_owned()).collect::<Vec<_>>());
        balance
    }

    #[test]
    fn equals_take_turns_and_the_busy_are_spared() {
        let balance = balance(&["a", "b", "c"]);
        let turns: Vec<String> = (0..6).map(|_| balance.choose(None).unwrap().target().to_owned()).collect();
        assert_eq!(turns, ["a", "b", "c", "a", "b", "c"]);
        let busy = balance.choose(None).unwrap();
        for _ in 0..6 {
            assert_ne!(balance.choose(None).unwrap().target(), busy.target());
        }
    }

    #[test]
    fn an_excluded_or_missing_replica_is_not_chosen() {
        let two = balance(&["a", "b"]);
        for _ in 0..4 {
            assert_eq!(two.choose(Some("a")).unwrap().target(), "b");
        }
        assert!(balance(&["a"]).choose(Some("a")).is_none());
        assert!(balance(&[]).choose(None).is_none());
    }

    #[test]
    fn a_replica_that_stays_keeps_its_count() {
        let balance = balance(&["a", "b"]);
        let held = balance.choose(None).unwrap();
        assert_eq!(held.target(), "a");
        balance.replace(&["a".to_owned(), "c".to_owned()]);
        let next = [balance.choose(None).unwrap(), balance.choose(None).unwrap()];
        assert_eq!(next.iter().filter(|turn| turn.target() == "c").count(), 1);
        assert_eq!(balance.targets(), ["a", "c"]);
    }
}
