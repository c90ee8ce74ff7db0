//! Whole numbers in as few bits as they need.
//!
//! Numbers stand in groups of 128. A group is the width of its numbers, the least of them, and what each is above that in
//! so many bits. Where a few numbers are much longer than the others, the group is as wide as the others need, and what
//! the few have above that stands behind them, each with its place.
//!
//! ```text
//! column  := 0 signed                        all are this number
//!          | 1 group*
//! group   := width (7 bits) and "has patches" (1 bit), least (signed, from the least of the group before), bits,
//!            patches?
//! patches := count (a byte), width (a byte), place* (a byte each), what is above the group's width in so many bits
//! ```

use crate::wire::{DecodeError, Reader, put_signed};

/// Numbers that share a width.
const GROUP: usize = 128;
const PATCHED: u8 = 0x80;
/// More patches would make single numbers slow to find.
const MOST_PATCHES: u32 = 24;

const ENDS_EARLY: DecodeError = DecodeError("packed numbers end early");
const UNKNOWN: DecodeError = DecodeError("packed numbers have an unknown shape");

/// Writes `values` behind `out`; whoever reads knows how many there are.
pub(super) fn pack(values: &[i64], out: &mut Vec<u8>) {
    let Some(first) = values.first() else { return };
    if values.iter().all(|value| value == first) {
        out.push(0);
        put_signed(out, *first);
        return;
    }
    out.push(1);
    let mut before = 0;
    for group in values.chunks(GROUP) {
        let least = group.iter().copied().min().unwrap_or_default();
        put_group(group, least, before, out);
        before = least;
    }
}

fn put_group(group: &[i64], least: i64, before: i64, out: &mut Vec<u8>) {
    let above = |value: &i64| value.wrapping_sub(least).cast_unsigned();
    let greatest = group.iter().copied().max().unwrap_or_default();
    let widest = length(above(&greatest));
    let width = best_width(group, least, widest);
    let is_patched = width < widest;
    out.push(width as u8 | if is_patched { PATCHED } else { 0 });
    put_signed(out, least.wrapping_sub(before));
    put_bits(group.iter().map(above), width, out);
    if !is_patched {
        return;
    }
    let over = |(place, value): (usize, &i64)| {
        let over = above(value).checked_shr(width).unwrap_or_default();
        (over != 0).then_some((place as u8, over))
    };
    let patches = || group.iter().enumerate().filter_map(over);
    out.push(patches().count() as u8);
    out.push((widest - width) as u8);
    patches().for_each(|(place, _)| out.push(place));
    put_bits(patches().map(|(_, over)| over), widest - width, out);
}

/// The width that makes the group shortest.
fn best_width(group: &[i64], least: i64, widest: u32) -> u32 {
    if widest < 3 || group.len() < 8 {
        return widest;
    }
    let mut counts = [0_u32; 65];
    for value in group {
        let length = length(value.wrapping_sub(least).cast_unsigned());
        if let Some(count) = counts.get_mut(length as usize) {
            *count += 1;
        }
    }
    let len = group.len() as u32;
    let (mut best, mut best_width) = (len * widest, widest);
    let mut longer = 0;
    for width in (0..widest).rev() {
        longer += counts.get(width as usize + 1).copied().unwrap_or_default();
        if longer > MOST_PATCHES {
            break;
        }
        // A patch is a byte for the place, and the bits that are above.
        let bits = len * width + 16 + longer * (8 + widest - width);
        // Patches are slower to read, so a small saving is not worth it.
        if bits + bits / 16 < best {
            (best, best_width) = (bits, width);
        }
    }
    best_width
}

/// Bits of a number without leading zeros.
pub(super) fn length(value: u64) -> u32 {
    u64::BITS - value.leading_zeros()
}

/// Bytes that so many numbers of so many bits take.
pub(super) fn bits_len(count: usize, width: u32) -> usize {
    count.saturating_mul(width as usize).div_ceil(8)
}

/// Writes numbers one behind the other, the lowest bit first; none may be longer than `width`, except that what is
/// above is cut off.
pub(super) fn put_bits(values: impl Iterator<Item = u64>, width: u32, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    let mask = low_bits(width);
    let (mut waiting, mut filled) = (0_u64, 0_u32);
    for value in values {
        let value = value & mask;
        waiting |= value << filled;
        filled += width;
        if filled >= 64 {
            out.extend_from_slice(&waiting.to_le_bytes());
            filled -= 64;
            waiting = value.checked_shr(width - filled).unwrap_or_default();
        }
    }
    out.extend(waiting.to_le_bytes().iter().take((filled as usize).div_ceil(8)));
}

fn low_bits(width: u32) -> u64 {
    u64::MAX.checked_shr(64 - width.min(64)).unwrap_or_default()
}

/// Numbers written by [`pack`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Packed<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Packed<'a> {
    /// `count` numbers that begin with `bytes`.
    pub(super) fn new(bytes: &'a [u8], count: usize) -> Self {
        Self { bytes, count }
    }

    /// How many numbers there are, at most as many as a row group has rows.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Adds all numbers to `out`.
    pub(super) fn unpack(&self, out: &mut Vec<i64>) -> Result<(), DecodeError> {
        out.reserve(self.count.min(1 << 16));
        self.each_group(|group| out.extend_from_slice(group))
    }

    /// Hands out the numbers, up to 128 at a time.
    pub(super) fn each_group(&self, mut see: impl FnMut(&[i64])) -> Result<(), DecodeError> {
        let mut room = [0_i64; GROUP];
        let mut groups = match self.shape()? {
            Shape::Same(value) => {
                room.fill(value);
                let mut left = self.count;
                while left > 0 {
                    let now = left.min(GROUP);
                    see(room.get(..now).unwrap_or_default());
                    left -= now;
                }
                return Ok(());
            }
            Shape::Groups(groups) => groups,
        };
        while let Some(group) = groups.next()? {
            let slots = room.get_mut(..group.count).unwrap_or_default();
            group.unpack(slots)?;
            see(slots);
        }
        Ok(())
    }

    /// Adds the numbers of some rows, in ascending order, to `out`.
    pub(super) fn pick(&self, rows: &[u32], out: &mut Vec<i64>) -> Result<(), DecodeError> {
        let mut groups = match self.shape()? {
            Shape::Same(value) => {
                out.extend(rows.iter().map(|_| value));
                return Ok(());
            }
            Shape::Groups(groups) => groups,
        };
        let (mut group, mut first) = (groups.next()?, 0);
        for row in rows {
            let row = *row as usize;
            while row >= first + GROUP {
                group = groups.next()?;
                first += GROUP;
            }
            let inside = row.checked_sub(first).ok_or(DecodeError("rows are not in ascending order"))?;
            out.push(group.as_ref().filter(|group| inside < group.count).ok_or(ENDS_EARLY)?.get(inside));
        }
        Ok(())
    }

    fn shape(&self) -> Result<Shape<'a>, DecodeError> {
        if self.count == 0 {
            return Ok(Shape::Same(0));
        }
        let mut reader = Reader::new(self.bytes);
        match reader.byte()? {
            0 => reader.signed().map(Shape::Same),
            1 => Ok(Shape::Groups(Groups { reader, left: self.count, least: 0 })),
            _ => Err(UNKNOWN),
        }
    }
}

enum Shape<'a> {
    Same(i64),
    Groups(Groups<'a>),
}

struct Groups<'a> {
    reader: Reader<'a>,
    left: usize,
    least: i64,
}

impl<'a> Groups<'a> {
    fn next(&mut self) -> Result<Option<Group<'a>>, DecodeError> {
        let count = self.left.min(GROUP);
        if count == 0 {
            return Ok(None);
        }
        self.left -= count;
        let shape = self.reader.byte()?;
        let width = u32::from(shape & !PATCHED);
        if width > 64 {
            return Err(UNKNOWN);
        }
        self.least = self.least.wrapping_add(self.reader.signed()?);
        let bits = take(&mut self.reader, bits_len(count, width))?;
        let mut group = Group { count, width, least: self.least, bits, places: &[], over: &[], over_width: 0 };
        if shape & PATCHED != 0 {
            let patches = usize::from(self.reader.byte()?);
            group.over_width = u32::from(self.reader.byte()?);
            if group.over_width > 64 {
                return Err(UNKNOWN);
            }
            group.places = take(&mut self.reader, patches)?;
            group.over = take(&mut self.reader, bits_len(patches, group.over_width))?;
        }
        Ok(Some(group))
    }
}

/// The next bytes of `reader`.
pub(super) fn take<'a>(reader: &mut Reader<'a>, len: usize) -> Result<&'a [u8], DecodeError> {
    let (taken, rest) = reader.rest().split_at_checked(len).ok_or(ENDS_EARLY)?;
    *reader = Reader::new(rest);
    Ok(taken)
}

struct Group<'a> {
    count: usize,
    width: u32,
    least: i64,
    bits: &'a [u8],
    places: &'a [u8],
    over: &'a [u8],
    over_width: u32,
}

impl Group<'_> {
    fn unpack(&self, slots: &mut [i64]) -> Result<(), DecodeError> {
        let least = self.least;
        unpack_bits(self.bits, self.width, slots, |value| least.wrapping_add(value.cast_signed()));
        for (patch, place) in self.places.iter().enumerate() {
            let slot = slots.get_mut(usize::from(*place)).ok_or(UNKNOWN)?;
            *slot = slot.wrapping_add(self.patch(patch));
        }
        Ok(())
    }

    fn get(&self, row: usize) -> i64 {
        let value = self.least.wrapping_add(bits_at(self.bits, self.width, row).cast_signed());
        let patch = self.places.iter().position(|place| usize::from(*place) == row);
        patch.map_or(value, |patch| value.wrapping_add(self.patch(patch)))
    }

    fn patch(&self, number: usize) -> i64 {
        bits_at(self.over, self.over_width, number).checked_shl(self.width).unwrap_or_default().cast_signed()
    }
}

/// Number `row` of those written by [`put_bits`]; zero beyond their end.
pub(super) fn bits_at(bytes: &[u8], width: u32, row: usize) -> u64 {
    let bit = row.saturating_mul(width as usize);
    if width <= SHORT {
        return load(bytes, bit) & low_bits(width);
    }
    load_long(bytes, bit) & low_bits(width)
}

/// Up to so many bits are in the eight bytes in which a number begins.
const SHORT: u32 = 57;

/// Fills `slots` with what [`put_bits`] wrote.
pub(super) fn unpack_bits<T: Copy>(bytes: &[u8], width: u32, slots: &mut [T], make: impl Fn(u64) -> T) {
    match width {
        0 => slots.fill(make(0)),
        1..=8 => unpack_each::<8, T>(bytes, width, slots, make),
        9..=14 => unpack_each::<4, T>(bytes, width, slots, make),
        15..=28 => unpack_each::<2, T>(bytes, width, slots, make),
        29..=SHORT => unpack_each::<1, T>(bytes, width, slots, make),
        _ => {
            let mask = low_bits(width);
            for (row, slot) in slots.iter_mut().enumerate() {
                *slot = make(load_long(bytes, row.saturating_mul(width as usize)) & mask);
            }
        }
    }
}

/// Takes `EACH` numbers from eight bytes; so many fit in 57 bits, or begin with a byte.
fn unpack_each<const EACH: usize, T: Copy>(bytes: &[u8], width: u32, slots: &mut [T], make: impl Fn(u64) -> T) {
    let mask = low_bits(width);
    let step = EACH * width as usize;
    let mut bit = 0;
    let (whole, rest) = slots.as_chunks_mut::<EACH>();
    for chunk in whole {
        let mut word = load(bytes, bit);
        for slot in chunk {
            *slot = make(word & mask);
            word >>= width;
        }
        bit += step;
    }
    let mut word = load(bytes, bit);
    for slot in rest {
        *slot = make(word & mask);
        word >>= width;
    }
}

/// The bits from `bit` on: at least 57, zeros where the bytes have ended.
fn load(bytes: &[u8], bit: usize) -> u64 {
    let rest = bytes.get(bit >> 3..).unwrap_or_default();
    let word = match rest.first_chunk::<8>() {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => last_word(rest),
    };
    word >> (bit & 7)
}

#[cold]
fn last_word(rest: &[u8]) -> u64 {
    rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

fn load_long(bytes: &[u8], bit: usize) -> u64 {
    load(bytes, bit) & 0xffff_ffff | load(bytes, bit.saturating_add(32)) << 32
}
