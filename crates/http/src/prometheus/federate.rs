//! `/federate`: the latest sample of each selected series as exposition text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use signal::{Labels, Sample, TimeRange, is_stale};

use super::{Handles, matcher_sets};
use crate::json;
use crate::params::Params;
use crate::reply::Plain;

const LOOKBACK: Duration = Duration::from_secs(300);

pub(super) async fn get(State(handles): State<Handles>, params: Params) -> Result<Response, Plain> {
    let sets = matcher_sets(&params)?;
    let now = (handles.now)();
    let latest = handles
        .reader
        .run(None, move |snapshot, _| {
            let mut latest: BTreeMap<Labels, Sample> = BTreeMap::new();
            for matchers in &sets {
                for series in snapshot.select(matchers, TimeRange::last(LOOKBACK, now)) {
                    if let Some(last) = series.samples.last().filter(|sample| !is_stale(sample.value)) {
                        latest.insert(series.labels, *last);
                    }
                }
            }
            latest
        })
        .await?;
    let mut text = String::new();
    let mut family = "";
    for (labels, sample) in &latest {
        let name = labels.metric_name().unwrap_or_default();
        if name != family {
            let _ = writeln!(text, "# TYPE {name} untyped");
            family = name;
        }
        text.push_str(name);
        let pairs = labels.iter().filter(|(label, _)| *label != Labels::NAME);
        for (at, (label, value)) in pairs.enumerate() {
            text.push(if at == 0 { '{' } else { ',' });
            text.push_str(label);
            text.push('=');
            text.push_str(&escaped(value));
        }
        if labels.len() > 1 {
            text.push('}');
        }
        let _ = writeln!(text, " {} {}", json::number(sample.value), sample.at.0);
    }
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

fn escaped(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
