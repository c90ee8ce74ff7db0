//! Who answers: a server by its address, the server that holds a data directory, or the directory itself.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use reqwest::Url;
use store::{Fsync, OpenError, OsDisk, Store, StoreSettings};

use super::note;

/// Longest time a server may take for one answer.
const TIMEOUT: Duration = Duration::from_secs(150);
/// Longest time until a connection is there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// What we call ourselves.
const AGENT: &str = concat!("aegis/", env!("CARGO_PKG_VERSION"));
/// Most bytes of an answer.
const MAX_BYTES: usize = 1 << 30;
/// The file in a data directory that holds the address of the server that uses it.
const LISTEN_FILE: &str = "listen";

#[derive(Clone, Debug, Args)]
pub(crate) struct PlaceArgs {
    /// Server to ask, such as `http://127.0.0.1:4300`: Aegis, or anything with the HTTP API of Prometheus or Loki.
    #[arg(long, visible_alias = "addr", value_name = "URL", conflicts_with = "data_dir")]
    url: Option<String>,
    /// Data directory to read when no --url is given; if a server uses it, that server is asked.
    #[arg(long, value_name = "DIR", default_value = "aegis-data")]
    data_dir: PathBuf,
}

/// Who answers.
#[derive(Debug)]
pub(crate) enum Place {
    Server(Server),
    Store(Box<Store>),
}

impl PlaceArgs {
    /// Finds out. Opening a directory reads it as a start of the server does.
    pub(crate) fn locate(&self) -> anyhow::Result<Place> {
        if let Some(url) = &self.url {
            return Ok(Place::Server(Server::new(url)?));
        }
        if !self.data_dir.is_dir() {
            bail!(
                "there is no data directory at `{}`; name one with --data-dir, or a server with --url",
                self.data_dir.display()
            );
        }
        open(&self.data_dir)
    }

    /// Only this directory.
    pub(crate) fn of(data_dir: PathBuf) -> Self {
        Self { url: None, data_dir }
    }

    /// Like [`locate`](Self::locate), but makes the directory when it is not there.
    pub(crate) fn locate_or_make(&self) -> anyhow::Result<Place> {
        match &self.url {
            Some(url) => Ok(Place::Server(Server::new(url)?)),
            None => open(&self.data_dir),
        }
    }
}

fn open(data_dir: &Path) -> anyhow::Result<Place> {
    // Nothing is dropped by age or size here: that is the running server's business.
    // A query writes nothing, and an import is made durable at its end.
    let settings = StoreSettings { fsync: Fsync::Never, ..StoreSettings::default() };
    match Store::open(data_dir, settings, Arc::new(OsDisk)) {
        Ok(store) => {
            for problem in store.status().problems {
                note(&format!("{}: damaged at byte {}: {}", problem.file.display(), problem.offset, problem.reason));
            }
            Ok(Place::Store(Box::new(store)))
        }
        Err(OpenError::InUse { .. }) => {
            let file = data_dir.join(LISTEN_FILE);
            let address = std::fs::read_to_string(&file).with_context(|| {
                format!("`{}` is in use, and `{}` does not say by whom", data_dir.display(), file.display())
            })?;
            Ok(Place::Server(Server::new(&format!("http://{}", address.trim()))?))
        }
        Err(error) => Err(error.into()),
    }
}

/// A server and how to talk to it.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    base: Url,
    http: reqwest::Client,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the credentials.
        let mut shown = self.base.clone();
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        f.write_str(shown.as_str().trim_end_matches('/'))
    }
}

impl Server {
    pub(crate) fn new(url: &str) -> anyhow::Result<Self> {
        let base = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let Some(base) = base else { bail!("--url is no address like `http://127.0.0.1:4300`") };
        let http = reqwest::Client::builder().timeout(TIMEOUT).user_agent(AGENT).build()?;
        Ok(Self { base, http })
    }

    fn address(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        url
    }

    /// The body of the answer to a form; refusals of the API are errors with its own words.
    pub(crate) async fn post_form(&self, path: &str, form: &[(&str, String)]) -> anyhow::Result<Vec<u8>> {
        let request = self.http.post(self.address(path)).form(form);
        let (status, body) = self.send(request).await?;
        if status.is_success() {
            return Ok(body);
        }
        bail!("{self} answered {}: {}", status.as_u16(), said(&body));
    }

    /// A request whose answer may take for ever, as one that becomes a websocket.
    pub(crate) fn lasting(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<reqwest::RequestBuilder> {
        let http =
            reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).http1_only().user_agent(AGENT).build()?;
        Ok(http.get(self.address(path)).query(query))
    }

    /// Status and body of any request to this server.
    pub(crate) async fn send(
        &self,
        request: reqwest::RequestBuilder,
    ) -> anyhow::Result<(reqwest::StatusCode, Vec<u8>)> {
        // The library would print the whole address.
        let failed =
            |error: reqwest::Error| anyhow::Error::from(error.without_url()).context(format!("cannot reach {self}"));
        let mut response = request.send().await.map_err(failed)?;
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(failed)? {
            if body.len() + piece.len() > MAX_BYTES {
                bail!("the answer of {self} is larger than the limit of {MAX_BYTES} bytes");
            }
            body.extend_from_slice(&piece);
        }
        Ok((response.status(), body))
    }

    /// A request with a body.
    pub(crate) fn post(
        &self,
        path: &str,
        headers: &[(&'static str, &'static str)],
        body: Vec<u8>,
    ) -> reqwest::RequestBuilder {
        let request = self.http.post(self.address(path)).body(body);
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
    }
}

/// What a server says about a refusal: the `error` of the API's envelope, or its first words.
pub(crate) fn said(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Envelope {
        error: String,
    }
    if let Ok(envelope) = serde_json::from_slice::<Envelope>(body) {
        return envelope.error;
    }
    let mut text = String::new();
    let _ = body.take(300).read_to_string(&mut text);
    text.trim().to_owned()
}
