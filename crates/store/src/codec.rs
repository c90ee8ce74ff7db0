//! The content of records, one shape per signal. Format version 1.

pub(crate) mod dictionary;
pub(crate) mod logs;
pub(crate) mod metrics;
pub(crate) mod traces;

#[cfg(test)]
mod tests;
