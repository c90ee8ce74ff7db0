//! What Loki says about itself: limits, build, configuration, services.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use ingest::LongLines;
use ingest::otlp::INDEXED_ATTRIBUTES;
use tokio::task::spawn_blocking;

use super::{Handles, MAX_SERIES, NO_CONTENT, Reply, question};
use crate::json;
use crate::reply::Refusal;

/// The Loki version whose API this is.
const API_VERSION: &str = "3.5.0+aegis";

/// What Grafana's Logs Drilldown wants to know before it asks anything.
pub(super) async fn drilldown_limits(State(handles): State<Handles>) -> Response {
    let limits = handles.pushes.limits();
    let body = serde_json::json!({
        "limits": {
            "discover_log_levels": false,
            "discover_service_name": [],
            "log_level_fields": ["level", "LEVEL", "Level", "severity", "SEVERITY", "Severity", "lvl", "LVL", "Lvl"],
            "max_entries_limit_per_query": question::MAX_LINES,
            "max_line_size": limits.max_line_bytes,
            "max_line_size_truncate": limits.long_lines == LongLines::Truncate,
            "max_query_bytes_read": "0B",
            "max_query_length": question::MAX_LENGTH_TEXT,
            "max_query_lookback": "0s",
            "max_query_range": "0s",
            "max_query_series": MAX_SERIES,
            "metric_aggregation_enabled": false,
            "otlp_config": {
                "resource_attributes": {
                    "attributes_config": [{"action": "index_label", "attributes": INDEXED_ATTRIBUTES}],
                },
            },
            "pattern_persistence_enabled": false,
            "retention_period": "0s",
            "volume_enabled": true,
            "volume_max_series": 1_000,
        },
        "pattern_ingester_enabled": true,
        "version": API_VERSION,
    });
    json::response(body.to_string())
}

pub(super) async fn buildinfo(State(handles): State<Handles>) -> Response {
    let mut body = String::new();
    json::object(
        &mut body,
        [
            ("version", API_VERSION),
            ("revision", handles.build.revision.as_str()),
            ("branch", ""),
            ("buildUser", ""),
            ("buildDate", ""),
            ("goVersion", ""),
            ("aegisVersion", handles.build.version.as_str()),
        ],
    );
    json::response(body)
}

/// The configuration in force, without secrets.
pub(super) async fn config(State(handles): State<Handles>) -> Response {
    let text = handles.views.read(|view| view.config_yaml.clone());
    ([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

/// Parts of the process, all of which run while it answers.
pub(super) async fn services() -> Response {
    const SERVICES: [&str; 5] = ["server", "store", "ingester", "querier", "ruler"];
    SERVICES.map(|service| format!("{service} => Running\n")).concat().into_response()
}

pub(super) async fn flush(State(handles): State<Handles>) -> Reply {
    let Some(flush) = handles.flush.clone() else { return Ok(NO_CONTENT.into_response()) };
    let done = spawn_blocking(move || flush()).await;
    done.map_err(|_| Refusal::internal("the store failed unexpectedly"))?.map_err(Refusal::internal)?;
    Ok(NO_CONTENT.into_response())
}
