//! The demo from first line to last.

mod play;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use serde::Serialize;

use crate::child::told_to_stop;
use crate::clock;
use crate::config::Paths;
use crate::scenario::{Choice, Scenario};
use crate::score::Scored;
use crate::world::{self, Settings, World};

use self::play::Play;

/// See Aegis at work on a sample application that breaks.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// What happens; may be given several times. Without it a campaign brings too many users.
    #[arg(long, value_enum, value_name = "NAME")]
    pub scenario: Vec<Choice>,
    /// Decides when which request comes; the same seed sends the same requests.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// End after the scenarios; the exit status says whether each ended as it should.
    #[arg(long)]
    pub exit: bool,
    /// Write the results to this file as JSON.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Where everything is stored; a new temporary directory unless given.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Usual requests per second, 5 to 400; the sample application is provisioned for it.
    #[arg(long, default_value_t = 50.0, value_parser = base_rps)]
    pub base_rps: f64,
    /// Do not remove the temporary directory at the end.
    #[arg(long)]
    pub keep: bool,
    /// Where Aegis listens.
    #[arg(long, default_value = "127.0.0.1:4300", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Where the sample application listens.
    #[arg(long, default_value = "127.0.0.1:3000", value_name = "ADDRESS")]
    pub app_listen: SocketAddr,
    /// Store telemetry in a second Aegis, and let the first read it from there as it would from any other server.
    #[arg(long)]
    pub upstream: bool,
    /// Store metrics in a Prometheus, this program, and let Aegis read them from there. With `--upstream`, logs and traces
    /// are in the second Aegis; without, in the first.
    #[arg(long, value_name = "PROGRAM")]
    pub prometheus: Option<PathBuf>,
}

fn base_rps(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    if (5.0..=400.0).contains(&rate) { Ok(rate) } else { Err("must be 5 to 400".to_owned()) }
}

/// The file written by `--report`. Described in `docs/reference/demo-report.md`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    version: u32,
    started_at: i64,
    ended_at: i64,
    seed: u64,
    base_rps: f64,
    upstream: bool,
    prometheus: bool,
    scenarios: &'a [Scored],
    totals: Totals,
    kpis: &'a serde_json::Value,
    passed: bool,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Totals {
    scenarios: usize,
    passed: usize,
    actions: usize,
    wrong_actions: usize,
    incidents_that_page: usize,
    requests: u64,
    failed_requests: u64,
}

impl Totals {
    fn of(scored: &[Scored]) -> Self {
        Self {
            scenarios: scored.len(),
            passed: scored.iter().filter(|scored| scored.passed).count(),
            actions: scored.iter().map(|scored| scored.actions.len()).sum(),
            wrong_actions: scored.iter().map(|scored| scored.wrong_actions).sum(),
            incidents_that_page: scored.iter().map(|scored| scored.incidents_that_page).sum(),
            requests: scored.iter().map(|scored| scored.requests).sum(),
            failed_requests: scored.iter().map(|scored| scored.failed_requests).sum(),
        }
    }
}

/// Runs the demo. With `--exit`: true when every scenario ran to its end and ended as it should. Otherwise it runs until
/// SIGINT or SIGTERM, which stop it gracefully at any time, and the answer is true. Leaves no process behind.
///
/// # Errors
/// When a port is taken, something does not start or the report cannot be written.
pub async fn run(args: DemoArgs) -> anyhow::Result<bool> {
    world::check_ports(args.listen, args.app_listen)?;
    let started = clock::now();
    let (root, is_temporary) = match &args.data_dir {
        Some(dir) => (dir.clone(), false),
        None => {
            let name = format!("aegis-demo-{}-{}", std::process::id(), started.0);
            (std::env::temp_dir().join(name), true)
        }
    };
    std::fs::create_dir_all(&root).with_context(|| format!("creating {}", root.display()))?;
    let root = root.canonicalize().with_context(|| format!("finding {}", root.display()))?;
    let settings = Settings {
        program: std::env::current_exe().context("finding the program to start the parts of the demo with")?,
        paths: Paths { root: root.clone() },
        listen: args.listen,
        app_listen: args.app_listen,
        has_upstream: args.upstream,
        prometheus: args.prometheus.clone(),
        base_rps: args.base_rps,
        seed: args.seed,
    };
    let scenarios = Scenario::chosen(&args.scenario);
    let mut world = World::start(&settings)?;
    let mut play = Play::new(started);
    let outcome = tokio::select! {
        outcome = play.perform(&mut world, &scenarios, !args.exit) => outcome,
        () = told_to_stop() => Ok(()),
    };
    if !play.scored.is_empty() {
        play.summary(&world).await;
    }
    let passed = play.scored.len() == scenarios.len() && play.scored.iter().all(|scored| scored.passed);
    let written = args.report.as_ref().map(|path| {
        let report = Report {
            version: 1,
            started_at: started.0,
            ended_at: clock::now().0,
            seed: args.seed,
            base_rps: args.base_rps,
            upstream: args.upstream,
            prometheus: args.prometheus.is_some(),
            scenarios: &play.scored,
            totals: Totals::of(&play.scored),
            kpis: &play.kpis,
            passed,
        };
        let text = serde_json::to_string_pretty(&report).context("writing the report")?;
        std::fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))
    });
    play.terminal.line("stopping everything …");
    // A second Ctrl-C does not leave processes behind either: it is simply not needed.
    world.stop().await;
    if is_temporary && !args.keep {
        let _ = std::fs::remove_dir_all(&root);
    } else {
        play.terminal.line(&format!("everything that was stored is in {}", root.display()));
    }
    outcome?;
    written.transpose()?;
    Ok(passed || !args.exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_within_reason() {
        for (text, is_fine) in [("50", true), ("5", true), ("400.5", false), ("4", false), ("NaN", false), ("x", false)]
        {
            assert_eq!(base_rps(text).is_ok(), is_fine, "{text}");
        }
    }

    #[test]
    fn a_taken_port_is_reported_with_the_flag_that_helps() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let free: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let error = world::check_ports(free, taken.local_addr().unwrap()).unwrap_err().to_string();
        assert!(error.contains("--app-listen") && error.contains("the sample application"), "{error}");
        let error = world::check_ports(taken.local_addr().unwrap(), free).unwrap_err().to_string();
        assert!(error.contains("--listen"), "{error}");
    }
}
