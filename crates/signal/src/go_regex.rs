//! Regular expressions as Go means them, compiled by the `regex` crate.

use regex::{Regex, RegexBuilder};

/// Compiles a pattern written for Go's RE2 syntax.
///
/// # Errors
/// One line saying why it is refused, also when it compiles to more than 10 MiB.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    build(&translate(pattern), pattern)
}

/// Compiles a pattern that has to match a whole text, in which the dot matches a newline, as in label matchers.
///
/// # Errors
/// As for [`compile`]; the sentence is about the pattern as written.
pub fn compile_whole(pattern: &str) -> Result<Regex, String> {
    if pattern.contains(')') {
        // By itself first: between parentheses `)(` would be a pattern.
        build(&translate(pattern), pattern)?;
    }
    build(&format!("^(?s:{})$", translate(pattern)), pattern)
}

fn build(translated: &str, written: &str) -> Result<Regex, String> {
    RegexBuilder::new(translated).size_limit(10 << 20).build().map_err(|error| {
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
        format!("error parsing regexp: {}", in_the_words_of_go(reason, written))
    })
}

/// Go's sentence for the same mistake, where there is one.
fn in_the_words_of_go(reason: &str, pattern: &str) -> String {
    if reason.starts_with("unclosed group") {
        return format!("missing closing ): `{pattern}`");
    }
    if reason.starts_with("unopened group") {
        return format!("unexpected ): `{pattern}`");
    }
    if reason.starts_with("unclosed character class") {
        let class = pattern.find('[').and_then(|at| pattern.get(at..)).unwrap_or(pattern);
        return format!("missing closing ]: `{class}`");
    }
    if reason.starts_with("incomplete escape sequence") {
        return "trailing backslash at end of expression: ``".to_owned();
    }
    if reason.starts_with("repetition operator missing expression") {
        let operator = pattern.find(['*', '+', '?']).and_then(|at| pattern.get(at..at + 1)).unwrap_or(pattern);
        return format!("missing argument to repetition operator: `{operator}`");
    }
    if reason.starts_with("unrecognized escape sequence") {
        let known = "\\\\[dDwWsSbBAzQEpPCabfnrtvx0-7[:punct:]]";
        let escapes = Regex::new("\\\\.")
            .into_iter()
            .flat_map(|any| any.find_iter(pattern).map(|found| found.as_str().to_owned()).collect::<Vec<_>>());
        let known = Regex::new(known).ok();
        let unknown = escapes.into_iter().find(|escape| known.as_ref().is_some_and(|known| !known.is_match(escape)));
        return format!("invalid escape sequence: `{}`", unknown.as_deref().unwrap_or(pattern));
    }
    format!("{reason}: `{pattern}`")
}

/// Rewrites what the two dialects read differently: `\d \w \s \b` mean ASCII in Go, a brace that starts no repetition is
/// a brace, and a character class has no nested classes or set operators.
fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    let mut in_class = false;
    while let Some(c) = rest.chars().next() {
        let tail = rest.strip_prefix(c).unwrap_or_default();
        if c == '\\' {
            if !in_class && let Some(literal) = tail.strip_prefix('Q') {
                let (literal, after) = literal.split_once("\\E").unwrap_or((literal, ""));
                out.push_str(&regex::escape(literal));
                rest = after;
                continue;
            }
            let Some(escaped) = tail.chars().next() else {
                out.push('\\');
                break;
            };
            if matches!(escaped, 'p' | 'P' | 'x') && tail.get(1..).is_some_and(|after| after.starts_with('{')) {
                let end = tail.find('}').map_or(tail.len(), |at| at + 1);
                let (name, after) = tail.split_at_checked(end).unwrap_or((tail, ""));
                out.push('\\');
                out.push_str(name);
                rest = after;
                continue;
            }
            match (escaped, in_class) {
                ('d', true) => out.push_str("0-9"),
                ('w', true) => out.push_str("0-9A-Za-z_"),
                ('s', true) => out.push_str("\\t\\n\\x0c\\r "),
                ('d' | 'D' | 'w' | 'W' | 's' | 'S' | 'b' | 'B', false) => {
                    // The negated classes would match single bytes of a character without Unicode.
                    if matches!(escaped, 'D' | 'W' | 'S') {
                        out.push_str(match escaped {
                            'D' => "[^0-9]",
                            'W' => "[^0-9A-Za-z_]",
                            _ => "[^\\t\\n\\x0c\\r ]",
                        });
                    } else if escaped == 'B' {
                        out.push_str("\\B");
                    } else {
                        out.push_str("(?-u:\\");
                        out.push(escaped);
                        out.push(')');
                    }
                }
                _ => {
                    out.push('\\');
                    out.push(escaped);
                }
            }
            rest = tail.strip_prefix(escaped).unwrap_or_default();
            continue;
        }
        if in_class {
            match c {
                ']' => {
                    in_class = false;
                    out.push(c);
                }
                '[' if !tail.starts_with(':') => out.push_str("\\["),
                '[' => {
                    let end = tail.find(":]").map_or(0, |at| at + 2);
                    let (name, after) = tail.split_at_checked(end).unwrap_or(("", tail));
                    out.push('[');
                    out.push_str(name);
                    rest = after;
                    continue;
                }
                '&' | '~' => {
                    out.push('\\');
                    out.push(c);
                }
                _ => out.push(c),
            }
            rest = tail;
            continue;
        }
        match c {
            '[' => {
                in_class = true;
                out.push('[');
                rest = tail;
                if let Some(after) = rest.strip_prefix('^') {
                    out.push('^');
                    rest = after;
                }
                if let Some(after) = rest.strip_prefix(']') {
                    out.push_str("\\]");
                    rest = after;
                }
                continue;
            }
            '{' if !starts_repetition(tail) => out.push_str("\\{"),
            '}' if !ends_repetition(&out) => out.push_str("\\}"),
            _ => out.push(c),
        }
        rest = tail;
    }
    out
}

fn starts_repetition(after_brace: &str) -> bool {
    let Some((inside, _)) = after_brace.split_once('}') else { return false };
    let (low, high) = inside.split_once(',').unwrap_or((inside, ""));
    !low.is_empty() && low.bytes().chain(high.bytes()).all(|byte| byte.is_ascii_digit())
}

fn ends_repetition(out: &str) -> bool {
    // An open brace that is part of the output unescaped belongs to a repetition.
    match out.rfind('{') {
        Some(at) => {
            let before = out.get(..at).unwrap_or_default();
            !before.ends_with('\\') && !out.get(at..).unwrap_or_default().contains('}')
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_patterns_compile_and_match_as_in_go() {
        for (pattern, text, want) in [
            ("{", "a{b", true),
            ("{\"a\"}", "{\"a\"}", true),
            ("a{2}", "aa", true),
            ("a{2,}b", "aaab", true),
            ("[[]x", "[x", true),
            ("[]a]", "]", true),
            ("[^]a]", "b", true),
            ("[[:alpha:]]+", "abc", true),
            ("[a&&b]", "&", true),
            ("\\d", "٣", false),
            ("[\\d_]", "7", true),
            ("\\Qa.b\\E", "axb", false),
            ("\\p{L}+", "é", true),
            ("(?i)error", "ERROR", true),
            ("\\S+ \\W", "ab !", true),
        ] {
            assert_eq!(compile(pattern).unwrap().is_match(text), want, "{pattern} on {text}");
        }
        assert!(compile_whole("a.b").unwrap().is_match("a\nb"));
        assert!(!compile_whole("a|b").unwrap().is_match("ab"));
        assert_eq!(compile_whole(")(").unwrap_err(), "error parsing regexp: unexpected ): `)(`");
        assert_eq!(compile_whole("(").unwrap_err(), "error parsing regexp: missing closing ): `(`");
        for bad in ["(", "a**b(", "\\", "[a", "x{1001}{1001}{1001}"] {
            assert!(compile(bad).is_err(), "{bad}");
        }
    }
}
