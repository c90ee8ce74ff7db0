//! Rules, alerts and targets, as the shell last described them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use query::promql;
use signal::{Labels, LabelsBuilder, Matcher, TimeRange, Timestamp, all_match, format_duration};

use super::{Handles, Reply, answer, matcher_sets};
use crate::handles::{AlertState, AlertView, RuleGroupView, RuleKind, RuleView, TargetView};
use crate::json;
use crate::params::Params;
use crate::reply::Refusal;

/// Go's zero time: what upstream writes for "never".
const NEVER: &str = "0001-01-01T00:00:00Z";

pub(super) fn routes() -> Router<Handles> {
    Router::new()
        .route("/rules", get(rules))
        .route("/alerts", get(alerts))
        .route("/targets", get(targets))
        .route("/targets/metadata", get(targets_metadata))
        .route("/scrape_pools", get(scrape_pools))
        .route("/alertmanagers", get(alertmanagers))
}

pub(super) fn time(at: Option<Timestamp>) -> String {
    at.map_or_else(|| NEVER.to_owned(), |at| at.to_string())
}

/// Which rules are asked for.
struct Filter {
    alerting: bool,
    recording: bool,
    names: Vec<String>,
    groups: Vec<String>,
    files: Vec<String>,
    sets: Vec<Vec<Matcher>>,
    hides_alerts: bool,
}

impl Filter {
    fn read(params: &Params) -> Result<Self, Refusal> {
        let (alerting, recording) = match params.get("type") {
            None => (true, true),
            Some("alert") => (true, false),
            Some("record") => (false, true),
            Some(other) => return Err(Refusal::parameter("type", format!("not supported value \"{other}\""))),
        };
        let hides_alerts = match params.get("exclude_alerts") {
            None => false,
            Some(text) => text.parse().map_err(|_| {
                Refusal::parameter("exclude_alerts", format!("error parsing \"{text}\": it must be true or false"))
            })?,
        };
        let list = |name| params.all(name).map(str::to_owned).collect();
        Ok(Self {
            alerting,
            recording,
            names: list("rule_name[]"),
            groups: list("rule_group[]"),
            files: list("file[]"),
            sets: matcher_sets(params)?,
            hides_alerts,
        })
    }

    fn keeps_group(&self, group: &RuleGroupView) -> bool {
        (self.groups.is_empty() || self.groups.contains(&group.name))
            && (self.files.is_empty() || self.files.contains(&group.file))
    }

    fn keeps(&self, rule: &RuleView) -> bool {
        let kind = match rule.kind {
            RuleKind::Recording => self.recording,
            RuleKind::Alerting { .. } => self.alerting,
        };
        let labels = Labels::from_pairs(&rule.labels);
        kind && (self.names.is_empty() || self.names.contains(&rule.name))
            && (self.sets.is_empty() || self.sets.iter().any(|matchers| all_match(matchers, &labels)))
    }
}

async fn rules(State(handles): State<Handles>, params: Params) -> Reply {
    let filter = Filter::read(&params)?;
    let page = params.limit("group_limit")?;
    let token = params.get("group_next_token").map(str::to_owned);
    let body = handles.views.read(|view| {
        let mut groups: Vec<_> = view.groups.iter().filter(|group| filter.keeps_group(group)).collect();
        if let Some(token) = token {
            let seen = groups.iter().position(|group| group_token(group) == token).unwrap_or(groups.len());
            groups.drain(..seen);
        }
        let next = page.and_then(|page| groups.get(page)).map(|group| group_token(group));
        groups.truncate(page.unwrap_or(usize::MAX));
        let mut out = String::from(r#"{"groups":"#);
        json::array(&mut out, groups, |out, one| group(out, one, &filter));
        if let Some(next) = next {
            let _ = write!(out, r#","groupNextToken":{}"#, json::quoted(&next));
        }
        out.push('}');
        out
    });
    Ok(answer::data(&body))
}

/// Names the group a page begins with.
fn group_token(group: &RuleGroupView) -> String {
    format!("{};{}", group.file, group.name)
}

fn group(out: &mut String, group: &RuleGroupView, filter: &Filter) {
    let _ = write!(
        out,
        r#"{{"name":{},"file":{},"interval":{},"limit":{},"evaluationTime":{},"lastEvaluation":"{}","rules":"#,
        json::quoted(&group.name),
        json::quoted(&group.file),
        group.interval.as_secs_f64(),
        group.limit,
        group.evaluation_time.as_secs_f64(),
        time(group.last_evaluation),
    );
    json::array(out, group.rules.iter().filter(|rule| filter.keeps(rule)), |out, one| rule(out, one, filter));
    out.push('}');
}

fn rule(out: &mut String, rule: &RuleView, filter: &Filter) {
    let kind = match &rule.kind {
        RuleKind::Recording => "recording",
        RuleKind::Alerting { hold, keep_firing, annotations, alerts } => {
            let state = alerts.iter().map(|alert| alert.state).max().map_or("inactive", AlertState::as_str);
            let _ = write!(
                out,
                r#"{{"state":"{state}","duration":{},"keepFiringFor":{},"annotations":"#,
                hold.as_secs_f64(),
                keep_firing.as_secs_f64(),
            );
            map(out, annotations);
            out.push_str(r#","alerts":"#);
            json::array(out, alerts.iter().filter(|_| !filter.hides_alerts), alert);
            out.push(',');
            "alerting"
        }
    };
    if matches!(rule.kind, RuleKind::Recording) {
        out.push('{');
    }
    let _ = write!(out, r#""name":{},"query":{},"labels":"#, json::quoted(&rule.name), json::quoted(&rule.query));
    map(out, &rule.labels);
    let _ = write!(out, r#","health":"{}","#, rule.health.of_rule());
    if !rule.last_error.is_empty() {
        let _ = write!(out, r#""lastError":{},"#, json::quoted(&rule.last_error));
    }
    let _ = write!(
        out,
        r#""evaluationTime":{},"lastEvaluation":"{}","type":"{kind}"}}"#,
        rule.evaluation_time.as_secs_f64(),
        time(rule.last_evaluation),
    );
}

fn map(out: &mut String, pairs: &BTreeMap<String, String>) {
    json::object(out, pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
}

fn alert(out: &mut String, alert: &AlertView) {
    out.push_str(r#"{"labels":"#);
    json::labels(out, &alert.labels);
    out.push_str(r#","annotations":"#);
    map(out, &alert.annotations);
    let _ = write!(out, r#","state":"{}","activeAt":"{}","#, alert.state.as_str(), alert.active_at);
    if let Some(since) = alert.keep_firing_since {
        let _ = write!(out, r#""keepFiringSince":"{since}","#);
    }
    let _ = write!(out, r#""value":"{}"}}"#, json::scientific(alert.value));
}

async fn alerts(State(handles): State<Handles>) -> Response {
    let body = handles.views.read(|view| {
        let mut found: Vec<&AlertView> = Vec::new();
        for rule in view.groups.iter().flat_map(|group| &group.rules) {
            match &rule.kind {
                RuleKind::Recording => {}
                RuleKind::Alerting { alerts, .. } => found.extend(alerts),
            }
        }
        let mut out = String::from(r#"{"alerts":"#);
        json::array(&mut out, found, alert);
        out.push('}');
        out
    });
    answer::data(&body)
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
        for (name, _) in &view.dropped_targets {
            *counts.entry(name).or_default() += 1;
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
        ("globalUrl", &target.scrape_url),
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

/// Metadata is kept per family; a target has it when one of its series belongs to the family.
async fn targets_metadata(State(handles): State<Handles>, params: Params) -> Reply {
    let limit = params.limit("limit")?;
    let metric = params.get("metric").map(str::to_owned);
    let wanted = match params.get("match_target") {
        Some(text) => promql::parse_selector(text).map_err(|error| Refusal::parameter("match_target", error))?,
        None => Vec::new(),
    };
    let mut targets = handles.views.read(|view| view.targets.iter().map(|one| one.labels.clone()).collect::<Vec<_>>());
    targets.retain(|labels| all_match(&wanted, labels));
    let found = handles
        .reader
        .run(None, move |snapshot, _| {
            let mut families = snapshot.metadata();
            families.retain(|family| metric.as_deref().is_none_or(|metric| metric == family.name));
            let mut found = Vec::new();
            for labels in targets {
                let own: Vec<Matcher> = labels.iter().map(|(name, value)| Matcher::equal(name, value)).collect();
                let names = snapshot.label_values(Labels::NAME, &own, TimeRange::all());
                let has = |family: &str| names.iter().any(|name| name == family || is_part(name, family));
                found.extend(
                    families.iter().filter(|family| has(&family.name)).map(|family| (labels.clone(), family.clone())),
                );
            }
            found
        })
        .await?;
    let limit = limit.unwrap_or(usize::MAX);
    let mut body = String::new();
    json::array(&mut body, found.iter().take(limit), |out, (labels, family)| {
        out.push_str(r#"{"target":"#);
        json::labels(out, labels);
        for (name, text) in [
            ("metric", family.name.as_str()),
            ("type", family.kind.as_str()),
            ("help", &family.help),
            ("unit", &family.unit),
        ] {
            let _ = write!(out, r#","{name}":{}"#, json::quoted(text));
        }
        out.push('}');
    });
    Ok(answer::data(&body))
}

/// Whether a series name is that of a histogram's or summary's part.
fn is_part(name: &str, family: &str) -> bool {
    name.strip_prefix(family).is_some_and(|rest| matches!(rest, "_bucket" | "_sum" | "_count" | "_total"))
}

async fn scrape_pools(State(handles): State<Handles>) -> Response {
    let mut names = handles.views.read(|view| {
        let active = view.targets.iter().map(|target| target.scrape_pool.clone());
        active.chain(view.dropped_targets.iter().map(|(name, _)| name.clone())).collect::<Vec<_>>()
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
