//! Many runs at once: each is single-threaded and knows nothing of the others.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;

/// Runs `problem` on every item, on all processors; answers the problems found, in order of the items.
pub fn each<T: Sync, P: Send>(items: &[T], problem: impl Fn(&T) -> Option<P> + Sync) -> Vec<P> {
    let left = Mutex::new(items.iter().enumerate());
    let found = Mutex::new(Vec::new());
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let next = left.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some((at, item)) = next else { return };
                    if let Some(problem) = problem(item) {
                        found.lock().unwrap_or_else(PoisonError::into_inner).push((at, problem));
                    }
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, problem)| problem).collect()
}
