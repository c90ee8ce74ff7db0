//! `aegis serve`: builds everything bottom-up, runs it, and takes it down in reverse.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, RwLock};
use std::thread;

use anyhow::Context;
use audit::Ledger;
use control::Input;
use detect::RuleSet;
use ingest::SampleRate;
use local::LocalDriver;
use policy::Policy;
use query::promql;
use store::{Fsync, OsDisk, Store, StoreSettings};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};
use upstream::{Loki, Options, Prometheus, Secret, Tempo};
use web::{
    Admin, Ingress, LineTap, Operator, Parts, Reader, SampleLimit, View, Views, lifecycle_router, operator_router,
    otlp_router, router,
};

use crate::audit_commands::audit_dir;
use crate::cli::{Port, ServeArgs};
use crate::config::{self, Config, RemoteSettings};
use crate::control_loop::{ControlLoop, restore};
use crate::instruments::Instruments;
use crate::reload::Reloader;
use crate::rules::{KeptRules, Ruling};
use crate::scrape::{OwnAddress, Scraper};
use crate::sources::Sources;
use crate::syslog::Receiver;
use crate::tail::Tailing;
use crate::templates::Templates;
use crate::watching::Watching;
use crate::{clock, features, logging, seed, writer};

/// Writes that may wait for the writer thread.
const WRITE_QUEUE: usize = 1024;
/// The file in the data directory that holds the address while Aegis runs.
const LISTEN_FILE: &str = "listen";
/// The folder of the data directory with rules that clients handed in.
const RULES_DIR: &str = "rules";

/// Runs Aegis until SIGTERM or Ctrl-C.
///
/// # Errors
/// When the configuration is wrong, the data directory cannot be opened, or a port is taken.
pub(crate) fn serve(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    logging::start(args.log_format, &args.log_level)?;
    let config = with_flags(load_config(args)?, args);
    let args = Arc::new(args.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(run(config, &args));
    // Evaluations of clients that left may still be winding down; they hold nothing that must be saved.
    runtime.shutdown_background();
    outcome.map(|()| ExitCode::SUCCESS)
}

fn load_config(args: &ServeArgs) -> anyhow::Result<Config> {
    match &args.config {
        Some(file) => Ok(config::load(file)?),
        None => Ok(config::parse("defaults", "", std::path::Path::new("."))?),
    }
}

fn with_flags(mut config: Config, args: &ServeArgs) -> Config {
    config.listen = args.listen.unwrap_or(config.listen);
    let port = |flag: Option<Port>, file: Option<SocketAddr>| match flag {
        Some(Port::Off) => None,
        Some(Port::On(address)) => Some(address),
        None => file,
    };
    config.otlp_grpc = port(args.otlp_grpc, config.otlp_grpc);
    config.otlp_http = port(args.otlp_http, config.otlp_http);
    config
}

async fn run(config: Config, args: &Arc<ServeArgs>) -> anyhow::Result<()> {
    let started = clock::now();
    let instruments = Arc::new(Instruments::new());
    let shutdown = CancellationToken::new();

    // Ports first: a mistake there should not cost a replay of the store.
    let main = bind(config.listen, "--listen").await?;
    // Port 0 means any free one; only the socket knows which.
    let listen = main.local_addr()?;
    let mut extra_listeners = Vec::new();
    for (address, flag) in [(config.otlp_grpc, "--otlp-grpc"), (config.otlp_http, "--otlp-http")] {
        if let Some(address) = address {
            let listener = bind(address, flag).await?;
            info!(listen = %listener.local_addr()?, flag, "listening for OpenTelemetry");
            extra_listeners.push(listener);
        }
    }

    let syslog = Receiver::bind(&config.syslog).await?;

    let store = Arc::new(open_store(&config, args)?);
    let (ledger, opened) = Ledger::open(&audit_dir(&args.data_dir), &OsDisk)?;
    if opened.dropped_bytes > 0 {
        warn!(bytes = opened.dropped_bytes, "cut off an unfinished record of the ledger that was never acknowledged");
    }
    let (conductor, timeline) = restore(&opened);
    info!(records = opened.records.len(), open = conductor.incidents().count(), "ledger read");
    let firing: Vec<_> = conductor.incidents().flat_map(|incident| incident.symptoms.clone()).collect();
    drop(opened);

    // The write path.
    let is_writable = Arc::new(AtomicBool::new(true));
    let is_ready = Arc::new(AtomicBool::new(false));
    let (mut ingress, requests) = Ingress::new(WRITE_QUEUE);
    if let Some(per_second) = config.store.max_samples_per_second {
        let instruments = Arc::clone(&instruments);
        ingress = ingress.with_limit(SampleLimit {
            rate: SampleRate::new(per_second),
            now: Arc::new(clock::now),
            refused: Box::new(move |refused| instruments.refused(std::slice::from_ref(refused))),
        });
    }
    let tap = LineTap::default();
    let limits = config.ingest_limits;
    let writer = {
        let (store, instruments, is_writable, tap) =
            (Arc::clone(&store), Arc::clone(&instruments), Arc::clone(&is_writable), tap.clone());
        thread::Builder::new().name("writer".to_owned()).spawn(move || {
            writer::write_until_closed(requests, &store, &instruments, &is_writable, &tap, limits);
        })?
    };
    let (retention_stop, retention_stopped) = channel();
    let retention = {
        let store = Arc::clone(&store);
        let thread = thread::Builder::new().name("retention".to_owned());
        thread.spawn(move || writer::keep_up_until_stopped(&store, &retention_stopped))?
    };

    // The control loop.
    let reader = Reader::new(Arc::clone(&store))
        .with_timeout(config.query.timeout)
        .with_concurrency(usize::try_from(config.query.max_concurrency).unwrap_or(usize::MAX));
    let driver = config.local_run_dir.as_deref().map(|dir| Arc::new(LocalDriver::new(dir)));
    let sources = Arc::new(open_sources(&config, reader.clone(), driver.clone(), Arc::clone(&instruments))?);
    let timeline = Arc::new(RwLock::new(timeline));
    let (inputs, heard) = channel();
    let control = ControlLoop {
        audit_dir: audit_dir(&args.data_dir),
        conductor,
        ledger,
        timeline: Arc::clone(&timeline),
        sources: Arc::clone(&sources),
        driver,
        instruments: Arc::clone(&instruments),
        ingress: ingress.clone(),
        runtime: tokio::runtime::Handle::current(),
        inputs: inputs.clone(),
    };
    let _control = thread::Builder::new().name("control".to_owned()).spawn(move || control.run(&heard))?;
    inputs.send(configured(&config))?;

    // The eyes.
    let views = Views::new(View {
        started: Some(started),
        storage_retention: signal::format_duration(config.store.retention),
        flags: args.shown(),
        hostname: hostname(),
        directory: std::env::current_dir().map(|dir| dir.display().to_string()).unwrap_or_default(),
        ..View::default()
    });
    let tasks = TaskTracker::new();
    let reloader = {
        let args = Arc::clone(args);
        let load = Box::new(move || Ok(with_flags(load_config(&args)?, &args)));
        Arc::new(Reloader::new(config.clone(), views.clone(), load))
    };
    tasks.spawn(reload_on_hangup(Arc::clone(&reloader), shutdown.clone()));
    let scraper = Scraper {
        ingress: ingress.clone(),
        views: views.clone(),
        instruments: Arc::clone(&instruments),
        limits: Arc::new(limits),
        own: Arc::new(OwnAddress::new(listen)),
    };
    let scrape_stop = shutdown.child_token();
    let scraping = tokio::spawn(scraper.run(reloader.subscribe(), scrape_stop));
    let tailing = Tailing {
        ingress: ingress.clone(),
        instruments: Arc::clone(&instruments),
        directory: args.data_dir.join("tail"),
        is_synced: config.store.fsync,
    };
    let tailing = tokio::spawn(tailing.run(reloader.subscribe(), shutdown.child_token()));
    for receiver in syslog {
        let (ingress, instruments) = (ingress.clone(), Arc::clone(&instruments));
        tasks.spawn(receiver.run(config.syslog.clone(), ingress, instruments, shutdown.child_token()));
    }
    let mut promql = promql::Settings {
        lookback: config.query.lookback_delta,
        max_samples: usize::try_from(config.query.max_samples).unwrap_or(usize::MAX),
        subquery_step: config.rules.surroundings.interval,
        ..promql::Settings::default()
    };
    let features = features::allow(&args.enable_feature, &mut promql);
    let kept_rules = Arc::new(KeptRules::open(args.data_dir.join(RULES_DIR))?);
    let ruling = Ruling {
        promql,
        sources: Arc::clone(&sources),
        ingress: ingress.clone(),
        inputs: inputs.clone(),
        instruments: Arc::clone(&instruments),
        views: views.clone(),
        firing: firing.clone(),
        external_url: format!("http://{listen}"),
    };
    tasks.spawn(ruling.run(reloader.subscribe(), kept_rules.subscribe(), shutdown.clone()));
    let watching = Arc::new(Watching {
        sources,
        inputs: inputs.clone(),
        instruments: Arc::clone(&instruments),
        views: views.clone(),
        baselines: Arc::default(),
        watches: config.control.verify.watches.clone(),
        firing,
        window: config.detect_window,
        interval: config.detect_interval,
        rule_interval: config.rule_interval,
        analysis_interval: config.analysis_interval,
    });
    let baselines = Arc::clone(&watching.baselines);
    let rules = RuleSet::new(detect::default_rules()).context("the built-in rules")?;
    tasks.spawn(Arc::clone(&watching).detect(shutdown.clone()));
    tasks.spawn(Arc::clone(&watching).alert(rules, shutdown.clone()));
    tasks.spawn(watching.analyse(shutdown.clone()));

    let templates = Templates::open(&args.data_dir, ingress.clone(), Arc::clone(&instruments));
    let log_templates = templates.lister();
    tasks.spawn(templates.run(tap.clone(), shutdown.clone()));

    // The doors.
    let operator = Operator {
        timeline,
        policy: Arc::new(load_policy(&config)?),
        baselines,
        watches: Arc::new(config.control.verify.watches.clone()),
        evaluated: {
            let instruments = Arc::clone(&instruments);
            Arc::new(move |action, result| instruments.evaluated(action, result))
        },
        pause: pause_through(inputs),
        templates: log_templates,
        now: Arc::new(clock::now),
    };
    let metrics_text = {
        let (instruments, store) = (Arc::clone(&instruments), Arc::clone(&store));
        Arc::new(move || instruments.text(&store.status()))
    };
    let parts = Parts {
        tap: tap.clone(),
        log_rules: Some(kept_rules.handle()),
        flush: Some(flush_of(&store)),
        promql,
        features,
        views,
        metrics_text,
        is_ready: Arc::clone(&is_ready),
        is_writable,
        limits,
        seed: seed::fresh(),
        admin: args.enable_admin_api.then(|| Admin::new(Arc::clone(&store))),
        extra: operator_router(operator).merge(lifecycle_router(Arc::new(move || reloader.reload()))),
        ..Parts::new(ingress.clone(), reader, Arc::new(clock::now))
    };
    for listener in extra_listeners {
        let routes = otlp_router(ingress.clone(), Arc::new(clock::now), limits, Arc::clone(&is_ready));
        tasks.spawn(web::serve(listener, routes, shutdown.clone().cancelled_owned()));
    }
    drop(ingress);
    // Heard from before anybody is told that Aegis is ready; until then a shutdown ends the process at once.
    let told_to_stop = told_to_stop();
    let listen_file = args.data_dir.join(LISTEN_FILE);
    std::fs::write(&listen_file, format!("{listen}\n"))
        .with_context(|| format!("cannot write {}", listen_file.display()))?;
    is_ready.store(true, Ordering::Release);
    info!(%listen, version = env!("CARGO_PKG_VERSION"), "Aegis is ready");
    let serving = tokio::spawn(web::serve(main, router(parts), shutdown.clone().cancelled_owned()));

    told_to_stop.await;
    info!("shutting down");
    is_ready.store(false, Ordering::Release);
    // Only a hint for scripts; a stale one is overwritten by the next start.
    let _ = std::fs::remove_file(&listen_file);
    shutdown.cancel();
    tap.close();
    // Scrapes end first, with their staleness markers written; then the doors close; then the writer runs dry.
    scraping.await?;
    tailing.await?;
    serving.await?;
    tasks.close();
    tasks.wait().await;
    drop(retention_stop);
    let _ = retention.join();
    // So that the next start has little to read. If it fails, the write-ahead log still has everything.
    if let Err(error) = store.flush() {
        warn!(%error, "cannot move metrics and logs to blocks before the end");
    }
    // The control thread still holds a way in for the traces of its work, so the writer is not waited for to the end:
    // everything acknowledged is on disk already.
    drop(writer);
    info!("stopped");
    Ok(())
}

/// Moves everything that is written to where it is kept for long.
fn flush_of(store: &Arc<Store>) -> web::Flush {
    let store = Arc::clone(store);
    Arc::new(move || store.flush().map_err(|error| format!("{:#}", anyhow::Error::from(error))))
}

/// The machine's name; empty where nobody tells it.
fn hostname() -> String {
    let told =
        std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::fs::read_to_string("/etc/hostname"));
    told.map(|name| name.trim().to_owned()).unwrap_or_default()
}

fn open_store(config: &Config, args: &ServeArgs) -> anyhow::Result<Store> {
    let settings = StoreSettings {
        retention: config.store.retention,
        max_bytes: config.store.max_bytes,
        max_series: config.store.max_series,
        flush_after: config.store.flush_after,
        log_retention: config.store.log_retention.clone(),
        line_deletion_delay: config.store.log_deletion_delay,
        fsync: if config.store.fsync { Fsync::Always } else { Fsync::Never },
        ..StoreSettings::default()
    };
    let store = Store::open(&args.data_dir, settings, Arc::new(OsDisk))?;
    let status = store.status();
    for problem in &status.problems {
        warn!(file = %problem.file.display(), offset = problem.offset, reason = %problem.reason, "part of a segment cannot be read");
    }
    info!(samples = status.metrics.items, lines = status.logs.items, spans = status.traces.items, "store open");
    Ok(store)
}

fn open_sources(
    config: &Config,
    reader: Reader,
    driver: Option<Arc<LocalDriver>>,
    instruments: Arc<Instruments>,
) -> anyhow::Result<Sources> {
    let remote = |settings: &Option<RemoteSettings>| -> anyhow::Result<Option<(String, Options)>> {
        settings.as_ref().map(|settings| Ok((settings.url.clone(), options(settings)?))).transpose()
    };
    Ok(Sources {
        reader,
        metrics: remote(&config.metrics_source)?.map(|(url, options)| Prometheus::new(&url, options)).transpose()?,
        logs: remote(&config.logs_source)?.map(|(url, options)| Loki::new(&url, options)).transpose()?,
        traces: remote(&config.traces_source)?.map(|(url, options)| Tempo::new(&url, options)).transpose()?,
        driver,
        instruments,
    })
}

fn options(settings: &RemoteSettings) -> anyhow::Result<Options> {
    let secret = |file: &std::path::Path| -> anyhow::Result<Secret> {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(Secret::new(text.trim()))
    };
    let password = settings.password_file.as_deref().map(secret).transpose()?;
    Ok(Options {
        bearer: settings.bearer_token_file.as_deref().map(secret).transpose()?,
        basic: settings.username.clone().map(|user| (user, password.unwrap_or_else(|| Secret::new("")))),
        timeout: settings.timeout,
        ..Options::default()
    })
}

fn load_policy(config: &Config) -> anyhow::Result<Policy> {
    let sources: Vec<(&str, &str)> =
        config.policies.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    Ok(Policy::load(&sources)?.in_namespace(&config.policy_namespace))
}

fn configured(config: &Config) -> Input {
    Input::Configured {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        settings: config.control.clone(),
        limits: config.limits.clone(),
        policies: config.policies.clone(),
    }
}

fn pause_through(inputs: Sender<Input>) -> web::Pause {
    Arc::new(move |by, paused| {
        // The loop is gone only when Aegis is going down.
        let _ = inputs.send(Input::Paused { by, paused });
    })
}

async fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("cannot listen on {address}; choose another address with {flag}"))
}

/// Reads the configuration again on each SIGHUP, until `shutdown`.
async fn reload_on_hangup(reloader: Arc<Reloader>, shutdown: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut hangups) = signal(SignalKind::hangup()) else { return };
    while let Some(Some(())) = shutdown.run_until_cancelled(hangups.recv()).await {
        let reloader = Arc::clone(&reloader);
        // It reads files; the outcome is logged and shown.
        let _ = tokio::task::spawn_blocking(move || reloader.reload()).await;
    }
}

/// Hears SIGTERM and Ctrl-C from the call on, not only from the first poll.
fn told_to_stop() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let heard = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async {
        let (Ok(mut terminate), Ok(mut interrupt)) = heard else {
            // Without handlers the default action ends the process, which is what was asked for.
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}
