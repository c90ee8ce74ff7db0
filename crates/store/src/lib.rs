//! Keeps metrics, logs and traces on disk and hands out consistent [`Snapshot`]s.
