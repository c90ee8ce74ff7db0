//! Syslog messages: RFC 5424, RFC 3164 and what is sent under their names, and how TCP carries them (RFC 6587).
//!
//! Nothing is refused here: a message that follows no rule is text from somebody.

use signal::{Labels, Nanos};

/// Severities by their numbers.
const SEVERITIES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];
/// Facilities by their numbers.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];
/// `user.notice`, for messages without a number.
const UNKNOWN: u8 = 13;
/// Parameters of structured data that are kept.
const MAX_PARAMETERS: usize = 64;
/// Digits of the length before a message.
const MAX_DIGITS: usize = 7;

/// What a message says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Message {
    /// Such as `daemon`.
    pub facility: &'static str,
    /// Such as `err`.
    pub severity: &'static str,
    /// When it was sent, if it says so with its zone.
    pub at: Option<Nanos>,
    /// Who sent it; empty when it is not said. So are the following.
    pub host: String,
    /// The program.
    pub app: String,
    /// Facts beside the text: `proc_id`, `msg_id`, and structured data as `sd_<id>_<name>`.
    pub metadata: Labels,
    /// The text.
    pub text: String,
}

/// Reads one message.
#[must_use]
pub fn parse(bytes: &[u8]) -> Message {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_start_matches('\u{feff}').trim_end_matches(['\n', '\r', '\0']);
    let (number, rest) = priority(text).unwrap_or((UNKNOWN, text));
    let name = |names: &[&'static str], at: u8| names.get(usize::from(at)).copied().unwrap_or("unknown");
    let base = Message {
        facility: name(&FACILITIES, number >> 3),
        severity: name(&SEVERITIES, number & 7),
        ..Message::default()
    };
    let read = match rest.strip_prefix("1 ") {
        Some(rest) => modern(rest, &base),
        None => old(rest, &base),
    };
    read.unwrap_or_else(|| Message { text: rest.to_owned(), ..base })
}

/// The number in front, and what follows it.
fn priority(text: &str) -> Option<(u8, &str)> {
    let (number, rest) = text.strip_prefix('<')?.split_once('>')?;
    let is_number = (1..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u8 = is_number.then(|| number.parse().ok()).flatten()?;
    (number < 192).then_some((number, rest))
}

/// RFC 5424, behind its version.
fn modern(text: &str, base: &Message) -> Option<Message> {
    let mut words = text.splitn(6, ' ');
    let mut word = || words.next().map(|word| if word == "-" { "" } else { word });
    let (at, host, app, proc_id, msg_id) = (word()?, word()?, word()?, word()?, word()?);
    let (data, rest) = structured(words.next().unwrap_or("-"))?;
    let facts = [("proc_id".to_owned(), proc_id.to_owned()), ("msg_id".to_owned(), msg_id.to_owned())];
    let text = rest.strip_prefix(' ').unwrap_or(rest).trim_start_matches('\u{feff}');
    Some(Message {
        at: time(at),
        host: host.to_owned(),
        app: app.to_owned(),
        metadata: Labels::from_pairs(facts.into_iter().chain(data)),
        text: text.to_owned(),
        ..base.clone()
    })
}

/// `-`, or `[id name="value" …]` one after the other, and what follows.
fn structured(text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut pairs = Vec::new();
    if let Some(rest) = text.strip_prefix('-') {
        return Some((pairs, rest));
    }
    let mut rest = text;
    while let Some(inside) = rest.strip_prefix('[') {
        let end = inside.find([' ', ']'])?;
        let (id, mut after) = inside.split_at_checked(end)?;
        while let Some(parameter) = after.strip_prefix(' ') {
            let (name, value) = parameter.split_once("=\"")?;
            let (value, behind) = quoted(value)?;
            if pairs.len() < MAX_PARAMETERS {
                pairs.push((format!("sd_{}_{}", clean(id), clean(name)), value));
            }
            after = behind;
        }
        rest = after.strip_prefix(']')?;
    }
    (rest.len() < text.len()).then_some((pairs, rest))
}

/// Up to the closing quote, with `\"`, `\\` and `\]` undone.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => {
                let (_, next) = chars.next()?;
                if !matches!(next, '"' | '\\' | ']') {
                    value.push('\\');
                }
                value.push(next);
            }
            c => value.push(c),
        }
    }
    None
}

/// As a label name.
fn clean(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// RFC 3164: `Oct 11 22:14:15 host app[123]: text`; newer programs write an RFC 3339 time.
fn old(text: &str, base: &Message) -> Option<Message> {
    let (at, rest) = match text.get(..16).filter(|head| is_old_time(head)) {
        Some(_) => (None, text.get(16..)?),
        None => {
            let (word, rest) = text.split_once(' ')?;
            (Some(time(word)?), rest)
        }
    };
    // A program's name where the host should be means that the host was left out.
    let (host, rest) = match rest.split_once(' ') {
        Some((host, after)) if !host.ends_with(':') && !host.contains('[') => (host, after),
        Some(_) | None => ("", rest),
    };
    let end = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(byte)).take(48).count();
    let (app, after) = rest.split_at_checked(end)?;
    let (proc_id, after) = match after.strip_prefix('[').and_then(|inside| inside.split_once(']')) {
        Some((proc_id, after)) => (proc_id, after),
        None => ("", after),
    };
    let (app, proc_id, text) = match after.strip_prefix(':') {
        Some(text) if !app.is_empty() => (app, proc_id, text.strip_prefix(' ').unwrap_or(text)),
        Some(_) | None => ("", "", rest),
    };
    Some(Message {
        at,
        host: host.to_owned(),
        app: app.to_owned(),
        metadata: Labels::from_pairs([("proc_id", proc_id)]),
        text: text.to_owned(),
        ..base.clone()
    })
}

/// `Oct 11 22:14:15 `: without year and zone it tells no time that could be relied on.
fn is_old_time(head: &str) -> bool {
    let shape = b"Aaa 99 99:99:99 ";
    head.bytes().zip(shape).all(|(byte, shape)| match shape {
        b'A' | b'a' => byte.is_ascii_alphabetic(),
        b'9' => byte.is_ascii_digit() || byte == b' ',
        other => byte == *other,
    })
}

fn time(text: &str) -> Option<Nanos> {
    let at: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(at.as_nanosecond()).ok().map(Nanos)
}

/// Takes messages out of a stream of bytes: each behind its length, or each with a line's end.
#[derive(Debug, Default)]
pub struct Frames {
    buffer: Vec<u8>,
    is_skipping: bool,
}

impl Frames {
    /// Adds bytes that came, and gives the messages that are complete. Of one longer than `most` the beginning is given.
    pub fn feed(&mut self, bytes: &[u8], most: usize, mut each: impl FnMut(&[u8])) {
        self.buffer.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(rest) = self.buffer.get(at..).filter(|rest| !rest.is_empty()) {
            if self.is_skipping {
                let Some(end) = memchr::memchr2(b'\n', 0, rest) else {
                    at = self.buffer.len();
                    break;
                };
                self.is_skipping = false;
                at += end + 1;
                continue;
            }
            match counted(rest) {
                Counted::Length { digits, length } if length <= most => {
                    let Some(message) = rest.get(digits..digits + length) else { break };
                    each(message);
                    at += digits + length;
                    continue;
                }
                Counted::Incomplete => break,
                // Of a length that cannot be, nothing follows; then it is text.
                Counted::Length { .. } | Counted::No => {}
            }
            match memchr::memchr2(b'\n', 0, rest) {
                Some(end) => {
                    let message = rest.get(..end.min(most)).unwrap_or_default();
                    if !message.is_empty() {
                        each(message);
                    }
                    at += end + 1;
                }
                None if rest.len() > most => {
                    each(rest.get(..most).unwrap_or_default());
                    self.is_skipping = true;
                    at = self.buffer.len();
                }
                None => break,
            }
        }
        self.buffer.drain(..at);
    }

    /// What came last, if the sender ends without a line's end.
    pub fn finish(self, each: impl FnOnce(&[u8])) {
        if !self.buffer.is_empty() && !self.is_skipping {
            each(&self.buffer);
        }
    }
}

enum Counted {
    Length {
        digits: usize,
        length: usize,
    },
    /// Its end is still to come.
    Incomplete,
    No,
}

fn counted(bytes: &[u8]) -> Counted {
    let digits = bytes.iter().take(MAX_DIGITS).take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || bytes.first() == Some(&b'0') {
        return Counted::No;
    }
    match bytes.get(digits) {
        None if digits < MAX_DIGITS => Counted::Incomplete,
        Some(b' ') => {
            let number = bytes.get(..digits).and_then(|number| std::str::from_utf8(number).ok());
            match number.and_then(|number| number.parse().ok()) {
                Some(length) => Counted::Length { digits: digits + 1, length },
                None => Counted::No,
            }
        }
        Some(_) | None => Counted::No,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(message: &str) -> String {
        let Message { facility, severity, at, host, app, metadata, text } = parse(message.as_bytes());
        let at = at.map_or_else(|| "-".to_owned(), |at| at.to_string());
        format!("{facility}.{severity} {at} {host:?} {app:?} {metadata} {text:?}")
    }

    #[test]
    fn messages_of_all_kinds_are_read() {
        for (message, want) in [
            (
                r#"<165>1 2003-10-11T22:14:15.003Z m.example.com evntslog 7 ID47 [ex@32473 iut="3" s="A \"b\" \]"][x y="z"] An event"#,
                r#"local4.notice 2003-10-11T22:14:15.003Z "m.example.com" "evntslog" {msg_id="ID47", proc_id="7", sd_ex_32473_iut="3", sd_ex_32473_s="A \"b\" ]", sd_x_y="z"} "An event""#,
            ),
            ("<34>1 - - - - - - \u{feff}text\n", r#"auth.crit - "" "" {} "text""#),
            ("<34>1 - h a - - -", r#"auth.crit - "h" "a" {} """#),
            (
                "<34>Oct 11 22:14:15 mymachine su[123]: 'su root' failed",
                r#"auth.crit - "mymachine" "su" {proc_id="123"} "'su root' failed""#,
            ),
            ("<13>Feb  5 17:32:18 10.0.0.99 Use the BFG!", r#"user.notice - "10.0.0.99" "" {} "Use the BFG!""#),
            ("<13>Feb  5 17:32:18 sshd[1]: hello", r#"user.notice - "" "sshd" {proc_id="1"} "hello""#),
            (
                "<30>2024-01-25T14:30:00+01:00 host systemd: Started",
                r#"daemon.info 2024-01-25T13:30:00Z "host" "systemd" {} "Started""#,
            ),
            ("<13>something", r#"user.notice - "" "" {} "something""#),
            ("no number at all", r#"user.notice - "" "" {} "no number at all""#),
            ("<999>x", r#"user.notice - "" "" {} "<999>x""#),
            (r#"<34>1 - h a - - [broken"#, r#"auth.crit - "" "" {} "1 - h a - - [broken""#),
        ] {
            assert_eq!(shown(message), want, "{message}");
        }
    }

    fn frames(steps: &[&[u8]], most: usize) -> Vec<String> {
        let mut found = Vec::new();
        let mut frames = Frames::default();
        for step in steps {
            frames.feed(step, most, |message| found.push(String::from_utf8_lossy(message).into_owned()));
        }
        frames.finish(|message| found.push(String::from_utf8_lossy(message).into_owned()));
        found
    }

    #[test]
    fn messages_are_taken_out_of_a_stream() {
        for (case, steps, want) in [
            ("lines", &[&b"<1>a\n<2>b\n\n<3"[..], b">c"][..], &["<1>a", "<2>b", "<3>c"][..]),
            ("lengths", &[b"5 <1>ab4 <", b"2>c4 <3>\n"], &["<1>ab", "<2>c", "<3>\n"]),
            ("both", &[b"4 <1>a<2>b\n4 <3>c"], &["<1>a", "<2>b", "<3>c"]),
            ("too long", &[b"<1>0123456789012", b"345\n<2>b\n"], &["<1>0123456", "<2>b"]),
            ("an impossible length", &[b"99999999 x\n<1>a\n"], &["99999999 x", "<1>a"]),
            ("zeros between", &[b"<1>a\0<2>b\0"], &["<1>a", "<2>b"]),
        ] {
            assert_eq!(frames(steps, 10), want, "{case}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message(bytes in proptest::collection::vec(any::<u8>(), 0..100), text in "<[0-9]{1,3}>1? ?[a-z\\[\\]\"=\\\\ -]{0,40}") {
            let _ = parse(&bytes);
            let _ = parse(text.as_bytes());
        }

        #[test]
        fn any_steps_give_the_same_messages(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b' '), Just(b'3'), Just(b'<'), any::<u8>()], 0..100),
            cuts in proptest::collection::vec(0_usize..100, 0..6),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let steps: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            for most in [20, 200] {
                prop_assert_eq!(frames(&steps, most), frames(&[&bytes], most));
            }
        }
    }
}
