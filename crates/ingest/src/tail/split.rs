//! Lines of bytes.

/// One line of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Line<'b> {
    /// Without its end.
    pub(super) bytes: &'b [u8],
    /// Where it begins, in bytes of what was split.
    pub(super) from: usize,
    /// Whether it was longer than allowed.
    pub(super) is_cut: bool,
}

/// Where the splitting goes on next time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Rest {
    /// Bytes that are done with.
    pub(super) used: usize,
    /// Whether the rest of a line that was cut comes next.
    pub(super) is_inside_cut: bool,
}

/// Whether bytes without a line's end at the end are a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum HalfLine {
    /// Its end may still come.
    Waits,
    /// Nothing more comes, or it has waited long enough.
    Counts,
}

/// Splits `bytes` at line breaks, `\n` or `\r\n`. Of a line of more than `most` bytes only the beginning is given.
pub(super) fn split<'b>(
    bytes: &'b [u8],
    is_inside_cut: bool,
    most: usize,
    half: HalfLine,
    mut each: impl FnMut(Line<'b>),
) -> Rest {
    let mut at = 0;
    let mut is_inside_cut = is_inside_cut;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\n', rest) else { break };
        let (line, _) = rest.split_at_checked(end).unwrap_or_default();
        if !is_inside_cut {
            each(Line { from: at, ..cut(line.strip_suffix(b"\r").unwrap_or(line), most) });
        }
        is_inside_cut = false;
        at += end + 1;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    if is_inside_cut {
        // However long it is, nothing of it is wanted.
        return Rest { used: bytes.len(), is_inside_cut };
    }
    if rest.is_empty() {
        return Rest { used: at, is_inside_cut };
    }
    // One byte more may be the end of the line, and so may be two.
    if rest.len() > most.saturating_add(2) {
        each(Line { from: at, ..cut(rest, most) });
        return Rest { used: bytes.len(), is_inside_cut: true };
    }
    if half == HalfLine::Counts {
        each(Line { from: at, ..cut(rest, most) });
        return Rest { used: bytes.len(), is_inside_cut: false };
    }
    Rest { used: at, is_inside_cut }
}

fn cut(line: &[u8], most: usize) -> Line<'_> {
    match line.get(..most) {
        Some(head) if line.len() > most => {
            // Not through the middle of a character, if it is one.
            let back = head.iter().rev().take(4).position(|byte| byte & 0xc0 != 0x80).unwrap_or(0);
            let lead = head.len().saturating_sub(back + 1);
            let width = match head.get(lead) {
                Some(0xc0..=0xdf) => 2,
                Some(0xe0..=0xef) => 3,
                Some(0xf0..=0xff) => 4,
                Some(_) | None => 1,
            };
            let end = if width > back + 1 { lead } else { head.len() };
            Line { bytes: head.get(..end).unwrap_or(head), from: 0, is_cut: true }
        }
        _ => Line { bytes: line, from: 0, is_cut: false },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Splits what comes bit by bit, as a file that grows.
    fn in_steps(bytes: &[u8], steps: &[usize], most: usize) -> Vec<(usize, Vec<u8>, bool)> {
        let mut lines = Vec::new();
        let (mut from, mut end, mut is_inside_cut) = (0, 0, false);
        let mut steps = steps.iter().copied().chain(std::iter::repeat(bytes.len()));
        loop {
            end = (end + steps.next().unwrap()).min(bytes.len());
            let half = if end == bytes.len() { HalfLine::Counts } else { HalfLine::Waits };
            let rest = split(&bytes[from..end], is_inside_cut, most, half, |line| {
                lines.push((from + line.from, line.bytes.to_vec(), line.is_cut));
            });
            from += rest.used;
            is_inside_cut = rest.is_inside_cut;
            if half == HalfLine::Counts {
                return lines;
            }
        }
    }

    #[test]
    fn lines_end_where_they_should() {
        for (case, bytes, want) in [
            ("two", &b"a\nb\n"[..], &[(0, "a", false), (2, "b", false)][..]),
            ("the last without an end", b"a\nb", &[(0, "a", false), (2, "b", false)]),
            ("of another system", b"a\r\n\r\nb\rc\n", &[(0, "a", false), (3, "", false), (5, "b\rc", false)]),
            (
                "long ones",
                b"12345\n123456\n1234567890\nx\n",
                &[(0, "12345", false), (6, "12345", true), (13, "12345", true), (24, "x", false)],
            ),
            ("not through a character", "1234é\n123😀\n".as_bytes(), &[(0, "1234", true), (7, "123", true)]),
            ("nothing", b"", &[]),
        ] {
            let want: Vec<_> = want.iter().map(|(from, text, cut)| (*from, text.as_bytes().to_vec(), *cut)).collect();
            assert_eq!(in_steps(bytes, &[], 5), want, "{case}");
        }
    }

    proptest! {
        #[test]
        fn any_steps_give_the_same_lines(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'a'), any::<u8>()], 0..200),
            steps in proptest::collection::vec(0_usize..20, 0..40),
            most in 1_usize..20,
        ) {
            prop_assert_eq!(in_steps(&bytes, &steps, most), in_steps(&bytes, &[], most));
        }

        #[test]
        fn nothing_is_lost(lines in proptest::collection::vec("[a-zé]{0,10}", 0..20)) {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let found = in_steps(text.as_bytes(), &[3, 1, 4, 1, 5], 1000);
            let found: Vec<_> = found.into_iter().map(|(_, line, _)| String::from_utf8(line).unwrap()).collect();
            prop_assert_eq!(found, lines);
        }
    }
}
