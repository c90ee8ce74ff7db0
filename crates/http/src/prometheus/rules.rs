//! Rules and alerts, as the shell last described them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use signal::{Labels, Matcher, Timestamp, all_match};

use super::{Handles, Reply, answer, matcher_sets};
use crate::handles::{AlertState, AlertView, RuleGroupView, RuleKind, RuleView};
use crate::json;
use crate::params::Params;
use crate::reply::Refusal;

/// Go's zero time: what upstream writes for "never".
const NEVER: &str = "0001-01-01T00:00:00Z";

pub(super) fn routes() -> Router<Handles> {
    Router::new().route("/rules", get(rules)).route("/alerts", get(alerts))
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
