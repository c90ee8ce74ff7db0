//! The pure half of scraping: which targets there are, and what one scrape of a target means.
//!
//! The shell fetches pages on time; it decides nothing. Rules and synthetic series follow Prometheus (`scrape/`,
//! `discovery/`, `config/`).

mod config;
mod http;
pub mod kubernetes;
mod protocol;
mod sd;
mod state;
mod target;

pub use config::{ScrapeConfig, ScrapeConfigError, ScrapeFile, ScrapeGlobal, ScrapeLimits, Size, Surroundings};
pub use http::{
    AuthorizationFile, BasicAuthFile, Credentials, HeaderFile, HttpFile, HttpSettings, OAuth2, OAuth2File, Secret,
    SecretSource, TlsFile, TlsVersion, Transport,
};
pub use protocol::{Escaping, NameValidation, ScrapeProtocol, accept};
pub use sd::{
    AttachFile, Discovery, DnsRecord, DnsSd, DnsSdFile, FileSd, FileSdFile, GroupFile, HttpSd, HttpSdFile,
    KubernetesSd, KubernetesSdFile, KubernetesServer, NamespacesFile, SdError, SelectorFile, TargetGroup,
    parse_target_groups,
};
pub use state::{Fetched, Health, NoPage, Scraped, TargetState};
pub use target::{DroppedTarget, Resolved, Target, resolve};

/// What is there and empty, `null`, is as if it were not there.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + serde::Deserialize<'de>,
{
    Ok(<Option<T> as serde::Deserialize>::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests;
