//! What lines of one kind have in common.

use crate::wire::{DecodeError, Reader, put_len, put_text, put_varint};

/// What a line is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ShapeKind {
    /// Anything; the line is one value.
    Text,
    /// One JSON object and nothing else; every JSON parser reads it, and no name stands twice in one object.
    Json,
    /// Two or more logfmt pairs, each with a key that needs no escaping, and nothing else.
    Logfmt,
}

/// What stands in a place between literals.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SlotKind {
    /// A whole line.
    Line,
    /// What stands between the quotes of a string, escapes unresolved.
    Quoted,
    /// A JSON number, `true`, `false` or `null`, as written.
    Scalar,
    /// A JSON array, as written.
    Array,
    /// A logfmt value without quotes; may be empty.
    Word,
    /// A value of structured metadata; never empty.
    Metadata,
    /// All structured metadata of a line, when lines name more of it than there is room for.
    Packed,
}

/// Between the names of nested objects in a path; not possible in a name.
pub(crate) const NESTED: char = '\u{1f}';

/// A value's place in a shape.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Slot {
    /// What kind of value it holds.
    pub kind: SlotKind,
    /// The column its values are in.
    pub column: u32,
    path: Box<str>,
}

impl Slot {
    pub(crate) fn new(kind: SlotKind, column: u32, path: &str) -> Self {
        Self { kind, column, path: Box::from(path) }
    }

    /// Names from the outermost object to the value; a key or a label is one name, a whole line none.
    pub fn path(&self) -> impl Iterator<Item = &str> {
        self.path.split(NESTED).filter(|_| self.kind != SlotKind::Line)
    }

    /// The path as one text.
    pub(crate) fn path_text(&self) -> &str {
        &self.path
    }
}

/// What lines of one kind have in common: literal text with places for values, and the names of structured metadata.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shape {
    /// What such a line is.
    pub kind: ShapeKind,
    /// One more than there are slots of the line: before the first, between, behind the last.
    pub(crate) literals: Vec<Box<str>>,
    /// The places of the line in order, then those of structured metadata in order of name.
    pub(crate) slots: Vec<Slot>,
}

impl Shape {
    /// Places of values in the line itself.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        self.slots.get(..self.line_slots()).unwrap_or_default()
    }

    /// Places of structured metadata, in order of name, or the one place where all of it is packed.
    #[must_use]
    pub fn metadata(&self) -> &[Slot] {
        self.slots.get(self.line_slots()..).unwrap_or_default()
    }

    /// Every place of a value.
    pub(crate) fn all_slots(&self) -> &[Slot] {
        &self.slots
    }

    fn line_slots(&self) -> usize {
        self.literals.len().saturating_sub(1)
    }

    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.push(match self.kind {
            ShapeKind::Text => 0,
            ShapeKind::Json => 1,
            ShapeKind::Logfmt => 2,
        });
        put_len(out, self.literals.len());
        self.literals.iter().for_each(|literal| put_text(out, literal));
        put_len(out, self.slots.len());
        for slot in &self.slots {
            out.push(match slot.kind {
                SlotKind::Line => 0,
                SlotKind::Quoted => 1,
                SlotKind::Scalar => 2,
                SlotKind::Array => 3,
                SlotKind::Word => 4,
                SlotKind::Metadata => 5,
                SlotKind::Packed => 6,
            });
            put_varint(out, u64::from(slot.column));
            put_text(out, &slot.path);
        }
    }

    pub(crate) fn take(reader: &mut Reader<'_>, columns: usize) -> Result<Self, DecodeError> {
        let kind = match reader.byte()? {
            0 => ShapeKind::Text,
            1 => ShapeKind::Json,
            2 => ShapeKind::Logfmt,
            _ => return Err(DecodeError("a shape is of an unknown kind")),
        };
        let literals = (0..reader.count()?).map(|_| reader.text().map(Box::from)).collect::<Result<Vec<_>, _>>()?;
        let mut slots = Vec::new();
        for _ in 0..reader.count()? {
            let kind = match reader.byte()? {
                0 => SlotKind::Line,
                1 => SlotKind::Quoted,
                2 => SlotKind::Scalar,
                3 => SlotKind::Array,
                4 => SlotKind::Word,
                5 => SlotKind::Metadata,
                6 => SlotKind::Packed,
                _ => return Err(DecodeError("a value is of an unknown kind")),
            };
            let column = reader.index()?;
            if column >= columns {
                return Err(DecodeError("a value is in a column that is not there"));
            }
            slots.push(Slot::new(kind, column as u32, reader.text()?));
        }
        let shape = Self { kind, literals, slots };
        let is_metadata = |slot: &Slot| matches!(slot.kind, SlotKind::Metadata | SlotKind::Packed);
        if shape.literals.is_empty()
            || shape.slots.len() < shape.line_slots()
            || shape.slots().iter().any(is_metadata)
            || !shape.metadata().iter().all(is_metadata)
        {
            return Err(DecodeError("a shape does not hold together"));
        }
        Ok(shape)
    }
}
