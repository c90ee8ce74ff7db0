//! The pure half of scraping: which targets there are, and what one scrape of a target means.
//!
//! The shell fetches pages on time; it decides nothing. Rules and synthetic series follow Prometheus (`scrape/`).

mod config;
mod sd;
mod state;
mod target;

pub use config::{FileSd, ScrapeConfig, ScrapeConfigError, ScrapeFile, StaticFile};
pub use sd::{SdError, TargetGroup, parse_file_sd};
pub use state::{Fetched, Health, Scraped, TargetState};
pub use target::{DroppedTarget, Resolved, Target, resolve};

/// The `Accept` header of a scrape request.
pub const ACCEPT: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

#[cfg(test)]
mod tests;
