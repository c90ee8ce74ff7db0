//! `/api/prom/*`: Loki's first API, which old clients still speak.

use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use query::logql::{self, Answer, Expr, RangeQuery};
use signal::Labels;
use std::collections::BTreeSet;

use super::{Handles, LABEL_WINDOW, QUERY_WINDOW, Reply, Window, question};
use crate::json;
use crate::params::Params;
use crate::reply::Refusal;

/// Below `/api/prom`.
pub(super) fn routes() -> Router<Handles> {
    Router::new()
        .route("/query", get(query).post(query))
        .route("/label", get(names).post(names))
        .route("/label/{name}/values", get(values).post(values))
        .route("/series", get(super::series).post(super::series))
}

/// Lines with their labels as text and their times as dates.
async fn query(State(handles): State<Handles>, params: Params) -> Reply {
    let mut text = params.get("query").unwrap_or_default().to_owned();
    if let Some(pattern) = params.get("regexp") {
        text = format!("{text} |~ {}", json::quoted(pattern));
    }
    let expr = logql::parse(&text)?;
    if matches!(expr, Expr::Metric(_)) {
        return Err(Refusal::bad("legacy endpoints only support streams result type").into());
    }
    let Window { start, end } = Window::read(&params, &handles, QUERY_WINDOW)?;
    let (limit, direction) = (question::lines(&params, &expr)?, question::direction(&params)?);
    let question = RangeQuery { direction, ..RangeQuery::lines(start, end, limit) };
    let found = handles.ask(move |snapshot, cancel| logql::range(&expr, snapshot, question, cancel)).await??;
    let Answer::Streams(streams) = found else { return Err(Refusal::internal("a log query gave no lines").into()) };
    let mut out = String::from(r#"{"streams":"#);
    json::array(&mut out, &streams, |out, stream| {
        out.push_str(r#"{"labels":"#);
        json::string(out, &selector(&stream.labels));
        out.push_str(r#","entries":"#);
        json::array(out, &stream.lines, |out, (at, line)| {
            out.push_str(&format!(r#"{{"ts":"{at}","line":{}}}"#, json::quoted(line)));
        });
        out.push('}');
    });
    out.push_str(r#","stats":{}}"#);
    Ok(json::response(out))
}

/// `{a="b", c="d"}`
fn selector(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={}", json::quoted(value))).collect();
    format!("{{{}}}", pairs.join(", "))
}

async fn names(State(handles): State<Handles>, params: Params) -> Reply {
    let Window { start, end } = Window::read(&params, &handles, LABEL_WINDOW)?;
    let found = handles.look(|snapshot| snapshot.stream_labels(&[], start, end)).await?;
    Ok(listed(found.iter().flat_map(|labels| labels.iter().map(|(name, _)| name)).collect()))
}

async fn values(State(handles): State<Handles>, Path(name): Path<String>, params: Params) -> Reply {
    let Window { start, end } = Window::read(&params, &handles, LABEL_WINDOW)?;
    let found = handles.look(|snapshot| snapshot.stream_labels(&[], start, end)).await?;
    Ok(listed(found.iter().filter_map(|labels| labels.get(&name)).collect()))
}

fn listed(values: BTreeSet<&str>) -> Response {
    let mut out = String::from(r#"{"values":"#);
    json::array(&mut out, values, json::string);
    out.push('}');
    json::response(out)
}
