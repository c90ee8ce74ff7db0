//! Bits in bytes, highest first.

#[derive(Clone, Debug, Default)]
pub(crate) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits still free in the last byte.
    free: u32,
}

impl BitWriter {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn write(&mut self, value: u64, mut len: u32) {
        while len > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let take = len.min(self.free);
            let part = (value >> (len - take)) & ((1 << take) - 1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= (part as u8) << (self.free - take);
            }
            self.free -= take;
            len -= take;
        }
    }
}

/// Takes bits from the front of bytes; never beyond their end.
pub(crate) struct BitReader<'a> {
    rest: &'a [u8],
    /// The next bits, from the top.
    buffer: u64,
    /// How many of them there are.
    filled: u32,
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, buffer: 0, filled: 0 }
    }

    pub(crate) fn read(&mut self, len: u32) -> Option<u64> {
        // A refilled buffer holds at least 57 bits.
        if len > 56 {
            let high = self.read(len - 32)?;
            return self.read(32).map(|low| (high << 32) | low);
        }
        if len == 0 {
            return Some(0);
        }
        if self.filled < len {
            self.refill();
            if self.filled < len {
                return None;
            }
        }
        let value = self.buffer >> (64 - len);
        self.buffer <<= len;
        self.filled -= len;
        Some(value)
    }

    fn refill(&mut self) {
        if let Some((word, _)) = self.rest.split_first_chunk::<8>() {
            let taken = (64 - self.filled) / 8;
            // Bits beyond the taken bytes are masked off, so that the next refill finds zeros there.
            let mask = u64::MAX.checked_shl(64 - self.filled - taken * 8).unwrap_or(0);
            self.buffer |= (u64::from_be_bytes(*word) >> self.filled) & mask;
            self.filled += taken * 8;
            self.rest = self.rest.get(taken as usize..).unwrap_or_default();
            return;
        }
        while self.filled <= 56
            && let Some((byte, rest)) = self.rest.split_first()
        {
            self.buffer |= u64::from(*byte) << (56 - self.filled);
            self.filled += 8;
            self.rest = rest;
        }
    }
}
