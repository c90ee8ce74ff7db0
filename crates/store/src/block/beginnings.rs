//! What the texts that a pattern matches begin with.

use regex_syntax::hir::literal::{ExtractKind, Extractor};
use signal::go_regex;

/// A text with which some of those matched begin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Beginning {
    pub(super) bytes: Vec<u8>,
    /// Whether it is followed by nothing.
    pub(super) is_whole: bool,
}

/// Every text that a label matcher's `pattern` matches begins with one of these; not each that does is matched. `None`
/// when that says nothing.
pub(super) fn beginnings(pattern: &str) -> Option<Vec<Beginning>> {
    // The same words mean other things in Go's patterns, so the one that is matched with is looked at.
    let compiled = go_regex::compile_whole(pattern).ok()?;
    let parsed = regex_syntax::parse(compiled.as_str()).ok()?;
    let found = Extractor::new().kind(ExtractKind::Prefix).extract(&parsed);
    let found = found
        .literals()?
        .iter()
        .map(|literal| Beginning { bytes: literal.as_bytes().to_vec(), is_whole: literal.is_exact() });
    let found: Vec<_> = found.collect();
    found.iter().all(|beginning| beginning.is_whole || !beginning.bytes.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_are_told_where_there_are_some() {
        let cases: [(&str, Option<&[&str]>); 15] = [
            ("[a&&b]", Some(&["a", "&", "b"])),
            ("\\Qa.b\\E.*", Some(&["a.b…"])),
            ("a{,b", Some(&["a{,b"])),
            ("api", Some(&["api"])),
            ("api|db", Some(&["api", "db"])),
            ("api-.*", Some(&["api-…"])),
            ("(api|db)-[0-9]+", Some(&["api-0…", "db-0…"])),
            ("ab*", Some(&["ab…", "a"])),
            ("a?", Some(&["a", ""])),
            ("10\\.0\\..+", Some(&["10.0.…"])),
            ("(?i)up", Some(&["UP", "Up", "uP", "up"])),
            ("^up$", Some(&["up"])),
            (".*", None),
            (".+x", None),
            ("x*", Some(&["x…", ""])),
        ];
        for (pattern, want) in cases {
            let text = |one: &Beginning| {
                let text = String::from_utf8_lossy(&one.bytes).into_owned();
                if one.is_whole { text } else { text + "…" }
            };
            let found = beginnings(pattern).map(|found| found.iter().map(text).collect::<Vec<_>>());
            match (want, found) {
                (Some(want), Some(found)) => {
                    assert!(want.iter().all(|want| found.iter().any(|found| found == want)), "{pattern}: {found:?}");
                }
                (want, found) => assert_eq!(found.is_some(), want.is_some(), "{pattern}: {found:?}"),
            }
        }
    }
}
