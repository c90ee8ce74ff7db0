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

    /// A `sint64` or `sint32`: negative numbers are zigzagged.
    pub(crate) fn signed(self) -> Result<i64, WireError> {
        self.unsigned().map(unzigzag)
    }

    /// One of a repeated `sint64`, or all of a packed one; nothing is added past `most`.
    pub(crate) fn add_signed(self, numbers: &mut Vec<i64>, most: usize) -> Result<(), WireError> {
        match self.value {
            Value::Varint(number) => push_within(numbers, unzigzag(number), most),
            Value::Bytes(bytes) => {
                for number in packed(bytes) {
                    push_within(numbers, unzigzag(number?), most);
                }
            }
            Value::Fixed64(_) | Value::Fixed32 => return Err(self.wrong("whole numbers")),
        }
        Ok(())
    }

    /// One of a repeated `double`, or all of a packed one; nothing is added past `most`.
    pub(crate) fn add_doubles(self, numbers: &mut Vec<f64>, most: usize) -> Result<(), WireError> {
        match self.value {
            Value::Fixed64(bits) => push_within(numbers, f64::from_bits(bits), most),
            Value::Bytes(bytes) => {
                let (doubles, rest) = bytes.as_chunks::<8>();
                if !rest.is_empty() {
                    return Err(WireError::Truncated);
                }
                let room = most.saturating_sub(numbers.len());
                numbers.extend(doubles.iter().take(room).map(|bytes| f64::from_le_bytes(*bytes)));
            }
            Value::Varint(_) | Value::Fixed32 => return Err(self.wrong("doubles")),
        }
        Ok(())
    }

    fn wrong(self, expected: &'static str) -> WireError {
        WireError::WrongType { field: self.number, expected }
    }
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

fn push_within<T>(numbers: &mut Vec<T>, number: T, most: usize) {
    if numbers.len() < most {
        numbers.push(number);
    }
}

/// The fields of one message in the order of the wire. Ends after the first error.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

pub(crate) fn fields(message: &[u8]) -> Fields<'_> {
    Fields { rest: message }
}

/// The messages of a stream, each behind its length. Ends after the first error.
pub(crate) struct Delimited<'a>(Fields<'a>);

pub(crate) fn delimited(stream: &[u8]) -> Delimited<'_> {
    Delimited(fields(stream))
}

impl<'a> Iterator for Delimited<'a> {
    type Item = Result<&'a [u8], WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.rest.is_empty() {
            return None;
        }
        let message = self.0.bytes();
        if message.is_err() {
            self.0.rest = &[];
        }
        Some(message)
    }
}

/// Splits off the fields at the start of `message` that are messages, texts or bytes numbered `number` (1 to 15).
///
/// Their content is not looked at: what is split off may be compared or hashed as it is.
pub(crate) fn leading(message: &[u8], number: u8) -> Result<(&[u8], &[u8]), WireError> {
    let mut rest = fields(message);
    while rest.next_bytes(number)?.is_some() {}
    message.split_at_checked(message.len() - rest.rest.len()).ok_or(WireError::Truncated)
}

/// The first byte of a field that is a message, a text or bytes numbered `number` (1 to 15).
pub(crate) const fn bytes_key(number: u8) -> u8 {
    number << 3 | 2
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

    #[inline]
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
            2 => Value::Bytes(self.bytes()?),
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

    /// The content of the next field if it is a message, a text or bytes numbered `number` (1 to 15). The quick way
    /// through what repeats.
    #[inline]
    pub(crate) fn next_bytes(&mut self, number: u8) -> Result<Option<&'a [u8]>, WireError> {
        match self.rest {
            [key, length @ 0..0x80, after @ ..] if *key == bytes_key(number) => {
                let (content, rest) = after.split_at_checked(usize::from(*length)).ok_or(WireError::Truncated)?;
                self.rest = rest;
                Ok(Some(content))
            }
            [key, after @ ..] if *key == bytes_key(number) => {
                self.rest = after;
                self.bytes().map(Some)
            }
            _ => Ok(None),
        }
    }

    /// What a length stands before.
    fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        let length = usize::try_from(self.varint()?).map_err(|_| WireError::Truncated)?;
        self.take(length)
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, WireError> {
        // Keys and most lengths are one byte, most other small numbers two.
        match self.rest {
            [byte @ 0..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            [low, high @ 0..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(low & 0x7f) | u64::from(*high) << 7)
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, WireError> {
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

    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes that are still to be read.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
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
        fn lists_are_read_packed_or_not(
            numbers in proptest::collection::vec(any::<i64>(), 0..9),
            doubles in proptest::collection::vec(any::<u64>().prop_map(f64::from_bits), 0..9),
        ) {
            let mut bytes = Vec::new();
            for number in &numbers {
                prost::encoding::sint64::encode(1, number, &mut bytes);
            }
            prost::encoding::sint64::encode_packed(1, &numbers, &mut bytes);
            prost::encoding::double::encode_repeated(2, &doubles, &mut bytes);
            prost::encoding::double::encode_packed(2, &doubles, &mut bytes);
            let (mut read_numbers, mut read_doubles) = (Vec::new(), Vec::new());
            for field in fields(&bytes) {
                let field = field.unwrap();
                match field.number {
                    1 => field.add_signed(&mut read_numbers, 12).unwrap(),
                    _ => field.add_doubles(&mut read_doubles, 12).unwrap(),
                }
            }
            let twice: Vec<_> = numbers.iter().chain(&numbers).copied().take(12).collect();
            prop_assert_eq!(read_numbers, twice);
            let twice: Vec<_> = doubles.iter().chain(&doubles).map(|number| number.to_bits()).take(12).collect();
            prop_assert_eq!(read_doubles.iter().map(|number| number.to_bits()).collect::<Vec<_>>(), twice);
        }

        #[test]
        fn leading_fields_are_split_off(texts in proptest::collection::vec(".{0,200}", 0..5), more in any::<i64>()) {
            let mut head = Vec::new();
            prost::encoding::string::encode_repeated(1, &texts, &mut head);
            let mut message = head.clone();
            prost::encoding::int64::encode(2, &more, &mut message);
            prost::encoding::string::encode_repeated(1, &texts, &mut message);
            prop_assert_eq!(leading(&message, 1).unwrap(), message.split_at(head.len()));
        }

        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(fields(&bytes).count() <= bytes.len());
            prop_assert!(packed(&bytes).count() <= bytes.len());
            if let Ok((head, rest)) = leading(&bytes, 1) {
                prop_assert_eq!(head.len() + rest.len(), bytes.len());
            }
        }
    }
}
