//! The command line.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use local::SuperviseOptions;

use crate::backtest_commands::BacktestCommand;
use crate::config;
use crate::query_commands::QueryCommand;
use crate::rule_commands::{self, CheckArgs, TestCommand};
use crate::scrape;
use crate::tsdb_commands::TsdbCommand;

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
    /// Run unit tests written in files.
    #[command(subcommand)]
    Test(TestCommand),
    /// Ask for telemetry, of a running server or of a data directory.
    #[command(subcommand)]
    Query(QueryCommand),
    /// Look into the metrics of a data directory, write them out, bring others in.
    #[command(subcommand)]
    Tsdb(TsdbCommand),
    /// Try detection on what has been.
    #[command(subcommand)]
    Backtest(BacktestCommand),
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
    /// Let clients delete series and copy the data directory, by `/api/v1/admin/tsdb/…`.
    #[arg(long)]
    pub(crate) enable_admin_api: bool,
    /// Experiments of PromQL that clients may use, by Prometheus' names: `promql-experimental-functions`,
    /// `promql-duration-expr`, `promql-extended-range-selectors`, `promql-binop-fill-modifiers`,
    /// `promql-delayed-name-removal`, `type-and-unit-labels`.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) enable_feature: Vec<String>,
    /// How Aegis writes its own log.
    #[arg(long, value_enum, default_value = "logfmt")]
    pub(crate) log_format: LogFormat,
    /// What it writes: a level, or `target=level` pairs.
    #[arg(long, env = "AEGIS_LOG", default_value = "info")]
    pub(crate) log_level: String,
}

impl ServeArgs {
    /// What `/api/v1/status/flags` shows: every flag with the value in force.
    pub(crate) fn shown(&self) -> BTreeMap<String, String> {
        let port = |port: Option<Port>| match port {
            None => String::new(),
            Some(Port::Off) => "off".to_owned(),
            Some(Port::On(address)) => address.to_string(),
        };
        let format = match self.log_format {
            LogFormat::Logfmt => "logfmt",
            LogFormat::Json => "json",
        };
        [
            ("config", self.config.as_ref().map(|file| file.display().to_string()).unwrap_or_default()),
            ("data-dir", self.data_dir.display().to_string()),
            ("listen", self.listen.map(|address| address.to_string()).unwrap_or_default()),
            ("otlp-grpc", port(self.otlp_grpc)),
            ("otlp-http", port(self.otlp_http)),
            ("enable-admin-api", self.enable_admin_api.to_string()),
            ("enable-feature", self.enable_feature.join(",")),
            ("log-format", format.to_owned()),
            ("log-level", self.log_level.clone()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
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
    /// Check Prometheus rule files; reports every problem with its place.
    Rules(CheckArgs),
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
            let problems = scrape::check(&config);
            if !problems.is_empty() {
                anyhow::bail!("{}: {}", file.display(), problems.join("\n"));
            }
            for section in &config.ignored {
                warn(&format!("{}: `{section}` is accepted and means nothing here", file.display()));
            }
            say(&format!(
                "{}: fine ({} scrape jobs, {} rules, {} policy files)",
                file.display(),
                config.jobs.len(),
                config.rules.files.iter().map(|(_, file)| file.rule_count()).sum::<usize>(),
                config.policies.len()
            ));
            Ok(ExitCode::SUCCESS)
        }
        CheckCommand::Rules(args) => Ok(rule_commands::check(args)),
    }
}

/// Prints a line for the person at the terminal.
#[expect(clippy::print_stdout, reason = "the command line's own output")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// Tells the person at the terminal what went wrong.
#[expect(clippy::print_stderr, reason = "the command line's own output")]
pub(crate) fn warn(text: &str) {
    eprintln!("{text}");
}

/// Prints an error with its causes, once.
#[expect(clippy::print_stderr, reason = "the command line's own output")]
pub(crate) fn complain(error: &anyhow::Error) {
    eprintln!("aegis: {error:#}");
}
