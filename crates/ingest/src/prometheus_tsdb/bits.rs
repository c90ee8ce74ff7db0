//! The bit stream inside a chunk.

/// Reads bits, highest first; every answer is `None` once there are too few.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// Bits taken so far.
    at: usize,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bits that are left.
    pub(super) fn left(&self) -> usize {
        self.bytes.len().saturating_mul(8).saturating_sub(self.at)
    }

    pub(super) fn bit(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    /// `count` bits, at most 64, as a number.
    pub(super) fn number(&mut self, count: u32) -> Option<u64> {
        let count = count as usize;
        if count > self.left() {
            return None;
        }
        let mut value = 0_u64;
        let mut missing = count;
        while missing > 0 {
            let byte = *self.bytes.get(self.at / 8)?;
            let free = 8 - self.at % 8;
            let taken = free.min(missing);
            let part = u64::from(byte) >> (free - taken) & ((1 << taken) - 1);
            value = value << taken | part;
            self.at += taken;
            missing -= taken;
        }
        Some(value)
    }

    pub(super) fn float(&mut self) -> Option<f64> {
        self.number(64).map(f64::from_bits)
    }

    /// A byte-wise varint in the middle of the stream.
    pub(super) fn uvarint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for at in 0..10 {
            let byte = self.number(8)?;
            value |= (byte & 0x7f).checked_shl(7 * at)?;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn varint(&mut self) -> Option<i64> {
        let value = self.uvarint()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// How many ones come before a zero; at most `most`, which no zero follows.
    pub(super) fn ones(&mut self, most: u32) -> Option<u32> {
        let mut count = 0;
        while count < most && self.bit()? {
            count += 1;
        }
        Some(count)
    }

    /// `count` bits of two's complement in which the middle counts as positive.
    pub(super) fn signed(&mut self, count: u32) -> Option<i64> {
        let value = self.number(count)?;
        if count == 64 || value <= 1 << (count.max(1) - 1) {
            return Some(value as i64);
        }
        Some(value as i64 - (1 << count))
    }

    /// Width of a number in a histogram chunk.
    fn width(&mut self) -> Option<u32> {
        Some(match self.ones(8)? {
            0 => 0,
            1 => 3,
            2 => 6,
            3 => 9,
            4 => 12,
            5 => 18,
            6 => 25,
            7 => 56,
            _ => 64,
        })
    }

    pub(super) fn varbit(&mut self) -> Option<i64> {
        match self.width()? {
            0 => Some(0),
            width => self.signed(width),
        }
    }

    pub(super) fn uvarbit(&mut self) -> Option<u64> {
        match self.width()? {
            0 => Some(0),
            width => self.number(width),
        }
    }
}

/// A float stored as what changed since the one before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Xor {
    pub(super) value: f64,
    leading: u32,
    trailing: u32,
}

impl Xor {
    pub(super) fn starting(value: f64) -> Self {
        Self { value, leading: 0, trailing: 0 }
    }

    pub(super) fn read(&mut self, bits: &mut Bits<'_>) -> Option<f64> {
        if !bits.bit()? {
            return Some(self.value);
        }
        if bits.bit()? {
            let leading = bits.number(5)? as u32;
            let width = match bits.number(6)? as u32 {
                0 => 64,
                width => width,
            };
            self.leading = leading;
            self.trailing = 64_u32.checked_sub(leading)?.checked_sub(width)?;
        }
        let changed = bits.number(64 - self.leading - self.trailing)?;
        self.value = f64::from_bits(self.value.to_bits() ^ changed << self.trailing);
        Some(self.value)
    }
}
