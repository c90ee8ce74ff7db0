//! Which lines may hold a text, without putting them together.

use memchr::memmem::Finder;

use super::group::{RowGroup, RowsError};
use super::shape::{Shape, ShapeKind};
use crate::column::Rows;

/// A text to be found in lines.
#[derive(Clone, Debug)]
pub struct Needle {
    finder: Finder<'static>,
}

impl Needle {
    /// Looks for `text`, letter for letter.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self { finder: Finder::new(text).into_owned() }
    }

    /// Whether a text holds it.
    #[must_use]
    pub fn is_in(&self, text: &str) -> bool {
        self.finder.find(text.as_bytes()).is_some()
    }
}

/// What columns answered for a piece.
type Known<'n> = Vec<(u32, &'n [u8], Rows)>;

impl RowGroup {
    /// Lines that may hold the needle: each line that does is among them.
    ///
    /// A needle that lies across the border of a value is cut there, and its pieces are looked for one by one, so that
    /// some of the lines found may not hold it as a whole.
    ///
    /// # Errors
    /// [`RowsError`]
    pub fn candidates(&self, needle: &Needle) -> Result<Rows, RowsError> {
        let rows = self.rows() as usize;
        let text = needle.finder.needle();
        if text.is_empty() {
            return Ok(Rows::all(rows));
        }
        let mut known = Known::new();
        let mut by_shape = Vec::with_capacity(self.shapes().len());
        for shape in self.shapes() {
            by_shape.push(self.rows_of_shape(shape, needle, &mut known)?);
        }
        self.by_shape(&by_shape)
    }

    /// The lines that may hold the text, if they are of this shape.
    fn rows_of_shape<'n>(&self, shape: &Shape, needle: &'n Needle, known: &mut Known<'n>) -> Result<Rows, RowsError> {
        let rows = self.rows() as usize;
        let text = needle.finder.needle();
        let borders = Borders::of(shape);
        if !borders.is_in(text) {
            return self.rows_of_piece(shape, text, &needle.finder, known);
        }
        let mut found = Rows::all(rows);
        for piece in borders.pieces(text) {
            found.and(&self.rows_of_piece(shape, piece, &Finder::new(piece), known)?);
            if found.is_empty() {
                break;
            }
        }
        Ok(found)
    }

    /// The lines that hold a piece which cannot lie across a border, if they are of this shape.
    fn rows_of_piece<'n>(
        &self,
        shape: &Shape,
        piece: &'n [u8],
        finder: &Finder<'_>,
        known: &mut Known<'n>,
    ) -> Result<Rows, RowsError> {
        let rows = self.rows() as usize;
        let mut literals = shape.literals.iter().filter(|literal| literal.len() >= piece.len());
        if literals.any(|literal| finder.find(literal.as_bytes()).is_some()) {
            return Ok(Rows::all(rows));
        }
        let mut with = Rows::none(rows);
        for slot in shape.slots() {
            if !self.may_contain(slot.column, piece)? {
                continue;
            }
            match known.iter().find(|(column, of, _)| *column == slot.column && *of == piece) {
                Some((_, _, rows)) => with.or(rows),
                None => {
                    let rows = self.rows_containing(slot.column, finder)?;
                    with.or(&rows);
                    known.push((slot.column, piece, rows));
                }
            }
        }
        Ok(with)
    }
}

/// The bytes that literals begin and end with: a text can only go on beyond a literal if it has one of them there.
struct Borders([u64; 4]);

impl Borders {
    fn of(shape: &Shape) -> Self {
        let mut borders = Self([0; 4]);
        if shape.kind != ShapeKind::Text {
            let ends = shape.literals.iter().map(|literal| literal.as_bytes());
            for byte in ends.flat_map(|literal| [literal.first(), literal.last()]).flatten() {
                if let Some(word) = borders.0.get_mut(usize::from(byte / 64)) {
                    *word |= 1 << (byte % 64);
                }
            }
        }
        borders
    }

    fn has(&self, byte: u8) -> bool {
        self.0.get(usize::from(byte / 64)).is_some_and(|word| word & (1 << (byte % 64)) != 0)
    }

    fn is_in(&self, text: &[u8]) -> bool {
        text.iter().any(|byte| self.has(*byte))
    }

    /// The pieces of a text each of which lies inside one literal or one value, wherever the text is in a line.
    fn pieces<'a>(&self, text: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        text.split(|byte| self.has(*byte)).filter(|piece| !piece.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::shape::{Slot, SlotKind};

    #[test]
    fn a_text_is_cut_where_a_value_may_end() {
        let slots = vec![Slot::new(SlotKind::Quoted, 0, "a"), Slot::new(SlotKind::Scalar, 1, "b")];
        let literals = ["{\"a\":\"", "\",\"b\":", "}"].map(Box::from).to_vec();
        let json = Shape { kind: ShapeKind::Json, literals, slots };
        for (text, want) in [
            ("abc", &["abc"][..]),
            ("\"a\":\"xy\"", &["a", "xy"]),
            ("time out", &["time out"]),
            ("5}", &["5"]),
            ("\":", &[]),
        ] {
            let want: Vec<&[u8]> = want.iter().map(|piece| piece.as_bytes()).collect();
            assert_eq!(Borders::of(&json).pieces(text.as_bytes()).collect::<Vec<_>>(), want, "{text}");
        }
        let literals = vec![Box::from(""), Box::from("")];
        let plain = Shape { kind: ShapeKind::Text, literals, slots: vec![Slot::new(SlotKind::Line, 0, "")] };
        assert!(!Borders::of(&plain).is_in(b"\"a\":1"));
    }
}
