//! Experiments that are allowed by name, as `--enable-feature` of Prometheus allows them.

use query::promql::{Features, Settings};
use tracing::{info, warn};

/// Reads the names into what the parser and the evaluation may do. Names that mean nothing here are told and left out,
/// so that a command line written for Prometheus goes on working.
pub(crate) fn allow(names: &[String], settings: &mut Settings) -> Features {
    let mut features = Features::STABLE;
    for name in names {
        match name.as_str() {
            "promql-experimental-functions" => features.experimental_functions = true,
            "promql-duration-expr" => features.duration_expressions = true,
            "promql-extended-range-selectors" => features.extended_ranges = true,
            "promql-binop-fill-modifiers" => features.fill_modifiers = true,
            "promql-delayed-name-removal" => settings.delayed_name_removal = true,
            "type-and-unit-labels" => settings.type_and_unit_labels = true,
            "exemplar-storage"
            | "native-histograms"
            | "promql-per-step-stats"
            | "promql-at-modifier"
            | "promql-negative-offset"
            | "otlp-deltatocumulative"
            | "metadata-wal-records" => {
                info!(feature = name, "this is always on");
            }
            _ => warn!(feature = name, "there is no such experiment"),
        }
    }
    features
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experiments_are_off_until_named() {
        let mut settings = Settings::default();
        assert_eq!(allow(&[], &mut settings), Features::STABLE);
        assert_eq!(settings, Settings::default());
        let names = [
            "promql-experimental-functions",
            "promql-duration-expr",
            "promql-extended-range-selectors",
            "promql-binop-fill-modifiers",
            "promql-delayed-name-removal",
            "native-histograms",
            "perpetual-motion",
        ];
        assert_eq!(allow(&names.map(str::to_owned), &mut settings), Features::ALL);
        assert!(settings.delayed_name_removal && !settings.type_and_unit_labels);
    }
}
