//! What to ask when something is wrong with a service.

use signal::Timestamp;

use crate::Question;

/// The questions about `service`, for the five minutes before `onset` and the time since.
#[must_use]
pub fn questions(service: &str, onset: Timestamp, now: Timestamp) -> Vec<Question> {
    let _ = (onset, now);
    vec![Question::Workloads { service: service.to_owned() }]
}
