//! Loki push in both encodings.

#![no_main]

use aegis_ingest::{Limits, loki_push};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits::default();
    let _ = loki_push::decode_json(bytes, &limits);
    let alone = loki_push::decode_protobuf(bytes, &limits);
    let decoder = loki_push::PushDecoder::new(limits, 7);
    for _ in 0..2 {
        match (&alone, decoder.decode_protobuf(bytes)) {
            (Ok(alone), Ok(pushed)) => assert_eq!((&alone.batch, &alone.rejected), (pushed.batch.batch(), &pushed.rejected)),
            (Err(_), Err(_)) => {}
            (alone, pushed) => panic!("{alone:?} {pushed:?}"),
        }
    }
});
