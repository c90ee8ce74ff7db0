//! `cargo xtask bench`: Aegis beside the servers it wants to replace, on one machine, under one load.
//!
//! Servers run one after the other, each on an empty directory. What a server costs is read from the kernel, so the
//! sender's own work does not count. Linux only.

mod asking;
mod clock;
mod http;
mod load;
mod logs;
mod metrics;
mod process;
mod send;
mod servers;
mod settings;
mod table;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};

use servers::{Contender, Product};
use settings::{Settings, Signal};

const SEED: u64 = 20_240_125;
/// Time between the last write and a crash: servers without a log of writes keep the last seconds in memory only, and
/// that is not what a restart is to show.
const BEFORE_CRASH: Duration = Duration::from_secs(10);

pub(crate) fn run(root: &Path, arguments: &[String]) -> anyhow::Result<ExitCode> {
    let settings = Settings::parse(root, arguments)?;
    let mut contenders = Vec::new();
    for (product, program) in &settings.programs {
        let found = program.as_ref().and_then(|program| Contender::find(*product, program));
        let why = match program {
            Some(program) => format!("`{}` is not there or does not run", program.display()),
            None => "nobody named its program".to_owned(),
        };
        match found {
            Some(contender) => contenders.push(contender),
            None if *product == Product::Aegis => bail!("{why}; {}", product.how_to_get()),
            None => say(&format!("!! {} is NOT measured: {why}. {}", product.title(), product.how_to_get())),
        }
    }
    std::fs::create_dir_all(&settings.work).with_context(|| format!("cannot make {}", settings.work.display()))?;
    let text = match settings.signal {
        Signal::Metrics => metrics::run(&settings, &contenders, arguments)?,
        Signal::Logs => logs::run(&settings, &contenders, arguments)?,
    };
    std::fs::write(&settings.out, text).with_context(|| format!("cannot write {}", settings.out.display()))?;
    say(&format!("written: {}", settings.out.display()));
    Ok(ExitCode::SUCCESS)
}

fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
