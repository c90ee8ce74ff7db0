//! The servers: how each is started, asked and stopped.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, bail};

use super::clock::Stopwatch;
use super::http::{Connection, Reply};
use super::process;

const READY_WITHIN: Duration = Duration::from_secs(180);
const STOPPED_WITHIN: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Time a server gets to write out what it was told to.
const AFTER_FLUSH: Duration = Duration::from_secs(3);

/// What is compared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Product {
    Aegis,
    Prometheus,
    VictoriaMetrics,
}

impl Product {
    pub(super) const ALL: [Self; 3] = [Self::Aegis, Self::Prometheus, Self::VictoriaMetrics];

    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Aegis => "Aegis",
            Self::Prometheus => "Prometheus",
            Self::VictoriaMetrics => "VictoriaMetrics",
        }
    }

    /// The flag that names its program.
    pub(super) fn flag(self) -> &'static str {
        match self {
            Self::Aegis => "--aegis",
            Self::Prometheus => "--prometheus",
            Self::VictoriaMetrics => "--victoria-metrics",
        }
    }

    /// The program when no flag names one.
    pub(super) fn program(self) -> &'static str {
        match self {
            Self::Aegis => "target/release/aegis",
            Self::Prometheus => "prometheus",
            Self::VictoriaMetrics => "victoria-metrics",
        }
    }

    pub(super) fn how_to_get(self) -> &'static str {
        match self {
            Self::Aegis => "cargo build --release",
            Self::Prometheus => "apt-get install prometheus",
            Self::VictoriaMetrics => "apt-get install victoria-metrics",
        }
    }

    fn ready(self) -> &'static str {
        match self {
            Self::Aegis | Self::Prometheus => "/-/ready",
            Self::VictoriaMetrics => "/health",
        }
    }

    /// Keeps answers from being remembered.
    fn uncached(self) -> &'static str {
        match self {
            Self::Aegis | Self::Prometheus => "",
            Self::VictoriaMetrics => "&nocache=1",
        }
    }

    fn arguments(self, dir: &Path, port: u16, program: &Path) -> Vec<String> {
        let (data, config) = (dir.join("data"), dir.join("prometheus.yml"));
        let (data, config) = (data.display(), config.display());
        match self {
            Self::Aegis => {
                let mut arguments: Vec<String> =
                    ["serve", "--otlp-http", "off", "--otlp-grpc", "off", "--log-level", "warn"]
                        .map(str::to_owned)
                        .into();
                arguments.extend([format!("--data-dir={data}"), format!("--listen=127.0.0.1:{port}")]);
                // Snapshots show what is kept in the long term.
                if says(program, &["serve", "--help"]).contains("--enable-admin-api") {
                    arguments.push("--enable-admin-api".to_owned());
                }
                arguments
            }
            Self::Prometheus => vec![
                format!("--config.file={config}"),
                format!("--storage.tsdb.path={data}"),
                format!("--web.listen-address=127.0.0.1:{port}"),
                "--web.enable-remote-write-receiver".to_owned(),
                "--web.enable-admin-api".to_owned(),
                "--log.level=warn".to_owned(),
            ],
            Self::VictoriaMetrics => vec![
                format!("-storageDataPath={data}"),
                format!("-httpListenAddr=127.0.0.1:{port}"),
                "-search.maxUniqueTimeseries=1000000".to_owned(),
                "-loggerLevel=WARN".to_owned(),
            ],
        }
    }
}

/// What a program prints, both channels together.
fn says(program: &Path, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    output.map_or_else(
        |_| String::new(),
        |output| format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)),
    )
}

/// A product and the program that is it.
#[derive(Clone, Debug)]
pub(super) struct Contender {
    pub(super) product: Product,
    pub(super) program: PathBuf,
    pub(super) version: String,
}

impl Contender {
    /// `None` when there is no such program.
    pub(super) fn find(product: Product, program: &Path) -> Option<Self> {
        let flag = match product {
            Product::Aegis | Product::Prometheus => "--version",
            Product::VictoriaMetrics => "-version",
        };
        let output = Command::new(program).arg(flag).stdin(Stdio::null()).output().ok()?;
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let version = said.lines().map(str::trim).find(|line| line.contains(|part: char| part.is_ascii_digit()));
        // A package may be built without telling the program its version.
        let package = || says(Path::new("dpkg-query"), &["--show", product.program()]).trim().replace('\t', " ");
        let version = version.map_or_else(package, str::to_owned);
        Some(Self { product, program: program.to_owned(), version })
    }
}

/// A server that runs; it ends when dropped.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) contender: Contender,
    child: Child,
    dir: PathBuf,
    pub(super) port: u16,
}

impl Server {
    /// Starts on an empty directory.
    pub(super) fn fresh(contender: &Contender, dir: &Path) -> anyhow::Result<Self> {
        if dir.exists() {
            fs::remove_dir_all(dir).with_context(|| format!("cannot empty {}", dir.display()))?;
        }
        fs::create_dir_all(dir.join("data")).with_context(|| format!("cannot make {}", dir.display()))?;
        fs::write(dir.join("prometheus.yml"), "global:\n  scrape_interval: 1m\n")?;
        let server = Self::start(contender.clone(), dir.to_owned())?;
        server.wait_until_ready()?;
        Ok(server)
    }

    fn start(contender: Contender, dir: PathBuf) -> anyhow::Result<Self> {
        // Whoever takes this port in between makes the start fail, which shows.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = File::options().create(true).append(true).open(dir.join("log"))?;
        let child = Command::new(&contender.program)
            .args(contender.product.arguments(&dir, port, &contender.program))
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", contender.program.display()))?;
        Ok(Self { contender, child, dir, port })
    }

    pub(super) fn wait_until_ready(&self) -> anyhow::Result<()> {
        let watch = Stopwatch::start();
        while watch.elapsed() < READY_WITHIN {
            if self.get(self.contender.product.ready()).is_ok_and(|(status, _)| status == 200) {
                return Ok(());
            }
            sleep(LOOK_EVERY);
        }
        bail!("{} is not ready; see {}", self.contender.product.title(), self.dir.join("log").display())
    }

    /// Kills it as a crash does, and starts it again on what it left. Does not wait until it is ready.
    pub(super) fn crash(mut self) -> anyhow::Result<Self> {
        self.child.kill()?;
        self.child.wait()?;
        let (contender, dir) = (self.contender.clone(), self.dir.clone());
        Self::start(contender, dir)
    }

    /// Ends it as a service manager does.
    pub(super) fn stop(&mut self) -> anyhow::Result<()> {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().context("cannot run `kill`")?;
        let watch = Stopwatch::start();
        while watch.elapsed() < STOPPED_WITHIN {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            sleep(LOOK_EVERY);
        }
        bail!("{} did not stop within {} s", self.contender.product.title(), STOPPED_WITHIN.as_secs())
    }

    pub(super) fn process(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// One request over a connection of its own.
    pub(super) fn get(&self, target: &str) -> anyhow::Result<Reply> {
        Connection::open(self.port)?.ask("GET", target, "", b"")
    }

    /// A target of the query API that no memory of answers helps with.
    pub(super) fn target(&self, path_and_query: &str) -> String {
        format!("/api/v1/{path_and_query}{}", self.contender.product.uncached())
    }

    /// Bytes of the form in which samples stay for long, where the server can be told to make it.
    pub(super) fn long_term_bytes(&self) -> anyhow::Result<Option<f64>> {
        match self.contender.product {
            Product::Aegis | Product::Prometheus => self.snapshot_bytes(),
            Product::VictoriaMetrics => {
                self.get("/internal/force_flush")?;
                self.get("/internal/force_merge")?;
                sleep(AFTER_FLUSH);
                process::settle(self.process());
                let parts = ["data", "indexdb"].map(|part| process::disk_bytes(&self.data().join(part)));
                Ok(Some(parts.iter().sum()))
            }
        }
    }

    /// Bytes of a snapshot, which is made and removed.
    fn snapshot_bytes(&self) -> anyhow::Result<Option<f64>> {
        #[derive(serde::Deserialize)]
        struct Answer {
            data: Name,
        }
        #[derive(serde::Deserialize)]
        struct Name {
            name: String,
        }
        let target = "/api/v1/admin/tsdb/snapshot";
        let (status, body) = Connection::open(self.port)?.ask("POST", target, "", b"")?;
        let Ok(answer) = serde_json::from_slice::<Answer>(&body) else { return Ok(None) };
        if status != 200 {
            return Ok(None);
        }
        let Some(snapshot) = below(&self.data(), &answer.data.name) else { return Ok(None) };
        let bytes = process::disk_bytes(&snapshot);
        fs::remove_dir_all(&snapshot)?;
        Ok(Some(bytes))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The directory of that name, however deep below `dir`.
fn below(dir: &Path, name: &str) -> Option<PathBuf> {
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
            if entry.file_name().to_str() == Some(name) {
                return Some(entry.path());
            }
            waiting.push(entry.path());
        }
    }
    None
}
