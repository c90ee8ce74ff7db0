//! One HTTP call: address, credentials, deadline, size cap, and errors that never show a credential.

use std::error::Error;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{StatusCode, Url};

use crate::Options;

/// Longest answer that is read.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// Most of a server's error text that is shown.
const MAX_SHOWN: usize = 300;

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NewError {
    /// Not an address.
    #[error("`{url}` is not a usable address: {reason}; expected something like `http://host:9090`")]
    Url {
        /// What was given, without credentials.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// A header cannot be sent.
    #[error("header `{name}` has a name or value that cannot be sent")]
    Header {
        /// Its name.
        name: String,
    },
    /// No TLS in this process.
    #[error("no TLS provider is installed in this process")]
    NoTls,
    /// The HTTP client itself.
    #[error("cannot set up the HTTP client: {reason}")]
    Client {
        /// Why not.
        reason: String,
    },
}

/// Why there is no answer from a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// No connection, or it broke.
    #[error("cannot reach {url}: {reason}")]
    Unreachable {
        /// Asked address, without credentials.
        url: String,
        /// Why.
        reason: String,
    },
    /// The deadline passed.
    #[error("{url} did not answer within {seconds} s")]
    Timeout {
        /// Asked address, without credentials.
        url: String,
        /// The deadline.
        seconds: u64,
    },
    /// The server refused.
    #[error("{url} answered {status}: {text}")]
    Status {
        /// Asked address, without credentials.
        url: String,
        /// HTTP status code.
        status: u16,
        /// What the server said, shortened.
        text: String,
    },
    /// The answer is longer than we read.
    #[error("the answer of {url} is larger than the limit of {limit} bytes")]
    TooLarge {
        /// Asked address, without credentials.
        url: String,
        /// The limit.
        limit: usize,
    },
    /// The answer is not what this API gives.
    #[error("cannot understand the answer of {url}: {reason}")]
    Malformed {
        /// Asked address, without credentials.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A server's base address and how to talk to it.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    options: Options,
}

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) url: String,
    pub(crate) content_type: String,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn malformed(&self, reason: &dyn std::fmt::Display) -> UpstreamError {
        UpstreamError::Malformed { url: self.url.clone(), reason: reason.to_string() }
    }

    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, UpstreamError> {
        serde_json::from_slice(&self.bytes).map_err(|error| self.malformed(&error))
    }
}

impl Client {
    pub(crate) fn new(url: &str, options: Options) -> Result<Self, NewError> {
        let mut base = Url::parse(url.trim())
            .map_err(|error| NewError::Url { url: without_credentials(url), reason: error.to_string() })?;
        let refuse = |reason: &str| NewError::Url { url: shown(&base), reason: reason.to_owned() };
        if !matches!(base.scheme(), "http" | "https") {
            return Err(refuse("only http and https are spoken"));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(refuse("a base address has no query and no fragment"));
        }
        // Credentials in the address are honoured, but kept out of everything that is printed.
        let mut options = options;
        if !base.username().is_empty() {
            let password = crate::Secret::new(percent_decoded(base.password().unwrap_or_default()));
            let user = percent_decoded(base.username());
            options.basic.get_or_insert((user, password));
            let _ = base.set_username("");
            let _ = base.set_password(None);
        }
        let mut headers = HeaderMap::new();
        for (name, value) in &options.headers {
            let bad = || NewError::Header { name: name.clone() };
            let mut sent = HeaderValue::from_str(value.reveal()).map_err(|_| bad())?;
            sent.set_sensitive(true);
            headers.insert(HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?, sent);
        }
        // The HTTP client would panic.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err(NewError::NoTls);
        }
        let http = reqwest::Client::builder()
            .default_headers(headers)
            .timeout(options.timeout)
            .redirect(Policy::limited(3))
            .user_agent(concat!("aegis/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| NewError::Client { reason: reasons(&error) })?;
        Ok(Self { http, base, options })
    }

    /// `path` below the base address, which may itself have a path.
    fn address(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        url
    }

    pub(crate) async fn get(
        &self,
        path: &str,
        parameters: &[(&str, String)],
        accept: &str,
    ) -> Result<Answer, UpstreamError> {
        let url = self.address(path);
        self.send(self.http.get(url.clone()).query(parameters), &url, accept).await
    }

    pub(crate) async fn post_form(&self, path: &str, form: &[(&str, String)]) -> Result<Answer, UpstreamError> {
        let url = self.address(path);
        self.send(self.http.post(url.clone()).form(form), &url, "application/json").await
    }

    async fn send(&self, request: reqwest::RequestBuilder, url: &Url, accept: &str) -> Result<Answer, UpstreamError> {
        let url = shown(url);
        let mut request = request.header(ACCEPT, accept);
        if let Some(token) = &self.options.bearer {
            request = request.bearer_auth(token.reveal());
        }
        if let Some((user, password)) = &self.options.basic {
            request = request.basic_auth(user, Some(password.reveal()));
        }
        let mut response = request.send().await.map_err(|error| self.failed(&url, error))?;
        let status = response.status();
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failed(&url, error))? {
            if bytes.len() + chunk.len() > MAX_BYTES {
                return Err(UpstreamError::TooLarge { url, limit: MAX_BYTES });
            }
            bytes.extend_from_slice(&chunk);
        }
        if status != StatusCode::OK && status != StatusCode::NO_CONTENT {
            return Err(UpstreamError::Status { url, status: status.as_u16(), text: said(&bytes) });
        }
        Ok(Answer { url, content_type, bytes })
    }

    fn failed(&self, url: &str, error: reqwest::Error) -> UpstreamError {
        if error.is_timeout() {
            return UpstreamError::Timeout { url: url.to_owned(), seconds: self.options.timeout.as_secs() };
        }
        // reqwest would print the whole address, parameters included.
        UpstreamError::Unreachable { url: url.to_owned(), reason: reasons(&error.without_url()) }
    }
}

/// What a server says about a refusal: the `error` of a Prometheus envelope, or its first characters.
fn said(bytes: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Envelope {
        error: String,
    }
    let text = serde_json::from_slice::<Envelope>(bytes)
        .map_or_else(|_| String::from_utf8_lossy(bytes).trim().to_owned(), |envelope| envelope.error);
    if text.is_empty() {
        return "nothing".to_owned();
    }
    if text.chars().count() > MAX_SHOWN {
        let mut short: String = text.chars().take(MAX_SHOWN).collect();
        short.push('…');
        return short;
    }
    text
}

/// The causes behind an error in one line.
fn reasons(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

fn shown(url: &Url) -> String {
    let mut url = url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.to_string()
}

/// For texts that are not even addresses: everything before the last `@` may be a credential.
fn without_credentials(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((_, rest)) => format!("***@{rest}"),
        None => url.to_owned(),
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut ahead = rest.clone();
        let pair = [ahead.next(), ahead.next()].map(|digit| digit.and_then(|digit| char::from(digit).to_digit(16)));
        match (byte, pair) {
            (b'%', [Some(high), Some(low)]) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'%'));
                rest = ahead;
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
