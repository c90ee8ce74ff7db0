//! `/federate`: the latest sample of each selected series as exposition text. Native histograms have no form in it and
//! are left out, as upstream does in its text format.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use signal::{Labels, Sample, TimeRange, is_stale};
use store::Latest;

use super::{Handles, select};
use crate::json;
use crate::params::Params;
use crate::reply::{Plain, Refusal};

/// How names that the old text format cannot hold are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    /// Between quotes: the reader said that it understands this.
    Quoted,
    /// With underscores for what does not belong there.
    Underscores,
}

impl Names {
    fn wanted(headers: &HeaderMap) -> Self {
        let accepted = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if accepted.contains("escaping=allow-utf-8") { Self::Quoted } else { Self::Underscores }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Quoted => "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
            Self::Underscores => "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
        }
    }
}

pub(super) async fn get(State(handles): State<Handles>, headers: HeaderMap, params: Params) -> Result<Response, Plain> {
    let sets = select::matcher_sets(&params).map_err(Refusal::bad)?;
    let now = (handles.now)();
    let range = TimeRange::last(handles.settings.lookback, now);
    let mut external = handles.views.read(|view| view.external_labels.clone());
    // Without this a reader would put its own address where the origin is unknown.
    external.entry("instance".to_owned()).or_default();
    let names = Names::wanted(&headers);
    let text = handles
        .reader
        .run(None, move |snapshot, _| {
            let mut latest: BTreeMap<Labels, Sample> = BTreeMap::new();
            for matchers in &sets {
                for series in snapshot.find(matchers, range) {
                    if let Some(Latest::Sample(last)) = series.latest(range).filter(|last| !is_ended(last)) {
                        latest.insert(series.labels().clone(), last);
                    }
                }
            }
            page(&latest, &external, names)
        })
        .await?;
    Ok(([(CONTENT_TYPE, names.content_type())], text).into_response())
}

fn is_ended(latest: &Latest) -> bool {
    match latest {
        Latest::Sample(sample) => is_stale(sample.value),
        Latest::Histogram(sample) => sample.histogram.is_stale(),
    }
}

/// Series of one name stand together: the order of labels begins with it only when no name sorts before `__name__`.
fn page(latest: &BTreeMap<Labels, Sample>, external: &BTreeMap<String, String>, names: Names) -> String {
    let mut sorted: Vec<_> =
        latest.iter().filter_map(|(labels, sample)| Some((labels.metric_name()?, labels, sample))).collect();
    sorted.sort_by_key(|(name, ..)| *name);
    let mut text = String::new();
    let mut family = "";
    for (name, labels, sample) in sorted {
        let is_plain = is_legacy(name, true);
        if name != family {
            text.push_str("# TYPE ");
            push_name(&mut text, name, is_plain, names, true);
            text.push_str(" untyped\n");
            family = name;
        }
        let is_inside = !is_plain && names == Names::Quoted;
        let mut separator = '{';
        if is_inside {
            text.push('{');
            push_name(&mut text, name, is_plain, names, true);
            separator = ',';
        } else {
            push_name(&mut text, name, is_plain, names, true);
        }
        let own = labels.iter().filter(|(label, _)| *label != Labels::NAME);
        let added = external.iter().filter(|(label, _)| labels.get(label).is_none());
        for (label, value) in own.chain(added.map(|(label, value)| (label.as_str(), value.as_str()))) {
            text.push(separator);
            separator = ',';
            push_name(&mut text, label, is_legacy(label, false), names, false);
            text.push('=');
            push_quoted(&mut text, value);
        }
        if separator == ',' {
            text.push('}');
        }
        text.push(' ');
        json::push_number(&mut text, sample.value);
        let _ = writeln!(text, " {}", sample.at.0);
    }
    text
}

/// Letters, digits and underscores, no digit first; colons in metric names.
fn is_legacy(name: &str, is_metric: bool) -> bool {
    let fits = |(at, c): (usize, char)| is_legacy_char(c, at, is_metric);
    !name.is_empty() && name.chars().enumerate().all(fits)
}

fn is_legacy_char(c: char, at: usize, is_metric: bool) -> bool {
    c.is_ascii_alphabetic() || c == '_' || (c == ':' && is_metric) || (c.is_ascii_digit() && at > 0)
}

fn push_name(out: &mut String, name: &str, is_plain: bool, names: Names, is_metric: bool) {
    if is_plain {
        return out.push_str(name);
    }
    match names {
        Names::Quoted => push_quoted(out, name),
        Names::Underscores => {
            out.extend(name.chars().enumerate().map(|(at, c)| if is_legacy_char(c, at, is_metric) { c } else { '_' }));
        }
    }
}

fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use signal::Timestamp;

    use super::*;

    #[test]
    fn names_and_labels_are_written_as_the_reader_takes_them() {
        let latest: BTreeMap<_, _> = [
            (vec![("__name__", "b")], 1.0),
            (vec![("__name__", "a"), ("instance", "i"), ("quote", "a\"b\\c\nd")], 1.5e-7),
            (vec![("__name__", "my.metric"), ("a.b", "c"), ("cluster", "own")], f64::INFINITY),
            (vec![("__name__", "a"), ("A", "first")], 2.0),
            (vec![("nameless", "x")], 3.0),
        ]
        .into_iter()
        .map(|(pairs, value)| (Labels::from_pairs(pairs), Sample { at: Timestamp(1_500), value }))
        .collect();
        let external = [("cluster", "c1"), ("instance", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let external = BTreeMap::from(external);
        assert_eq!(
            page(&latest, &external, Names::Underscores),
            "# TYPE a untyped\n\
             a{A=\"first\",cluster=\"c1\",instance=\"\"} 2 1500\n\
             a{instance=\"i\",quote=\"a\\\"b\\\\c\\nd\",cluster=\"c1\"} 1.5e-07 1500\n\
             # TYPE b untyped\n\
             b{cluster=\"c1\",instance=\"\"} 1 1500\n\
             # TYPE my_metric untyped\n\
             my_metric{a_b=\"c\",cluster=\"own\",instance=\"\"} +Inf 1500\n"
        );
        let quoted = page(&latest, &external, Names::Quoted);
        let last: Vec<_> = quoted.lines().skip(5).collect();
        assert_eq!(
            last,
            ["# TYPE \"my.metric\" untyped", r#"{"my.metric","a.b"="c",cluster="own",instance=""} +Inf 1500"#]
        );
    }
}
