//! The API server of a Kubernetes cluster: how to reach it, lists and watches.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ingest::scrape::{Credentials, HttpSettings, KubernetesServer, Secret, SecretSource};
use reqwest::{Response, StatusCode};
use serde::Deserialize;

use crate::scrape::client::{ClientError, HttpClient, plain};

/// Where a pod finds its service account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Most bytes of a page of a list, and of a line of a watch.
const MAX_PAGE: usize = 256 << 20;
const MAX_LINE: usize = 16 << 20;
/// How long a page may take.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the server is asked to keep a watch, and when we no longer believe in it.
const WATCH_SECONDS: u64 = 300;
const WATCH_TIMEOUT: Duration = Duration::from_secs(WATCH_SECONDS + 30);

/// A reachable API server.
#[derive(Debug)]
pub(super) struct Api {
    base: String,
    client: HttpClient,
    namespace: Option<String>,
}

/// The server no longer knows what happened since the version it was asked for.
#[derive(Debug)]
pub(super) struct Gone;

/// Why the server gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("we are in no pod of a cluster: {0} is not set")]
    NoCluster(&'static str),
    #[error("cannot use the kubeconfig {file}: {reason}")]
    Kubeconfig { file: String, reason: String },
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0}")]
    Connection(String),
    #[error("server returned HTTP status {status}: {message}")]
    Status { status: StatusCode, message: String },
    #[error("the server no longer knows what happened since the last answer")]
    Gone(Gone),
    #[error("the server reports {0}")]
    Watch(String),
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the answer is not what Kubernetes answers")]
    Shape,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StatusObject {
    code: u16,
    message: String,
    reason: String,
}

impl ApiError {
    /// What a status object says.
    pub(super) fn of_status(object: &str) -> Self {
        let status: StatusObject = serde_json::from_str(object).unwrap_or_default();
        if status.code == StatusCode::GONE.as_u16() || status.reason == "Expired" {
            return Self::Gone(Gone);
        }
        Self::Watch(format!("{} {}", status.code, status.message))
    }
}

/// Why what stands in files does not lead to a server. A pod's service account is there only in the pod.
pub(super) fn check(server: &KubernetesServer) -> Option<String> {
    match server {
        KubernetesServer::InCluster => None,
        KubernetesServer::Url(..) | KubernetesServer::Kubeconfig(_) => {
            let outcome = Api::open(server).and_then(|api| Ok(api.client.check()?));
            outcome.err().map(|error| error.to_string())
        }
    }
}

impl Api {
    pub(super) fn open(server: &KubernetesServer) -> Result<Self, ApiError> {
        match server {
            KubernetesServer::Url(base, http) => Ok(Self {
                base: base.clone(),
                client: HttpClient::new((**http).clone()),
                namespace: read_namespace(Path::new(ACCOUNT)),
            }),
            KubernetesServer::InCluster => {
                let variable = |name: &'static str| std::env::var(name).map_err(|_| ApiError::NoCluster(name));
                let host = variable("KUBERNETES_SERVICE_HOST")?;
                let port = variable("KUBERNETES_SERVICE_PORT")?;
                Ok(Self::in_cluster(&host, &port, Path::new(ACCOUNT)))
            }
            KubernetesServer::Kubeconfig(file) => {
                let refused = |reason: String| ApiError::Kubeconfig { file: file.display().to_string(), reason };
                let text = std::fs::read_to_string(file).map_err(|error| refused(error.to_string()))?;
                let base = file.parent().unwrap_or(Path::new("."));
                let (url, http, namespace) = kubeconfig(&text, base).map_err(refused)?;
                Ok(Self { base: url, client: HttpClient::new(http), namespace })
            }
        }
    }

    fn in_cluster(host: &str, port: &str, account: &Path) -> Self {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let mut http = HttpSettings {
            credentials: Credentials::Header {
                scheme: "Bearer".to_owned(),
                credentials: SecretSource::File(account.join("token")),
            },
            ..HttpSettings::default()
        };
        http.transport.tls.ca_file = Some(account.join("ca.crt"));
        Self {
            base: format!("https://{host}:{port}"),
            client: HttpClient::new(http),
            namespace: read_namespace(account),
        }
    }

    /// The namespace we are in, as a pod or by the kubeconfig.
    pub(super) fn namespace(&self) -> Option<String> {
        self.namespace.clone()
    }

    /// One page of a list.
    pub(super) async fn list(&self, path: &str, query: &[(&'static str, String)]) -> Result<Vec<u8>, ApiError> {
        let mut response = self.ask(path, query, LIST_TIMEOUT).await?;
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|error| ApiError::Connection(plain(&error)))? {
            if body.len() + part.len() > MAX_PAGE {
                return Err(ApiError::TooLarge(MAX_PAGE));
            }
            body.extend_from_slice(&part);
        }
        Ok(body)
    }

    /// The lines of a watch.
    pub(super) async fn watch(&self, path: &str, mut query: Vec<(&'static str, String)>) -> Result<Lines, ApiError> {
        query.push(("timeoutSeconds", WATCH_SECONDS.to_string()));
        let response = self.ask(path, &query, WATCH_TIMEOUT).await?;
        Ok(Lines { response, rest: Vec::new(), searched: 0 })
    }

    async fn ask(&self, path: &str, query: &[(&'static str, String)], timeout: Duration) -> Result<Response, ApiError> {
        let request = self.client.get(&format!("{}{path}", self.base)).await?;
        let response = request.query(query).timeout(timeout).header("accept", "application/json").send().await;
        let response = response.map_err(|error| ApiError::Connection(plain(&error)))?;
        let status = response.status();
        if status == StatusCode::GONE {
            return Err(ApiError::Gone(Gone));
        }
        if status != StatusCode::OK {
            let body = response.text().await.unwrap_or_default();
            let told: StatusObject = serde_json::from_str(&body).unwrap_or_default();
            let message = told.message.chars().take(200).collect();
            return Err(ApiError::Status { status, message });
        }
        Ok(response)
    }
}

/// An answer that goes on, line by line.
#[derive(Debug)]
pub(super) struct Lines {
    response: Response,
    rest: Vec<u8>,
    /// Bytes of `rest` without an end of line.
    searched: usize,
}

impl Lines {
    /// The next line; `None` once the server is through.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, ApiError> {
        loop {
            let unseen = self.rest.iter().skip(self.searched);
            if let Some(at) = unseen.clone().position(|byte| *byte == b'\n') {
                let tail = self.rest.split_off(self.searched + at + 1);
                let mut line = std::mem::replace(&mut self.rest, tail);
                line.pop();
                self.searched = 0;
                if !line.is_empty() {
                    return Ok(Some(line));
                }
                continue;
            }
            self.searched = self.rest.len();
            if self.rest.len() > MAX_LINE {
                return Err(ApiError::TooLarge(MAX_LINE));
            }
            match self.response.chunk().await {
                Ok(Some(part)) => self.rest.extend_from_slice(&part),
                Ok(None) => return Ok(None),
                // We no longer waited; the next watch goes on from here.
                Err(error) if error.is_timeout() => return Ok(None),
                Err(error) => return Err(ApiError::Connection(plain(&error))),
            }
        }
    }
}

fn read_namespace(account: &Path) -> Option<String> {
    let text = std::fs::read_to_string(account.join("namespace")).ok()?;
    Some(text.trim().to_owned()).filter(|name| !name.is_empty())
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Kubeconfig {
    #[serde(default)]
    current_context: String,
    #[serde(default)]
    contexts: Vec<NamedContext>,
    #[serde(default)]
    clusters: Vec<NamedCluster>,
    #[serde(default)]
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    #[serde(default)]
    user: String,
    namespace: Option<String>,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: ClusterEntry,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ClusterEntry {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
    tls_server_name: Option<String>,
    proxy_url: Option<String>,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    #[serde(default)]
    user: User,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct User {
    token: Option<Secret>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    username: Option<String>,
    password: Option<Secret>,
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<Secret>,
    exec: Option<serde::de::IgnoredAny>,
    auth_provider: Option<serde::de::IgnoredAny>,
}

/// Address, settings and namespace of the current context.
fn kubeconfig(text: &str, base: &Path) -> Result<(String, HttpSettings, Option<String>), String> {
    let config: Kubeconfig = serde_saphyr::from_str(text).map_err(|error| error.without_snippet().to_string())?;
    let missing = |what: &str, name: &str| format!("it has no {what} `{name}`");
    let context = config.contexts.into_iter().find(|context| context.name == config.current_context);
    let context = context.ok_or_else(|| missing("context", &config.current_context))?.context;
    let cluster = config.clusters.into_iter().find(|cluster| cluster.name == context.cluster);
    let cluster = cluster.ok_or_else(|| missing("cluster", &context.cluster))?.cluster;
    let user = config.users.into_iter().find(|user| user.name == context.user);
    let user = match user {
        Some(user) => user.user,
        None if context.user.is_empty() => User::default(),
        None => return Err(missing("user", &context.user)),
    };
    if user.exec.is_some() || user.auth_provider.is_some() {
        return Err("its user gets credentials from a program, which is not supported; use a token".to_owned());
    }
    let mut http = HttpSettings::default();
    let tls = &mut http.transport.tls;
    tls.ca = cluster.certificate_authority_data.as_deref().map(decoded).transpose()?;
    tls.ca_file = cluster.certificate_authority.filter(|_| tls.ca.is_none()).map(|file| base.join(file));
    tls.cert = user.client_certificate_data.as_deref().map(decoded).transpose()?;
    tls.cert_file = user.client_certificate.filter(|_| tls.cert.is_none()).map(|file| base.join(file));
    let key = user.client_key_data.as_ref().map(|key| decoded(key.reveal())).transpose()?;
    tls.key = key.map(Secret::new);
    tls.key_file = user.client_key.filter(|_| tls.key.is_none()).map(|file| base.join(file));
    tls.insecure_skip_verify = cluster.insecure_skip_tls_verify;
    tls.server_name = cluster.tls_server_name;
    http.transport.proxy_url = cluster.proxy_url;
    let bearer = |credentials| Credentials::Header { scheme: "Bearer".to_owned(), credentials };
    http.credentials = match (user.token, user.token_file, user.username) {
        (_, Some(file), _) => bearer(SecretSource::File(base.join(file))),
        (Some(token), None, _) => bearer(SecretSource::Inline(token)),
        (None, None, Some(name)) => Credentials::Basic {
            username: SecretSource::Inline(Secret::new(name)),
            password: SecretSource::Inline(user.password.unwrap_or_default()),
        },
        (None, None, None) => Credentials::None,
    };
    Ok((cluster.server.trim_end_matches('/').to_owned(), http, context.namespace))
}

fn decoded(text: &str) -> Result<String, String> {
    let bytes = STANDARD.decode(text.trim()).map_err(|_| "it holds data that is not base64".to_owned())?;
    String::from_utf8(bytes).map_err(|_| "it holds a certificate that is not PEM".to_owned())
}

#[cfg(test)]
mod tests;
