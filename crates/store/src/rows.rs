//! Row groups: some thousand log lines as columns, packed.
//!
//! When lines are sealed, what repeats from line to line becomes a [`Shape`]: the text around the values. The values go
//! to columns, each packed by what its values are ([`column`](crate::column)). Reading puts the two together again, byte
//! for byte. A JSON object has a value for each of its members, a logfmt line one for each of its keys; any other line is
//! one value as a whole. Structured metadata are values too.
//!
//! ```text
//! front      version u8, rows, columns, bytes of text, bounds of the times, shapes, places of the parts
//! parts      times, lengths of the lines, codes of the shapes, columns, filter; each with its CRC-32C in the front
//! ```
//!
//! The front says enough to tell which parts a question needs, so that the others are never read.

mod filter;
mod front;
mod group;
mod needle;
mod seal;
mod shape;
mod shred;
mod times;

#[cfg(test)]
mod tests;

pub use group::{Field, RowGroup, RowsError};
pub use needle::Needle;
pub use shape::{Shape, ShapeKind, Slot, SlotKind};

pub(crate) use group::Parts;
pub use seal::Line;

/// Most rows of a group.
pub(crate) const MAX_ROWS: usize = 1 << 16;
