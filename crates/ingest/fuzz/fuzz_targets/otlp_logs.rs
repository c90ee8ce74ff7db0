//! OTLP logs in both encodings.

#![no_main]

use aegis_ingest::{Limits, otlp};
use libfuzzer_sys::fuzz_target;
use signal::Nanos;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits::default();
    for request in [otlp::decode_protobuf(bytes, &limits), otlp::decode_json(bytes, &limits)].into_iter().flatten() {
        let _ = otlp::logs(request, Nanos(0));
    }
});
