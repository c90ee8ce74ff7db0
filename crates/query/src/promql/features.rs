//! What of the language is an experiment. Prometheus hides each behind a flag.

/// Which experiments a query may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Features {
    /// `--enable-feature=promql-experimental-functions`: functions and aggregations that may still change.
    pub experimental_functions: bool,
    /// `--enable-feature=promql-duration-expr`: arithmetic on durations.
    pub duration_expressions: bool,
    /// `--enable-feature=promql-extended-range-selectors`: `anchored` and `smoothed`.
    pub extended_ranges: bool,
    /// `--enable-feature=promql-binop-fill-modifiers`: `fill`, `fill_left` and `fill_right`.
    pub fill_modifiers: bool,
}

impl Features {
    /// Everything there is. No query that is valid without an experiment means something else with it.
    pub const ALL: Self =
        Self { experimental_functions: true, duration_expressions: true, extended_ranges: true, fill_modifiers: true };

    /// Everything that Prometheus does without a flag.
    pub const STABLE: Self = Self {
        experimental_functions: false,
        duration_expressions: false,
        extended_ranges: false,
        fill_modifiers: false,
    };
}

/// Functions and aggregations that are experiments.
const EXPERIMENTAL: [&str; 14] = [
    "double_exponential_smoothing",
    "first_over_time",
    "histogram_quantiles",
    "info",
    "limit_ratio",
    "limitk",
    "mad_over_time",
    "sort_by_label",
    "sort_by_label_desc",
    "ts_of_first_over_time",
    "ts_of_last_over_time",
    "ts_of_max_over_time",
    "ts_of_min_over_time",
    "holt_winters",
];

/// Whether a function or aggregation is an experiment.
#[must_use]
pub fn is_experimental(name: &str) -> bool {
    EXPERIMENTAL.contains(&name)
}
