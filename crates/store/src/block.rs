//! Immutable blocks of metrics: everything of a range of time, compressed, checksummed and indexed by label, in one file.
//!
//! A block is a row of pages that belong to sections ([`section::Kind`]), and a footer that says where they are
//! ([`format`]). A series is a number, in order of labels; its record names its labels and the runs of its samples. A run
//! names a column of instants, which all series of a target share, and holds a column of values ([`floats`]) or of native
//! histograms ([`histograms`]). Everything is read through the pages' cache, page by page, and checked on the way.

mod beginnings;
mod bitstream;
mod cache;
mod floats;
mod format;
mod histograms;
pub(crate) mod ints;
mod merge;
mod pages;
mod postings;
mod reader;
mod section;
mod select;
mod times;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use cache::{Kept, PageCache, PageKey, Part};
pub(crate) use merge::{MergeError, merge};
pub(crate) use reader::Block;
pub(crate) use writer::{BlockSeries, BlockWriter};
