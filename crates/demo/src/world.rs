//! Everything that runs during a demo: supervisor, sample application, Aegis, load.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use local::{Client, DeploymentSpec, DeploymentStatus, Phase, Port, Template};
use signal::Timestamp;

use crate::aegis::Aegis;
use crate::capacity::{Capacity, REPLICAS};
use crate::clock::Stopwatch;
use crate::config::{self, Paths, Signals};
use crate::load::Load;
use crate::service::{Service, Start};
use crate::wire::Wire;

const NAMESPACE: &str = "production";
const DEPLOYMENT: &str = "backend";
/// The release that works.
pub(crate) const GOOD_RELEASE: &str = "1.0.0";
/// The release with the defect.
pub(crate) const BAD_RELEASE: &str = "2.0.0";
const START_LIMIT: Duration = Duration::from_secs(30);

/// How the demo was asked to run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) program: PathBuf,
    pub(crate) paths: Paths,
    pub(crate) listen: SocketAddr,
    pub(crate) app_listen: SocketAddr,
    pub(crate) has_upstream: bool,
    /// A Prometheus to keep the metrics in.
    pub(crate) prometheus: Option<PathBuf>,
    pub(crate) base_rps: f64,
    pub(crate) seed: u64,
}

/// The running whole.
#[derive(Debug)]
pub(crate) struct World {
    settings: Settings,
    services: Vec<Service>,
    supervisor: Option<Service>,
    client: Client,
    pub(crate) aegis: Aegis,
    /// Where logs and traces are sent and stored.
    pub(crate) storage: Aegis,
    /// Where metrics are stored, by an Aegis or a Prometheus.
    pub(crate) metrics: Aegis,
    pub(crate) load: Option<Load>,
}

/// Says which flag helps when a port is taken.
pub(crate) fn check_ports(listen: SocketAddr, app_listen: SocketAddr) -> anyhow::Result<()> {
    for (address, what, flag) in [(listen, "Aegis", "--listen"), (app_listen, "the sample application", "--app-listen")]
    {
        if let Err(error) = TcpListener::bind(address) {
            bail!("{address}, where {what} should listen, is not free ({error}); choose another with {flag} ADDRESS");
        }
    }
    if listen == app_listen {
        bail!("--listen and --app-listen are both {listen}; they must differ");
    }
    Ok(())
}

impl World {
    /// Starts supervisor and Aegis; the sample application follows with [`deploy`](Self::deploy).
    pub(crate) fn start(settings: &Settings) -> anyhow::Result<Self> {
        let paths = &settings.paths;
        std::fs::create_dir_all(paths.run_dir()).with_context(|| format!("creating {}", paths.run_dir().display()))?;
        write(&paths.policy(), config::POLICY)?;
        if let Some(program) = &settings.prometheus {
            check_prometheus(program)?;
        }
        let [first, second] = free_addresses()?;
        let upstream = settings.has_upstream.then_some(first);
        let prometheus = settings.prometheus.as_ref().map(|_| second);
        let signals = Signals { metrics: prometheus.or(upstream), others: upstream };
        write(&paths.config("aegis"), &config::main_config(settings.listen, paths, signals))?;

        let run_dir = paths.run_dir().display().to_string();
        let owner = std::process::id().to_string();
        let supervisor = Service::start(Start {
            name: "the supervisor",
            program: settings.program.clone(),
            arguments: words(&["supervise", "--run-dir", &run_dir, "--with-owner", &owner]),
            log: paths.log("supervisor"),
        })?;
        let aegis = Aegis::new(format!("http://{}", settings.listen));
        let mut world = Self {
            storage: aegis.clone(),
            metrics: aegis.clone(),
            aegis,
            services: Vec::new(),
            supervisor: Some(supervisor),
            client: Client::new(&paths.run_dir()),
            load: None,
            settings: settings.clone(),
        };
        if let Some(address) = upstream {
            let config = config::upstream_config(address, settings.listen, paths, prometheus.is_none());
            write(&paths.config("upstream"), &config)?;
            world.serve("upstream")?;
            world.storage = Aegis::new(format!("http://{address}"));
            world.metrics = world.storage.clone();
        }
        if let (Some(program), Some(address)) = (&settings.prometheus, prometheus) {
            write(&paths.config("prometheus"), &config::prometheus_config(settings.listen, paths))?;
            world.store_metrics(program, address)?;
            world.metrics = Aegis::new(format!("http://{address}"));
        }
        world.serve("aegis")?;
        Ok(world)
    }

    fn serve(&mut self, name: &'static str) -> anyhow::Result<()> {
        let paths = &self.settings.paths;
        let config = paths.config(name).display().to_string();
        let data = paths.data(name).display().to_string();
        let shown = self.settings.program.display().to_string();
        let name_shown = if name == "aegis" { "Aegis" } else { "the upstream Aegis" };
        let log = paths.log(name);
        self.launch(name_shown, &[&shown, "serve", "--config", &config, "--data-dir", &data], log)
    }

    /// Starts a Prometheus that scrapes the sample application and Aegis.
    fn store_metrics(&mut self, program: &Path, address: SocketAddr) -> anyhow::Result<()> {
        let paths = &self.settings.paths;
        let log = paths.log("prometheus");
        let command = [
            program.display().to_string(),
            format!("--config.file={}", paths.config("prometheus").display()),
            format!("--storage.tsdb.path={}", paths.data("prometheus").display()),
            format!("--web.listen-address={address}"),
            "--log.level=warn".to_owned(),
        ];
        self.launch("Prometheus", &command.each_ref().map(String::as_str), log)
    }

    /// Starts a program so that the kernel ends it when the demo dies without a chance to do so itself.
    fn launch(&mut self, name: &'static str, command: &[&str], log: PathBuf) -> anyhow::Result<()> {
        let arguments = words(&[&["launch", "--"], command].concat());
        let start = Start { name, program: self.settings.program.clone(), arguments, log };
        self.services.push(Service::start(start)?);
        Ok(())
    }

    /// Deploys the sample application and waits until users can reach it and Aegis answers.
    pub(crate) async fn deploy(&mut self) -> anyhow::Result<()> {
        self.until("the supervisor", async |world: &Self| world.status().await.is_ok()).await?;
        self.apply(GOOD_RELEASE).await?;
        self.apply_spec(self.proxy()).await?;
        self.until("Aegis", async |world: &Self| world.aegis.is_ready().await && world.storage.is_ready().await)
            .await?;
        if self.settings.prometheus.is_some() {
            self.until("Prometheus", async |world: &Self| world.metrics.answers_queries().await).await?;
        }
        self.until("the sample application", async |world: &Self| world.is_calm(GOOD_RELEASE).await).await?;
        let wire = Wire::new(Duration::from_secs(2));
        let health = format!("{}/healthz", self.app_url());
        self.until("the proxy", async |_: &Self| wire.get(&health).await.is_ok_and(|answer| answer.status.is_success()))
            .await
    }

    /// Waits until `holds`, at most [`START_LIMIT`]; a process that ended meanwhile is an error.
    async fn until(&mut self, what: &str, holds: impl AsyncFn(&Self) -> bool) -> anyhow::Result<()> {
        let watch = Stopwatch::start();
        while !holds(self).await {
            for service in self.services.iter_mut().chain(self.supervisor.as_mut()) {
                if let Some(ending) = service.ended() {
                    bail!("{} {ending} while starting:\n{}", service.name(), service.last_words());
                }
            }
            if watch.elapsed() > START_LIMIT {
                let log = self.settings.paths.root.display();
                bail!("{what} was not ready after {} s; the logs are in {log} (use --keep)", START_LIMIT.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Starts the usual traffic.
    pub(crate) fn start_load(&mut self) {
        self.load = Some(Load::start(&self.app_url(), self.settings.seed, self.settings.base_rps));
    }

    /// Starts again what ended without being asked to; words about each.
    pub(crate) fn keep(&mut self, now: Timestamp) -> Vec<String> {
        self.services.iter_mut().chain(self.supervisor.as_mut()).filter_map(|service| service.keep(now)).collect()
    }

    /// Where users reach the sample application.
    pub(crate) fn app_url(&self) -> String {
        format!("http://{}", self.settings.app_listen)
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Process id of the Aegis that watches.
    pub(crate) fn aegis_id(&self) -> Option<u32> {
        self.services.last().map(Service::id)
    }

    /// Asks for a release with the usual number of replicas; an ordinary rolling deployment.
    pub(crate) async fn apply(&self, release: &str) -> anyhow::Result<()> {
        self.apply_spec(self.backend(release)).await
    }

    async fn apply_spec(&self, spec: DeploymentSpec) -> anyhow::Result<()> {
        let client = self.client.clone();
        let applied = tokio::task::spawn_blocking(move || client.apply(&spec, "deploy pipeline", Duration::ZERO));
        applied.await?.map(|_| ()).context("deploying")
    }

    async fn status(&self) -> anyhow::Result<Vec<DeploymentStatus>> {
        let client = self.client.clone();
        Ok(tokio::task::spawn_blocking(move || client.status()).await??)
    }

    async fn backend_status(&self) -> Option<DeploymentStatus> {
        let all = self.status().await.ok()?;
        all.into_iter().find(|status| status.target.name == DEPLOYMENT && status.target.namespace == NAMESPACE)
    }

    /// The revision and whether one of its replicas gets requests already.
    pub(crate) async fn revision(&self) -> Option<(u64, bool)> {
        let status = self.backend_status().await?;
        let is_current = |phase: Phase, revision: u64| phase == Phase::Ready && revision == status.revision;
        let serves = status.instances.iter().any(|instance| is_current(instance.phase, instance.revision));
        Some((status.revision, serves))
    }

    /// Whether `release` runs with the usual number of replicas and nothing is changing.
    pub(crate) async fn is_calm(&self, release: &str) -> bool {
        let status = self.backend_status().await;
        status.is_some_and(|status| status.is_settled && status.version == release && status.ready == REPLICAS)
    }

    fn backend(&self, release: &str) -> DeploymentSpec {
        let capacity = Capacity::for_rate(self.settings.base_rps);
        let arguments = [
            ("--database", self.settings.paths.database().display().to_string()),
            ("--release", release.to_owned()),
            ("--db-pool", capacity.pool.to_string()),
            ("--db-service-ms", capacity.service_ms.to_string()),
            ("--loki-url", self.storage.url.clone()),
            ("--otlp-url", self.storage.url.clone()),
        ];
        let mut command = vec![self.settings.program.display().to_string(), "demo-backend".to_owned()];
        command.extend(arguments.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
        DeploymentSpec {
            namespace: NAMESPACE.to_owned(),
            name: DEPLOYMENT.to_owned(),
            service: "backend".to_owned(),
            replicas: REPLICAS,
            template: Template::new(release, command, Port::Reported),
        }
    }

    fn proxy(&self) -> DeploymentSpec {
        let settings = &self.settings;
        let arguments = [
            ("--listen", settings.app_listen.to_string()),
            ("--targets", settings.paths.targets().display().to_string()),
            ("--otlp-url", self.storage.url.clone()),
        ];
        let mut command = vec![settings.program.display().to_string(), "demo-proxy".to_owned()];
        command.extend(arguments.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
        let mut template = Template::new(GOOD_RELEASE, command, Port::Fixed(settings.app_listen.port()));
        template.readiness = "/-/proxy/healthz".to_owned();
        DeploymentSpec {
            namespace: "edge".to_owned(),
            name: "proxy".to_owned(),
            service: "edge-proxy".to_owned(),
            replicas: 1,
            template,
        }
    }

    /// Stops everything, the askers before the asked. Leaves no process behind.
    pub(crate) async fn stop(mut self) {
        if let Some(load) = self.load.take() {
            load.stop().await;
        }
        while let Some(service) = self.services.pop() {
            service.stop(Duration::from_secs(10)).await;
        }
        let client = self.client.clone();
        let asked = tokio::task::spawn_blocking(move || client.shutdown(Duration::from_secs(15))).await;
        let patience = if matches!(asked, Ok(Ok(true))) { Duration::from_secs(5) } else { Duration::from_secs(15) };
        if let Some(supervisor) = self.supervisor.take() {
            supervisor.stop(patience).await;
        }
    }
}

/// Addresses on which nobody listens, all different.
fn free_addresses<const N: usize>() -> anyhow::Result<[SocketAddr; N]> {
    let bind = |_| TcpListener::bind("127.0.0.1:0");
    let listeners: Vec<TcpListener> = (0..N).map(bind).collect::<Result<_, _>>().context("finding a free port")?;
    let addresses: Vec<SocketAddr> =
        listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>().context("finding a free port")?;
    addresses.try_into().map_err(|_| anyhow::anyhow!("finding a free port"))
}

/// Whether the program of `--prometheus` can be started; better said before anything else is.
fn check_prometheus(program: &Path) -> anyhow::Result<()> {
    let shown = program.display();
    let asked = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    let answer = asked.with_context(|| format!("`{shown}`, named by --prometheus, cannot be started"))?;
    if !answer.status.success() {
        let said = String::from_utf8_lossy(&answer.stderr).trim().chars().take(200).collect::<String>();
        bail!("`{shown} --version`, the program named by --prometheus, ended with {}: {said}", answer.status);
    }
    Ok(())
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn write(path: &std::path::Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prometheus_that_cannot_be_started_is_named_with_its_flag() {
        for (case, program, said) in [
            ("not there", "/nowhere/prometheus", "cannot be started"),
            ("not one", "/bin/false", "ended with exit status: 1"),
        ] {
            let error = check_prometheus(Path::new(program)).unwrap_err().to_string();
            assert!(
                error.contains(said) && error.contains("--prometheus") && error.contains(program),
                "{case}: {error}"
            );
        }
    }

    #[test]
    fn free_addresses_differ() {
        let [one, other] = free_addresses().unwrap();
        assert_ne!(one, other);
    }
}
