//! The protobuf format of a scrape.

#![no_main]

use aegis_ingest::{Limits, exposition};
use libfuzzer_sys::fuzz_target;
use signal::Timestamp;

fuzz_target!(|bytes: &[u8]| {
    let _ = exposition::parse(bytes, Some("application/vnd.google.protobuf"), Timestamp(0), &Limits::default());
});
