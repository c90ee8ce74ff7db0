//! The other server's formats, written from their description alone: what the reader is held against.

use signal::{Buckets, Histogram, is_stale};

/// A stream of bits.
#[derive(Debug, Default)]
pub struct Out {
    pub bytes: Vec<u8>,
    free: u32,
}

/// What an XORed float remembers: its value, and the window of bits written last.
struct Xored(f64, Option<(u32, u32)>);

impl Out {
    fn bit(&mut self, bit: bool) {
        if self.free == 0 {
            self.bytes.push(0);
            self.free = 8;
        }
        self.free -= 1;
        *self.bytes.last_mut().unwrap() |= u8::from(bit) << self.free;
    }

    fn bits(&mut self, value: u64, count: u32) {
        for at in (0..count).rev() {
            self.bit(value >> at & 1 == 1);
        }
    }

    fn varint(&mut self, value: u64) {
        for byte in uvarint(value) {
            self.bits(byte.into(), 8);
        }
    }

    /// As many ones as the class of the width, a zero unless it is the last class, the number.
    fn classed(&mut self, value: u64, fits: impl Fn(u32) -> bool, widths: &[u32]) {
        let class = widths.iter().position(|width| fits(*width)).unwrap();
        for _ in 0..class {
            self.bit(true);
        }
        if class + 1 < widths.len() {
            self.bit(false);
        }
        self.bits(value, widths[class]);
    }

    fn signed(&mut self, value: i64, widths: &[u32]) {
        let fits = |width: u32| match width {
            0 => value == 0,
            64 => true,
            _ => -(1 << (width - 1)) < value && value <= 1 << (width - 1),
        };
        self.classed(value as u64, fits, widths);
    }

    fn varbit(&mut self, value: i64) {
        self.signed(value, &VARBIT);
    }

    fn uvarbit(&mut self, value: u64) {
        self.classed(value, |width| width == 64 || value >> width == 0, &VARBIT);
    }

    fn xor(&mut self, before: &mut Xored, value: f64) {
        let changed = before.0.to_bits() ^ value.to_bits();
        before.0 = value;
        self.bit(changed != 0);
        if changed == 0 {
            return;
        }
        let (leading, trailing) = (changed.leading_zeros().min(31), changed.trailing_zeros());
        match before.1 {
            Some((window, end)) if leading >= window && trailing >= end => {
                self.bit(false);
                self.bits(changed >> end, 64 - window - end);
            }
            _ => {
                before.1 = Some((leading, trailing));
                let width = 64 - leading - trailing;
                self.bit(true);
                self.bits(leading.into(), 5);
                self.bits((width % 64).into(), 6);
                self.bits(changed >> trailing, width);
            }
        }
    }

    /// A chunk of floats.
    pub fn floats(&mut self, samples: &[(i64, f64)]) {
        self.bits(samples.len() as u64, 16);
        let (mut before, mut delta) = (0_i64, 0_i64);
        let mut xored = Xored(0.0, None);
        for (number, (at, value)) in samples.iter().enumerate() {
            let step = at.wrapping_sub(before);
            match number {
                0 => {
                    self.varint((at << 1 ^ at >> 63) as u64);
                    self.bits(value.to_bits(), 64);
                    xored.0 = *value;
                }
                1 => self.varint(step as u64),
                _ => self.signed(step.wrapping_sub(delta), &[0, 14, 17, 20, 64]),
            }
            if number > 0 {
                self.xor(&mut xored, *value);
                delta = step;
            }
            before = *at;
        }
    }

    fn layout(&mut self, flags: u8, samples: usize, shape: &Histogram) {
        self.bits(samples as u64, 16);
        self.bits(u64::from(flags) << 6, 8);
        let exponent = shape.zero_threshold.log2();
        if shape.zero_threshold == 0.0 {
            self.bits(0, 8);
        } else if exponent.fract() == 0.0 {
            self.bits((exponent + 244.0) as u64, 8);
        } else {
            self.bits(255, 8);
            self.bits(shape.zero_threshold.to_bits(), 64);
        }
        self.varbit(shape.schema.into());
        for Buckets { spans, .. } in [&shape.positive, &shape.negative] {
            self.uvarbit(spans.len() as u64);
            for span in spans {
                self.uvarbit(span.length.into());
                self.varbit(span.offset.into());
            }
        }
        if shape.has_custom_buckets() {
            self.uvarbit(shape.custom_values.len() as u64);
            for bound in &*shape.custom_values {
                let thousandths = (bound * 1000.0).round();
                if thousandths / 1000.0 == *bound {
                    self.uvarbit(thousandths as u64 + 1);
                } else {
                    self.bit(false);
                    self.bits(bound.to_bits(), 64);
                }
            }
        }
    }

    /// A chunk of histograms that all have the shape of the first.
    pub fn histograms(&mut self, flags: u8, samples: &[(i64, Histogram)], is_float: bool) {
        self.layout(flags, samples.len(), &samples[0].1);
        if is_float { self.float_histograms(samples) } else { self.integer_histograms(samples) }
    }

    fn integer_histograms(&mut self, samples: &[(i64, Histogram)]) {
        let mut sum = Xored(0.0, None);
        // Per number: what was written last, and by how much it had changed.
        let mut before: Vec<(i64, i64)> = Vec::new();
        for (number, (at, histogram)) in samples.iter().enumerate() {
            let mut numbers = vec![*at, histogram.count as i64, histogram.zero_count as i64];
            for Buckets { counts, .. } in [&histogram.positive, &histogram.negative] {
                let counts: Vec<i64> = counts.iter().map(|count| *count as i64).collect();
                let steps =
                    counts.iter().enumerate().map(|(at, count)| if at == 0 { *count } else { count - counts[at - 1] });
                numbers.extend(steps);
            }
            before.resize(numbers.len(), (0, 0));
            for (place, value) in numbers.into_iter().enumerate() {
                if place == 3 {
                    self.sum(number, &mut sum, histogram.sum);
                }
                let (last, delta) = before[place];
                match (number, place) {
                    (0, 1 | 2) => self.uvarbit(value as u64),
                    (0, _) => self.varbit(value),
                    _ => self.varbit(value - last - delta),
                }
                before[place] = (value, if number == 0 { 0 } else { value - last });
            }
            if before.len() == 3 {
                self.sum(number, &mut sum, histogram.sum);
            }
        }
    }

    fn sum(&mut self, number: usize, before: &mut Xored, sum: f64) {
        if number == 0 {
            self.bits(sum.to_bits(), 64);
            before.0 = sum;
        } else {
            self.xor(before, sum);
        }
    }

    fn float_histograms(&mut self, samples: &[(i64, Histogram)]) {
        let (mut before, mut delta) = (0, 0);
        let mut xored: Vec<Xored> = Vec::new();
        for (number, (at, histogram)) in samples.iter().enumerate() {
            self.varbit(if number == 0 { *at } else { at - before - delta });
            delta = if number == 0 { 0 } else { at - before };
            before = *at;
            let mut numbers = vec![histogram.count, histogram.zero_count, histogram.sum];
            if !is_stale(histogram.sum) {
                numbers.extend(histogram.positive.counts.iter().chain(&histogram.negative.counts));
            }
            for (place, value) in numbers.into_iter().enumerate() {
                if number == 0 {
                    self.bits(value.to_bits(), 64);
                    xored.push(Xored(value, None));
                } else {
                    self.xor(&mut xored[place], value);
                }
            }
        }
    }
}

const VARBIT: [u32; 9] = [0, 3, 6, 9, 12, 18, 25, 56, 64];

fn uvarint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value > 0x7f {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [uvarint(text.len() as u64), text.as_bytes().to_vec()].concat()
}

fn section(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes()[..], body, &crc32c::crc32c(body).to_be_bytes()].concat()
}

/// A chunk file, and where its chunks lie.
pub fn chunk_file(chunks: &[(u8, Vec<u8>)]) -> (Vec<u8>, Vec<u64>) {
    let mut file = vec![0x85, 0xbd, 0x40, 0xdd, 1, 0, 0, 0];
    let mut places = Vec::new();
    for (encoding, data) in chunks {
        places.push(file.len() as u64);
        file.extend(uvarint(data.len() as u64));
        let body = [&[*encoding][..], data].concat();
        file.extend(&body);
        file.extend(crc32c::crc32c(&body).to_be_bytes());
    }
    (file, places)
}

/// An index whose series all have the one chunk at `chunk`.
pub fn index(version: u8, series: &[Vec<(&str, &str)>], chunk: u64) -> Vec<u8> {
    let mut file = vec![0xba, 0xaa, 0xd7, 0x00, version];
    let mut symbols: Vec<&str> = series.iter().flatten().flat_map(|(name, value)| [*name, *value]).collect();
    symbols.sort_unstable();
    symbols.dedup();
    let symbols_at = file.len();
    let mut body = (symbols.len() as u32).to_be_bytes().to_vec();
    let mut names = Vec::new();
    for symbol in &symbols {
        let place = symbols_at + 4 + body.len();
        names.push(if version == 1 { place } else { names.len() } as u64);
        body.extend(text(symbol));
    }
    file.extend(section(&body));
    let series_at = file.len();
    let mut ids = (series.len() as u32).to_be_bytes().to_vec();
    for labels in series {
        let alignment = if version == 1 { 1 } else { 16 };
        file.resize(file.len().next_multiple_of(alignment), 0);
        ids.extend(((file.len() / alignment) as u32).to_be_bytes());
        let mut body = uvarint(labels.len() as u64);
        for symbol in labels.iter().flat_map(|(name, value)| [*name, *value]) {
            body.extend(uvarint(names[symbols.binary_search(&symbol).unwrap()]));
        }
        body.extend([uvarint(1), uvarint(0), uvarint(1_000), uvarint(chunk)].concat());
        file.extend(uvarint(body.len() as u64));
        file.extend(&body);
        file.extend(crc32c::crc32c(&body).to_be_bytes());
    }
    let postings_at = file.len();
    file.extend(section(&ids));
    let table_at = file.len();
    let entry = [&[2][..], &text(""), &text(""), &uvarint(postings_at as u64)].concat();
    file.extend(section(&[&1_u32.to_be_bytes()[..], &entry].concat()));
    let places = [symbols_at, series_at, 0, 0, postings_at, table_at];
    let contents: Vec<u8> = places.iter().flat_map(|place| (*place as u64).to_be_bytes()).collect();
    let sum = crc32c::crc32c(&contents).to_be_bytes();
    file.extend(contents);
    file.extend(sum);
    file
}
