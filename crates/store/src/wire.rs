//! Numbers and texts as bytes.

/// Bytes that do not mean what they should.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct DecodeError(pub(crate) &'static str);

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_len(out: &mut Vec<u8>, len: usize) {
    put_varint(out, len as u64);
}

pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, zigzag(value));
}

pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// A whole number takes as many bytes as it needs, anything else nine; every bit survives.
pub(crate) fn put_float(out: &mut Vec<u8>, value: f64) {
    const WHOLE: f64 = 9_007_199_254_740_992.0;
    let whole = value as i64;
    if value.abs() < WHOLE && (whole as f64).to_bits() == value.to_bits() {
        put_varint(out, zigzag(whole) << 1);
    } else {
        out.push(1);
        out.extend_from_slice(&value.to_bits().to_le_bytes());
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Takes values from the front of bytes; never beyond their end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn byte(&mut self) -> Result<u8, DecodeError> {
        let (first, rest) = self.rest.split_first().ok_or(DecodeError("the record ends early"))?;
        self.rest = rest;
        Ok(*first)
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, DecodeError> {
        // Nearly every number takes one or two bytes.
        match *self.rest {
            [one, ref rest @ ..] if one < 0x80 => {
                self.rest = rest;
                Ok(u64::from(one))
            }
            [one, two, ref rest @ ..] if two < 0x80 => {
                self.rest = rest;
                Ok(u64::from(one & 0x7f) | u64::from(two) << 7)
            }
            _ => self.long_varint(),
        }
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                break;
            }
            value |= part << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DecodeError("a number is too long"))
    }

    #[inline]
    pub(crate) fn signed(&mut self) -> Result<i64, DecodeError> {
        let value = self.varint()?;
        Ok(((value >> 1) as i64) ^ -((value & 1) as i64))
    }

    pub(crate) fn index(&mut self) -> Result<usize, DecodeError> {
        usize::try_from(self.varint()?).map_err(|_| DecodeError("a number is too large"))
    }

    /// A number of things that take at least one byte each, so never more than there are bytes left.
    pub(crate) fn count(&mut self) -> Result<usize, DecodeError> {
        let count = self.index()?;
        if count > self.rest.len() { Err(DecodeError("a count exceeds the record")) } else { Ok(count) }
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.index()?;
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(DecodeError("a text exceeds the record"))?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError("the record ends early"))?;
        self.rest = rest;
        Ok(*bytes)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| DecodeError("a text is not UTF-8"))
    }

    #[inline]
    pub(crate) fn float(&mut self) -> Result<f64, DecodeError> {
        let value = self.varint()?;
        if value == 1 {
            return Ok(f64::from_bits(u64::from_le_bytes(self.array()?)));
        }
        if value & 1 == 1 {
            return Err(DecodeError("a value has an unknown shape"));
        }
        let zigzag = value >> 1;
        Ok((((zigzag >> 1) as i64) ^ -((zigzag & 1) as i64)) as f64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn special_values_keep_their_bits() {
        for value in [
            0.0,
            -0.0,
            1.0,
            -1.0,
            0.1,
            f64::NAN,
            f64::INFINITY,
            f64::MIN,
            9e15,
            9_007_199_254_740_992.0,
            signal::stale_marker(),
        ] {
            let mut out = Vec::new();
            put_float(&mut out, value);
            assert_eq!(Reader::new(&out).float().unwrap().to_bits(), value.to_bits(), "{value}");
        }
    }

    proptest! {
        #[test]
        fn numbers_survive(number in any::<u64>(), signed in any::<i64>(), bits in any::<u64>(), whole in any::<i32>()) {
            let mut out = Vec::new();
            put_varint(&mut out, number);
            put_signed(&mut out, signed);
            put_float(&mut out, f64::from_bits(bits));
            put_float(&mut out, f64::from(whole));
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.varint(), Ok(number));
            prop_assert_eq!(reader.signed(), Ok(signed));
            prop_assert_eq!(reader.float().map(f64::to_bits), Ok(bits));
            prop_assert_eq!(reader.float(), Ok(f64::from(whole)));
            prop_assert!(reader.is_at_end());
        }
    }
}
