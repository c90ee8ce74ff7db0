//! Aegis: keeps metrics, logs and traces, detects what goes wrong, finds the cause, acts within policy, proves that it
//! helped, and keeps the record. This crate is the shell around the others: command line, configuration, assembly,
//! threads, clocks and sockets.

mod assemble;
mod audit_commands;
mod backtest_commands;
mod cli;
mod clock;
mod config;
mod control_loop;
mod features;
mod instruments;
mod logging;
mod query_commands;
mod reload;
mod rule_commands;
mod rules;
mod scrape;
mod seed;
mod sources;
mod syslog;
mod tail;
mod templates;
mod tsdb_commands;
mod watching;
mod writer;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

/// Decoding, replaying and querying by several threads make and drop many small things.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Two TLS providers compiled in would make rustls panic at run time unless one is chosen.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            cli::complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => assemble::serve(&args),
        Command::Demo(args) => {
            let passed = multi_threaded()?.block_on(demo::run(args))?;
            Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Check(what) => cli::check(&what),
        Command::Test(what) => Ok(rule_commands::test(&what)),
        Command::Query(what) => query_commands::query(&what),
        Command::Tsdb(what) => tsdb_commands::tsdb(&what),
        Command::Backtest(what) => backtest_commands::backtest(&what),
        Command::Audit(what) => audit_commands::audit(&what),
        Command::Replay(args) => audit_commands::replay(&args),
        Command::Supervise(args) => {
            local::supervise(&args.options()?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Launch(args) => Err(local::launch(&args.command).into()),
        Command::DemoBackend(args) => {
            single_threaded()?.block_on(demo::backend::run(args))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::DemoProxy(args) => {
            single_threaded()?.block_on(demo::proxy::run(args))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn multi_threaded() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build()
}

/// One replica of the sample application is to stay small.
fn single_threaded() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
