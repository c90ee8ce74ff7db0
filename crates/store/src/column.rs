//! One column of a row group: a text for each row, packed by what the texts look like.
#![expect(dead_code, unused_imports, reason = "what asks for columns is being built on top")]

mod texts;

pub(crate) use self::texts::Texts;
