//! Bits in bytes, lowest first: one unaligned load gives the next 57 of them.

/// Bits that one look ahead is sure to give.
pub(super) const LOOK: u32 = 57;

#[derive(Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    buffer: u64,
    filled: u32,
}

impl BitWriter {
    /// Goes on behind `bytes`.
    pub(super) fn after(bytes: Vec<u8>) -> Self {
        Self { bytes, buffer: 0, filled: 0 }
    }

    /// Adds the lowest `len` bits of `value`, at most 64.
    #[inline]
    pub(super) fn put(&mut self, value: u64, len: u32) {
        let value = if len < 64 { value & low_bits(len) } else { value };
        self.buffer |= value << self.filled;
        let filled = self.filled + len;
        if filled < 64 {
            self.filled = filled;
            return;
        }
        self.bytes.extend_from_slice(&self.buffer.to_le_bytes());
        // What of the value did not fit; all of it did when nothing waited.
        self.buffer = value.checked_shr(64 - self.filled).unwrap_or(0);
        self.filled = filled - 64;
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        let left = self.filled.div_ceil(8) as usize;
        self.bytes.extend(self.buffer.to_le_bytes().iter().take(left));
        self.bytes
    }
}

/// The lowest `len` bits set, at most 63 of them.
pub(super) fn low_bits(len: u32) -> u64 {
    (1_u64 << len) - 1
}

/// Takes bits from the front of bytes. Behind the end there are zeros; whoever reads checks [`is_over`](Self::is_over)
/// after a bounded number of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next bits, at least [`LOOK`] of them.
    #[inline]
    pub(super) fn look(&self) -> u64 {
        let byte = self.at >> 3;
        let word = match self.bytes.get(byte..).and_then(|rest| rest.first_chunk::<8>()) {
            Some(word) => u64::from_le_bytes(*word),
            None => self.last_word(byte),
        };
        word >> (self.at & 7)
    }

    #[cold]
    fn last_word(&self, byte: usize) -> u64 {
        let rest = self.bytes.get(byte..).unwrap_or_default();
        rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
    }

    #[inline]
    pub(super) fn skip(&mut self, len: u32) {
        self.at = self.at.saturating_add(len as usize);
    }

    /// The next `len` bits, at most 64.
    #[inline]
    pub(super) fn take(&mut self, len: u32) -> u64 {
        if len > 32 {
            let low = self.take(32);
            return self.take(len - 32) << 32 | low;
        }
        let value = self.look() & low_bits(len);
        self.skip(len);
        value
    }

    /// Bytes of which at least one bit was taken; more than there are when bits behind the end were.
    pub(super) fn bytes_read(&self) -> usize {
        self.at.div_ceil(8)
    }

    /// Whether more was read than there is.
    pub(super) fn is_over(&self) -> bool {
        self.bytes_read() > self.bytes.len()
    }
}
