//! Which labels the rest of a query can look at, so that parsers leave all others alone.

use std::collections::BTreeSet;

use super::entry::Error;
use super::json::is_label;
use super::template::Template;
use crate::logql::ast::{Grouping, LabelFilter, LabelSource, Pick, RangeExpr, RangeOp, Stage};

/// What a parser appends to a name that a stored label has already.
pub(super) const TAKEN: &str = "_extracted";

/// The labels anybody will ask for. A parser need not tell of others.
///
/// Whether a line is malformed does not depend on them, except that nothing is parsed where no name is wanted at all:
/// as in Loki, `sum(count_over_time({…} | json [5m]))` counts lines that are no JSON too.
#[derive(Clone, Debug)]
pub(in crate::logql) struct Hints {
    names: Vec<Box<str>>,
    /// A bit for each letter that a name begins with.
    letters: u128,
}

impl Hints {
    /// Takes the names as they are used in the query.
    pub(in crate::logql) fn new(names: impl IntoIterator<Item = String>) -> Self {
        let mut all: BTreeSet<Box<str>> = BTreeSet::new();
        for name in names {
            // Who asks for `x_extracted` may mean a field `x` whose name was taken.
            if let Some(plain) = name.strip_suffix(TAKEN) {
                all.insert(Box::from(plain));
            }
            all.insert(name.into_boxed_str());
        }
        let letters = all.iter().filter_map(|name| name.bytes().next()).fold(0, |letters, first| letters | bit(first));
        Self { names: all.into_iter().collect(), letters }
    }

    /// Whether nobody wants anything.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether a label of this name is wanted.
    pub(super) fn wants(&self, name: &str) -> bool {
        self.names.iter().any(|wanted| **wanted == *name)
    }

    /// Whether the name made of a field's name is wanted, see [`sanitize`].
    #[inline]
    pub(super) fn wants_field(&self, prefix: &str, key: &str) -> bool {
        !self.refuses(prefix, key) && self.wants_made_of(prefix, key)
    }

    /// Nearly all keys are refused by their first letter.
    #[inline]
    fn refuses(&self, prefix: &str, key: &str) -> bool {
        let first = key.bytes().next().filter(|first| prefix.is_empty() && first.is_ascii_alphabetic());
        first.is_some_and(|first| self.letters & bit(first) == 0)
    }

    fn wants_made_of(&self, prefix: &str, key: &str) -> bool {
        self.names.iter().any(|wanted| match wanted.strip_prefix(prefix) {
            None => false,
            Some(rest) if prefix.is_empty() => is_made_of(rest, key, true),
            Some("") => key.trim().is_empty(),
            Some(rest) => rest.strip_prefix('_').is_some_and(|rest| is_made_of(rest, key, false)),
        })
    }

    /// Whether any wanted name may be made of a field inside of this one.
    pub(super) fn wants_below(&self, prefix: &str, key: &str) -> bool {
        if self.names.is_empty() || self.refuses(prefix, key) {
            return false;
        }
        let below = sanitize(prefix, key);
        self.names.iter().any(|wanted| wanted.starts_with(&below))
    }
}

/// Whether `name` is what [`sanitize`] makes of `key`.
fn is_made_of(name: &str, key: &str, first: bool) -> bool {
    if name == key && is_label(key) {
        return true;
    }
    let key = key.trim();
    let name = match name.strip_prefix('_') {
        Some(rest) if first && key.starts_with(|c: char| c.is_ascii_digit()) => rest,
        _ if first && key.starts_with(|c: char| c.is_ascii_digit()) => return false,
        _ => name,
    };
    name.bytes().map(char::from).eq(key.chars().map(letter))
}

fn bit(byte: u8) -> u128 {
    1_u128.checked_shl(u32::from(byte)).unwrap_or(0)
}

fn letter(c: char) -> char {
    if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }
}

/// Makes a label name: `prefix_key` with what a name cannot hold replaced by `_`. A blank key adds nothing.
pub(in crate::logql) fn sanitize(prefix: &str, key: &str) -> String {
    let key = key.trim();
    let mut name = String::with_capacity(prefix.len() + key.len() + 1);
    name.push_str(prefix);
    if key.is_empty() {
        return name;
    }
    if !prefix.is_empty() || key.starts_with(|c: char| c.is_ascii_digit()) {
        name.push('_');
    }
    name.extend(key.chars().map(letter));
    name
}

/// The labels a range function over lines can look at, itself grouped by `grouping`; `None` when any label may matter.
pub(in crate::logql) fn required_labels(range: &RangeExpr, grouping: Option<&Grouping>) -> Option<BTreeSet<String>> {
    let mut names = stage_labels(&range.log.stages)?;
    match grouping {
        Some(Grouping { without: false, labels }) => names.extend(labels.iter().cloned()),
        // It asks whether there is a line, not which.
        None if range.op == RangeOp::AbsentOverTime => {}
        Some(Grouping { without: true, .. }) | None => return None,
    }
    if let Some(unwrap) = &range.unwrap {
        names.insert(unwrap.label.clone());
        unwrap.filters.iter().for_each(|filter| collect(filter, &mut names));
    }
    Some(names)
}

/// The labels the stages themselves look at: to know which lines they keep, no others are needed. `None` when a template
/// may look at any label.
pub(in crate::logql) fn stage_labels(stages: &[Stage]) -> Option<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for stage in stages {
        match stage {
            Stage::Filter(filter) => collect(filter, &mut names),
            Stage::LineFormat(text) => names.extend(Template::labels_read(text)?),
            Stage::LabelFormat(formats) => {
                for (_, source) in formats {
                    match source {
                        LabelSource::Label(from) => {
                            names.insert(from.clone());
                        }
                        LabelSource::Template(text) => names.extend(Template::labels_read(text)?),
                    }
                }
            }
            Stage::Drop(picks) | Stage::Keep(picks) => {
                for pick in picks {
                    match pick {
                        Pick::Match(matcher) => {
                            names.insert(matcher.name.clone());
                        }
                        Pick::Name(_) => {}
                    }
                }
            }
            Stage::Line { .. }
            | Stage::Json(_)
            | Stage::Logfmt { .. }
            | Stage::Regexp(_)
            | Stage::Pattern(_)
            | Stage::Unpack
            | Stage::Decolorize => {}
        }
    }
    // Who asks for the details of an error asks for the error.
    if names.contains(Error::DETAILS) {
        names.insert(Error::LABEL.to_owned());
    }
    Some(names)
}

fn collect(filter: &LabelFilter, names: &mut BTreeSet<String>) {
    match filter {
        LabelFilter::And(filters) | LabelFilter::Or(filters) => {
            filters.iter().for_each(|filter| collect(filter, names));
        }
        LabelFilter::Text(matcher) => {
            names.insert(matcher.name.clone());
        }
        LabelFilter::Compare { label, .. } | LabelFilter::Ip { label, .. } => {
            names.insert(label.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logql::{Expr, MetricExpr, parse};

    fn of(query: &str) -> Option<String> {
        let names = match parse(query).unwrap_or_else(|error| panic!("{query}: {error}")) {
            Expr::Metric(MetricExpr::Range(range)) => required_labels(&range, range.grouping.as_ref()),
            Expr::Metric(MetricExpr::Aggregate { inner, grouping, .. }) => match *inner {
                MetricExpr::Range(range) => {
                    let all = Grouping { without: false, labels: Vec::new() };
                    required_labels(&range, Some(grouping.as_ref().unwrap_or(&all)))
                }
                other => panic!("{query}: {other}"),
            },
            Expr::Metric(other) => panic!("{query}: {other}"),
            Expr::Log(log) => stage_labels(&log.stages),
        };
        names.map(|names| names.into_iter().collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn what_a_query_mentions_is_wanted() {
        for (query, want) in [
            (r#"sum(count_over_time({a="b"} | json [1m]))"#, Some("")),
            (r#"sum by (x, y) (count_over_time({a="b"} | json [1m]))"#, Some("x y")),
            (r#"sum without (x) (count_over_time({a="b"} | json [1m]))"#, None),
            (r#"count_over_time({a="b"} | json [1m])"#, None),
            (r#"absent_over_time({a="b"} | json | x > 5 [1m])"#, Some("x")),
            (r#"sum by (x) (rate({a="b"} | json | unwrap y | z="" [1m]))"#, Some("x y z")),
            (r#"avg_over_time({a="b"} | json | unwrap y [1m]) by (x)"#, Some("x y")),
            (r#"{a="b"} | json | p="1" or (q > 5 and r=ip("1.1.1.1"))"#, Some("p q r")),
            (r#"{a="b"} | json | line_format "{{.p}} {{ .q | ToUpper }} {{ if eq .r `s` }}x{{ end }}""#, Some("p q r")),
            (r#"{a="b"} | json | label_format p=q, r="{{.s}}""#, Some("q s")),
            (r#"{a="b"} | json | drop p, q="1" | keep r, s=~"2""#, Some("q s")),
            (r#"{a="b"} | json | __error__="" | __timestamp__ > 5"#, Some("__error__ __timestamp__")),
            (r#"{a="b"} | json | line_format "{{ . }}""#, None),
            (r#"{a="b"} | json | line_format "{{ range $k, $v := . }}{{ $k }}{{ end }}""#, None),
            (r#"{a="b"} | json | line_format "{{ $.p }}""#, None),
        ] {
            assert_eq!(of(query).as_deref(), want, "{query}");
        }
    }

    #[test]
    fn a_field_is_wanted_by_the_name_it_will_have() {
        for (names, prefix, key, want) in [
            ("ab", "", "ab", true),
            ("ab", "", "abc", false),
            ("a_b", "", "a-b", true),
            ("a_b", "a", "b", true),
            ("a_b", "a_b", " ", true),
            ("_9x", "", "9x", true),
            ("9x", "", "9x", false),
            ("a_9x", "a", "9x", true),
            ("_", "", "é", true),
            ("ab", "", " ab ", true),
            ("x_extracted", "", "x", true),
            ("x_extracted", "", "x.extracted", true),
        ] {
            let hints = Hints::new([names.to_owned()]);
            assert_eq!(hints.wants_field(prefix, key), want, "{names}: {prefix} {key}");
            assert_eq!(hints.wants(&sanitize(prefix, key)), want, "{names}: {prefix} {key}");
        }
    }
}
