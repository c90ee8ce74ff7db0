//! Which series there are: `/series`, `/labels`, `/label/{name}/values`.

use std::collections::BTreeSet;

use axum::extract::{Path, State};
use query::promql;
use signal::{Matcher, TimeRange, Timestamp};
use store::Snapshot;

use super::{Handles, Reply, answer};
use crate::json;
use crate::params::Params;
use crate::reply::Refusal;

/// What series, label names and label values are asked about.
struct Selection {
    sets: Vec<Vec<Matcher>>,
    range: TimeRange,
    limit: Option<usize>,
}

impl Selection {
    fn read(params: &Params, refuse: impl Fn(String) -> Refusal) -> Result<Self, Refusal> {
        let limit = params.limit("limit")?;
        let range = range(params)?;
        Ok(Self { sets: matcher_sets(params).map_err(refuse)?, range, limit })
    }

    /// The same with "everything" when no selector was given.
    fn or_everything(mut self) -> Self {
        if self.sets.is_empty() {
            self.sets.push(Vec::new());
        }
        self
    }
}

/// `start` and `end`, everything by default. An end before the start is no mistake: nothing lies between.
pub(super) fn range(params: &Params) -> Result<TimeRange, Refusal> {
    let start = params.time("start")?.unwrap_or(Timestamp::MIN);
    let end = params.time("end")?.unwrap_or(Timestamp::MAX);
    Ok(TimeRange::new(start, end))
}

/// Every `match[]`; each must have a matcher that does not match the empty string.
pub(super) fn matcher_sets(params: &Params) -> Result<Vec<Vec<Matcher>>, String> {
    params
        .all("match[]")
        .map(|text| {
            let empty = "must contain at least one non-empty matcher";
            // The parser says the same of a selector inside a query, in other words.
            promql::parse_selector(text).map_err(|error| match error.to_string() {
                reason if reason.ends_with(empty) => format!("match[] {empty}"),
                reason => reason,
            })
        })
        .collect()
}

pub(super) async fn series(State(handles): State<Handles>, params: Params) -> Reply {
    if params.all("match[]").next().is_none() {
        return Err(Refusal::bad("no match[] parameter provided").into());
    }
    let Selection { sets, range, limit } = Selection::read(&params, |reason| Refusal::parameter("match[]", reason))?;
    let body = handles
        .reader
        .run(None, move |snapshot, _| {
            let mut found: Vec<_> = sets.iter().flat_map(|matchers| snapshot.series(matchers, range)).collect();
            if sets.len() > 1 {
                found.sort_unstable();
                found.dedup();
            }
            answer::list(found.iter(), limit, json::labels)
        })
        .await?;
    Ok(json::response(body))
}

pub(super) async fn label_names(State(handles): State<Handles>, params: Params) -> Reply {
    let Selection { sets, range, limit } = Selection::read(&params, Refusal::bad)?.or_everything();
    let at_once = of_everything(&sets).then(|| handles.reader.snapshot().label_names_at_once(range)).flatten();
    let found = match at_once {
        Some(found) => found,
        None => {
            let work = |snapshot: &Snapshot| union(&sets, |matchers| snapshot.label_names(matchers, range));
            handles.reader.run_briefly(work).await?
        }
    };
    Ok(json::response(answer::list(found.iter(), limit, |out, name| json::string(out, name))))
}

pub(super) async fn label_values(State(handles): State<Handles>, Path(name): Path<String>, params: Params) -> Reply {
    let name = unescape_label_name(&name).unwrap_or(name);
    if name.is_empty() {
        return Err(Refusal::bad(format!("invalid label name: \"{name}\"")).into());
    }
    let Selection { sets, range, limit } = Selection::read(&params, Refusal::bad)?.or_everything();
    let at_once = of_everything(&sets).then(|| handles.reader.snapshot().label_values_at_once(&name, range)).flatten();
    let found = match at_once {
        Some(found) => found,
        None => {
            let work = |snapshot: &Snapshot| union(&sets, |matchers| snapshot.label_values(&name, matchers, range));
            handles.reader.run_briefly(work).await?
        }
    };
    Ok(json::response(answer::list(found.iter(), limit, |out, value| json::string(out, value))))
}

/// Whether nothing but the time is asked for.
fn of_everything(sets: &[Vec<Matcher>]) -> bool {
    matches!(sets, [matchers] if matchers.is_empty())
}

/// What is found for any of the sets, in order.
fn union(sets: &[Vec<Matcher>], find: impl Fn(&[Matcher]) -> Vec<String>) -> Vec<String> {
    match sets {
        [matchers] => find(matchers),
        sets => sets.iter().flat_map(|matchers| find(matchers)).collect::<BTreeSet<_>>().into_iter().collect(),
    }
}

/// Undoes `U__` escaping: `__` is an underscore, `_2e_` the character U+002E. `None` when the name is not escaped, or
/// not as it should be; then it is taken as it is.
fn unescape_label_name(name: &str) -> Option<String> {
    let mut rest = name.strip_prefix("U__")?;
    let mut plain = String::new();
    while let Some((before, after)) = rest.split_once('_') {
        plain.push_str(before);
        if let Some(after) = after.strip_prefix('_') {
            plain.push('_');
            rest = after;
            continue;
        }
        let (digits, after) = after.split_once('_')?;
        if digits.is_empty() || digits.len() > 6 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        plain.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
        rest = after;
    }
    plain.push_str(rest);
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_label_names_are_read_back() {
        for (name, want) in [
            ("job", None),
            ("U__my_2e_metric", Some("my.metric")),
            ("U__a__b", Some("a_b")),
            ("U___fc_ber", Some("über")),
            ("U__a_zz_", None),
            ("U__a_+2e_", None),
            ("U__a_d800_", None),
            ("U__a_0000002e_", None),
            ("U__a_2e", None),
        ] {
            assert_eq!(unescape_label_name(name).as_deref(), want, "{name}");
        }
    }
}
