//! Which parts of a message are values: numbers, addresses, ids, paths, times and the like.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Words of a message that are looked at; the others count as one value.
pub(super) const WORDS: usize = 64;
/// Bytes of a message that are looked at.
pub(super) const BYTES: usize = 4096;
/// What stands for a value.
pub(super) const ANY: &str = "<*>";

/// A stretch of the message, in bytes. Both ends are next to an ASCII byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Span {
    pub(super) fn of(self, text: &str) -> &str {
        text.get(self.start..self.end).unwrap_or_default()
    }
}

/// What stands between two spaces; several values in a row, and what is quoted after `=`, are one word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    pub(super) span: Span,
    /// Of its text with values masked.
    pub(super) hash: u64,
    /// The first of its values among those of the message, and how many there are.
    pub(super) first: usize,
    pub(super) values: usize,
}

/// A message taken apart. Made once, used for many messages.
#[derive(Default, Debug)]
pub(super) struct Parts {
    pub(super) words: Vec<Word>,
    pub(super) values: Vec<Span>,
}

const SPACE: u8 = 1;
const DIGIT: u8 = 2;
/// Letters from g to z.
const LETTER: u8 = 4;
/// Letters from a to f.
const HEX: u8 = 8;
/// Stands inside words, never at their ends.
const INNER: u8 = 16;
/// May stand between two values that then count as one.
const JOINER: u8 = 32;
const SLASH: u8 = 64;
/// Ends an address or a path.
const CLOSES: u8 = 128;

const WORDLY: u8 = DIGIT | LETTER | HEX;

#[expect(clippy::indexing_slicing, reason = "checked while compiling")]
static CLASSES: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = class_of(byte as u8);
        byte += 1;
    }
    table
};

#[inline]
fn class(byte: u8) -> u8 {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(0)
}

const fn class_of(byte: u8) -> u8 {
    match byte {
        b' ' => SPACE | JOINER | CLOSES,
        b'\t' | b'\n' | b'\r' | 11 | 12 => SPACE | CLOSES,
        b'0'..=b'9' => DIGIT,
        b'a'..=b'f' | b'A'..=b'F' => HEX,
        b'g'..=b'z' | b'G'..=b'Z' | b'_' | 128.. => LETTER,
        b'.' | b'-' | b'@' => INNER | JOINER,
        b'$' | b'~' | b'*' => INNER,
        b'/' | b'\\' => INNER | JOINER | SLASH,
        b':' | b'+' | b'|' | b'#' | b'%' | b'&' => JOINER,
        b',' | b';' => JOINER | CLOSES,
        b'"' | b'\'' | b'<' | b'>' | b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'`' => CLOSES,
        _ => 0,
    }
}

impl Parts {
    /// Takes `text` apart.
    pub(super) fn read(&mut self, text: &str) {
        self.words.clear();
        self.values.clear();
        let mut end = text.len().min(BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut reader = Reader {
            bytes: text.as_bytes().get(..end).unwrap_or_default(),
            at: 0,
            word: None,
            bridge: false,
            quoted: 0,
            parts: self,
        };
        reader.read();
        if end < text.len() {
            // The last word is not whole.
            self.cut(self.words.len().saturating_sub(1).min(WORDS - 1), text.len());
        } else if self.words.len() > WORDS {
            self.cut(WORDS - 1, text.len());
        }
        for word in &mut self.words {
            word.hash = hashed(text, *word, &self.values);
        }
    }

    /// Makes one value of all from the word `keep` on.
    fn cut(&mut self, keep: usize, end: usize) {
        let start = match self.words.get(keep) {
            Some(word) => word.span.start,
            None => self.words.last().map_or(0, |word| word.span.end),
        };
        let first = self.words.get(keep).map_or(self.values.len(), |word| word.first);
        self.words.truncate(keep);
        self.values.truncate(first);
        let span = Span { start, end };
        self.values.push(span);
        self.words.push(Word { span, hash: 0, first, values: 1 });
    }

    /// The values of a word.
    pub(super) fn values_of(&self, word: Word) -> &[Span] {
        self.values.get(word.first..word.first + word.values).unwrap_or_default()
    }

    /// The text of a word with its values masked.
    pub(super) fn masked(&self, text: &str, word: Word) -> String {
        let mut masked = String::with_capacity(word.span.end - word.span.start);
        pieces(text, word, &self.values, |piece, is_value| masked.push_str(if is_value { ANY } else { piece }));
        masked
    }
}

fn pieces<'a>(text: &'a str, word: Word, values: &[Span], mut each: impl FnMut(&'a str, bool)) {
    let mut from = word.span.start;
    for value in values.iter().skip(word.first).take(word.values) {
        each(Span { start: from, end: value.start }.of(text), false);
        each(value.of(text), true);
        from = value.end;
    }
    each(Span { start: from, end: word.span.end }.of(text), false);
}

fn hashed(text: &str, word: Word, values: &[Span]) -> u64 {
    if word.values == 0 {
        return piece(0, word.span.of(text));
    }
    let mut so_far = 0;
    pieces(text, word, values, |text, is_value| so_far = if is_value { value(so_far) } else { piece(so_far, text) });
    so_far
}

/// Adds a piece between values to the hash of a word.
fn piece(so_far: u64, text: &str) -> u64 {
    if text.is_empty() { so_far } else { xxh3_64_with_seed(text.as_bytes(), so_far) }
}

/// Adds a value, whatever it is.
fn value(so_far: u64) -> u64 {
    so_far.wrapping_add(0x9E37_79B9_7F4A_7C15).rotate_left(29)
}

/// The hash that a word with this masked text has.
pub(super) fn hash_of_masked(masked: &str) -> u64 {
    let mut so_far = 0;
    for (number, text) in masked.split(ANY).enumerate() {
        so_far = piece(if number == 0 { 0 } else { value(so_far) }, text);
    }
    so_far
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the word began that is being read, and the number of its first value.
    word: Option<(usize, usize)>,
    /// Since the last value there was only what may stand between two values that count as one.
    bridge: bool,
    /// Before this place, spaces belong to the word.
    quoted: usize,
    parts: &'a mut Parts,
}

impl Reader<'_> {
    fn class_at(&self, at: usize) -> u8 {
        self.bytes.get(at).map_or(CLOSES, |byte| class(*byte))
    }

    fn byte_at(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(b' ')
    }

    fn read(&mut self) {
        while let Some(&byte) = self.bytes.get(self.at) {
            let class = class(byte);
            if class & SPACE != 0 && self.at >= self.quoted {
                self.end_word();
                self.bridge &= class & JOINER != 0;
                self.at += 1;
                continue;
            }
            if self.word.is_none() {
                self.word = Some((self.at, self.parts.values.len()));
            }
            if byte == b'<' && self.bytes.get(self.at..self.at + ANY.len()) == Some(ANY.as_bytes()) {
                // A message that was masked by its sender.
                self.value(self.at, self.at + ANY.len());
            } else if class & WORDLY != 0 {
                self.atom();
            } else if (class & SLASH != 0 || byte == b'.' || byte == b'~') && self.is_path() {
                self.path(self.at);
            } else {
                self.mark(byte, class);
            }
        }
        self.end_word();
    }

    fn end_word(&mut self) {
        let Some((start, first)) = self.word.take() else { return };
        let span = Span { start, end: self.at };
        self.parts.words.push(Word { span, hash: 0, first, values: self.parts.values.len() - first });
    }

    /// A byte that belongs to no word.
    fn mark(&mut self, byte: u8, class: u8) {
        self.bridge &= class & JOINER != 0;
        let before = self.at.checked_sub(1).map_or(b' ', |at| self.byte_at(at));
        if byte == b'"' && (before == b'=' || before == b':') && self.at >= self.quoted {
            let rest = self.bytes.get(self.at + 1..).unwrap_or_default();
            if let Some(length) = rest.iter().take(200).position(|byte| *byte == b'"') {
                self.quoted = self.at + 1 + length;
            }
        }
        self.at += 1;
    }

    /// Letters and digits, with what may stand between them.
    fn atom(&mut self) {
        let start = self.at;
        let (mut seen, mut slashes, mut dots, mut at_sign) = (0_u8, 0, 0, false);
        let mut end = start;
        while let Some(&byte) = self.bytes.get(end) {
            let class = class(byte);
            if class & WORDLY == 0 {
                if class & INNER == 0 || !self.goes_on(end, class) {
                    break;
                }
                slashes += usize::from(class & SLASH != 0);
                dots += usize::from(byte == b'.');
                at_sign |= byte == b'@';
            }
            seen |= class;
            end += 1;
        }
        if self.byte_at(end) == b':' {
            if self.byte_at(end + 1) == b'/' && self.byte_at(end + 2) == b'/' && seen & DIGIT == 0 {
                return self.path(start);
            }
            if end == start + 1 && self.byte_at(end + 1) == b'\\' && seen & DIGIT == 0 {
                return self.path(start);
            }
            if seen & LETTER == 0
                && end - start <= 4
                && let Some(end) = self.hex_groups(end)
            {
                return self.value(start, end);
            }
        }
        let is_value = seen & DIGIT != 0
            || slashes >= 2
            || (dots > 0 && slashes > 0)
            || at_sign
            || (seen & (LETTER | INNER) == 0 && end - start >= 8)
            || self.is_date(start, end);
        if !is_value {
            self.bridge = false;
            self.at = end;
            return;
        }
        let end = end + usize::from(self.byte_at(end) == b'%');
        let end = end + self.unit(end);
        self.value(start, end);
    }

    /// Whether the word goes on behind a mark inside it; `com.shop/.Cart` is one word.
    fn goes_on(&self, at: usize, class: u8) -> bool {
        let next = self.class_at(at + 1);
        next & WORDLY != 0
            || (class & SLASH != 0 && self.byte_at(at + 1) == b'.' && self.class_at(at + 2) & WORDLY != 0)
    }

    /// Groups of hexadecimal digits with colons between them, such as hardware and IPv6 addresses.
    fn hex_groups(&self, from: usize) -> Option<usize> {
        let (mut at, mut colons) = (from, 0);
        while self.byte_at(at) == b':' {
            let mut next = at + 1;
            while self.class_at(next) & (DIGIT | HEX) != 0 {
                next += 1;
            }
            if next - at > 5 || self.class_at(next) & LETTER != 0 {
                break;
            }
            colons += 1;
            at = next;
        }
        (colons >= 3).then_some(at)
    }

    /// Whether a slash here begins a path.
    fn is_path(&self) -> bool {
        let before = self.at.checked_sub(1).map_or(SPACE, |at| self.class_at(at));
        let mut slash = self.at;
        while matches!(self.byte_at(slash), b'.' | b'~') && slash < self.at + 2 {
            slash += 1;
        }
        let next = self.byte_at(slash + 1);
        before & (WORDLY | INNER) == 0
            && self.class_at(slash) & SLASH != 0
            && (class(next) & WORDLY != 0 || next == b'.' || next == b'~')
    }

    /// A path or an address, up to what can be in none.
    fn path(&mut self, start: usize) {
        let mut end = self.at;
        while self.class_at(end) & CLOSES == 0 {
            end += 1;
        }
        while end > start + 1 && matches!(self.byte_at(end - 1), b'.' | b':' | b'!' | b'?' | b'=') {
            end -= 1;
        }
        self.value(start, end);
    }

    /// How many bytes at `at` are the unit of a size: `1.5 GB` is one value, because the unit varies with it.
    fn unit(&self, at: usize) -> usize {
        if self.byte_at(at) != b' ' {
            return 0;
        }
        let length = match (self.byte_at(at + 1), self.byte_at(at + 2), self.byte_at(at + 3)) {
            (b'B', ..) => 2,
            (b'K' | b'k' | b'M' | b'G' | b'T' | b'P', b'B', _) => 3,
            (b'K' | b'k' | b'M' | b'G' | b'T' | b'P', b'i', b'B') => 4,
            _ => return 0,
        };
        if self.class_at(at + length) & WORDLY != 0 { 0 } else { length }
    }

    /// Whether a word is the month or the day of a date, as in `Sun Dec 04 04:47:44`.
    fn is_date(&self, start: usize, end: usize) -> bool {
        if end - start != 3 || self.byte_at(end) != b' ' {
            return false;
        }
        let next = end + 1 + usize::from(self.byte_at(end + 1) == b' ');
        let word = self.bytes.get(start..end).unwrap_or_default();
        match word {
            b"Jan" | b"Feb" | b"Mar" | b"Apr" | b"May" | b"Jun" | b"Jul" | b"Aug" | b"Sep" | b"Oct" | b"Nov"
            | b"Dec" => self.class_at(next) & DIGIT != 0,
            b"Mon" | b"Tue" | b"Wed" | b"Thu" | b"Fri" | b"Sat" | b"Sun" => self.is_date(next, next + 3),
            _ => false,
        }
    }

    /// A value; joins the one before if nothing else is between.
    fn value(&mut self, start: usize, end: usize) {
        // A sign belongs to its number.
        let start = match start.checked_sub(1) {
            Some(sign)
                if matches!(self.byte_at(sign), b'-' | b'+')
                    && sign.checked_sub(1).is_none_or(|before| self.class_at(before) & (WORDLY | INNER) == 0) =>
            {
                sign
            }
            _ => start,
        };
        self.at = end;
        if self.bridge && self.join(start, end) {
            return;
        }
        self.parts.values.push(Span { start, end });
        self.bridge = true;
    }

    fn join(&mut self, start: usize, end: usize) -> bool {
        let Some(last) = self.parts.values.last_mut() else { return false };
        let between = self.bytes.get(last.end..start).unwrap_or_default();
        let has_space = between.contains(&b' ');
        if between.len() > 3 || (has_space && between.iter().any(|byte| matches!(byte, b':' | b';' | b'.' | b'|'))) {
            return false;
        }
        last.end = end;
        // The space between them ended a word that now goes on.
        let number = self.parts.values.len() - 1;
        while let Some((_, first)) = self.word
            && first > number
            && let Some(word) = self.parts.words.pop()
        {
            self.word = Some((word.span.start, word.first));
        }
        true
    }
}
