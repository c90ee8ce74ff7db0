//! Files of unit tests for rules, with the series and expressions in them.

#![no_main]

use aegis_rules::TestFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(error) = TestFile::parse("fuzz.yaml", text) {
        assert!(!error.problems.is_empty());
    }
});
