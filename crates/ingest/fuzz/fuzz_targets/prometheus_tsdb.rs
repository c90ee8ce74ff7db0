//! Blocks of a Prometheus data directory: files of the fuzzer's making, and a real block with bytes of it changed.

#![no_main]

use std::sync::LazyLock;

use aegis_ingest::prometheus_tsdb::{Block, BlockFiles};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    read(whole(bytes));
    read(changed(bytes));
});

/// `meta.json`, `index`, a chunk file and `tombstones`, each after two bytes of length; the last takes what is left.
fn whole(bytes: &[u8]) -> BlockFiles<Vec<u8>> {
    let mut rest = bytes;
    let mut next = || {
        let (length, after) = rest.split_first_chunk().unwrap_or((&[0; 2], &[]));
        let (file, after) = after.split_at(after.len().min(u16::from_le_bytes(*length).into()));
        rest = after;
        file.to_vec()
    };
    let (meta, index, chunk) = (next(), next(), next());
    BlockFiles { meta, index, chunks: vec![chunk], tombstones: Some(rest.to_vec()) }
}

/// Four bytes each name a file, a place in it and what stands there instead. The checksums are made to fit again, or
/// nothing behind them would ever be read.
fn changed(bytes: &[u8]) -> BlockFiles<Vec<u8>> {
    let mut files = FILES.map(<[u8]>::to_vec);
    for change in bytes.as_chunks::<4>().0 {
        let [file, low, high, byte] = *change;
        let file = &mut files[usize::from(file) % FILES.len()];
        let at = usize::from(u16::from_le_bytes([low, high])) % file.len();
        file[at] = byte;
    }
    for (file, checked) in files.iter_mut().zip(&*CHECKED) {
        for (start, end) in checked {
            let sum = crc32c::crc32c(&file[*start..*end]).to_be_bytes();
            file[*end..*end + 4].copy_from_slice(&sum);
        }
    }
    let [index, chunks, tombstones] = files;
    BlockFiles { meta: META.to_vec(), index, chunks: vec![chunks], tombstones: Some(tombstones) }
}

const META: &[u8] = include_bytes!("../../src/prometheus_tsdb/testdata/block/meta.json");
const FILES: [&[u8]; 3] = [
    include_bytes!("../../src/prometheus_tsdb/testdata/block/index"),
    include_bytes!("../../src/prometheus_tsdb/testdata/block/chunks/000001"),
    include_bytes!("../../src/prometheus_tsdb/testdata/block/tombstones"),
];

/// The stretches of each file that a checksum of theirs follows, found by trying all: the reader's own idea of where
/// they are is what is tested here.
static CHECKED: LazyLock<[Vec<(usize, usize)>; 3]> = LazyLock::new(|| {
    FILES.map(|file| {
        let mut checked = Vec::new();
        for start in 0..file.len() {
            let mut sum = 0;
            for end in start + 1..file.len().saturating_sub(3) {
                sum = crc32c::crc32c_append(sum, &file[end - 1..end]);
                if file[end..end + 4] == sum.to_be_bytes() {
                    checked.push((start, end));
                }
            }
        }
        assert!(!checked.is_empty());
        checked
    })
});

fn read(files: BlockFiles<Vec<u8>>) {
    let Ok(mut block) = Block::open(files) else { return };
    let count = block.series();
    for _ in 0..=count {
        if let Ok(None) = block.next_series() {
            return;
        }
    }
    panic!("{count} series have no end");
}
