//! The sample application: a small users API with one real weakness, a bounded pool of database connections.

mod accounts;
mod api;
mod call;
mod metrics;
mod names;
mod pool;
mod traffic;
mod users;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use policy::{Evaluation, Policy, Question};
use signal::{AttributeValue, Timestamp};
use tokio::net::TcpListener;

use self::accounts::Account;
use self::metrics::Metrics;
use self::names::Release;
use self::pool::Pool;
use self::traffic::Traffic;
use crate::clock;
use crate::telemetry::{Destination, Telemetry};
use crate::tracecontext::Ids;

const SCHEMA: &str = include_str!("backend/app.cedarschema");
const POLICIES: &str = include_str!("backend/app.cedar");

/// One replica of the sample application.
#[derive(Clone, Debug, clap::Args)]
pub struct BackendArgs {
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Database file, shared by all replicas.
    #[arg(long)]
    pub database: PathBuf,
    /// Release of the application that runs.
    #[arg(long, default_value = "1.0.0")]
    pub release: String,
    /// Connections in the pool.
    #[arg(long, default_value_t = 2)]
    pub db_pool: usize,
    /// Round trip to the database in milliseconds.
    #[arg(long, default_value_t = 69)]
    pub db_service_ms: u64,
    /// Longest wait for a connection in milliseconds.
    #[arg(long, default_value_t = 2_000)]
    pub db_acquire_timeout_ms: u64,
    /// Requests answered at the same time; more get status 429.
    #[arg(long, default_value_t = 1_024)]
    pub max_in_flight: usize,
    /// Base address of a server with the Loki push API.
    #[arg(long)]
    pub loki_url: Option<String>,
    /// Base address of a server with the OTLP/HTTP API.
    #[arg(long)]
    pub otlp_url: Option<String>,
    /// Service name in metrics, logs and traces.
    #[arg(long, default_value = "backend")]
    pub service: String,
    /// Namespace in logs and traces.
    #[arg(long, default_value = "production")]
    pub namespace: String,
}

/// The settings that requests depend on.
#[derive(Clone, Debug)]
struct Settings {
    release: Release,
    db_service: Duration,
    max_in_flight: usize,
}

/// What all requests of one replica share.
#[derive(Debug)]
struct App {
    settings: Settings,
    log_name: String,
    policy: Policy,
    pool: Pool,
    metrics: Metrics,
    telemetry: Arc<Telemetry>,
    resource: Arc<Vec<(String, AttributeValue)>>,
    ids: Ids,
    traffic: Mutex<Traffic>,
    in_flight: AtomicUsize,
    draining: AtomicBool,
}

impl App {
    fn new(args: &BackendArgs, instance: &str, telemetry: Arc<Telemetry>) -> anyhow::Result<Self> {
        let release: Release = args.release.parse()?;
        let policy = Policy::load_with_schema(SCHEMA, &[("app.cedar", POLICIES)]).context("loading app.cedar")?;
        let connections: Vec<_> = (0..args.db_pool)
            .map(|_| users::open(&args.database))
            .collect::<rusqlite::Result<_>>()
            .with_context(|| format!("opening the database {}", args.database.display()))?;
        let resource = [
            ("service.name", args.service.as_str()),
            ("service.namespace", args.namespace.as_str()),
            ("service.instance.id", instance),
            ("service.version", args.release.as_str()),
        ];
        Ok(Self {
            log_name: format!("aegis-{}", args.service),
            policy,
            pool: Pool::new(connections, Duration::from_millis(args.db_acquire_timeout_ms)),
            metrics: Metrics::new(&args.service, &args.release, args.db_pool, clock::now()),
            telemetry,
            resource: Arc::new(resource.map(|(name, value)| call::text(name, value)).into()),
            ids: Ids::new(),
            traffic: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            settings: Settings {
                release,
                db_service: Duration::from_millis(args.db_service_ms),
                max_in_flight: args.max_in_flight,
            },
        })
    }

    /// Admits one more request, until the guard is dropped; `None` when there are too many.
    fn enter(&self) -> Option<InFlight<'_>> {
        let guard = InFlight(&self.in_flight);
        (self.in_flight.fetch_add(1, Ordering::Relaxed) < self.settings.max_in_flight).then_some(guard)
    }

    fn traffic_spike(&self, now: Timestamp) -> Option<(f64, f64)> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner).arrived(now)
    }

    fn may(&self, account: &Account, action: &str) -> Evaluation {
        let question = Question {
            principal: Some(format!("User::\"{}\"", account.id)),
            action: action.to_owned(),
            resource: "Application::\"users\"".to_owned(),
            context: serde_json::Map::new(),
        };
        let entities = serde_json::json!([
            { "uid": { "type": "User", "id": account.id }, "attrs": { "role": account.role }, "parents": [] },
        ]);
        self.policy.evaluate_with(&question, &entities)
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

struct InFlight<'a>(&'a AtomicUsize);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers requests until told to stop, then finishes what is under way and sends the last telemetry.
///
/// # Errors
/// When the settings are wrong, the database cannot be opened or the address is taken.
pub async fn run(args: BackendArgs) -> anyhow::Result<()> {
    let listener = TcpListener::bind(args.listen).await.with_context(|| format!("listening on {}", args.listen))?;
    let address = listener.local_addr()?;
    let instance = crate::child::instance(address);
    let stream = vec![
        ("job", format!("aegis-{}", args.service)),
        ("service", args.service.clone()),
        ("namespace", args.namespace.clone()),
        ("instance", instance.clone()),
    ];
    let telemetry =
        Telemetry::new(Destination { loki_url: args.loki_url.clone(), otlp_url: args.otlp_url.clone(), stream });
    let app = Arc::new(App::new(&args, &instance, telemetry.clone())?);
    let exporter = tokio::spawn(telemetry.clone().export());
    crate::child::report_ready(address)?;

    let draining = app.clone();
    let shutdown = async move {
        crate::child::told_to_stop().await;
        draining.draining.store(true, Ordering::Relaxed);
        // The supervisor has taken this replica off the list before; this is for answers that say `Connection: close`.
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    axum::serve(listener, api::router(app)).with_graceful_shutdown(shutdown).await?;
    telemetry.close();
    exporter.await?;
    Ok(())
}

#[cfg(test)]
mod tests;
