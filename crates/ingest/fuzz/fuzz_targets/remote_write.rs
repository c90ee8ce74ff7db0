//! Remote write 1.0 and 2.0, with and without remembered labels.

#![no_main]

use aegis_ingest::remote_write::{self, RemoteWriteDecoder};
use aegis_ingest::{Decoded, Intake, Limits};
use libfuzzer_sys::fuzz_target;
use signal::Timestamp;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits::default();
    let decoder = RemoteWriteDecoder::new(limits, 1);
    let _ = remote_write::decode(bytes, &limits);
    let body = snappy(bytes);
    for _ in 0..2 {
        let (alone, remembered) = (remote_write::decode(&body, &limits), decoder.decode(&body));
        same(alone, remembered.map(Decoded::from));
        let (alone, remembered) = (remote_write::decode_v2(&body, &limits), decoder.decode_v2(&body));
        same(alone, remembered.map(Decoded::from));
    }
    if let Ok(write) = decoder.decode(&body) {
        Intake::new(limits).admit(write.batch, Timestamp(0));
    }
});

/// A block of literals only, so that the fuzzer's bytes stay visible to it.
fn snappy(bytes: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    let mut length = bytes.len();
    while length >= 0x80 {
        block.push(length as u8 | 0x80);
        length >>= 7;
    }
    block.push(length as u8);
    for piece in bytes.chunks(60) {
        block.push((piece.len() as u8 - 1) << 2);
        block.extend_from_slice(piece);
    }
    block
}

fn same(alone: Result<Decoded, remote_write::DecodeError>, remembered: Result<Decoded, remote_write::DecodeError>) {
    // As text, because no NaN equals another.
    assert_eq!(format!("{alone:?}"), format!("{remembered:?}"));
}
