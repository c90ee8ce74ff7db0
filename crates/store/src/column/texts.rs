//! Many short texts in one piece of memory.

use crate::wire::DecodeError;

/// Bytes of all texts of a column together.
pub(super) const MAX_BYTES: usize = 1 << 30;

/// Texts one behind the other; of one column at most 1 GiB in all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    bytes: String,
    ends: Vec<u32>,
}

impl Texts {
    /// Adds a text.
    pub fn push(&mut self, text: &str) {
        self.bytes.push_str(text);
        self.ends.push(end(self.bytes.len()));
    }

    /// Text number `row`; empty beyond the last one.
    pub fn get(&self, row: usize) -> &str {
        let start = row.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied());
        let (Some(start), Some(end)) = (start, self.ends.get(row)) else { return "" };
        self.bytes.get(start as usize..*end as usize).unwrap_or_default()
    }

    /// How many texts there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Forgets all texts and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// All texts without anything between them.
    pub fn bytes(&self) -> &str {
        &self.bytes
    }

    /// Where each text ends in [`Self::bytes`]; it begins where the one before ends.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// The texts in their order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let end = *end as usize;
            let text = self.bytes.get(start..end).unwrap_or_default();
            start = end;
            text
        })
    }

    /// Adds texts as bytes; they are looked at once, when all are there.
    pub(super) fn fill(
        &mut self,
        write: impl FnOnce(&mut Filling) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let mut kept = std::mem::take(self);
        let ends = if kept.bytes.is_empty() { std::mem::take(&mut kept.ends) } else { Vec::new() };
        let known = ends.len();
        let bytes = if kept.bytes.is_empty() { std::mem::take(&mut kept.bytes).into_bytes() } else { Vec::new() };
        let mut filling = Filling { bytes, ends };
        write(&mut filling)?;
        let Filling { bytes, ends } = filling;
        let bytes = String::from_utf8(bytes).map_err(|_| DecodeError("a column is not UTF-8"))?;
        let mut added = ends.iter().skip(known);
        if !bytes.is_ascii() && !added.all(|end| bytes.is_char_boundary(*end as usize)) {
            return Err(DecodeError("a text ends inside of a character"));
        }
        if kept.ends.is_empty() {
            *self = Self { bytes, ends };
            return Ok(());
        }
        let base = kept.bytes.len();
        if base.saturating_add(bytes.len()) > MAX_BYTES {
            return Err(TOO_LONG);
        }
        kept.bytes.push_str(&bytes);
        kept.ends.extend(ends.iter().map(|end| end.saturating_add(base as u32)));
        *self = kept;
        Ok(())
    }
}

impl<'a> FromIterator<&'a str> for Texts {
    fn from_iter<I: IntoIterator<Item = &'a str>>(texts: I) -> Self {
        let mut all = Self::default();
        texts.into_iter().for_each(|text| all.push(text));
        all
    }
}

fn end(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

pub(super) const TOO_LONG: DecodeError = DecodeError("a column is longer than one may be");

/// Texts that are not looked at yet.
pub(super) struct Filling {
    /// Where the text that is being written goes; bytes before the last end stay as they are.
    pub(super) bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Filling {
    /// Makes room for so many more texts of so many bytes in all, as far as that is reasonable.
    pub(super) fn reserve(&mut self, rows: usize, bytes: usize) {
        const REASONABLE: usize = 4 << 20;
        self.ends.reserve(rows.min(REASONABLE));
        self.bytes.reserve(bytes.min(REASONABLE));
    }

    /// Says that a text ends here.
    pub(super) fn end(&mut self) -> Result<(), DecodeError> {
        if self.bytes.len() > MAX_BYTES {
            return Err(TOO_LONG);
        }
        self.ends.push(self.bytes.len() as u32);
        Ok(())
    }

    /// Adds a whole text.
    pub(super) fn push(&mut self, text: &[u8]) -> Result<(), DecodeError> {
        self.bytes.extend_from_slice(text);
        self.end()
    }

    /// Says where texts end whose bytes, from `base` on, are all here.
    pub(super) fn end_all(&mut self, base: usize, lengths: &[i64]) -> Result<(), DecodeError> {
        let mut end = base as u64;
        for length in lengths {
            end = end.saturating_add(length.cast_unsigned());
            if end > self.bytes.len() as u64 {
                return Err(DecodeError("a text exceeds its column"));
            }
            self.ends.push(end as u32);
        }
        Ok(())
    }
}
