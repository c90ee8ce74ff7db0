//! `/patterns`: what kinds of lines there are, and how many of each over time.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use detect::templates::{Miner, MinerLimits, TemplateId};
use signal::{Matcher, Nanos};
use store::Snapshot;

use super::{Handles, QUERY_WINDOW, Reply, Window, answer, selector};
use crate::json;
use crate::params::Params;

/// Patterns listed at most, the most frequent first.
const PATTERNS: usize = 300;

/// Level and text of a pattern, with its counts by bucket.
type Counts = BTreeMap<(String, String), BTreeMap<i64, u64>>;

pub(super) async fn patterns(State(handles): State<Handles>, params: Params) -> Reply {
    let window = Window::read(&params, &handles, QUERY_WINDOW)?;
    let step = window.step(&params)?;
    let matchers = selector(params.get("query").unwrap_or_default())?;
    let counts = handles.ask(move |snapshot, _| count(snapshot, &matchers, window, step)).await?;
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, buckets)| std::cmp::Reverse(buckets.values().sum::<u64>()));
    Ok(answer::list(counts.into_iter().take(PATTERNS), |out, ((level, text), buckets)| {
        out.push_str(&format!(r#"{{"pattern":{}"#, json::quoted(&text)));
        if !level.is_empty() {
            out.push_str(&format!(r#","level":{}"#, json::quoted(&level)));
        }
        out.push_str(r#","samples":"#);
        json::array(out, buckets, |out, (second, count)| out.push_str(&format!("[{second},{count}]")));
        out.push('}');
    }))
}

/// Lines are mined in the order of their time; what became one template counts as one pattern all the time.
fn count(snapshot: &Snapshot, matchers: &[Matcher], window: Window, step: Duration) -> Counts {
    let step_ns = i64::try_from(step.as_nanos()).unwrap_or(i64::MAX).max(1);
    let streams = snapshot.streams(matchers, window.start, window.end);
    let mut lines: Vec<(Nanos, &str)> =
        streams.iter().flat_map(|stream| &stream.lines).map(|line| (line.at, line.line.as_str())).collect();
    lines.sort_by_key(|(at, _)| *at);
    let bucket = |at: Nanos| at.0.div_euclid(step_ns).saturating_mul(step_ns).div_euclid(1_000_000_000);
    let mut miner = Miner::new(MinerLimits::default());
    let mut found: BTreeMap<TemplateId, BTreeMap<i64, u64>> = BTreeMap::new();
    for (at, line) in lines {
        let id = miner.observe(at, line).id;
        *found.entry(id).or_default().entry(bucket(at)).or_default() += 1;
    }
    let mut counts = Counts::new();
    for (id, buckets) in found {
        // What was seen so seldom that it was dropped is no pattern.
        let Some(template) = miner.template(id) else { continue };
        // Loki writes `<_>` for what varies.
        let key = (template.level.as_str().to_owned(), template.text.replace("<*>", "<_>"));
        let sum = counts.entry(key).or_default();
        for (second, count) in buckets {
            *sum.entry(second).or_default() += count;
        }
    }
    counts
}
