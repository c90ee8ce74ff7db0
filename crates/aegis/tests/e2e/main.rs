//! The real binary over real sockets: started, written to, asked, killed and started again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a test may fail loudly"
)]

mod api;
mod bad_input;
mod commands;
mod durability;
mod http;
mod incident;
mod lifecycle;
mod log_files;
mod mission;
mod rules;
mod scraping;
mod server;
mod target;
mod wire;
