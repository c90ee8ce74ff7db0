//! Where targets come from: lists, and the ways of discovery.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use signal::{Labels, parse_duration};

use super::http::{HttpSettings, is_url, with_http};
use super::kubernetes::{Role, Selectors};

/// Targets that share labels.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TargetGroup {
    /// Each has `__address__`, `host:port`.
    pub targets: Vec<Labels>,
    /// Labels all of them get.
    pub labels: Labels,
}

impl TargetGroup {
    /// Targets of which only the address is known.
    pub fn of_addresses(addresses: impl IntoIterator<Item = impl AsRef<str>>, labels: Labels) -> Self {
        let targets = addresses.into_iter();
        Self {
            targets: targets.map(|address| Labels::from_pairs([("__address__", address.as_ref())])).collect(),
            labels,
        }
    }
}

/// A group as written in configurations, files and answers of discovery servers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupFile {
    /// `host:port` each.
    #[serde(default, deserialize_with = "super::or_default")]
    pub targets: Vec<String>,
    /// Labels all of them get.
    #[serde(default, deserialize_with = "super::or_default")]
    pub labels: Labels,
}

impl From<GroupFile> for TargetGroup {
    fn from(file: GroupFile) -> Self {
        Self::of_addresses(file.targets, file.labels)
    }
}

/// Why a list of targets cannot be read; the source says where.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the target list; expected `[{{\"targets\": [\"host:port\"], \"labels\": {{}}}}]`")]
pub struct SdError(#[from] serde_json::Error);

/// Reads `[{"targets": ["host:port"], "labels": {…}}]`.
///
/// # Errors
/// `SdError` for anything else, unknown keys included.
pub fn parse_target_groups(json: &[u8]) -> Result<Vec<TargetGroup>, SdError> {
    let groups: Vec<GroupFile> = serde_json::from_slice(json)?;
    Ok(groups.into_iter().map(TargetGroup::from).collect())
}

/// `file_sd_configs` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSdFile {
    /// Paths that end in `.json`, `.yml` or `.yaml`; the last part may contain `*`.
    pub files: Vec<String>,
    /// Time between two looks at them, besides the looks at whether they changed. Default `5m`.
    pub refresh_interval: Option<String>,
}

with_http! {
    /// `http_sd_configs` as written.
    pub struct HttpSdFile {
        /// Where the list is.
        pub url: String,
        /// Time between two requests. Default `1m`.
        pub refresh_interval: Option<String>,
    }
}

/// `dns_sd_configs` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsSdFile {
    /// What is looked up.
    pub names: Vec<String>,
    /// `SRV`, `A`, `AAAA`, `MX` or `NS`. Default `SRV`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Port of the targets; required unless the type is `SRV`, which names it.
    pub port: Option<u16>,
    /// Time between two lookups. Default `30s`.
    pub refresh_interval: Option<String>,
}

with_http! {
    /// `kubernetes_sd_configs` as written.
    pub struct KubernetesSdFile {
        /// Which objects become targets. Required.
        pub role: Option<Role>,
        /// Base URL of the API server; without it and without `kubeconfig_file` the pod's service account is used.
        pub api_server: Option<String>,
        /// A client configuration; not together with `api_server`.
        pub kubeconfig_file: Option<PathBuf>,
        /// Where to look; everywhere when empty.
        pub namespaces: NamespacesFile,
        /// Which objects to ask for.
        pub selectors: Vec<SelectorFile>,
        /// What else to say about a target.
        pub attach_metadata: AttachFile,
    }
}

/// `namespaces` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NamespacesFile {
    /// Whether our own pod's namespace is meant.
    pub own_namespace: bool,
    /// Further names.
    pub names: Vec<String>,
}

/// One of `selectors` as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelectorFile {
    /// Which objects.
    pub role: Role,
    /// Label selector, in Kubernetes' words.
    #[serde(default)]
    pub label: String,
    /// Field selector, in Kubernetes' words.
    #[serde(default)]
    pub field: String,
}

/// `attach_metadata` as written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttachFile {
    /// Labels of the node a pod or endpoint is on.
    pub node: bool,
    /// Labels and annotations of the namespace.
    pub namespace: bool,
}

/// A way of discovery.
#[derive(Clone, PartialEq, Debug)]
pub enum Discovery {
    /// Files.
    File(FileSd),
    /// A server that answers with a list.
    Http(Box<HttpSd>),
    /// The domain name system.
    Dns(DnsSd),
    /// A Kubernetes API server.
    Kubernetes(Box<KubernetesSd>),
}

/// Files that list targets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileSd {
    /// Paths; the last part may be a pattern.
    pub files: Vec<PathBuf>,
    /// Time between two readings of files that seem not to have changed.
    pub refresh: Duration,
}

/// A server that answers with a list of targets.
#[derive(Clone, PartialEq, Debug)]
pub struct HttpSd {
    /// Where.
    pub url: String,
    /// How to get there.
    pub http: HttpSettings,
    /// Time between two requests.
    pub refresh: Duration,
}

/// Names to look up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DnsSd {
    /// The names.
    pub names: Vec<String>,
    /// Which records.
    pub kind: DnsRecord,
    /// Port of the targets, where records do not name it.
    pub port: u16,
    /// Time between two lookups.
    pub refresh: Duration,
}

/// A kind of record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DnsRecord {
    /// Services: host and port.
    Srv,
    /// IPv4 addresses.
    A,
    /// IPv6 addresses.
    Aaaa,
    /// Mail servers.
    Mx,
    /// Name servers.
    Ns,
}

/// Objects of a Kubernetes cluster.
#[derive(Clone, PartialEq, Debug)]
pub struct KubernetesSd {
    /// Which objects become targets.
    pub role: Role,
    /// How to reach the API server.
    pub server: KubernetesServer,
    /// Whether our own pod's namespace is meant.
    pub own_namespace: bool,
    /// Where to look; everywhere when empty and `own_namespace` is false.
    pub namespaces: Vec<String>,
    /// Which objects to ask for.
    pub selectors: Selectors,
    /// What else to say about a target.
    pub attach: AttachFile,
}

/// How to reach an API server.
#[derive(Clone, PartialEq, Debug)]
pub enum KubernetesServer {
    /// As a pod of the cluster, with its service account.
    InCluster,
    /// By a client configuration.
    Kubeconfig(PathBuf),
    /// At an address.
    Url(String, Box<HttpSettings>),
}

impl FileSdFile {
    pub(super) fn check(self, base: &Path) -> Result<FileSd, String> {
        if self.files.is_empty() {
            return Err("`file_sd_configs` has an entry without `files`".to_owned());
        }
        for file in &self.files {
            let name = file.rsplit('/').next().unwrap_or("");
            let folder = file.strip_suffix(name).unwrap_or("");
            let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
            let is_list = matches!(extension.as_deref(), Some("json" | "yml" | "yaml"));
            if !is_list || folder.contains('*') {
                return Err(format!(
                    "`files` of `file_sd_configs` has `{file}`; expected a path that ends in .json, .yml or .yaml, with \
                     `*` only in its last part"
                ));
            }
        }
        Ok(FileSd {
            files: self.files.iter().map(|file| base.join(file)).collect(),
            refresh: refresh(self.refresh_interval, 300)?,
        })
    }
}

impl HttpSdFile {
    pub(super) fn check(mut self, base: &Path) -> Result<HttpSd, String> {
        if !is_url(&self.url) {
            return Err(format!("`url` of `http_sd_configs` is `{}`; expected http:// or https://", self.url));
        }
        let http = self.take_http().check(base)?;
        Ok(HttpSd { http, refresh: refresh(self.refresh_interval, 60)?, url: self.url })
    }
}

impl DnsSdFile {
    pub(super) fn check(self) -> Result<DnsSd, String> {
        if self.names.is_empty() {
            return Err("`dns_sd_configs` has an entry without `names`".to_owned());
        }
        let kind = match self.kind.as_deref().unwrap_or("SRV").to_ascii_uppercase().as_str() {
            "SRV" => DnsRecord::Srv,
            "A" => DnsRecord::A,
            "AAAA" => DnsRecord::Aaaa,
            "MX" => DnsRecord::Mx,
            "NS" => DnsRecord::Ns,
            other => {
                return Err(format!("`type` of `dns_sd_configs` is `{other}`; expected SRV, A, AAAA, MX or NS"));
            }
        };
        let port = self.port.unwrap_or(0);
        if port == 0 && kind != DnsRecord::Srv {
            return Err("`dns_sd_configs` needs a `port` for all types but SRV".to_owned());
        }
        Ok(DnsSd { names: self.names, kind, port, refresh: refresh(self.refresh_interval, 30)? })
    }
}

impl KubernetesSdFile {
    pub(super) fn check(mut self, base: &Path) -> Result<KubernetesSd, String> {
        let http = self.take_http();
        let Some(role) = self.role else {
            let roles = "node, pod, service, endpoints, endpointslice or ingress";
            return Err(format!("`kubernetes_sd_configs` has an entry without `role`; expected {roles}"));
        };
        let server = match (self.api_server, self.kubeconfig_file) {
            (Some(_), Some(_)) => {
                return Err("`api_server` and `kubeconfig_file` cannot be used together".to_owned());
            }
            (Some(url), None) if is_url(&url) => {
                let url = url.trim_end_matches('/').to_owned();
                KubernetesServer::Url(url, Box::new(http.check(base)?))
            }
            (Some(url), None) => {
                return Err(format!("`api_server` is `{url}`; expected http:// or https://"));
            }
            (None, _) if !http.is_default() => {
                return Err("settings of the HTTP client of `kubernetes_sd_configs` need `api_server`".to_owned());
            }
            (None, Some(file)) => KubernetesServer::Kubeconfig(base.join(file)),
            (None, None) => KubernetesServer::InCluster,
        };
        let mut selectors = Selectors::default();
        for selector in self.selectors {
            if !role.selects(selector.role) {
                let (role, other) = (role.as_str(), selector.role.as_str());
                return Err(format!("role `{role}` of `kubernetes_sd_configs` does not use a selector for `{other}`"));
            }
            if !selectors.add(selector.role, selector.label, selector.field) {
                let role = selector.role.as_str();
                return Err(format!("`selectors` of `kubernetes_sd_configs` has role `{role}` twice"));
            }
        }
        Ok(KubernetesSd {
            role,
            server,
            own_namespace: self.namespaces.own_namespace,
            namespaces: self.namespaces.names,
            selectors,
            attach: self.attach_metadata,
        })
    }
}

fn refresh(text: Option<String>, default_seconds: u64) -> Result<Duration, String> {
    let Some(text) = text else { return Ok(Duration::from_secs(default_seconds)) };
    match parse_duration(&text) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        Ok(_) | Err(_) => Err(format!("`refresh_interval` is `{text}`; expected a duration above zero, like `30s`")),
    }
}
