//! OTLP metrics in both encodings, with deltas.

#![no_main]

use aegis_ingest::Limits;
use aegis_ingest::otlp::{self, DeltaTotals};
use libfuzzer_sys::fuzz_target;
use signal::Timestamp;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits::default();
    let totals = DeltaTotals::new(10);
    for request in [otlp::decode_protobuf(bytes, &limits), otlp::decode_json(bytes, &limits)].into_iter().flatten() {
        for now in 0..2 {
            let _ = otlp::metrics_with_deltas(Clone::clone(&request), &totals, Timestamp(now));
        }
        let _ = otlp::metrics(request);
    }
});
