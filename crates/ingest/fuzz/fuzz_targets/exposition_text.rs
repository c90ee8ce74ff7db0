//! The text formats of a scrape.

#![no_main]

use aegis_ingest::{Limits, exposition};
use libfuzzer_sys::fuzz_target;
use signal::Timestamp;

fuzz_target!(|bytes: &[u8]| {
    for content_type in [None, Some("application/openmetrics-text; version=1.0.0")] {
        let _ = exposition::parse(bytes, content_type, Timestamp(0), &Limits::default());
    }
});
