//! The protobuf wire format, field by field and without copying.
//!
//! Messages of remote write and Loki push are read with this instead of generated types: a two-byte sub-message must not
//! cost a hundred bytes of memory before anybody could refuse it.

/// A body that is not protobuf, or not the message it should be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes end inside a field.
    #[error("protobuf ends inside a field")]
    Truncated,
    /// A number longer than 64 bits.
    #[error("protobuf number is longer than 64 bits")]
    NumberTooLong,
    /// A wire type that does not exist (or the long obsolete groups).
    #[error("protobuf field {field} has unknown wire type {wire_type}")]
    UnknownWireType {
        /// Field number.
        field: u32,
        /// What was found.
        wire_type: u8,
    },
    /// A field number outside 1..=2^29-1.
    #[error("protobuf field number {field} is out of range")]
    FieldNumber {
        /// What was found.
        field: u64,
    },
    /// A field of the message has another type.
    #[error("protobuf field {field} should be {expected}")]
    WrongType {
        /// Field number.
        field: u32,
        /// What the message wants.
        expected: &'static str,
    },
    /// Text that is not UTF-8.
    #[error("protobuf field {field} is not UTF-8 text")]
    NotText {
        /// Field number.
        field: u32,
    },
}

/// One field as it is on the wire.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    value: Value<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32,
}

impl<'a> Field<'a> {
    pub(crate) fn bytes(self) -> Result<&'a [u8], WireError> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            Value::Varint(_) | Value::Fixed64(_) | Value::Fixed32 => Err(self.wrong("a message")),
        }
    }

    pub(crate) fn text(self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| WireError::NotText { field: self.number })
    }

    pub(crate) fn double(self) -> Result<f64, WireError> {
        match self.value {
            Value::Fixed64(bits) => Ok(f64::from_bits(bits)),
            Value::Varint(_) | Value::Bytes(_) | Value::Fixed32 => Err(self.wrong("a double")),
        }
    }

    pub(crate) fn unsigned(self) -> Result<u64, WireError> {
        match self.value {
            Value::Varint(number) => Ok(number),
            Value::Fixed64(_) | Value::Bytes(_) | Value::Fixed32 => Err(self.wrong("a whole number")),
        }
    }

    /// An `int64` or `int32`: negative numbers are ten bytes of two's complement.
    pub(crate) fn int(self) -> Result<i64, WireError> {
        self.unsigned().map(u64::cast_signed)
    }

    fn wrong(self, expected: &'static str) -> WireError {
        WireError::WrongType { field: self.number, expected }
    }
}

/// The fields of one message in the order of the wire. Ends after the first error.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

pub(crate) fn fields(message: &[u8]) -> Fields<'_> {
    Fields { rest: message }
}

/// The numbers of a packed repeated field.
pub(crate) struct Packed<'a>(Fields<'a>);

pub(crate) fn packed(bytes: &[u8]) -> Packed<'_> {
    Packed(fields(bytes))
}

impl Iterator for Packed<'_> {
    type Item = Result<u64, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.rest.is_empty() {
            return None;
        }
        let number = self.0.varint();
        if number.is_err() {
            self.0.rest = &[];
        }
        Some(number)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<Field<'a>, WireError> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3)
            .ok()
            .filter(|number| (1..1 << 29).contains(number))
            .ok_or(WireError::FieldNumber { field: key >> 3 })?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| WireError::Truncated)?;
                Value::Bytes(self.take(length)?)
            }
            5 => {
                self.array::<4>()?;
                Value::Fixed32
            }
            other => {
                return Err(WireError::UnknownWireType { field: number, wire_type: u8::try_from(other).unwrap_or(7) });
            }
        };
        Ok(Field { number, value })
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let mut number = 0_u64;
        for shift in (0..70).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(WireError::Truncated)?;
            self.rest = rest;
            if shift == 63 && *byte > 1 {
                return Err(WireError::NumberTooLong);
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(WireError::NumberTooLong)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn broken_messages_say_what_is_broken() {
        for (case, bytes, want) in [
            ("cut length", &b"\x0a\x05ab"[..], "protobuf ends inside a field"),
            ("cut number", b"\x08\x80", "protobuf ends inside a field"),
            ("long number", b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "protobuf number is longer than 64 bits"),
            ("group", b"\x0b", "protobuf field 1 has unknown wire type 3"),
            ("field zero", b"\x02\x00", "protobuf field number 0 is out of range"),
        ] {
            let error = fields(bytes).find_map(Result::err).unwrap();
            assert_eq!(error.to_string(), want, "{case}");
        }
        let number = fields(b"\x08\x01").next().unwrap().unwrap();
        assert_eq!(number.text().unwrap_err().to_string(), "protobuf field 1 should be a message");
        assert_eq!(number.double().unwrap_err().to_string(), "protobuf field 1 should be a double");
        let text = fields(b"\x0a\x01\xff").next().unwrap().unwrap();
        assert_eq!(text.text().unwrap_err().to_string(), "protobuf field 1 is not UTF-8 text");
        assert_eq!(text.int().unwrap_err().to_string(), "protobuf field 1 should be a whole number");
    }

    proptest! {
        #[test]
        fn numbers_round_trip(number in any::<i64>()) {
            let mut bytes = Vec::new();
            prost::encoding::int64::encode(7, &number, &mut bytes);
            let field = fields(&bytes).next().unwrap().unwrap();
            prop_assert_eq!((field.number, field.int().unwrap()), (7, number));
        }

        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(fields(&bytes).count() <= bytes.len());
            prop_assert!(packed(&bytes).count() <= bytes.len());
        }
    }
}
