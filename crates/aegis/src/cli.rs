//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use local::SuperviseOptions;

use crate::config;

/// Sees, understands and repairs: metrics, logs and traces in, incidents detected, diagnosed, remediated and proven.
#[derive(Debug, Parser)]
#[command(name = "aegis", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take in telemetry, answer queries, and run the control loop.
    Serve(ServeArgs),
    /// Watch a small service break and heal: everything real, on this machine only.
    Demo(demo::DemoArgs),
    /// Check files without running anything.
    #[command(subcommand)]
    Check(CheckCommand),
    /// Read and check the ledger of decisions.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Decide everything in a ledger again and compare, byte for byte.
    Replay(ReplayArgs),
    /// Keep processes of this machine running for the local driver; runs until told to stop.
    Supervise(SuperviseArgs),
    /// Start a supervised process (used by `supervise`).
    #[command(hide = true)]
    Launch(LaunchArgs),
    /// One replica of the demo's sample application.
    #[command(hide = true)]
    DemoBackend(demo::backend::BackendArgs),
    /// The proxy of the demo's sample application.
    #[command(hide = true)]
    DemoProxy(demo::proxy::ProxyArgs),
}

#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  aegis serve\n  aegis serve --config aegis.yaml --data-dir /var/lib/aegis\n  \
                        aegis serve --data-dir /tmp/b --listen 127.0.0.1:4400 --otlp-grpc off --otlp-http off")]
pub(crate) struct ServeArgs {
    /// Configuration file; without one the defaults hold, which permit no action.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where everything is stored.
    #[arg(long, value_name = "DIR", default_value = "aegis-data")]
    pub(crate) data_dir: PathBuf,
    /// Address of API, status page and ingestion; wins over the file. With port 0 a free one is taken, and
    /// `DIR/listen` says which.
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// Address for OTLP over gRPC, or `off`; wins over the file.
    #[arg(long, value_name = "ADDR|off", value_parser = address_or_off)]
    pub(crate) otlp_grpc: Option<Port>,
    /// Address for OTLP over HTTP, or `off`; wins over the file.
    #[arg(long, value_name = "ADDR|off", value_parser = address_or_off)]
    pub(crate) otlp_http: Option<Port>,
    /// How Aegis writes its own log.
    #[arg(long, value_enum, default_value = "logfmt")]
    pub(crate) log_format: LogFormat,
    /// What it writes: a level, or `target=level` pairs.
    #[arg(long, env = "AEGIS_LOG", default_value = "info")]
    pub(crate) log_level: String,
}

/// A port that may be off.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Port {
    Off,
    On(SocketAddr),
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// `key=value` pairs.
    Logfmt,
    /// One JSON object a line.
    Json,
}

fn address_or_off(text: &str) -> Result<Port, String> {
    if text == "off" {
        return Ok(Port::Off);
    }
    text.parse().map(Port::On).map_err(|_| "write host:port, such as 127.0.0.1:4317, or `off`".to_owned())
}

#[derive(Debug, Subcommand)]
pub(crate) enum CheckCommand {
    /// Check a configuration file, with the policy files it names; reports every problem with its place.
    Config {
        /// The file.
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Check the whole hash chain; names the first record that does not hold. Works while Aegis runs.
    Verify {
        /// The directory given to `aegis serve`.
        #[arg(long, value_name = "DIR", default_value = "aegis-data")]
        data_dir: PathBuf,
    },
    /// Print the report of one incident, or of all.
    Show {
        /// The directory given to `aegis serve`.
        #[arg(long, value_name = "DIR", default_value = "aegis-data")]
        data_dir: PathBuf,
        /// Number of the incident.
        incident: Option<u64>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The ledger file, or the directory it lies in.
    pub(crate) ledger: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct SuperviseArgs {
    /// Where it keeps state, socket, logs and target files.
    #[arg(long, value_name = "DIR")]
    run_dir: PathBuf,
    /// Stop everything when this process is gone.
    #[arg(long, value_name = "PID")]
    with_owner: Option<u32>,
}

impl SuperviseArgs {
    pub(crate) fn options(self) -> anyhow::Result<SuperviseOptions> {
        let program = std::env::current_exe()?.display().to_string();
        Ok(SuperviseOptions {
            run_dir: self.run_dir,
            owner: self.with_owner,
            launcher: vec![program, "launch".to_owned(), "--".to_owned()],
        })
    }
}

#[derive(Debug, Args)]
pub(crate) struct LaunchArgs {
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<String>,
}

/// Runs `aegis check`.
pub(crate) fn check(what: &CheckCommand) -> anyhow::Result<ExitCode> {
    match what {
        CheckCommand::Config { file } => {
            let config = config::load(file)?;
            say(&format!(
                "{}: fine ({} scrape jobs, {} policy files)",
                file.display(),
                config.jobs.len(),
                config.policies.len()
            ));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Prints a line for the person at the terminal.
#[expect(clippy::print_stdout, reason = "the command line's own output")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// Prints an error with its causes, once.
#[expect(clippy::print_stderr, reason = "the command line's own output")]
pub(crate) fn complain(error: &anyhow::Error) {
    eprintln!("aegis: {error:#}");
}
