//! Up to 128 numbers in the shape that is shortest for them.

use crate::block::bitstream::{BitReader, BitWriter, LOOK, low_bits};
use crate::wire::DecodeError;

/// Numbers that share a shape.
pub(super) const GROUP: usize = 128;
/// As many units say that a number is written whole, behind all units of its group.
const ESCAPE: u32 = 20;

const MODE_BITS: u32 = 3;
const WIDTH_BITS: u32 = 6;

/// The shape of one group; numbers are the bits of a remainder, or of a whole number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shape {
    /// All zero.
    Zeros,
    /// So many bits each.
    Packed(u32),
    /// A remainder of so many bits, and units (Golomb's code, "Run-length encodings", 1966, for powers of two). All
    /// remainders stand before all units: so neither has to be read to find the next.
    Units(u32),
    /// A bit for zero or not, then those that are not zero, less one, like `Units`.
    Flagged(u32),
    /// Places of those that are not zero, then these, less one, like `Units`.
    Placed(u32),
}

/// Writes a group; whoever reads knows how many numbers it has.
pub(super) fn put_group(group: &[u64], bits: &mut BitWriter) {
    let shape = best_shape(group);
    let (mode, width) = match shape {
        Shape::Zeros => (0, 0),
        Shape::Packed(width) => (1, width - 1),
        Shape::Units(width) => (2, width),
        Shape::Flagged(width) => (3, width),
        Shape::Placed(width) => (4, width),
    };
    bits.put(mode, MODE_BITS);
    if mode == 0 {
        return;
    }
    bits.put(u64::from(width), WIDTH_BITS);
    let mut room = [0_u64; GROUP];
    match shape {
        Shape::Zeros => {}
        Shape::Packed(width) => group.iter().for_each(|value| bits.put(*value, width)),
        Shape::Units(width) => put_units(group, width, bits),
        Shape::Flagged(width) => {
            group.iter().for_each(|value| bits.put(u64::from(*value != 0), 1));
            put_units(filled(group, &mut room), width, bits);
        }
        Shape::Placed(width) => {
            let filled = filled(group, &mut room);
            bits.put(filled.len() as u64, PLACE_BITS);
            let placed = group.iter().enumerate().filter(|(_, value)| **value != 0);
            placed.for_each(|(place, _)| bits.put(place as u64, PLACE_BITS));
            put_units(filled, width, bits);
        }
    }
}

/// Bits of a place in a group; a group in which more could be placed has a shorter shape.
const PLACE_BITS: u32 = GROUP.trailing_zeros();

/// Those that are not zero, less one.
fn filled<'a>(group: &[u64], room: &'a mut [u64; GROUP]) -> &'a [u64] {
    let mut len = 0;
    for (slot, value) in room.iter_mut().zip(group.iter().filter(|value| **value != 0)) {
        *slot = value - 1;
        len += 1;
    }
    room.get(..len).unwrap_or_default()
}

fn put_units(values: &[u64], width: u32, bits: &mut BitWriter) {
    values.iter().for_each(|value| bits.put(*value, width));
    let units = |value: u64| (value >> width).min(u64::from(ESCAPE)) as u32;
    for value in values {
        let units = units(*value);
        bits.put(1 << units, units + 1);
    }
    for value in values.iter().filter(|value| units(**value) == ESCAPE) {
        bits.put(*value, 64);
    }
}

fn best_shape(group: &[u64]) -> Shape {
    let mut counts = [0_u32; LENGTHS];
    for value in group {
        if let Some(count) = counts.get_mut(length(*value) as usize) {
            *count += 1;
        }
    }
    let len = group.len() as u32;
    let zeros = counts.first().copied().unwrap_or_default();
    let packed = counts.iter().rposition(|count| *count > 0).unwrap_or_default() as u32;
    if packed == 0 {
        return Shape::Zeros;
    }
    let mut best = (packed * len, Shape::Packed(packed));
    let (width, cost) = best_width(&counts, len);
    // The plain shape is faster to read; a saving of less than one in thirty-two is not worth it.
    if cost + cost / 32 < best.0 {
        best = (cost, Shape::Units(width));
    }
    if zeros > len / 8 {
        if let Some(zeros) = counts.first_mut() {
            *zeros = 0;
        }
        let filled = len - zeros;
        let (width, cost) = best_width(&counts, filled);
        if cost + len < best.0 {
            best = (cost + len, Shape::Flagged(width));
        }
        let placed = cost + (filled + 1) * PLACE_BITS;
        if placed < best.0 {
            best = (placed, Shape::Placed(width));
        }
    }
    best.1
}

/// Lengths of numbers in bits: zero to 64.
const LENGTHS: usize = 65;

/// The length of the remainder that costs least, and the bits it costs, when numbers of a length lie evenly.
fn best_width(counts: &[u32; LENGTHS], len: u32) -> (u32, u32) {
    let mut below = 0;
    let middle = counts.iter().position(|count| {
        below += count;
        below * 2 >= len
    });
    let middle = middle.unwrap_or_default() as u32;
    let cost = |width: u32| {
        // In halves of a unit: a number of one bit more than the remainder has one and a half without the fraction.
        let mut halves = 0;
        let longer = counts.iter().skip(width as usize + 1);
        for (count, more) in longer.zip(0_u32..) {
            // Beyond that, numbers are written whole.
            let each = if more > 4 { 2 * (ESCAPE + 64) } else { (3 << more) - 1 };
            halves += count * each;
        }
        len * (width + 1) + halves / 2
    };
    let widest = middle.min(WIDEST);
    let costs = (widest.saturating_sub(3)..=widest).map(|width| (width, cost(width)));
    costs.min_by_key(|(_, cost)| *cost).unwrap_or((widest, cost(widest)))
}

/// The longest remainder: with more, what says that a number is written whole would not fit.
const WIDEST: u32 = 59;

/// Bits of a number without leading zeros.
pub(super) fn length(value: u64) -> u32 {
    u64::BITS - value.leading_zeros()
}

/// Fills a group.
pub(super) fn take_group(bits: &mut BitReader<'_>, group: &mut [u64]) -> Result<(), DecodeError> {
    let mode = bits.take(MODE_BITS);
    if mode == 0 {
        group.fill(0);
        return Ok(());
    }
    let width = bits.take(WIDTH_BITS) as u32;
    match mode {
        1 => take_packed(bits, width + 1, group),
        2 => take_units(bits, width, group)?,
        3 => {
            let mut room = [0_u64; GROUP];
            let mut flags = [0_u64; GROUP / 64];
            for (flags, group) in flags.iter_mut().zip(group.chunks(64)) {
                *flags = bits.take(group.len() as u32);
            }
            let count = flags.iter().map(|flags| flags.count_ones() as usize).sum::<usize>();
            let filled = room.get_mut(..count).unwrap_or_default();
            take_units(bits, width, filled)?;
            let mut filled = filled.iter();
            for (mut flags, group) in flags.into_iter().zip(group.chunks_mut(64)) {
                for slot in group {
                    *slot = if flags & 1 == 0 { 0 } else { filled.next().map_or(0, |value| value.wrapping_add(1)) };
                    flags >>= 1;
                }
            }
        }
        4 => {
            let mut room = [0_u64; GROUP];
            group.fill(0);
            let count = bits.take(PLACE_BITS) as usize;
            let mut places = [0_usize; GROUP];
            let places = places.get_mut(..count).unwrap_or_default();
            places.iter_mut().for_each(|place| *place = bits.take(PLACE_BITS) as usize);
            let filled = room.get_mut(..count).unwrap_or_default();
            take_units(bits, width, filled)?;
            for (place, value) in places.iter().zip(filled) {
                let slot = group.get_mut(*place).ok_or(DecodeError("a place lies outside its group"))?;
                *slot = value.wrapping_add(1);
            }
        }
        _ => return Err(DecodeError("a group of a column has an unknown shape")),
    }
    Ok(())
}

fn take_packed(bits: &mut BitReader<'_>, width: u32, group: &mut [u64]) {
    if width == 0 {
        group.fill(0);
    } else if width > LOOK {
        group.iter_mut().for_each(|slot| *slot = bits.take(width));
    } else {
        let mask = low_bits(width);
        // As many as one look shows.
        for slots in group.chunks_mut((LOOK / width) as usize) {
            let mut word = bits.look();
            bits.skip(width * slots.len() as u32);
            for slot in slots {
                *slot = word & mask;
                word >>= width;
            }
        }
    }
}

fn take_units(bits: &mut BitReader<'_>, width: u32, group: &mut [u64]) -> Result<(), DecodeError> {
    take_packed(bits, width, group);
    let valid = low_bits(LOOK);
    let mut word = bits.look() & valid;
    // Bits of the word that were looked at, and units counted in words before.
    let (mut seen, mut before) = (0, 0);
    let mut most = 0;
    for slot in group.iter_mut() {
        while word == 0 {
            before += LOOK - seen;
            bits.skip(LOOK);
            if bits.is_over() {
                return Err(DecodeError("a column ends early"));
            }
            (word, seen) = (bits.look() & valid, 0);
        }
        let end = word.trailing_zeros();
        let units = before + end - seen;
        (before, seen) = (0, end + 1);
        word &= word - 1;
        *slot |= u64::from(units) << width;
        most = most.max(units);
    }
    bits.skip(seen);
    if most >= ESCAPE {
        for slot in group.iter_mut().filter(|slot| **slot >> width >= u64::from(ESCAPE)) {
            *slot = bits.take(64);
        }
    }
    Ok(())
}
