//! Bodies that are opened before anything else.

#![no_main]

use aegis_ingest::compression;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for max in [0, 1000, 1 << 20] {
        if let Ok(opened) = compression::snappy_block(bytes, max) {
            assert!(opened.len() <= max);
        }
        if let Ok(opened) = compression::gzip(bytes, max) {
            assert!(opened.len() <= max);
        }
    }
});
