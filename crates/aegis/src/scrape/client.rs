//! HTTP as a configuration wants it: who we say we are, whom we trust, which way we go.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use form_urlencoded::byte_serialize;
use ingest::scrape::{Credentials, HttpSettings, OAuth2, Secret, SecretSource, TlsFile, TlsVersion, Transport};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Client, Identity, NoProxy, Proxy, RequestBuilder, Url, redirect, tls};
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::clock::Stopwatch;

/// How often certificates and keys in files are looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// Connections are kept for longer than most intervals.
const IDLE: Duration = Duration::from_secs(300);
const CONNECT: Duration = Duration::from_secs(30);
const MAX_REDIRECTS: usize = 10;
/// How long a token server may take.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);
/// A token is replaced this long before it ends.
const TOKEN_MARGIN: Duration = Duration::from_secs(10);
/// How long a token is used whose end is not told.
const TOKEN_LIFE: Duration = Duration::from_secs(3600);
/// Most clients that are kept because of `server_name`, one for each host.
const MAX_NAMED: usize = 10_000;

/// Why a request cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("cannot read {file}: {source}")]
    File { file: String, source: std::io::Error },
    #[error("`{file}` is larger than {MAX_FILE} bytes")]
    LargeFile { file: String },
    #[error("cannot use {what}: {reason}")]
    Settings { what: &'static str, reason: String },
    #[error("`{0}` is not a URL")]
    Url(String),
    #[error("no token from {url}: {reason}")]
    Token { url: String, reason: String },
}

/// Most bytes of a file with a secret or certificates.
const MAX_FILE: u64 = 4 << 20;

/// Makes requests as its settings say. Secrets in files are read for each request, certificates when they change.
#[derive(Debug)]
pub(crate) struct HttpClient {
    settings: HttpSettings,
    built: Mutex<Option<Built>>,
    token: Mutex<Option<Token>>,
    /// One request for a token at a time; the others wait for its answer.
    asking: Semaphore,
}

/// Clients, and the files they were made of.
#[derive(Debug)]
struct Built {
    files: TlsTexts,
    looked: Stopwatch,
    client: Client,
    /// With `server_name`: one for each host, since each resolves that name to its own address.
    named: std::collections::HashMap<String, Client>,
}

/// Certificates and keys as texts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct TlsTexts {
    ca: Option<String>,
    identity: Option<Secret>,
}

#[derive(Debug)]
struct Token {
    text: Secret,
    got: Stopwatch,
    life: Duration,
}

impl HttpClient {
    /// Nothing is opened or read before the first request.
    pub(crate) fn new(settings: HttpSettings) -> Self {
        Self { settings, built: Mutex::default(), token: Mutex::default(), asking: Semaphore::new(1) }
    }

    /// A GET with everything but its deadline.
    pub(crate) async fn get(&self, url: &str) -> Result<RequestBuilder, ClientError> {
        let mut request = self.start(url)?;
        for (name, value) in &self.settings.headers {
            let value = text_of(value)?;
            request = request.header(name.as_str(), secret_header("http_headers", &value)?);
        }
        Ok(match &self.settings.credentials {
            Credentials::None => request,
            Credentials::Basic { username, password } => {
                request.basic_auth(text_of(username)?, Some(text_of(password)?))
            }
            Credentials::Header { scheme, credentials } => {
                let value = format!("{scheme} {}", text_of(credentials)?);
                request.header("authorization", secret_header("authorization", &value)?)
            }
            Credentials::OAuth2(oauth2) => {
                let value = format!("Bearer {}", self.token(oauth2).await?);
                request.header("authorization", secret_header("oauth2", &value)?)
            }
        })
    }

    /// Reads everything that requests need from files, and asks nobody.
    pub(super) fn check(&self) -> Result<(), ClientError> {
        self.client(None)?;
        for (_, value) in &self.settings.headers {
            text_of(value)?;
        }
        match &self.settings.credentials {
            Credentials::None => {}
            Credentials::Basic { username, password } => {
                text_of(username)?;
                text_of(password)?;
            }
            Credentials::Header { credentials, .. } => drop(text_of(credentials)?),
            Credentials::OAuth2(oauth2) => {
                text_of(&oauth2.client_secret)?;
                build(&oauth2.transport, &TlsTexts::read(&oauth2.transport.tls)?, None)?;
            }
        }
        Ok(())
    }

    fn start(&self, url: &str) -> Result<RequestBuilder, ClientError> {
        let mut parsed = Url::parse(url).map_err(|_| ClientError::Url(url.to_owned()))?;
        let name = self.settings.transport.tls.server_name.as_deref().filter(|name| !name.is_empty());
        let host = parsed.host_str().unwrap_or("").to_owned();
        let Some(name) = name.filter(|name| parsed.scheme() == "https" && *name != host) else {
            return Ok(self.client(None)?.get(parsed));
        };
        // The name stands in the URL, so that it is asked for and checked; its address is that of the host.
        let header = match parsed.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.clone(),
        };
        parsed.set_host(Some(name)).map_err(|_| ClientError::Settings {
            what: "`server_name`",
            reason: format!("`{name}` is not a host name"),
        })?;
        Ok(self.client(Some((name, &host)))?.get(parsed).header(HOST, header))
    }

    /// The client; `(name, host)` when `name` is to lead to `host`.
    fn client(&self, named: Option<(&str, &str)>) -> Result<Client, ClientError> {
        let transport = &self.settings.transport;
        let mut slot = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.as_ref().is_none_or(|built| built.looked.elapsed() > LOOK_AGAIN) {
            let files = TlsTexts::read(&transport.tls)?;
            match slot.as_mut() {
                Some(built) if built.files == files => built.looked = Stopwatch::start(),
                Some(_) | None => {
                    let client = build(transport, &files, None)?;
                    let looked = Stopwatch::start();
                    *slot = Some(Built { files, looked, client, named: std::collections::HashMap::new() });
                }
            }
        }
        let Some(built) = slot.as_mut() else {
            return Err(ClientError::Settings { what: "the HTTP client", reason: "it could not be built".to_owned() });
        };
        let Some((name, host)) = named else { return Ok(built.client.clone()) };
        if let Some(client) = built.named.get(host) {
            return Ok(client.clone());
        }
        let client = build(transport, &built.files, Some((name, host)))?;
        if built.named.len() >= MAX_NAMED {
            built.named.clear();
        }
        built.named.insert(host.to_owned(), client.clone());
        Ok(client)
    }

    async fn token(&self, oauth2: &OAuth2) -> Result<String, ClientError> {
        let known = || {
            let slot = self.token.lock().unwrap_or_else(PoisonError::into_inner);
            slot.as_ref().filter(|token| token.got.elapsed() < token.life).map(|token| token.text.reveal().to_owned())
        };
        if let Some(token) = known() {
            return Ok(token);
        }
        let _turn = self.asking.acquire().await;
        if let Some(token) = known() {
            return Ok(token);
        }
        let got = Stopwatch::start();
        let answer = ask_for_token(oauth2).await?;
        let life = answer.expires_in.map_or(TOKEN_LIFE, Duration::from_secs).saturating_sub(TOKEN_MARGIN);
        let token = Token { text: Secret::new(answer.access_token.clone()), got, life };
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
        Ok(answer.access_token)
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    expires_in: Option<u64>,
}

/// Says who we are in a header first, as the standard wants it, then in the form, as some servers do.
async fn ask_for_token(oauth2: &OAuth2) -> Result<TokenAnswer, ClientError> {
    let secret = text_of(&oauth2.client_secret)?;
    let files = TlsTexts::read(&oauth2.transport.tls)?;
    let client = build(&oauth2.transport, &files, None)?;
    let error = |reason: String| ClientError::Token { url: oauth2.token_url.clone(), reason };
    let mut form = vec![("grant_type", "client_credentials".to_owned())];
    if !oauth2.scopes.is_empty() {
        form.push(("scope", oauth2.scopes.join(" ")));
    }
    form.extend(oauth2.endpoint_params.iter().map(|(name, value)| (name.as_str(), value.clone())));
    let mut status = String::new();
    for is_in_form in [false, true] {
        let mut request = client.post(&oauth2.token_url).timeout(TOKEN_TIMEOUT);
        if is_in_form {
            form.push(("client_id", oauth2.client_id.clone()));
            form.push(("client_secret", secret.clone()));
        } else {
            let escaped = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            request = request.basic_auth(escaped(&oauth2.client_id), Some(escaped(&secret)));
        }
        let response = request.form(&form).send().await.map_err(|failure| error(plain(&failure)))?;
        if response.status().is_success() {
            let body = response.bytes().await.map_err(|failure| error(plain(&failure)))?;
            let answer: Option<TokenAnswer> = serde_json::from_slice(&body).ok();
            return answer.ok_or_else(|| error("the answer holds no `access_token`".to_owned()));
        }
        status = format!("server returned HTTP status {}", response.status());
    }
    Err(error(status))
}

impl TlsTexts {
    fn read(tls: &TlsFile) -> Result<Self, ClientError> {
        let file = |path: &Option<std::path::PathBuf>| path.as_deref().map(read).transpose();
        let ca = tls.ca.clone().map_or_else(|| file(&tls.ca_file), |ca| Ok(Some(ca)))?;
        let cert = tls.cert.clone().map_or_else(|| file(&tls.cert_file), |cert| Ok(Some(cert)))?;
        let key = tls.key.as_ref().map_or_else(|| file(&tls.key_file), |key| Ok(Some(key.reveal().to_owned())))?;
        let identity = cert.zip(key).map(|(cert, key)| Secret::new(format!("{cert}\n{key}")));
        Ok(Self { ca, identity })
    }
}

fn build(transport: &Transport, files: &TlsTexts, named: Option<(&str, &str)>) -> Result<Client, ClientError> {
    let refused =
        |what: &'static str| move |error: reqwest::Error| ClientError::Settings { what, reason: plain(&error) };
    let mut builder = Client::builder()
        .user_agent(concat!("Aegis/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        // A page is unpacked by us, with a cap.
        .no_gzip()
        .redirect(if transport.keeps_redirects {
            redirect::Policy::none()
        } else {
            redirect::Policy::limited(MAX_REDIRECTS)
        });
    if transport.http1_only {
        builder = builder.http1_only();
    }
    if let Some(pem) = &files.ca {
        let certificates = Certificate::from_pem_bundle(pem.as_bytes()).map_err(refused("`ca`"))?;
        builder = builder.tls_certs_only(certificates);
    }
    if let Some(pem) = &files.identity {
        builder = builder.identity(Identity::from_pem(pem.reveal().as_bytes()).map_err(refused("`cert` and `key`"))?);
    }
    builder = builder.tls_danger_accept_invalid_certs(transport.tls.insecure_skip_verify);
    // Older versions are not spoken anyway.
    if transport.tls.min_version == Some(TlsVersion::V13) {
        builder = builder.tls_version_min(tls::Version::TLS_1_3);
    }
    if transport.tls.max_version == Some(TlsVersion::V12) {
        builder = builder.tls_version_max(tls::Version::TLS_1_2);
    }
    if let Some(url) = &transport.proxy_url {
        let mut headers = HeaderMap::new();
        for (name, values) in &transport.proxy_connect_header {
            let name: HeaderName = name.parse().map_err(|_| ClientError::Settings {
                what: "`proxy_connect_header`",
                reason: format!("`{name}` is not the name of a header"),
            })?;
            for value in values {
                headers.append(name.clone(), secret_header("proxy_connect_header", value.reveal())?);
            }
        }
        let skipped = transport.no_proxy.as_deref().and_then(NoProxy::from_string);
        let proxy = Proxy::all(url).map_err(refused("`proxy_url`"))?;
        builder = builder.proxy(proxy.headers(headers).no_proxy(skipped));
    } else if !transport.proxy_from_environment {
        builder = builder.no_proxy();
    }
    if let Some((name, host)) = named {
        builder = builder.dns_resolver(Alias { name: name.to_owned(), host: host.to_owned() });
    }
    builder.build().map_err(refused("the settings of the HTTP client"))
}

/// Leads one name to the address of another.
struct Alias {
    name: String,
    host: String,
}

impl Resolve for Alias {
    fn resolve(&self, name: Name) -> Resolving {
        let host = if name.as_str() == self.name { self.host.clone() } else { name.as_str().to_owned() };
        Box::pin(async move {
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            let found: Vec<SocketAddr> = match bare.parse::<IpAddr>() {
                Ok(address) => vec![SocketAddr::new(address, 0)],
                Err(_) => tokio::net::lookup_host((bare, 0)).await?.collect(),
            };
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

fn text_of(source: &SecretSource) -> Result<String, ClientError> {
    match source {
        SecretSource::Inline(secret) => Ok(secret.reveal().to_owned()),
        SecretSource::File(path) => Ok(read(path)?.trim().to_owned()),
    }
}

fn read(path: &Path) -> Result<String, ClientError> {
    let file = || path.display().to_string();
    let size = std::fs::metadata(path).map_err(|source| ClientError::File { file: file(), source })?.len();
    if size > MAX_FILE {
        return Err(ClientError::LargeFile { file: file() });
    }
    std::fs::read_to_string(path).map_err(|source| ClientError::File { file: file(), source })
}

fn secret_header(what: &'static str, text: &str) -> Result<HeaderValue, ClientError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| ClientError::Settings {
        what,
        reason: "a value has letters that no header may have".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// The innermost reason, without the URL, which stands beside it anyway.
pub(super) fn plain(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "context deadline exceeded".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
