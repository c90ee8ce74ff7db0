//! Loki push in both encodings.

#![no_main]

use aegis_ingest::{Limits, loki_push};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits::default();
    let _ = loki_push::decode_json(bytes, &limits);
    let _ = loki_push::decode_protobuf(bytes, &limits);
});
