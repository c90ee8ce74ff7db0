//! `/delete`: lines are forgotten by selector, time and line filters. Refused unless switched on.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use query::logql::{self, Expr, LineOp, LineTerm, LogExpr, Stage};
use signal::Nanos;
use store::{LineDeletion, LineFilter, LineFilterOp, LineSelection};
use tokio::task::spawn_blocking;

use super::{Handles, NO_CONTENT, Reply};
use crate::handles::{Admin, AdminError};
use crate::json;
use crate::params::Params;
use crate::reply::Refusal;

/// Below the path of the API.
pub(super) fn routes() -> Router<Handles> {
    Router::new().route("/delete", get(list).post(add).put(add).delete(cancel))
}

fn switched_on(handles: &Handles) -> Result<Admin, Refusal> {
    let refusal = || {
        let text = "deletion is not available: Aegis was started without --enable-admin-api";
        Refusal::bad(text).with_status(StatusCode::FORBIDDEN)
    };
    handles.admin.clone().ok_or_else(refusal)
}

async fn carried_out<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AdminError> + Send + 'static,
) -> Result<T, Refusal> {
    let done = spawn_blocking(work).await.map_err(|_| Refusal::internal("the store failed unexpectedly"))?;
    done.map_err(|error| Refusal::internal(error.to_string()))
}

async fn add(State(handles): State<Handles>, params: Params) -> Reply {
    let admin = switched_on(&handles)?;
    let now = (handles.now)();
    let query = params.get("query").ok_or_else(|| Refusal::bad("query not set"))?;
    let expr = logql::parse(query).map_err(|error| Refusal::bad(format!("invalid query expression: {error}")))?;
    let Expr::Log(expr) = expr else {
        return Err(Refusal::bad("invalid query expression: only log selector is supported").into());
    };
    let wrong = |name: &str| Refusal::bad(format!("invalid {name} time: require unix seconds or RFC3339 format"));
    let start = params.nanos("start").map_err(|_| wrong("start"))?;
    let start = start.ok_or_else(|| Refusal::bad("start time not set"))?;
    let end = params.nanos("end").map_err(|_| wrong("end"))?.unwrap_or_else(|| now.to_nanos());
    if end > now.to_nanos() {
        return Err(Refusal::bad("deletes in the future are not allowed").into());
    }
    if start > end {
        return Err(Refusal::bad("start time can't be greater than end time").into());
    }
    let lines = selection(expr, start, end)?;
    carried_out(move || admin.delete_lines(now, lines)).await?;
    Ok(NO_CONTENT.into_response())
}

fn selection(expr: LogExpr, start: Nanos, end: Nanos) -> Result<LineSelection, Refusal> {
    let mut filters = Vec::new();
    for stage in expr.stages {
        let Stage::Line { op, terms } = stage else {
            let text =
                format!("invalid query expression: `{stage}` is no line filter, and only those choose lines to delete");
            return Err(Refusal::bad(text));
        };
        let mut texts = Vec::new();
        for term in terms {
            match term {
                LineTerm::Text(text) => texts.push(text),
                LineTerm::Ip(_) => {
                    return Err(Refusal::bad("invalid query expression: ip() chooses no lines to delete"));
                }
            }
        }
        let wanted: Vec<(LineFilterOp, String)> = match op {
            // One of several texts is a pattern.
            LineOp::Contains if texts.len() > 1 => {
                let texts: Vec<String> = texts.iter().map(|text| quoted_pattern(text)).collect();
                vec![(LineFilterOp::Matches, texts.join("|"))]
            }
            LineOp::Contains => texts.into_iter().map(|text| (LineFilterOp::Contains, text)).collect(),
            LineOp::Matches => {
                let texts: Vec<String> = texts.iter().map(|text| format!("(?:{text})")).collect();
                vec![(LineFilterOp::Matches, texts.join("|"))]
            }
            // None of several texts is each of them missing.
            LineOp::NotContains => texts.into_iter().map(|text| (LineFilterOp::Lacks, text)).collect(),
            LineOp::NotMatches => texts.into_iter().map(|text| (LineFilterOp::MatchesNot, text)).collect(),
            LineOp::Pattern | LineOp::NotPattern => {
                return Err(Refusal::bad("invalid query expression: pattern filters choose no lines to delete"));
            }
        };
        for (op, text) in wanted {
            let filter = LineFilter::new(op, text);
            filters.push(filter.map_err(|error| Refusal::bad(format!("invalid query expression: {error}")))?);
        }
    }
    Ok(LineSelection { matchers: expr.matchers, start, end, filters })
}

/// A pattern that fits this text alone.
fn quoted_pattern(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

async fn list(State(handles): State<Handles>) -> Reply {
    let admin = switched_on(&handles)?;
    let found = carried_out(move || Ok(admin.line_deletions())).await?;
    let mut out = String::new();
    json::array(&mut out, &found, shown);
    Ok(json::response(out))
}

/// Those that are carried out for good are no longer listed.
fn shown(out: &mut String, deletion: &LineDeletion) {
    let matchers: Vec<String> = deletion.matchers.iter().map(ToString::to_string).collect();
    let filters: Vec<String> = deletion.filters.iter().map(|filter| format!(" {filter}")).collect();
    let query = format!("{{{}}}{}", matchers.join(", "), filters.concat());
    out.push_str(&format!(r#"{{"request_id":"{:08x}","start_time":"#, deletion.id));
    json::push_seconds(out, deletion.start.to_timestamp());
    out.push_str(r#","end_time":"#);
    json::push_seconds(out, deletion.end.to_timestamp());
    out.push_str(&format!(r#","query":{},"status":"received","created_at":"#, json::quoted(&query)));
    json::push_seconds(out, deletion.asked);
    out.push('}');
}

async fn cancel(State(handles): State<Handles>, params: Params) -> Reply {
    let admin = switched_on(&handles)?;
    let id = params.get("request_id").and_then(|text| u64::from_str_radix(text, 16).ok());
    let missing = || Refusal::not_found("could not find delete request with given id");
    let id = id.ok_or_else(missing)?;
    if !carried_out(move || admin.cancel_line_deletion(id)).await? {
        return Err(missing().into());
    }
    Ok(NO_CONTENT.into_response())
}
