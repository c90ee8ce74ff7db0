//! Scrape targets, as the shell last described them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use query::promql;
use signal::{LabelsBuilder, all_match, format_duration};

use super::rules::time;
use super::{Handles, Reply, answer};
use crate::handles::TargetView;
use crate::json;
use crate::params::Params;
use crate::reply::Refusal;

pub(super) fn routes() -> Router<Handles> {
    Router::new()
        .route("/targets", get(targets))
        .route("/targets/metadata", get(targets_metadata))
        .route("/scrape_pools", get(scrape_pools))
        .route("/alertmanagers", get(alertmanagers))
}

async fn targets(State(handles): State<Handles>, params: Params) -> Reply {
    let state = params.get("state").unwrap_or("any").to_ascii_lowercase();
    let pool = params.get("scrapePool").map(str::to_owned);
    let in_pool = |name: &str| pool.as_deref().is_none_or(|pool| pool == name);
    let body = handles.views.read(|view| {
        let shows_active = state != "dropped";
        let shows_dropped = state != "active";
        let mut out = String::from(r#"{"activeTargets":"#);
        let active = view.targets.iter().filter(|target| shows_active && in_pool(&target.scrape_pool));
        json::array(&mut out, active, target);
        out.push_str(r#","droppedTargets":"#);
        let dropped = view.dropped_targets.iter().filter(|(name, _)| shows_dropped && in_pool(name));
        json::array(&mut out, dropped, |out, (name, discovered)| {
            out.push_str(r#"{"discoveredLabels":"#);
            json::labels(out, discovered);
            let _ = write!(out, r#","scrapePool":{}}}"#, json::quoted(name));
        });
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        for target in &view.targets {
            counts.entry(&target.scrape_pool).or_default();
        }
        for (name, count) in &view.dropped_target_counts {
            *counts.entry(name).or_default() += count;
        }
        out.push_str(r#","droppedTargetCounts":{"#);
        for (at, (name, count)) in counts.iter().filter(|(name, _)| in_pool(name)).enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let _ = write!(out, "{comma}{}:{count}", json::quoted(name));
        }
        out.push_str("}}");
        out
    });
    Ok(answer::data(&body))
}

fn target(out: &mut String, target: &TargetView) {
    out.push_str(r#"{"discoveredLabels":"#);
    // Relabeling starts from these; upstream shows the settings of the scrape among them.
    let mut discovered = LabelsBuilder::from(&target.discovered_labels);
    for (name, value) in [
        ("__scrape_interval__", format_duration(target.scrape_interval)),
        ("__scrape_timeout__", format_duration(target.scrape_timeout)),
    ] {
        if discovered.get(name).is_none() && value != format_duration(Duration::ZERO) {
            discovered.set(name, &value);
        }
    }
    json::labels(out, &discovered.build());
    out.push_str(r#","labels":"#);
    json::labels(out, &target.labels);
    for (name, value) in [
        ("scrapePool", target.scrape_pool.as_str()),
        ("scrapeUrl", &target.scrape_url),
        ("globalUrl", if target.global_url.is_empty() { &target.scrape_url } else { &target.global_url }),
        ("lastError", &target.last_error),
        ("lastScrape", &time(target.last_scrape)),
        ("health", target.health.of_target()),
        ("scrapeInterval", &format_duration(target.scrape_interval)),
        ("scrapeTimeout", &format_duration(target.scrape_timeout)),
    ] {
        let _ = write!(out, r#","{name}":{}"#, json::quoted(value));
    }
    let _ = write!(out, r#","lastScrapeDuration":{}}}"#, target.last_scrape_duration.as_secs_f64());
}

async fn targets_metadata(State(handles): State<Handles>, params: Params) -> Reply {
    let limit = params.count("limit")?;
    let metric = params.get("metric");
    let wanted = match params.get("match_target") {
        Some(text) => promql::parse_selector(text).map_err(|error| Refusal::parameter("match_target", error))?,
        None => Vec::new(),
    };
    let body = handles.views.read(|view| {
        let mut found = Vec::new();
        for target in view.targets.iter().filter(|target| all_match(&wanted, &target.labels)) {
            // The limit is one of targets, not of entries.
            if found.len() >= limit {
                break;
            }
            let families = target.metadata.iter().filter(|family| metric.is_none_or(|metric| metric == family.name));
            found.extend(families.map(|family| (&target.labels, family)));
        }
        let mut body = String::new();
        json::array(&mut body, found, |out, (labels, family)| {
            out.push_str(r#"{"target":"#);
            json::labels(out, labels);
            // Who asks for one metric knows its name.
            let name = metric.is_none().then_some(("metric", family.name.as_str()));
            let rest = [("type", family.kind.as_str()), ("help", &family.help), ("unit", &family.unit)];
            for (name, text) in name.into_iter().chain(rest) {
                let _ = write!(out, r#","{name}":{}"#, json::quoted(text));
            }
            out.push('}');
        });
        body
    });
    Ok(answer::data(&body))
}

async fn scrape_pools(State(handles): State<Handles>) -> Response {
    let mut names = handles.views.read(|view| {
        let active = view.targets.iter().map(|target| target.scrape_pool.clone());
        active.chain(view.dropped_target_counts.keys().cloned()).collect::<Vec<_>>()
    });
    names.sort();
    names.dedup();
    let mut body = String::from(r#"{"scrapePools":"#);
    json::array(&mut body, &names, |out, name| json::string(out, name));
    body.push('}');
    answer::data(&body)
}

/// Alerts are delivered by Aegis itself; there is never an outside Alertmanager to list.
async fn alertmanagers() -> Response {
    answer::data(r#"{"activeAlertmanagers":[],"droppedAlertmanagers":[]}"#)
}
