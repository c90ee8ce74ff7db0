//! What every load is made of: numbers from a seed, protobuf fields, and request bodies packed one behind the other.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Context;

/// One request body in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body {
    pub(super) offset: u64,
    pub(super) len: usize,
    /// Bodies of one group go over one connection, in order.
    pub(super) group: usize,
}

/// Numbers from a seed (SplitMix64).
#[derive(Clone, Copy, Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// From 0 to 1.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    /// Exponentially distributed around 1.
    pub(super) fn burst(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    /// Around 0, about normally distributed.
    pub(super) fn noise(&mut self) -> f64 {
        (0..4).map(|_| self.unit()).sum::<f64>() * 2.0 - 4.0
    }

    /// One of several, each as likely as the others.
    pub(super) fn one_of<'a>(&mut self, from: &[&'a str]) -> &'a str {
        pick(from, self.next() as usize)
    }
}

/// The one at this place, counting round and round.
pub(super) fn pick<'a>(from: &[&'a str], at: usize) -> &'a str {
    from.get(at % from.len().max(1)).copied().unwrap_or_default()
}

pub(super) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A field of protobuf that is bytes, text or a message.
pub(super) fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// `raw` as a snappy block.
pub(super) fn packed(encoder: &mut snap::raw::Encoder, raw: &[u8], out: &mut Vec<u8>) -> anyhow::Result<()> {
    out.resize(snap::raw::max_compress_len(raw.len()), 0);
    let len = encoder.compress(raw, out)?;
    out.truncate(len);
    Ok(())
}

/// Writes bodies one behind the other.
pub(super) struct Packer {
    file: BufWriter<File>,
    encoder: snap::raw::Encoder,
    packed: Vec<u8>,
    bodies: Vec<Body>,
    at: u64,
}

impl Packer {
    pub(super) fn new(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let file = BufWriter::with_capacity(1 << 20, file);
        Ok(Self { file, encoder: snap::raw::Encoder::new(), packed: Vec::new(), bodies: Vec::new(), at: 0 })
    }

    pub(super) fn add(&mut self, raw: &[u8], group: usize) -> anyhow::Result<()> {
        packed(&mut self.encoder, raw, &mut self.packed)?;
        self.file.write_all(&self.packed)?;
        let len = self.packed.len();
        self.bodies.push(Body { offset: self.at, len, group });
        self.at += len as u64;
        Ok(())
    }

    pub(super) fn finish(mut self) -> anyhow::Result<Vec<Body>> {
        self.file.flush()?;
        Ok(self.bodies)
    }
}
