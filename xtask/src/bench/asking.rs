//! Asking a question again and again.

use std::time::Duration;

use anyhow::bail;

use super::clock::Stopwatch;
use super::http::Connection;
use super::servers::Server;

/// Runs of each question after the first.
pub(super) const RUNS: i64 = 15;
/// Time after which a question is not asked again.
const BUDGET: Duration = Duration::from_secs(60);

/// How a question was answered.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// The first answer.
    pub(super) first: Vec<u8>,
    /// Median of the others.
    pub(super) ms: f64,
}

/// Asks once, then again and again over one connection. `target` gets the number of the run and is to differ in each, so
/// that no memory of answers helps.
pub(super) fn ask_repeatedly(server: &Server, title: &str, target: impl Fn(i64) -> String) -> anyhow::Result<Asked> {
    let mut connection = Connection::open(server.port)?;
    let mut first = Vec::new();
    let mut times = Vec::new();
    let whole = Stopwatch::start();
    for run in 0..=RUNS {
        let target = target(run);
        let watch = Stopwatch::start();
        let (status, body) = connection.ask("GET", &target, "", b"")?;
        let elapsed = watch.elapsed();
        if status != 200 {
            let said = String::from_utf8_lossy(&body);
            bail!("{title}: {} answered {status}: {said}", server.contender.product.title());
        }
        if run == 0 {
            first = body;
        } else {
            times.push(elapsed.as_secs_f64() * 1000.0);
        }
        if whole.elapsed() > BUDGET && !times.is_empty() {
            break;
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(Asked { first, ms: at(&times, 0.5) })
}

/// The value that so large a share of the sorted ones does not exceed.
pub(super) fn at(sorted: &[f64], share: f64) -> f64 {
    let place = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(place).copied().unwrap_or(f64::NAN)
}
