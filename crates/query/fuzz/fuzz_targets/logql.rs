//! LogQL; what is read means the same when it is printed and read again.

#![no_main]

use aegis_query::logql;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = logql::parse_selector(text);
    let Ok(expr) = logql::parse(text) else { return };
    let printed = expr.to_string();
    match logql::parse(&printed) {
        // As text, because no NaN equals another.
        Ok(again) => assert_eq!(format!("{again:?}"), format!("{expr:?}"), "{printed:?}"),
        Err(error) => panic!("{printed:?}: {error}"),
    }
});
