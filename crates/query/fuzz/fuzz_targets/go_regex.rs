//! Regular expressions in Go's dialect, as every query language and relabelling hold them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use signal::go_regex;

fuzz_target!(|text: &str| {
    // The first line is the pattern, the rest is searched.
    let (pattern, searched) = text.split_once('\n').unwrap_or((text, ""));
    let anywhere = go_regex::compile(pattern);
    if let Ok(whole) = go_regex::compile_whole(pattern) {
        assert!(anywhere.is_ok(), "{pattern:?} is a pattern only when it is to match a whole text");
        whole.is_match(searched);
    }
    if let Ok(anywhere) = anywhere {
        anywhere.is_match(searched);
    }
});
