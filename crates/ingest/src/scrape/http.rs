//! How to reach a server over HTTP: Prometheus' `HTTPClientConfig`, which jobs and their discoveries share.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the one place that sends it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A text that stands in the configuration or in a file of its own, which is read anew for each use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SecretSource {
    /// In the configuration.
    Inline(Secret),
    /// In a file; blanks around it do not count.
    File(PathBuf),
}

/// `basic_auth` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BasicAuthFile {
    /// User name.
    pub username: Option<String>,
    /// File that holds it.
    pub username_file: Option<PathBuf>,
    /// Password.
    pub password: Option<Secret>,
    /// File that holds it.
    pub password_file: Option<PathBuf>,
}

/// `authorization` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthorizationFile {
    /// The scheme. Default `Bearer`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// What follows it.
    pub credentials: Option<Secret>,
    /// File that holds it.
    pub credentials_file: Option<PathBuf>,
}

/// `oauth2` as written: client credentials.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OAuth2File {
    /// Required.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: Option<Secret>,
    /// File that holds it.
    pub client_secret_file: Option<PathBuf>,
    /// Scopes to ask for.
    pub scopes: Vec<String>,
    /// Where tokens are given. Required.
    pub token_url: String,
    /// Further parameters of the request.
    pub endpoint_params: BTreeMap<String, String>,
    /// TLS towards `token_url`.
    pub tls_config: TlsFile,
    /// Proxy towards `token_url`.
    pub proxy_url: Option<String>,
    /// Hosts reached without it, separated by commas.
    pub no_proxy: Option<String>,
    /// Whether the environment names the proxy.
    pub proxy_from_environment: bool,
    /// Headers for the proxy.
    pub proxy_connect_header: BTreeMap<String, Vec<Secret>>,
}

/// `tls_config` as written.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsFile {
    /// Certificates to trust, in PEM; the system's when there are none.
    pub ca: Option<String>,
    /// Our certificate, in PEM.
    pub cert: Option<String>,
    /// Its key, in PEM.
    pub key: Option<Secret>,
    /// File with the certificates to trust.
    pub ca_file: Option<PathBuf>,
    /// File with our certificate.
    pub cert_file: Option<PathBuf>,
    /// File with its key.
    pub key_file: Option<PathBuf>,
    /// The name the server's certificate has to carry, when it is not that of the address.
    pub server_name: Option<String>,
    /// Takes any certificate. Default false.
    pub insecure_skip_verify: bool,
    /// Oldest version of TLS. Below `TLS12` nothing is spoken.
    pub min_version: Option<TlsVersion>,
    /// Newest version of TLS.
    pub max_version: Option<TlsVersion>,
}

/// A version of TLS.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
pub enum TlsVersion {
    /// Accepted in a configuration, never spoken.
    #[serde(rename = "TLS10")]
    V10,
    /// Accepted in a configuration, never spoken.
    #[serde(rename = "TLS11")]
    V11,
    /// 1.2.
    #[serde(rename = "TLS12")]
    V12,
    /// 1.3.
    #[serde(rename = "TLS13")]
    V13,
}

/// One of `http_headers` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderFile {
    /// Values.
    pub values: Vec<String>,
    /// Values that are never shown.
    pub secrets: Vec<Secret>,
    /// Files that hold a value each.
    pub files: Vec<PathBuf>,
}

/// The keys of `HTTPClientConfig` as written. They stand beside the keys of their owner.
#[derive(Clone, Debug, Default)]
pub struct HttpFile {
    /// User name and password.
    pub basic_auth: Option<BasicAuthFile>,
    /// A value of the `Authorization` header.
    pub authorization: Option<AuthorizationFile>,
    /// Tokens from a server that gives them.
    pub oauth2: Option<OAuth2File>,
    /// The same as `authorization.credentials`.
    pub bearer_token: Option<Secret>,
    /// The same as `authorization.credentials_file`.
    pub bearer_token_file: Option<PathBuf>,
    /// TLS.
    pub tls_config: TlsFile,
    /// Whether redirects are followed. Default true.
    pub follow_redirects: Option<bool>,
    /// Whether HTTP/2 is offered over TLS. Default true.
    pub enable_http2: Option<bool>,
    /// Proxy.
    pub proxy_url: Option<String>,
    /// Hosts reached without it, separated by commas.
    pub no_proxy: Option<String>,
    /// Whether the environment names the proxy. Default false.
    pub proxy_from_environment: bool,
    /// Headers for the proxy.
    pub proxy_connect_header: BTreeMap<String, Vec<Secret>>,
    /// Further headers of every request.
    pub http_headers: BTreeMap<String, HeaderFile>,
}

/// Defines a struct as written whose keys include those of [`HttpFile`]: flattening would let unknown keys pass.
macro_rules! with_http {
    ($(#[$meta:meta])* pub struct $name:ident { $($body:tt)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $($body)*
            /// User name and password.
            pub basic_auth: Option<$crate::scrape::http::BasicAuthFile>,
            /// A value of the `Authorization` header.
            pub authorization: Option<$crate::scrape::http::AuthorizationFile>,
            /// Tokens from a server that gives them.
            pub oauth2: Option<$crate::scrape::http::OAuth2File>,
            /// The same as `authorization.credentials`.
            pub bearer_token: Option<$crate::scrape::http::Secret>,
            /// The same as `authorization.credentials_file`.
            pub bearer_token_file: Option<std::path::PathBuf>,
            /// TLS.
            #[serde(deserialize_with = "crate::scrape::or_default")]
            pub tls_config: $crate::scrape::http::TlsFile,
            /// Whether redirects are followed. Default true.
            pub follow_redirects: Option<bool>,
            /// Whether HTTP/2 is offered over TLS. Default true.
            pub enable_http2: Option<bool>,
            /// Proxy.
            pub proxy_url: Option<String>,
            /// Hosts reached without it, separated by commas.
            pub no_proxy: Option<String>,
            /// Whether the environment names the proxy. Default false.
            pub proxy_from_environment: bool,
            /// Headers for the proxy.
            #[serde(deserialize_with = "crate::scrape::or_default")]
            pub proxy_connect_header: std::collections::BTreeMap<String, Vec<$crate::scrape::http::Secret>>,
            /// Further headers of every request.
            #[serde(deserialize_with = "crate::scrape::or_default")]
            pub http_headers: std::collections::BTreeMap<String, $crate::scrape::http::HeaderFile>,
        }

        impl $name {
            fn take_http(&mut self) -> $crate::scrape::http::HttpFile {
                $crate::scrape::http::HttpFile {
                    basic_auth: self.basic_auth.take(),
                    authorization: self.authorization.take(),
                    oauth2: self.oauth2.take(),
                    bearer_token: self.bearer_token.take(),
                    bearer_token_file: self.bearer_token_file.take(),
                    tls_config: std::mem::take(&mut self.tls_config),
                    follow_redirects: self.follow_redirects,
                    enable_http2: self.enable_http2,
                    proxy_url: self.proxy_url.take(),
                    no_proxy: self.no_proxy.take(),
                    proxy_from_environment: self.proxy_from_environment,
                    proxy_connect_header: std::mem::take(&mut self.proxy_connect_header),
                    http_headers: std::mem::take(&mut self.http_headers),
                }
            }
        }
    };
}
pub(super) use with_http;

/// Who we say we are.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Credentials {
    /// Nothing is said.
    #[default]
    None,
    /// User name and password.
    Basic {
        /// User name.
        username: SecretSource,
        /// Password.
        password: SecretSource,
    },
    /// A value of the `Authorization` header.
    Header {
        /// The scheme, such as `Bearer`.
        scheme: String,
        /// What follows it.
        credentials: SecretSource,
    },
    /// Tokens from a server that gives them.
    OAuth2(Box<OAuth2>),
}

/// The client credentials grant.
#[derive(Clone, PartialEq, Debug)]
pub struct OAuth2 {
    /// Who asks.
    pub client_id: String,
    /// Its secret.
    pub client_secret: SecretSource,
    /// What for.
    pub scopes: Vec<String>,
    /// Where.
    pub token_url: String,
    /// Further parameters of the request.
    pub endpoint_params: BTreeMap<String, String>,
    /// How to get there.
    pub transport: Transport,
}

/// How connections are made.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Transport {
    /// TLS; paths are ready to be opened.
    pub tls: TlsFile,
    /// Proxy.
    pub proxy_url: Option<String>,
    /// Hosts reached without it, separated by commas.
    pub no_proxy: Option<String>,
    /// Whether the environment names the proxy.
    pub proxy_from_environment: bool,
    /// Headers for the proxy.
    pub proxy_connect_header: BTreeMap<String, Vec<Secret>>,
    /// Whether redirects are not followed.
    pub keeps_redirects: bool,
    /// Whether HTTP/2 is not offered.
    pub http1_only: bool,
}

/// How to reach a server, as it can only be valid.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct HttpSettings {
    /// Who we say we are.
    pub credentials: Credentials,
    /// How connections are made.
    pub transport: Transport,
    /// Further headers of every request.
    pub headers: Vec<(String, SecretSource)>,
}

/// Headers that are set otherwise.
const RESERVED: [&str; 12] = [
    "authorization",
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
];

impl HttpFile {
    /// Whether nothing is written.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.basic_auth.is_none()
            && self.authorization.is_none()
            && self.oauth2.is_none()
            && self.bearer_token.is_none()
            && self.bearer_token_file.is_none()
            && self.tls_config == TlsFile::default()
            && self.proxy_url.is_none()
            && !self.proxy_from_environment
            && self.http_headers.is_empty()
    }

    /// Gives usable settings; relative paths start at `base`.
    ///
    /// # Errors
    /// The keys that do not go together, in words.
    pub fn check(self, base: &Path) -> Result<HttpSettings, String> {
        let ways = [
            ("basic_auth", self.basic_auth.is_some()),
            ("authorization", self.authorization.is_some()),
            ("oauth2", self.oauth2.is_some()),
            ("bearer_token", self.bearer_token.is_some()),
            ("bearer_token_file", self.bearer_token_file.is_some()),
        ];
        let given: Vec<_> = ways.iter().filter(|(_, given)| *given).map(|(key, _)| format!("`{key}`")).collect();
        if given.len() > 1 {
            return Err(format!("{} cannot be used together", given.join(" and ")));
        }
        let mut transport = Transport {
            tls: self.tls_config,
            proxy_url: self.proxy_url,
            no_proxy: self.no_proxy,
            proxy_from_environment: self.proxy_from_environment,
            proxy_connect_header: self.proxy_connect_header,
            keeps_redirects: !self.follow_redirects.unwrap_or(true),
            http1_only: !self.enable_http2.unwrap_or(true),
        };
        transport.check(base)?;
        let mut credentials = Credentials::None;
        if let Some(basic) = self.basic_auth {
            let username = basic.username.map(Secret::new);
            credentials = Credentials::Basic {
                username: source(base, "username", username, basic.username_file)?,
                password: source(base, "password", basic.password, basic.password_file)?,
            };
        }
        if let Some(header) = self.authorization {
            let scheme = header.kind.as_deref().map(str::trim).filter(|kind| !kind.is_empty()).unwrap_or("Bearer");
            if scheme.eq_ignore_ascii_case("basic") {
                return Err("`authorization.type` cannot be `basic`; use `basic_auth`".to_owned());
            }
            credentials = Credentials::Header {
                scheme: scheme.to_owned(),
                credentials: source(base, "credentials", header.credentials, header.credentials_file)?,
            };
        }
        if self.bearer_token.is_some() || self.bearer_token_file.is_some() {
            credentials = Credentials::Header {
                scheme: "Bearer".to_owned(),
                credentials: source(base, "bearer_token", self.bearer_token, self.bearer_token_file)?,
            };
        }
        if let Some(oauth2) = self.oauth2 {
            credentials = Credentials::OAuth2(Box::new(oauth2.check(base)?));
        }
        let mut headers = Vec::new();
        for (name, header) in self.http_headers {
            if RESERVED.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
                return Err(format!("`http_headers` cannot set `{name}`"));
            }
            let inline = header.values.into_iter().map(Secret::new).chain(header.secrets);
            headers.extend(inline.map(|value| (name.clone(), SecretSource::Inline(value))));
            headers.extend(header.files.iter().map(|file| (name.clone(), SecretSource::File(base.join(file)))));
        }
        Ok(HttpSettings { credentials, transport, headers })
    }
}

impl OAuth2File {
    fn check(self, base: &Path) -> Result<OAuth2, String> {
        if self.client_id.is_empty() {
            return Err("`oauth2.client_id` is missing".to_owned());
        }
        if !is_url(&self.token_url) {
            return Err(format!("`oauth2.token_url` is `{}`; expected http:// or https://", self.token_url));
        }
        let mut transport = Transport {
            tls: self.tls_config,
            proxy_url: self.proxy_url,
            no_proxy: self.no_proxy,
            proxy_from_environment: self.proxy_from_environment,
            proxy_connect_header: self.proxy_connect_header,
            ..Transport::default()
        };
        transport.check(base)?;
        Ok(OAuth2 {
            client_secret: source(base, "client_secret", self.client_secret, self.client_secret_file)?,
            client_id: self.client_id,
            scopes: self.scopes,
            token_url: self.token_url,
            endpoint_params: self.endpoint_params,
            transport,
        })
    }
}

impl Transport {
    fn check(&mut self, base: &Path) -> Result<(), String> {
        let tls = &mut self.tls;
        for (key, has_text, file) in [
            ("ca", tls.ca.is_some(), &mut tls.ca_file),
            ("cert", tls.cert.is_some(), &mut tls.cert_file),
            ("key", tls.key.is_some(), &mut tls.key_file),
        ] {
            if has_text && file.is_some() {
                return Err(format!("`tls_config` has both `{key}` and `{key}_file`"));
            }
            *file = file.take().filter(|file| !file.as_os_str().is_empty()).map(|file| base.join(file));
        }
        let (has_cert, has_key) =
            (tls.cert.is_some() || tls.cert_file.is_some(), tls.key.is_some() || tls.key_file.is_some());
        if has_cert != has_key {
            let (given, missing) = if has_cert { ("certificate", "key") } else { ("key", "certificate") };
            return Err(format!("`tls_config` has a client {given} and no {missing}"));
        }
        if tls.min_version.zip(tls.max_version).is_some_and(|(min, max)| min > max) {
            return Err("`tls_config.min_version` is above `max_version`".to_owned());
        }
        if tls.max_version.is_some_and(|max| max < TlsVersion::V12) {
            return Err("`tls_config.max_version` is below `TLS12`, and older versions are not spoken".to_owned());
        }
        if let Some(name) = tls.server_name.as_deref().filter(|name| !name.is_empty()) {
            if name.parse::<std::net::IpAddr>().is_ok() || name.contains(['/', ':', ' ']) {
                return Err(format!("`tls_config.server_name` is `{name}`; expected a host name"));
            }
            if self.proxy_url.is_some() || self.proxy_from_environment {
                return Err("`tls_config.server_name` and a proxy cannot be used together".to_owned());
            }
        }
        if let Some(url) = &self.proxy_url {
            if !is_url(url) {
                return Err("`proxy_url` does not begin with http:// or https://".to_owned());
            }
            if self.proxy_from_environment {
                return Err("`proxy_url` and `proxy_from_environment` cannot be used together".to_owned());
            }
        }
        if self.proxy_from_environment && self.no_proxy.is_some() {
            return Err("`no_proxy` and `proxy_from_environment` cannot be used together".to_owned());
        }
        let has_proxy = self.proxy_url.is_some() || self.proxy_from_environment;
        if !has_proxy && (self.no_proxy.is_some() || !self.proxy_connect_header.is_empty()) {
            return Err("`no_proxy` and `proxy_connect_header` need a proxy".to_owned());
        }
        Ok(())
    }
}

fn source(base: &Path, key: &str, inline: Option<Secret>, file: Option<PathBuf>) -> Result<SecretSource, String> {
    match (inline, file) {
        (Some(_), Some(_)) => Err(format!("`{key}` and `{key}_file` cannot be used together")),
        (inline, None) => Ok(SecretSource::Inline(inline.unwrap_or_default())),
        (None, Some(file)) => Ok(SecretSource::File(base.join(file))),
    }
}

/// Whether the text begins as a URL that can be asked.
pub(super) fn is_url(text: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| text.len() > scheme.len() && text.starts_with(scheme))
}

#[cfg(test)]
mod tests {
    use super::*;

    with_http! {
        /// Nothing but the shared keys.
        pub struct Plain {}
    }

    fn check(json: &str) -> Result<HttpSettings, String> {
        serde_json::from_str::<Plain>(json).map_err(|error| error.to_string())?.take_http().check(Path::new("/etc/a"))
    }

    #[test]
    fn secrets_are_never_shown() {
        for json in [
            r#"{"basic_auth":{"username":"u","password":"hunter2"}}"#,
            r#"{"authorization":{"credentials":"hunter2"}}"#,
            r#"{"bearer_token":"hunter2"}"#,
            r#"{"oauth2":{"client_id":"c","client_secret":"hunter2","token_url":"http://t"}}"#,
            r#"{"http_headers":{"X-A":{"secrets":["hunter2"]}}}"#,
            r#"{"tls_config":{"cert":"c","key":"hunter2"}}"#,
            r#"{"proxy_url":"http://p","proxy_connect_header":{"X":["hunter2"]}}"#,
        ] {
            let shown = format!("{:?}", check(json).unwrap());
            assert!(shown.contains("***") && !shown.contains("hunter2"), "{json}: {shown}");
        }
    }

    #[test]
    fn files_start_at_the_directory_of_the_configuration() {
        let settings = check(
            r#"{"basic_auth":{"username":"u","password_file":"p"},"tls_config":{"ca_file":"ca.pem","cert_file":"/c","key_file":"k"}}"#,
        )
        .unwrap();
        let Credentials::Basic { password, .. } = settings.credentials else { panic!("no basic auth") };
        assert_eq!(password, SecretSource::File("/etc/a/p".into()));
        let tls = settings.transport.tls;
        assert_eq!(tls.ca_file, Some("/etc/a/ca.pem".into()));
        assert_eq!(tls.cert_file, Some("/c".into()));
    }

    #[test]
    fn keys_that_do_not_go_together_are_named() {
        for (json, want) in [
            (r#"{"basic_auth":{},"bearer_token":"x"}"#, "`basic_auth` and `bearer_token` cannot be used together"),
            (
                r#"{"bearer_token":"x","bearer_token_file":"y"}"#,
                "`bearer_token` and `bearer_token_file` cannot be used together",
            ),
            (
                r#"{"basic_auth":{"password":"x","password_file":"y"}}"#,
                "`password` and `password_file` cannot be used together",
            ),
            (r#"{"authorization":{"type":"Basic"}}"#, "`authorization.type` cannot be `basic`; use `basic_auth`"),
            (r#"{"oauth2":{"token_url":"http://t"}}"#, "`oauth2.client_id` is missing"),
            (r#"{"oauth2":{"client_id":"c"}}"#, "`oauth2.token_url` is ``; expected http:// or https://"),
            (r#"{"tls_config":{"cert_file":"c"}}"#, "`tls_config` has a client certificate and no key"),
            (r#"{"tls_config":{"ca":"c","ca_file":"c"}}"#, "`tls_config` has both `ca` and `ca_file`"),
            (
                r#"{"tls_config":{"max_version":"TLS11"}}"#,
                "`tls_config.max_version` is below `TLS12`, and older versions are not spoken",
            ),
            (
                r#"{"tls_config":{"server_name":"10.0.0.1"}}"#,
                "`tls_config.server_name` is `10.0.0.1`; expected a host name",
            ),
            (
                r#"{"tls_config":{"server_name":"a"},"proxy_url":"http://p"}"#,
                "`tls_config.server_name` and a proxy cannot be used together",
            ),
            (r#"{"proxy_url":"p:1"}"#, "`proxy_url` does not begin with http:// or https://"),
            (r#"{"no_proxy":"p:1"}"#, "`no_proxy` and `proxy_connect_header` need a proxy"),
            (r#"{"http_headers":{"Host":{"values":["x"]}}}"#, "`http_headers` cannot set `Host`"),
        ] {
            assert_eq!(check(json).unwrap_err(), want, "{json}");
        }
        assert!(check(r#"{"basic_auth":{"pasword":"x"}}"#).unwrap_err().contains("unknown field `pasword`"));
    }
}
