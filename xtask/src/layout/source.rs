//! Rust files, with what is not code taken out.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::{Member, read};

/// One Rust file of a member.
#[derive(Debug)]
pub(super) struct Source {
    /// Folder of the crate.
    pub(super) member: String,
    /// From the root.
    pub(super) path: PathBuf,
    pub(super) text: String,
    /// As `text`, comments and literals replaced by spaces; lines and their numbers are the same.
    pub(super) code: String,
    /// First line of the tests at the end, from 1; after the last line when there are none.
    tests_from: usize,
}

impl Source {
    /// Every `.rs` file below the member's folder, by path.
    pub(super) fn all_of(root: &Path, member: &Member) -> anyhow::Result<Vec<Self>> {
        let folder = Path::new("crates").join(&member.name);
        let mut paths = Vec::new();
        walk(root, &folder, &mut paths)?;
        paths.sort();
        paths.into_iter().map(|path| Ok(Self::new(&member.name, &path, read(&root.join(&path))?))).collect()
    }

    pub(super) fn new(member: &str, path: &Path, text: String) -> Self {
        let code = code_only(&text);
        let tests_from = tests_from(&code);
        Self { member: member.to_owned(), path: path.to_owned(), text, code, tests_from }
    }

    /// The lines of code with their numbers, from 1.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(at, line)| (at + 1, line))
    }

    /// Whether a line is compiled for tests or examples only.
    pub(super) fn is_test(&self, line: usize) -> bool {
        let below = self.path.components().skip(2);
        let outside = below.clone().next().is_some_and(|first| first.as_os_str() != "src");
        outside
            || below.clone().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs")))
            || line >= self.tests_from
    }
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let shown = root.join(folder);
    for entry in std::fs::read_dir(&shown).with_context(|| format!("cannot list {}", shown.display()))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            walk(root, &path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

/// Tests stand at a file's end: `#[cfg(test)]` before a module with a body begins them.
fn tests_from(code: &str) -> usize {
    let mut lines = code.lines().enumerate().peekable();
    while let Some((at, line)) = lines.next() {
        let next = lines.peek().map_or("", |(_, next)| next.trim());
        if line.trim() == "#[cfg(test)]" && next.contains("mod ") && next.ends_with('{') {
            return at + 1;
        }
    }
    usize::MAX
}

/// Replaces comments, strings and characters by spaces.
fn code_only(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut previous = ' ';
    while let Some(next) = rest.chars().next() {
        let literal = comment(rest).or_else(|| string(rest, previous)).or_else(|| character(rest));
        let (taken, after) = rest.split_at_checked(literal.unwrap_or(next.len_utf8())).unwrap_or((rest, ""));
        if literal.is_some() {
            out.extend(taken.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            previous = ' ';
        } else {
            out.push_str(taken);
            previous = next;
        }
        rest = after;
    }
    out
}

/// Bytes of the comment that `rest` begins with.
fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if !rest.starts_with("/*") {
        return None;
    }
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(inside) = rest.get(at..).filter(|inside| !inside.is_empty()) {
        if inside.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if inside.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += inside.chars().next().map_or(1, char::len_utf8);
        }
    }
    Some(rest.len())
}

/// Bytes of the string literal of any sort that `rest` begins with.
fn string(rest: &str, previous: char) -> Option<usize> {
    if !rest.starts_with('"') && (!rest.starts_with(['r', 'b', 'c']) || is_word(previous)) {
        return None;
    }
    let unprefixed = rest.strip_prefix(['b', 'c']).unwrap_or(rest);
    let is_raw = unprefixed.starts_with('r');
    let body = unprefixed.strip_prefix('r').unwrap_or(unprefixed);
    let hashes = if is_raw { body.bytes().take_while(|byte| *byte == b'#').count() } else { 0 };
    let inside = body.get(hashes..)?.strip_prefix('"')?;
    let start = rest.len() - inside.len();
    if is_raw {
        let end = format!("\"{}", "#".repeat(hashes));
        return Some(inside.find(&end).map_or(rest.len(), |at| start + at + end.len()));
    }
    let mut is_escaped = false;
    for (at, c) in inside.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return Some(start + at + 1),
            _ => {}
        }
    }
    Some(rest.len())
}

/// Bytes of the character literal that `rest` begins with; a lifetime is none.
fn character(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix('\'')?;
    let mut chars = inside.char_indices();
    let (_, first) = chars.next()?;
    if first == '\\' {
        chars.next()?;
        let (end, _) = chars.find(|(_, c)| *c == '\'')?;
        return Some(end + 2);
    }
    let (at, second) = chars.next()?;
    (second == '\'').then_some(at + 2)
}

/// Places in `line` where `word` stands by itself.
pub(super) fn words<'a>(line: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let stands = move |at: usize| {
        let before = line.get(..at).and_then(|before| before.chars().next_back());
        let after = line.get(at + word.len()..).and_then(|after| after.chars().next());
        let edge = |of: Option<char>, beside: Option<char>| !(of.is_some_and(is_word) && beside.is_some_and(is_word));
        edge(word.chars().next(), before) && edge(word.chars().next_back(), after)
    };
    line.match_indices(word).map(|(at, _)| at).filter(move |at| stands(*at))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
