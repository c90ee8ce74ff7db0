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
        let (alerting, recording) = match params.get("type").map(str::to_lowercase).as_deref() {
            None | Some("") => (true, true),
            Some("alert") => (true, false),
            Some("record") => (false, true),
            Some(other) => return Err(Refusal::parameter("type", format!("not supported value {other:?}"))),
        };
        let list = |name| params.all(name).map(str::to_owned).collect();
        Ok(Self {
            alerting,
            recording,
            names: list("rule_name[]"),
            groups: list("rule_group[]"),
            files: list("file[]"),
            sets: matcher_sets(params)?,
            hides_alerts: hides_alerts(params)?,
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

/// Go's `strconv.ParseBool`, in any case of letters.
fn hides_alerts(params: &Params) -> Result<bool, Refusal> {
    match params.get("exclude_alerts").map(str::to_lowercase).as_deref() {
        None | Some("" | "0" | "f" | "false") => Ok(false),
        Some("1" | "t" | "true") => Ok(true),
        Some(other) => {
            let reason =
                format!("error converting exclude_alerts: strconv.ParseBool: parsing {other:?}: invalid syntax");
            Err(Refusal::parameter("exclude_alerts", reason))
        }
    }
}

/// Which groups are asked for at once.
struct Page {
    /// `None` = all.
    limit: Option<usize>,
    /// The group to begin with.
    token: Option<String>,
}

impl Page {
    fn read(limit: &str, token: &str) -> Result<Self, Refusal> {
        let refuse = |reason: String| Err(Refusal::parameter("group_limit", reason));
        let token = (!token.is_empty()).then(|| token.to_owned());
        if limit.is_empty() {
            if token.is_some() {
                let reason = "group_limit needs to be present in order to paginate over the groups";
                return Err(Refusal::parameter("group_next_token", reason));
            }
            return Ok(Self { limit: None, token });
        }
        match limit.parse::<i32>() {
            Err(error) => refuse(format!("group_limit needs to be a valid number: {limit:?}: {error}")),
            Ok(number) => match usize::try_from(number) {
                Ok(limit) if limit > 0 => Ok(Self { limit: Some(limit), token }),
                Ok(_) | Err(_) => refuse("group_limit needs to be greater than 0".to_owned()),
            },
        }
    }

    /// The groups of this page, and where the next begins.
    fn of<'a>(&self, mut groups: Vec<&'a RuleGroupView>) -> Result<(Vec<&'a RuleGroupView>, Option<String>), Refusal> {
        if let Some(token) = &self.token {
            let Some(first) = groups.iter().position(|group| group_token(group) == *token) else {
                let reason = format!("invalid group_next_token '{token}'. were rule groups changed?");
                return Err(Refusal::parameter("group_next_token", reason));
            };
            groups.drain(..first);
        }
        let limit = self.limit.unwrap_or(usize::MAX);
        let next = groups.get(limit).map(|group| group_token(group));
        groups.truncate(limit);
        Ok((groups, next))
    }
}

async fn rules(State(handles): State<Handles>, params: Params) -> Reply {
    let filter = Filter::read(&params)?;
    let page = params.get("group_limit").unwrap_or("");
    let page = Page::read(page, params.get("group_next_token").unwrap_or(""))?;
    let body = handles.views.read(|view| {
        // A group of which nothing is left is left out.
        let keeps =
            |group: &&RuleGroupView| filter.keeps_group(group) && group.rules.iter().any(|rule| filter.keeps(rule));
        let (groups, next) = page.of(view.groups.iter().filter(keeps).collect())?;
        let mut out = String::from(r#"{"groups":"#);
        json::array(&mut out, groups, |out, one| group(out, one, &filter));
        if let Some(next) = next {
            let _ = write!(out, r#","groupNextToken":{}"#, json::quoted(&next));
        }
        out.push('}');
        Ok::<_, Refusal>(out)
    })?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn page(limit: &str, token: &str) -> String {
        let named = |name: &str| RuleGroupView { name: name.to_owned(), file: "f".to_owned(), ..Default::default() };
        let groups = ["g1", "g2", "g3"].map(named);
        match Page::read(limit, token).and_then(|page| page.of(groups.iter().collect())) {
            Ok((groups, next)) => {
                let names: Vec<&str> = groups.iter().map(|group| group.name.as_str()).collect();
                format!("{} then {}", names.join(" "), next.as_deref().unwrap_or("nothing"))
            }
            Err(refusal) => refusal.text,
        }
    }

    #[test]
    fn groups_come_in_pages() {
        for (limit, token, want) in [
            ("", "", "g1 g2 g3 then nothing"),
            ("2", "", "g1 g2 then f;g3"),
            ("2", "f;g3", "g3 then nothing"),
            ("3", "", "g1 g2 g3 then nothing"),
            ("1", "f;g2", "g2 then f;g3"),
            ("0", "", "invalid parameter \"group_limit\": group_limit needs to be greater than 0"),
            ("-1", "", "invalid parameter \"group_limit\": group_limit needs to be greater than 0"),
        ] {
            assert_eq!(page(limit, token), want, "{limit} {token}");
        }
        for (limit, token, want) in [
            ("x", "", "group_limit needs to be a valid number"),
            ("", "f;g2", "group_limit needs to be present"),
            ("1", "gone", "were rule groups changed?"),
        ] {
            assert!(page(limit, token).contains(want), "{limit} {token}: {}", page(limit, token));
        }
    }
}
