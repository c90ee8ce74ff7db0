//! TraceQL, whole and unfinished; what is read means the same when it is printed and read again.

#![no_main]

use aegis_query::traceql;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = traceql::parse_unfinished(text);
    let Ok(expr) = traceql::parse(text) else { return };
    let printed = expr.to_string();
    match traceql::parse(&printed) {
        // As text, because no NaN equals another.
        Ok(again) => assert_eq!(format!("{again:?}"), format!("{expr:?}"), "{printed:?}"),
        Err(error) => panic!("{printed:?}: {error}"),
    }
});
