//! The times of rows, in nanoseconds: mostly ascending, often with the same distance.

use crate::block::ints;
use crate::wire::DecodeError;

pub(super) fn put(times: &[i64], out: &mut Vec<u8>) {
    ints::encode(times, &mut ints::Scratch::default(), out);
}

pub(super) fn take(bytes: &[u8], rows: usize) -> Result<Vec<i64>, DecodeError> {
    let mut times = Vec::with_capacity(rows);
    ints::decode(bytes, rows, 0..rows, &mut times)?;
    if times.len() == rows { Ok(times) } else { Err(DecodeError("a line has no time")) }
}
