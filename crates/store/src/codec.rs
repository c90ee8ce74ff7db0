//! The content of records, one shape per signal. Format version 2; version 1 wrote metrics differently.

pub(crate) mod dictionary;
pub(crate) mod histogram;
pub(crate) mod logs;
pub(crate) mod metrics;
pub(crate) mod traces;

#[cfg(test)]
mod tests;
