//! Columns of instants. Series of one target have the same ones, so each column is kept once.

use std::collections::HashMap;

use signal::{Sample, Timestamp};

use super::ints;
use super::section::{SectionWriter, put_record};
use super::writer::RUN;
use crate::wire::{DecodeError, Reader, put_len, put_varint};

/// Instants kept in memory to find the next series' among, 16 MiB.
const REMEMBERED: usize = 1 << 21;

/// The columns written so far.
#[derive(Debug, Default)]
pub(super) struct Shared {
    columns: HashMap<u64, Vec<Known>>,
    remembered: usize,
    bytes: Vec<u8>,
    ints: ints::Scratch,
}

/// A column, and where it is.
type Known = (Box<[i64]>, u64);

impl Shared {
    /// Writes instants when they are new; answers where they are.
    pub(super) fn place(&mut self, instants: &[i64], section: &mut SectionWriter) -> Place {
        let alike = self.columns.entry(fingerprint(instants)).or_default();
        if let Some((_, at)) = alike.iter().find(|(column, _)| **column == *instants) {
            return Place { at: *at, is_shared: true };
        }
        self.bytes.clear();
        let (first, last) = (instants.first().copied(), instants.last().copied());
        put_len(&mut self.bytes, instants.len());
        let length = last.unwrap_or_default().wrapping_sub(first.unwrap_or_default());
        put_varint(&mut self.bytes, length.cast_unsigned());
        ints::encode(instants, &mut self.ints, &mut self.bytes);
        let at = put_record(section, &self.bytes);
        alike.push((Box::from(instants), at));
        self.remembered += instants.len() + 8;
        // Instants that nobody shares must not take more and more memory.
        if self.remembered > REMEMBERED {
            self.columns.clear();
            self.remembered = 0;
        }
        Place { at, is_shared: false }
    }
}

/// Where a column is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) at: u64,
    /// Whether a series before has it too: then it is worth keeping when it has been read.
    pub(super) is_shared: bool,
}

impl Place {
    pub(super) fn put(self, out: &mut Vec<u8>) {
        put_varint(out, self.at << 1 | u64::from(self.is_shared));
    }

    pub(super) fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let place = reader.varint()?;
        Ok(Self { at: place >> 1, is_shared: place & 1 == 1 })
    }
}

/// Equal for equal columns, and seldom for others: some of the instants are enough to tell most columns apart.
fn fingerprint(instants: &[i64]) -> u64 {
    let some = instants.iter().step_by(7).chain(instants.last());
    some.fold(instants.len() as u64, |hash, at| {
        (hash.rotate_left(23) ^ at.cast_unsigned()).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}

/// Cuts samples into runs of at most [`RUN`], at instants that series of the same pace have in common, so that one with
/// a gap shares the other runs with its neighbours.
pub(super) fn runs(samples: &[Sample]) -> Vec<&[Sample]> {
    let mut runs = Vec::new();
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return runs };
    if samples.len() <= RUN {
        runs.push(samples);
        return runs;
    }
    let span = last.at.0.abs_diff(first.at.0);
    let pace = span / (samples.len() as u64 - 1);
    let window = i64::try_from(pace.saturating_mul(RUN as u64)).unwrap_or(i64::MAX) / 10 * 9;
    // Of the powers of two the largest that is not above: a pace that is a little different has the same window.
    let window = if window < 2 { 1 } else { 1_i64 << window.ilog2() };
    let mut rest = samples;
    while let Some(first) = rest.first() {
        let number = first.at.0.div_euclid(window);
        let inside = rest.partition_point(|sample| sample.at.0.div_euclid(window) == number);
        let (run, after) = rest.split_at_checked(inside).unwrap_or((rest, &[]));
        runs.extend(run.chunks(RUN));
        rest = after;
    }
    runs
}

/// A column as it is stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column<'a> {
    pub(super) count: usize,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    numbers: &'a [u8],
}

impl<'a> Column<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let count = reader.index()?;
        if count == 0 || count > RUN {
            return Err(DecodeError("a column of instants has an impossible length"));
        }
        let length = reader.varint()?.cast_signed();
        let numbers = reader.rest();
        let first = ints::first(numbers)?;
        Ok(Self { count, first: Timestamp(first), last: Timestamp(first.wrapping_add(length)), numbers })
    }

    /// All instants, in order.
    pub(super) fn instants(&self, out: &mut Vec<i64>) -> Result<(), DecodeError> {
        out.clear();
        ints::decode(self.numbers, self.count, 0..self.count, out)?;
        if !out.is_sorted_by(|a, b| a < b) || out.last() != Some(&self.last.0) {
            return Err(DecodeError("instants are out of order"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_series_are_cut_where_their_neighbours_are() {
        let samples = |from: i64, to: i64, gap: std::ops::Range<i64>| -> Vec<Sample> {
            let places = (from..to).filter(|at| !gap.contains(at));
            places.map(|at| Sample { at: Timestamp(1_700_000_000_000 + at * 15_000), value: 0.0 }).collect()
        };
        let whole = samples(0, 5_760, 0..0);
        let cut = runs(&whole);
        assert!(cut.iter().all(|run| run.len() <= RUN));
        assert!((6..14).contains(&cut.len()), "{}", cut.len());
        assert_eq!(cut.concat(), whole);
        let other = samples(0, 5_760, 2_000..2_010);
        let others = runs(&other);
        assert_eq!(others.concat(), other);
        assert_eq!(others.iter().filter(|run| !cut.contains(run)).count(), 1, "only the run with the gap is its own");
        for samples in [samples(0, RUN as i64, 0..0), samples(0, 1, 0..0), vec![]] {
            assert!(runs(&samples).len() <= 1);
        }
        let ends = [i64::MIN, 0, i64::MAX].map(|at| Sample { at: Timestamp(at), value: 0.0 });
        let wide: Vec<Sample> =
            (0..3_000).map(|at| Sample { at: Timestamp(at), value: 0.0 }).chain([ends[2]]).collect();
        assert_eq!(runs(&wide).concat(), wide);
    }
}
