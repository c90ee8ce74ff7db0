//! What is known beside samples: `/metadata` and `/query_exemplars`.

use std::collections::BTreeMap;

use axum::extract::State;
use signal::{Matcher, MetricMetadata, TimeRange, Timestamp};

use super::{Handles, Reply, answer};
use crate::json;
use crate::params::Params;
use crate::reply::Refusal;

pub(super) async fn metadata(State(handles): State<Handles>, params: Params) -> Reply {
    let limit = params.count("limit")?;
    let per_metric = match params.count("limit_per_metric")? {
        0 => usize::MAX,
        count => count,
    };
    let wanted = params.get("metric").map(str::to_owned);
    let all = handles.reader.run(None, |snapshot, _| snapshot.metadata()).await?;
    let mut by_name: BTreeMap<&str, Vec<&MetricMetadata>> = BTreeMap::new();
    for item in &all {
        if wanted.as_deref().is_none_or(|wanted| wanted == item.name) {
            by_name.entry(&item.name).or_default().push(item);
        }
    }
    let mut body = String::from("{");
    for (at, (name, items)) in by_name.iter().take(limit).enumerate() {
        if at > 0 {
            body.push(',');
        }
        json::string(&mut body, name);
        body.push(':');
        json::array(&mut body, items.iter().take(per_metric), |out, item| {
            json::object(out, [("type", item.kind.as_str()), ("help", &item.help), ("unit", &item.unit)]);
        });
    }
    body.push('}');
    Ok(answer::data(&body))
}

pub(super) async fn exemplars(State(handles): State<Handles>, params: Params) -> Reply {
    let start = params.time("start")?.unwrap_or(Timestamp::MIN);
    let end = params.time("end")?.unwrap_or(Timestamp::MAX);
    if end < start {
        return Err(Refusal::bad("end timestamp must not be before start timestamp").into());
    }
    let expr = super::parsed(&handles, &params).map_err(|error| Refusal::bad(error.to_string()))?;
    let sets: Vec<Vec<Matcher>> = expr.selectors().into_iter().map(|selector| selector.matchers.clone()).collect();
    let found = handles
        .reader
        .run(None, move |snapshot, _| {
            let range = TimeRange::new(start, end);
            sets.iter().flat_map(|matchers| snapshot.exemplars(matchers, range)).collect::<Vec<_>>()
        })
        .await?;
    let by_series: BTreeMap<_, _> = found.into_iter().collect();
    let body = answer::list(by_series.iter(), None, |out, (series, exemplars)| {
        out.push_str(r#"{"seriesLabels":"#);
        json::labels(out, series);
        out.push_str(r#","exemplars":"#);
        json::array(out, exemplars, |out, exemplar| {
            out.push_str(r#"{"labels":"#);
            json::labels(out, &exemplar.labels);
            out.push_str(r#","value":""#);
            json::push_number(out, exemplar.value);
            out.push_str(r#"","timestamp":"#);
            json::push_seconds(out, exemplar.at);
            out.push('}');
        });
        out.push('}');
    });
    Ok(json::response(body))
}
