//! `/api/v1/log-templates`: what kinds of log lines there are.

use std::cmp::Reverse;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use detect::templates::{Level, Template, TemplateId};
use serde::Serialize;
use signal::Timestamp;

use super::{Operator, problem};
use crate::params::Params;
use crate::reply::Refusal;

/// Templates in one answer, unless asked for fewer or more, and at most.
const USUAL: usize = 1_000;
const MOST: usize = 10_000;

/// Which templates are asked for.
struct Wanted {
    limit: usize,
    level: Option<Level>,
    id: Option<TemplateId>,
}

/// A template as it is answered; times in milliseconds.
#[derive(Serialize)]
struct TemplateJson<'a> {
    id: TemplateId,
    text: &'a str,
    level: &'a str,
    count: u64,
    first: Timestamp,
    last: Timestamp,
    example: &'a str,
}

pub(super) async fn list(State(operator): State<Operator>, params: Params) -> Response {
    let wanted = match wanted(|name| params.get(name)) {
        Ok(wanted) => wanted,
        Err(refusal) => return problem(&refusal),
    };
    let templates = chosen((operator.templates)(), &wanted);
    let json: Vec<TemplateJson<'_>> = templates.iter().map(answer).collect();
    Json(json).into_response()
}

fn wanted<'a>(parameter: impl Fn(&str) -> Option<&'a str>) -> Result<Wanted, Refusal> {
    let limit = match parameter("limit").map(str::parse::<usize>) {
        None => USUAL,
        Some(Ok(limit @ 1..=MOST)) => limit,
        Some(_) => return Err(Refusal::parameter("limit", format!("it must be a number from 1 to {MOST}"))),
    };
    let level = match parameter("level").map(|text| (text, Level::parse(text))) {
        None => None,
        Some(("unknown", _)) => Some(Level::Unknown),
        Some((_, Level::Unknown)) => {
            let known = "it must be trace, debug, info, warn, error, critical or unknown";
            return Err(Refusal::parameter("level", known));
        }
        Some((_, level)) => Some(level),
    };
    let id = match parameter("id").map(TemplateId::parse) {
        None => None,
        Some(Some(id)) => Some(id),
        Some(None) => return Err(Refusal::parameter("id", "it must be 16 hexadecimal digits")),
    };
    Ok(Wanted { limit, level, id })
}

/// The most frequent first.
fn chosen(mut templates: Vec<Template>, wanted: &Wanted) -> Vec<Template> {
    templates.retain(|template| {
        wanted.level.is_none_or(|level| template.level == level) && wanted.id.is_none_or(|id| template.id == id)
    });
    templates.sort_by_key(|template| (Reverse(template.count), template.id));
    templates.truncate(wanted.limit);
    templates
}

fn answer(template: &Template) -> TemplateJson<'_> {
    TemplateJson {
        id: template.id,
        text: &template.text,
        level: template.level.as_str(),
        count: template.count,
        first: template.first.to_timestamp(),
        last: template.last.to_timestamp(),
        example: &template.example,
    }
}

#[cfg(test)]
mod tests {
    use detect::templates::{Miner, MinerLimits};
    use signal::Nanos;

    use super::*;

    #[test]
    fn templates_are_listed_by_frequency() {
        let mut miner = Miner::new(MinerLimits::default());
        for (at, line) in ["a 1", "[ERROR] b", "a 2", "c d"].into_iter().enumerate() {
            miner.observe(Nanos(at as i64 * 1_000_000), line);
        }
        let all: Vec<Template> = miner.templates().cloned().collect();
        let listed = |query: &str| {
            let pairs: Vec<(&str, &str)> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
            let wanted = wanted(|name| Some(pairs.iter().find(|(known, _)| *known == name)?.1))?;
            let texts = chosen(all.clone(), &wanted).iter().map(|template| template.text.clone()).collect::<Vec<_>>();
            Ok::<_, Refusal>(texts.join(", "))
        };
        let id = all[1].id.to_string();
        let cases = [
            ("limit=1", Ok("a <*>")),
            ("level=error", Ok("[ERROR] b")),
            ("level=unknown&limit=1", Ok("a <*>")),
            (&format!("id={id}"), Ok("[ERROR] b")),
            ("limit=0", Err("limit")),
            ("level=loud", Err("level")),
            ("id=1", Err("id")),
        ];
        for (query, want) in cases {
            match (listed(query), want) {
                (Ok(listed), Ok(want)) => assert_eq!(listed, want, "{query}"),
                (Err(refusal), Err(parameter)) => {
                    assert!(refusal.text.contains(parameter), "{query}: {}", refusal.text);
                }
                (got, want) => panic!("{query}: {got:?} instead of {want:?}"),
            }
        }
        let json = serde_json::to_string(&answer(&all[0])).unwrap();
        let want = format!(
            r#"{{"id":"{}","text":"a <*>","level":"","count":2,"first":0,"last":2,"example":"a 1"}}"#,
            all[0].id
        );
        assert_eq!(json, want);
    }
}
