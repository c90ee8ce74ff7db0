//! Work on many things with a few threads.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Cuts `count` items into chunks of `chunk` and works on them with up to `threads` threads, each with a scratch space of
/// its own. The answers come in the order of the chunks, which do not depend on the number of threads.
pub(crate) fn in_chunks<T, S, E>(
    threads: usize,
    count: usize,
    chunk: usize,
    work: impl Fn(&mut S, Range<usize>) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E>
where
    T: Send,
    E: Send,
    S: Default,
{
    let chunk = chunk.max(1);
    let chunks = count.div_ceil(chunk);
    let range = |index: usize| index * chunk..((index + 1) * chunk).min(count);
    if threads <= 1 || chunks <= 1 {
        let mut scratch = S::default();
        return (0..chunks).map(|index| work(&mut scratch, range(index))).collect();
    }
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let done: Mutex<Vec<(usize, Result<T, E>)>> = Mutex::new(Vec::with_capacity(chunks));
    let run = || {
        let mut scratch = S::default();
        let mut mine = Vec::new();
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= chunks {
                break;
            }
            let answer = work(&mut scratch, range(index));
            failed.fetch_or(answer.is_err(), Ordering::Relaxed);
            mine.push((index, answer));
        }
        done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).append(&mut mine);
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(chunks) {
            // Without another thread this one does all of it.
            let _ = std::thread::Builder::new().name("query".to_owned()).spawn_scoped(scope, run);
        }
        run();
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, answer)| answer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_order_whatever_the_threads() {
        for threads in [0, 1, 2, 7] {
            for count in [0, 1, 9, 10, 11] {
                let work = |seen: &mut usize, range: Range<usize>| {
                    *seen += 1;
                    Ok(range.collect::<Vec<_>>())
                };
                let got = in_chunks::<_, usize, ()>(threads, count, 5, work).unwrap().concat();
                assert_eq!(got, (0..count).collect::<Vec<_>>(), "{count} items, {threads} threads");
            }
        }
    }

    #[test]
    fn the_first_error_ends_it() {
        let work = |(): &mut (), range: Range<usize>| {
            if range.contains(&3) { Err("three") } else { Ok(()) }
        };
        for threads in [1, 3] {
            assert_eq!(in_chunks::<(), (), _>(threads, 10, 2, work), Err("three"), "{threads} threads");
        }
    }
}
