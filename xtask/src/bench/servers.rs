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
use super::settings::Signal;

const READY_WITHIN: Duration = Duration::from_secs(180);
const STOPPED_WITHIN: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Time a server gets to write out what it was told to.
const AFTER_FLUSH: Duration = Duration::from_secs(3);

const CONFIG: &str = "config.yml";
/// One process on the file system. What would refuse the load or the questions is lifted, answers are not remembered, and
/// no labels are made up from lines.
const LOKI: &str = "\
auth_enabled: false
analytics: {reporting_enabled: false}
server:
  http_listen_address: 127.0.0.1
  grpc_listen_address: 127.0.0.1
  log_level: warn
  grpc_server_max_recv_msg_size: 104857600
  grpc_server_max_send_msg_size: 104857600
common:
  instance_addr: 127.0.0.1
  path_prefix: 'DATA'
  storage: {filesystem: {chunks_directory: 'DATA/chunks', rules_directory: 'DATA/rules'}}
  replication_factor: 1
  ring: {kvstore: {store: inmemory}}
schema_config:
  configs:
  - {from: 2020-10-24, store: tsdb, object_store: filesystem, schema: v13, index: {prefix: index_, period: 24h}}
ingester: {lifecycler: {min_ready_duration: 0s, final_sleep: 0s}}
limits_config:
  reject_old_samples: false
  discover_log_levels: false
  discover_service_name: []
  max_query_length: 0
  ingestion_rate_mb: 1000
  ingestion_burst_size_mb: 2000
  per_stream_rate_limit: 1GB
  per_stream_rate_limit_burst: 2GB
  max_entries_limit_per_query: 10000
  max_query_parallelism: 8
query_range: {align_queries_with_step: false, cache_results: false}
";

/// What is compared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Product {
    Aegis,
    Prometheus,
    VictoriaMetrics,
    Loki,
    VictoriaLogs,
}

impl Product {
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Aegis => "Aegis",
            Self::Prometheus => "Prometheus",
            Self::VictoriaMetrics => "VictoriaMetrics",
            Self::Loki => "Loki",
            Self::VictoriaLogs => "VictoriaLogs",
        }
    }

    /// The flag that names its program.
    pub(super) fn flag(self) -> &'static str {
        match self {
            Self::Aegis => "--aegis",
            Self::Prometheus => "--prometheus",
            Self::VictoriaMetrics => "--victoria-metrics",
            Self::Loki => "--loki",
            Self::VictoriaLogs => "--victoria-logs",
        }
    }

    /// The program when no flag names one, if there is one.
    pub(super) fn program(self) -> Option<PathBuf> {
        match self {
            Self::Aegis => Some("target/release/aegis".into()),
            Self::Prometheus | Self::VictoriaMetrics => self.package().map(PathBuf::from),
            // A program called `loki` may be anything.
            Self::Loki => std::env::var_os("AEGIS_BENCH_LOKI").map(PathBuf::from),
            Self::VictoriaLogs => std::env::var_os("AEGIS_BENCH_VICTORIALOGS").map(PathBuf::from),
        }
    }

    /// The Debian package that has it.
    fn package(self) -> Option<&'static str> {
        match self {
            Self::Prometheus => Some("prometheus"),
            Self::VictoriaMetrics => Some("victoria-metrics"),
            Self::Aegis | Self::Loki | Self::VictoriaLogs => None,
        }
    }

    pub(super) fn how_to_get(self) -> &'static str {
        match self {
            Self::Aegis => "`cargo build --release` makes it, --aegis PATH names another.",
            Self::Prometheus => "`apt-get install prometheus` installs it, --prometheus PATH names another.",
            Self::VictoriaMetrics => {
                "`apt-get install victoria-metrics` installs it, --victoria-metrics PATH names another."
            }
            Self::Loki => "AEGIS_BENCH_LOKI or --loki PATH names its program.",
            Self::VictoriaLogs => "AEGIS_BENCH_VICTORIALOGS or --victoria-logs PATH names its program.",
        }
    }

    fn ready(self) -> &'static str {
        match self {
            Self::Aegis | Self::Prometheus => "/-/ready",
            Self::VictoriaMetrics | Self::VictoriaLogs => "/health",
            Self::Loki => "/ready",
        }
    }

    /// Keeps answers from being remembered.
    fn uncached(self) -> &'static str {
        match self {
            Self::Aegis | Self::Prometheus | Self::Loki | Self::VictoriaLogs => "",
            Self::VictoriaMetrics => "&nocache=1",
        }
    }

    fn arguments(self, dir: &Path, [port, inner]: [u16; 2], program: &Path) -> Vec<String> {
        let (data, config) = (dir.join("data"), dir.join(CONFIG));
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
            Self::Loki => vec![
                format!("-config.file={config}"),
                format!("-server.http-listen-port={port}"),
                format!("-server.grpc-listen-port={inner}"),
            ],
            Self::VictoriaLogs => vec![
                format!("-storageDataPath={data}"),
                format!("-httpListenAddr=127.0.0.1:{port}"),
                "-loggerLevel=WARN".to_owned(),
            ],
        }
    }

    /// What stands in its configuration file.
    fn config(self, data: &Path) -> String {
        match self {
            Self::Prometheus => "global:\n  scrape_interval: 1m\n".to_owned(),
            Self::Loki => LOKI.replace("DATA", &data.display().to_string()),
            Self::Aegis | Self::VictoriaMetrics | Self::VictoriaLogs => String::new(),
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
            Product::Aegis | Product::Prometheus | Product::Loki => "--version",
            Product::VictoriaMetrics | Product::VictoriaLogs => "-version",
        };
        let output = Command::new(program).arg(flag).stdin(Stdio::null()).output().ok()?;
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let version = said.lines().map(str::trim).find(|line| line.contains(|part: char| part.is_ascii_digit()));
        // A package may be built without telling the program its version.
        let package = |name| says(Path::new("dpkg-query"), &["--show", name]).trim().replace('\t', " ");
        let version = version.map(str::to_owned).or_else(|| product.package().map(package));
        let version = version.unwrap_or_else(|| "no version told".to_owned());
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
        fs::write(dir.join(CONFIG), contender.product.config(&dir.join("data")))?;
        let server = Self::start(contender.clone(), dir.to_owned())?;
        server.wait_until_ready()?;
        Ok(server)
    }

    fn start(contender: Contender, dir: PathBuf) -> anyhow::Result<Self> {
        // Whoever takes this port in between makes the start fail, which shows.
        let (first, second) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
        let ports = [first.local_addr()?.port(), second.local_addr()?.port()];
        drop((first, second));
        let log = File::options().create(true).append(true).open(dir.join("log"))?;
        let child = Command::new(&contender.program)
            .args(contender.product.arguments(&dir, ports, &contender.program))
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", contender.program.display()))?;
        let [port, _] = ports;
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
    pub(super) fn long_term_bytes(&self, signal: Signal) -> anyhow::Result<Option<f64>> {
        match (self.contender.product, signal) {
            (Product::Aegis, Signal::Metrics) | (Product::Prometheus, _) => self.snapshot_bytes(),
            (Product::VictoriaMetrics, _) => {
                self.merged(&["/internal/force_flush", "/internal/force_merge"])?;
                Ok(Some(self.bytes_of(&["data", "indexdb"])))
            }
            (Product::VictoriaLogs, _) => {
                self.merged(&["/internal/force_flush", "/internal/force_merge"])?;
                Ok(Some(self.bytes_of(&["partitions"])))
            }
            (Product::Aegis, Signal::Logs) => {
                let (status, _) = Connection::open(self.port)?.ask("POST", "/flush", "", b"")?;
                self.merged(&[])?;
                Ok((status < 300).then(|| self.bytes_of(&["logs/blocks"])))
            }
            (Product::Loki, _) => {
                let (status, _) = Connection::open(self.port)?.ask("POST", "/flush", "", b"")?;
                self.merged(&[])?;
                Ok((status < 300).then(|| self.bytes_of(&["chunks", "tsdb-shipper-active"])))
            }
        }
    }

    /// Asks for what makes a server tidy up, and waits until it has.
    fn merged(&self, targets: &[&str]) -> anyhow::Result<()> {
        for target in targets {
            self.get(target)?;
        }
        sleep(AFTER_FLUSH);
        process::settle(self.process());
        Ok(())
    }

    fn bytes_of(&self, parts: &[&str]) -> f64 {
        parts.iter().map(|part| process::disk_bytes(&self.data().join(part))).sum()
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
