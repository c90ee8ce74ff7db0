//! What to measure, with what, and where the tables go.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::servers::Product;

const USAGE: &str = "cargo run --release --package xtask -- bench metrics|logs [flags]

  --aegis PATH              release binary to measure        (target/release/aegis)
  --only NAME[,NAME]        servers by the names of their flags
  --scale X                 share of the load                (1)
  --repeat N                runs; medians are reported       (3)
  --work DIR                scratch space, about 2 GB        (target/bench)
  --out FILE                where the tables go              (bench/COMPARE.md, bench/LOGS.md)

metrics: 100 hosts of 200 series
  --prometheus PATH         Prometheus beside it             (prometheus)
  --victoria-metrics PATH   VictoriaMetrics beside it        (victoria-metrics)
  --series N                series of the second load; 0: none (500000)

logs: 3,000,000 lines
  --loki PATH               Loki beside it                   ($AEGIS_BENCH_LOKI)
  --victoria-logs PATH      VictoriaLogs beside it           ($AEGIS_BENCH_VICTORIALOGS)";

/// Which bench.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Signal {
    Metrics,
    Logs,
}

impl Signal {
    pub(super) fn products(self) -> [Product; 3] {
        match self {
            Self::Metrics => [Product::Aegis, Product::Prometheus, Product::VictoriaMetrics],
            Self::Logs => [Product::Aegis, Product::Loki, Product::VictoriaLogs],
        }
    }

    pub(super) fn how_set_up(self) -> &'static str {
        match self {
            Self::Metrics => "its default settings",
            Self::Logs => "its default settings (Loki without limits and without a memory of answers)",
        }
    }

    fn report(self) -> &'static str {
        match self {
            Self::Metrics => "bench/COMPARE.md",
            Self::Logs => "bench/LOGS.md",
        }
    }
}

/// What to do.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) signal: Signal,
    /// `None` for a server that nobody named a program for.
    pub(super) programs: Vec<(Product, Option<PathBuf>)>,
    pub(super) scale: f64,
    pub(super) series: usize,
    pub(super) repeat: usize,
    pub(super) work: PathBuf,
    pub(super) out: PathBuf,
}

impl Settings {
    pub(super) fn parse(root: &Path, arguments: &[String]) -> anyhow::Result<Self> {
        let mut rest = arguments.iter();
        let signal = match rest.next().map(String::as_str) {
            Some("metrics") => Signal::Metrics,
            Some("logs") => Signal::Logs,
            _ => bail!("{USAGE}"),
        };
        let mut settings = Self {
            signal,
            programs: signal.products().map(|product| (product, product.program())).into(),
            scale: 1.0,
            series: 500_000,
            repeat: 3,
            work: root.join("target/bench"),
            out: root.join(signal.report()),
        };
        let mut only = None;
        while let Some(flag) = rest.next() {
            let value = rest.next().with_context(|| format!("{flag} needs a value\n\n{USAGE}"))?;
            let wrong = || format!("`{value}` is no value for {flag}");
            match (flag.as_str(), signal) {
                ("--scale", _) => settings.scale = value.parse().with_context(wrong)?,
                ("--series", Signal::Metrics) => settings.series = value.parse().with_context(wrong)?,
                ("--repeat", _) => settings.repeat = value.parse().with_context(wrong)?,
                ("--work", _) => settings.work = value.into(),
                ("--out", _) => settings.out = value.into(),
                ("--only", _) => only = Some(value.clone()),
                _ => match settings.programs.iter_mut().find(|(product, _)| product.flag() == flag) {
                    Some((_, program)) => *program = Some(value.into()),
                    None => bail!("there is no flag {flag} here\n\n{USAGE}"),
                },
            }
        }
        if let Some(only) = only {
            let names: Vec<&str> = only.split(',').collect();
            let name = |product: Product| product.flag().trim_start_matches("--");
            settings.programs.retain(|(product, _)| names.contains(&name(*product)));
        }
        if settings.repeat == 0 || settings.programs.is_empty() || !(settings.scale > 0.0 && settings.scale <= 100.0) {
            bail!("nothing to measure\n\n{USAGE}");
        }
        for (_, program) in &mut settings.programs {
            // The server runs in a directory of its own.
            if let Some(program) = program.as_mut().filter(|program| program.components().count() > 1) {
                *program = std::path::absolute(&*program)?;
            }
        }
        settings.work = std::path::absolute(&settings.work)?;
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> anyhow::Result<Settings> {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Settings::parse(Path::new("/house"), &arguments)
    }

    #[test]
    fn each_bench_takes_its_own_flags() {
        let settings = parsed(&["logs", "--loki", "bin/loki", "--scale", "0.05", "--only", "aegis,loki"]).unwrap();
        assert_eq!(settings.signal, Signal::Logs);
        assert_eq!(settings.scale, 0.05);
        assert_eq!(settings.out, Path::new("/house/bench/LOGS.md"));
        let [(Product::Aegis, Some(_)), (Product::Loki, Some(loki))] = &*settings.programs else {
            panic!("{:?}", settings.programs)
        };
        assert!(loki.is_absolute());
        assert_eq!(parsed(&["metrics", "--series", "7"]).unwrap().series, 7);
        for refused in
            [&["logs", "--series", "7"][..], &["metrics", "--loki", "x"], &["traces"], &["logs", "--scale", "0"], &[]]
        {
            assert!(parsed(refused).is_err(), "{refused:?}");
        }
    }
}
