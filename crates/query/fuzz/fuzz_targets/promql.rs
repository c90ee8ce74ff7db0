//! PromQL with every experiment; what is read means the same when it is printed and read again.

#![no_main]

use aegis_query::promql::{self, Expr, Features};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = promql::parse_selector(text);
    let stable = promql::parse_with(text, Features::STABLE);
    let Ok(expr) = promql::parse_with(text, Features::ALL) else {
        assert!(stable.is_err(), "read without experiments only: {text:?}");
        return;
    };
    if let Ok(stable) = stable {
        assert_eq!(stable, expr);
    }
    for printed in [expr.to_string(), expr.pretty()] {
        let again = read(&printed);
        assert_eq!(sorted_matchers(&again), sorted_matchers(&expr), "{printed:?}");
        // Matchers are printed in order, and nothing else may change.
        if matchers(&again) == matchers(&expr) {
            assert_eq!(again, expr, "{printed:?}");
        }
        assert_eq!(read(&again.to_string()), again, "{printed:?}");
    }
});

fn read(printed: &str) -> Expr {
    match promql::parse_with(printed, Features::ALL) {
        Ok(expr) => expr,
        Err(error) => panic!("{printed:?}: {error}"),
    }
}

fn matchers(expr: &Expr) -> Vec<Vec<String>> {
    expr.selectors().iter().map(|selector| selector.matchers.iter().map(ToString::to_string).collect()).collect()
}

fn sorted_matchers(expr: &Expr) -> Vec<Vec<String>> {
    let mut selectors = matchers(expr);
    selectors.iter_mut().for_each(|matchers| matchers.sort_unstable());
    selectors
}
