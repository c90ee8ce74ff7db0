//! Bits in a row, and the numbers that Prometheus' chunks write with them.

/// Grows bit by bit, the highest of each byte first.
#[derive(Debug, Default)]
pub(super) struct Bits {
    bytes: Vec<u8>,
    /// Bits of the last byte that nobody has written.
    free: u32,
}

impl Bits {
    /// Begins after `header`.
    pub(super) fn after(header: &[u8]) -> Self {
        Self { bytes: header.to_vec(), free: 0 }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Appends the lowest `count` bits of `value`, at most 64.
    pub(super) fn push(&mut self, value: u64, count: u32) {
        let mut left = count;
        while left > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let taken = left.min(self.free);
            left -= taken;
            self.free -= taken;
            let part = (value >> left) & ((1 << taken) - 1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= (part << self.free) as u8;
            }
        }
    }

    pub(super) fn double(&mut self, value: f64) {
        self.push(value.to_bits(), 64);
    }

    /// Seven bits a byte, the lowest first: Go's `Uvarint`.
    pub(super) fn uvarint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push(value & 0x7f | 0x80, 8);
            value >>= 7;
        }
        self.push(value, 8);
    }

    /// The same with the sign in the lowest bit: Go's `Varint`.
    pub(super) fn varint(&mut self, value: i64) {
        self.uvarint(((value << 1) ^ (value >> 63)) as u64);
    }

    /// Few bits for small numbers: `putVarbitInt` of Prometheus.
    pub(super) fn varbit(&mut self, value: i64) {
        if value == 0 {
            return self.push(0, 1);
        }
        let fits = |width: u32| {
            let half = 1_i64 << (width - 1);
            -(half - 1) <= value && value <= half
        };
        self.varbits(value as u64, fits);
    }

    /// `putVarbitUint` of Prometheus.
    pub(super) fn varbit_unsigned(&mut self, value: u64) {
        if value == 0 {
            return self.push(0, 1);
        }
        self.varbits(value, |width| value < 1 << width);
    }

    fn varbits(&mut self, bits: u64, fits: impl Fn(u32) -> bool) {
        for (ones, width) in (1..).zip([3, 6, 9, 12, 18, 25, 56]) {
            if fits(width) {
                // `ones` ones and a zero say which width follows.
                self.push((1 << (ones + 1)) - 2, ones + 1);
                return self.push(bits, width);
            }
        }
        self.push(0xff, 8);
        self.push(bits, 64);
    }
}

/// A float that is written as its difference to the one before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Xor {
    bits: u64,
    /// Leading and trailing zeros of the last window that was written.
    window: Option<(u32, u32)>,
}

impl Xor {
    pub(super) fn starting(value: f64) -> Self {
        Self { bits: value.to_bits(), window: None }
    }

    pub(super) fn write(&mut self, out: &mut Bits, value: f64) {
        let difference = value.to_bits() ^ self.bits;
        self.bits = value.to_bits();
        if difference == 0 {
            return out.push(0, 1);
        }
        // Five bits hold no more.
        let leading = difference.leading_zeros().min(31);
        let trailing = difference.trailing_zeros();
        match self.window {
            Some((before, after)) if leading >= before && trailing >= after => {
                out.push(0b10, 2);
                out.push(difference >> after, 64 - before - after);
            }
            _ => {
                self.window = Some((leading, trailing));
                let width = 64 - leading - trailing;
                out.push(0b11, 2);
                out.push(leading.into(), 5);
                // Six bits hold at most 63; a zero stands for 64.
                out.push(width.into(), 6);
                out.push(difference >> trailing, width);
            }
        }
    }
}
