//! Requests as they arrive at real servers on loopback.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect};
use axum::routing::{get, post};
use ingest::scrape::{HttpSettings, ScrapeFile, ScrapeGlobal, Surroundings};

use super::client::HttpClient;
use super::*;

/// Serves `routes` on a free port for as long as the test runs.
pub(super) async fn serve(routes: Router) -> String {
    // As `main` does; a second time changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    format!("http://{address}")
}

/// The HTTP settings of a job that has these keys besides its name.
fn settings(keys: &str, base: &Path) -> HttpSettings {
    let file: ScrapeFile = serde_json::from_str(&format!(r#"{{"job_name":"j"{keys}}}"#)).unwrap();
    let second = std::time::Duration::from_secs(1);
    let global = ScrapeGlobal::default();
    file.check(Surroundings { interval: second, timeout: second, global: &global, base }).unwrap().http
}

type Seen = Arc<Mutex<Vec<BTreeMap<String, String>>>>;

async fn note(State(seen): State<Seen>, headers: HeaderMap) -> &'static str {
    let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    seen.lock().unwrap().push(headers.collect());
    "ok"
}

/// The headers of a request that such a job makes.
async fn sent(keys: &str, base: &Path) -> BTreeMap<String, String> {
    let seen = Seen::default();
    let server = serve(Router::new().route("/", get(note)).with_state(Arc::clone(&seen))).await;
    let client = HttpClient::new(settings(keys, base));
    let response = client.get(&server).await.unwrap().send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    seen.lock().unwrap().remove(0)
}

#[tokio::test]
async fn credentials_are_sent() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "from-file\n").unwrap();
    for (case, keys, header, want) in [
        ("basic", r#","basic_auth":{"username":"u","password":"p"}"#, "authorization", "Basic dTpw"),
        (
            "basic by file",
            r#","basic_auth":{"username":"u","password_file":"secret"}"#,
            "authorization",
            "Basic dTpmcm9tLWZpbGU=",
        ),
        ("bearer", r#","bearer_token":"t""#, "authorization", "Bearer t"),
        ("bearer by file", r#","bearer_token_file":"secret""#, "authorization", "Bearer from-file"),
        (
            "scheme",
            r#","authorization":{"type":"Token","credentials_file":"secret"}"#,
            "authorization",
            "Token from-file",
        ),
        ("header", r#","http_headers":{"X-Scope-OrgID":{"values":["a"]}}"#, "x-scope-orgid", "a"),
        ("none", "", "user-agent", concat!("Aegis/", env!("CARGO_PKG_VERSION"))),
    ] {
        let headers = sent(keys, dir.path()).await;
        assert_eq!(headers.get(header).map(String::as_str), Some(want), "{case}");
    }
}

#[tokio::test]
async fn a_secret_that_changes_in_its_file_is_sent_anew() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let seen = Seen::default();
    let server = serve(Router::new().route("/", get(note)).with_state(Arc::clone(&seen))).await;
    let client = HttpClient::new(settings(r#","bearer_token_file":"token""#, dir.path()));
    for token in ["one", "two"] {
        std::fs::write(&file, token).unwrap();
        client.get(&server).await.unwrap().send().await.unwrap();
        assert_eq!(seen.lock().unwrap().pop().unwrap()["authorization"], format!("Bearer {token}"));
    }
    std::fs::remove_file(&file).unwrap();
    assert!(client.get(&server).await.unwrap_err().to_string().starts_with("cannot read "));
}

#[tokio::test]
async fn tokens_are_fetched_once() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let token = move |headers: HeaderMap, body: Bytes| {
        counter.fetch_add(1, Ordering::AcqRel);
        async move {
            let form = String::from_utf8(body.to_vec()).unwrap();
            // A server that wants its client in the form, as some do.
            if headers.contains_key("authorization") {
                return StatusCode::UNAUTHORIZED.into_response();
            }
            assert_eq!(form, "grant_type=client_credentials&scope=a+b&audience=x&client_id=c&client_secret=s");
            r#"{"access_token":"granted","token_type":"bearer","expires_in":3600}"#.into_response()
        }
    };
    let seen = Seen::default();
    let routes = Router::new().route("/token", post(token)).route("/", get(note).with_state(Arc::clone(&seen)));
    let server = serve(routes).await;
    let keys = format!(
        r#","oauth2":{{"client_id":"c","client_secret":"s","scopes":["a","b"],"token_url":"{server}/token","endpoint_params":{{"audience":"x"}}}}"#
    );
    let client = HttpClient::new(settings(&keys, Path::new(".")));
    for _ in 0..3 {
        client.get(&server).await.unwrap().send().await.unwrap();
        assert_eq!(seen.lock().unwrap().pop().unwrap()["authorization"], "Bearer granted");
    }
    assert_eq!(asked.load(Ordering::Acquire), 2, "once in a header, once in the form, and never again");
}

#[tokio::test]
async fn redirects_are_followed_unless_told_otherwise() {
    let routes = Router::new().route("/", get(|| async { Redirect::temporary("/there") }));
    let server = serve(routes.route("/there", get(|| async { "ok" }))).await;
    for (keys, want) in [("", StatusCode::OK), (r#","follow_redirects":false"#, StatusCode::TEMPORARY_REDIRECT)] {
        let client = HttpClient::new(settings(keys, Path::new(".")));
        assert_eq!(client.get(&server).await.unwrap().send().await.unwrap().status(), want);
    }
}

#[tokio::test]
async fn requests_go_through_the_proxy() {
    let through = |headers: HeaderMap| async move { headers["host"].to_str().unwrap().to_owned() };
    let proxy = serve(Router::new().fallback(through)).await;
    let client =
        HttpClient::new(settings(&format!(r#","proxy_url":"{proxy}","no_proxy":"127.0.0.1""#), Path::new(".")));
    let answer = client.get("http://nowhere.invalid:1234/").await.unwrap().send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "nowhere.invalid:1234");
}

#[test]
fn a_url_of_this_machine_is_shown_as_others_reach_it() {
    let own = OwnAddress { listen: "127.0.0.1:4300".parse().unwrap(), hostname: "box".to_owned() };
    for (url, want) in [
        ("http://127.0.0.1:9100/metrics", "http://box:9100/metrics"),
        ("https://localhost:4300/m?a=b", "http://box:4300/m?a=b"),
        ("http://[::1]:1/", "http://box:1/"),
        ("http://other:1/x", "http://other:1/x"),
    ] {
        assert_eq!(own.global(url), want, "{url}");
    }
}

/// Certificates of an authority of our own.
struct Authority {
    pem: String,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut about = rcgen::CertificateParams::new(Vec::new()).unwrap();
        about.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self { pem: about.self_signed(&key).unwrap().pem(), issuer: rcgen::Issuer::new(about, key) }
    }

    /// A certificate for `name` and its key.
    fn issue(&self, name: &str) -> (rcgen::Certificate, rcgen::KeyPair) {
        let key = rcgen::KeyPair::generate().unwrap();
        let about = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        (about.signed_by(&key, &self.issuer).unwrap(), key)
    }
}

/// An HTTPS server that shows a certificate for `node.test` and may want one of its client.
async fn serve_encrypted(authority: &Authority, wants_client: bool) -> String {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let _ = rustls::crypto::ring::default_provider().install_default();
    let (certificate, key) = authority.issue("node.test");
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let builder = rustls::ServerConfig::builder();
    let builder = if wants_client {
        let verifier = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..length]).to_lowercase();
                let host = request.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or("");
                let answer =
                    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{host}", host.len());
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    format!("https://{address}")
}

#[tokio::test]
async fn certificates_are_checked_as_configured() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (certificate, key) = authority.issue("client.test");
    for (file, text) in
        [("ca.pem", authority.pem.clone()), ("cert.pem", certificate.pem()), ("key.pem", key.serialize_pem())]
    {
        std::fs::write(dir.path().join(file), text).unwrap();
    }
    let open = serve_encrypted(&authority, false).await;
    let closed = serve_encrypted(&authority, true).await;
    for (case, server, tls, works) in [
        ("name and authority", &open, r#""ca_file":"ca.pem","server_name":"node.test""#, true),
        ("the address is not its name", &open, r#""ca_file":"ca.pem""#, false),
        ("another name", &open, r#""ca_file":"ca.pem","server_name":"other.test""#, false),
        ("unknown authority", &open, r#""server_name":"node.test""#, false),
        ("anything goes", &open, r#""insecure_skip_verify":true"#, true),
        ("a client without a name", &closed, r#""ca_file":"ca.pem","server_name":"node.test""#, false),
        (
            "a client with one",
            &closed,
            r#""ca_file":"ca.pem","server_name":"node.test","cert_file":"cert.pem","key_file":"key.pem""#,
            true,
        ),
        (
            "versions",
            &closed,
            r#""ca_file":"ca.pem","server_name":"node.test","cert_file":"cert.pem","key_file":"key.pem","min_version":"TLS10","max_version":"TLS12""#,
            true,
        ),
    ] {
        let client = HttpClient::new(settings(&format!(r#","tls_config":{{{tls}}}"#), dir.path()));
        let answer = match client.get(server).await {
            Ok(request) => request.send().await.ok(),
            Err(_) => None,
        };
        assert_eq!(answer.is_some(), works, "{case}");
        if let Some(answer) = answer {
            // The target keeps its own address in the request.
            assert_eq!(answer.text().await.unwrap(), server.trim_start_matches("https://"), "{case}");
        }
    }
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("bad.pem"), "no certificate").unwrap();
    for (tls, want) in [
        (r#""ca_file":"missing.pem""#, "cannot read "),
        (r#""cert_file":"bad.pem","key_file":"bad.pem""#, "cannot use `cert` and `key`"),
    ] {
        let client = HttpClient::new(settings(&format!(r#","tls_config":{{{tls}}}"#), dir.path()));
        let error = client.get("https://127.0.0.1:1").await.unwrap_err().to_string();
        assert!(error.starts_with(want), "{error}");
    }
}

#[test]
fn a_check_reads_every_file_that_scraping_needs() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("bad.yml"), "- target: [x]\n").unwrap();
    std::fs::write(dir.path().join("kube"), "current-context: none\n").unwrap();
    let text = "scrape_configs:\n- job_name: a\n  bearer_token_file: gone\n  file_sd_configs: [{files: [bad.yml, gone.json]}]\n\
                - job_name: b\n  http_sd_configs: [{url: 'http://h', tls_config: {ca_file: gone}}]\n  \
                kubernetes_sd_configs: [{role: pod}, {role: node, kubeconfig_file: kube}]\n";
    let config = crate::config::parse("a.yaml", text, dir.path()).unwrap();
    let found = check(&config);
    let place = dir.path().display();
    for (found, want) in found.iter().zip([
        format!("job `a`: cannot read {place}/gone: No such file"),
        format!("job `a`: {place}/gone.json does not exist"),
        format!("job `a`: {place}/bad.yml: unknown field `target`"),
        format!("job `b`: cannot read {place}/gone: No such file"),
        format!("job `b`: cannot use the kubeconfig {place}/kube: it has no context `none`"),
    ]) {
        assert!(found.starts_with(&want), "{found}\n{want}");
    }
    assert_eq!(found.len(), 5, "{found:?}");
}
