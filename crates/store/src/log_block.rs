//! Immutable blocks of log lines: row groups, and which stream has which of their rows.
//!
//! ```text
//! parts     of each row group without its filter, one group behind the other
//! fronts    of the row groups
//! filters   of the row groups
//! footer    meta, places of the groups, streams with their runs; packed
//! ```
//!
//! A run is a stretch of rows of one group that belong to one stream, in order of time. Streams are in order of labels,
//! the runs of a stream in order of their first line. Header, end and checksums are those of every block
//! ([`block_file`](crate::block_file)); a front has its CRC-32C in the footer, a part in its front.

mod footer;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use footer::Run;
pub(crate) use reader::LogBlock;
pub(crate) use writer::LogBlockWriter;

use crate::block_file::Format;

/// Newest version this build reads, and the one it writes.
const FORMAT: Format = Format { magic: *b"AEGLOGBK", version: 1 };
