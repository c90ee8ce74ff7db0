//! Which lines may hold a text, without putting them together.

use memchr::memmem::Finder;

use super::group::{RowGroup, RowsError};
use super::shape::{Shape, ShapeKind};
use crate::column::Rows;

/// A text to be found in lines.
#[derive(Clone, Debug)]
pub struct Needle {
    text: String,
}

impl Needle {
    /// Looks for `text`, letter for letter.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned() }
    }
}

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
        if needle.text.is_empty() {
            return Ok(Rows::all(rows));
        }
        let mut known = Vec::new();
        let mut by_shape = Vec::with_capacity(self.shapes().len());
        for shape in self.shapes() {
            by_shape.push(self.rows_of_shape(shape, &needle.text, &mut known)?);
        }
        self.by_shape(&by_shape)
    }

    /// The lines that may hold the text, if they are of this shape. `known` remembers what columns answered.
    fn rows_of_shape(
        &self,
        shape: &Shape,
        text: &str,
        known: &mut Vec<(u32, String, Rows)>,
    ) -> Result<Rows, RowsError> {
        let rows = self.rows() as usize;
        let mut found = Rows::all(rows);
        for piece in pieces(shape, text) {
            let is_literal = |literal: &Box<str>| memchr::memmem::find(literal.as_bytes(), piece.as_bytes()).is_some();
            if shape.literals.iter().any(is_literal) {
                continue;
            }
            let mut with = Rows::none(rows);
            let finder = Finder::new(piece.as_bytes());
            for slot in shape.slots() {
                if !self.may_contain(slot.column, piece.as_bytes())? {
                    continue;
                }
                let remembered = known.iter().find(|(column, of, _)| *column == slot.column && of == piece);
                match remembered {
                    Some((_, _, rows)) => with.or(rows),
                    None => {
                        let rows = self.rows_containing(slot.column, &finder)?;
                        with.or(&rows);
                        known.push((slot.column, piece.to_owned(), rows));
                    }
                }
            }
            found.and(&with);
            if found.is_empty() {
                break;
            }
        }
        Ok(found)
    }
}

/// The pieces of a text each of which lies inside one literal or one value, wherever the text is in a line.
fn pieces<'a>(shape: &Shape, text: &'a str) -> Vec<&'a str> {
    if shape.kind == ShapeKind::Text {
        return vec![text];
    }
    // A text can only go on beyond a literal if it has the character there.
    let is_border = |character: char| {
        shape.literals.iter().any(|literal| literal.starts_with(character) || literal.ends_with(character))
    };
    text.split(is_border).filter(|piece| !piece.is_empty()).collect()
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
            assert_eq!(pieces(&json, text), want, "{text}");
        }
        let literals = vec![Box::from(""), Box::from("")];
        let plain = Shape { kind: ShapeKind::Text, literals, slots: vec![Slot::new(SlotKind::Line, 0, "")] };
        assert_eq!(pieces(&plain, "\"a\":1"), ["\"a\":1"]);
    }
}
