//! `aegis backtest`: what detection would have made of the past.

use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use detect::templates::{Miner, MinerLimits, TemplateId};
use signal::Nanos;

/// Bounds of a backtest, which has the machine to itself: wider than those of a server.
const LIMITS: MinerLimits = MinerLimits { templates: 1_000_000, bytes: 1 << 30 };
/// A longer line counts as far as this.
const LINE: u64 = 1 << 20;

#[derive(Debug, Subcommand)]
pub(crate) enum BacktestCommand {
    /// Mine log lines: for each line in, the id of its template, a tab, and the template's text.
    ///
    /// Ids and texts are written once all lines are read, because a template can become part of a more general one.
    Templates(TemplatesArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  aegis backtest templates < app.log | cut -f1 | sort | uniq -c\n  \
                        aegis backtest templates --summary app.log")]
pub(crate) struct TemplatesArgs {
    /// Where the lines are; without it they are read from standard input.
    file: Option<PathBuf>,
    /// List each template once, the most frequent first: count, id, level, text.
    #[arg(long)]
    summary: bool,
}

pub(crate) fn backtest(what: &BacktestCommand) -> anyhow::Result<ExitCode> {
    match what {
        BacktestCommand::Templates(args) => templates(args),
    }
}

fn templates(args: &TemplatesArgs) -> anyhow::Result<ExitCode> {
    let mut miner = Miner::new(LIMITS);
    let ids = match &args.file {
        Some(file) => mine(&mut miner, open(file)?).with_context(|| format!("cannot read {}", file.display()))?,
        None => mine(&mut miner, io::stdin().lock()).context("cannot read standard input")?,
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = if args.summary { summary(&mut out, &miner) } else { each(&mut out, &miner, &ids) };
    match written.and_then(|()| out.flush()) {
        // Whoever read our output has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        written => Ok(written.map(|()| ExitCode::SUCCESS)?),
    }
}

fn open(file: &Path) -> anyhow::Result<io::BufReader<std::fs::File>> {
    let file = std::fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(io::BufReader::with_capacity(1 << 16, file))
}

/// One template for each line, by the identity it had at that time.
fn mine(miner: &mut Miner, mut lines: impl BufRead) -> io::Result<Vec<TemplateId>> {
    let (mut ids, mut line) = (Vec::new(), Vec::new());
    loop {
        line.clear();
        if io::Read::take(&mut lines, LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(ids);
        }
        if line.last() != Some(&b'\n') {
            lines.skip_until(b'\n')?;
        }
        let text = String::from_utf8_lossy(&line);
        ids.push(miner.observe(Nanos(0), text.trim_end_matches(['\n', '\r'])).id);
    }
}

fn each(out: &mut impl Write, miner: &Miner, ids: &[TemplateId]) -> io::Result<()> {
    ids.iter().try_for_each(|id| {
        let id = miner.resolve(*id);
        writeln!(out, "{id}\t{}", miner.template(id).map(|template| template.text.as_str()).unwrap_or_default())
    })
}

fn summary(out: &mut impl Write, miner: &Miner) -> io::Result<()> {
    let mut templates: Vec<_> = miner.templates().collect();
    templates.sort_by_key(|template| std::cmp::Reverse(template.count));
    templates.iter().try_for_each(|template| {
        writeln!(out, "{}\t{}\t{}\t{}", template.count, template.id, template.level, template.text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(lines: &[u8], write: impl Fn(&mut Vec<u8>, &Miner, &[TemplateId]) -> io::Result<()>) -> String {
        let mut miner = Miner::new(LIMITS);
        let ids = mine(&mut miner, lines).expect("memory can be read");
        let mut out = Vec::new();
        write(&mut out, &miner, &ids).expect("memory can be written");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn each_line_in_is_a_line_out() {
        let lines = b"took 5ms\n\nodd \xff\r\ntook 7ms";
        let out = run(lines, each);
        let texts: Vec<&str> = out.lines().filter_map(|line| Some(line.split_once('\t')?.1)).collect();
        assert_eq!(texts, ["took <*>", "", "odd \u{fffd}", "took <*>"]);
    }

    #[test]
    fn ids_are_those_of_the_end() {
        let lines: String =
            ["anna", "bert", "carl", "dora", "emil", "fritz"].map(|who| format!("user {who} left\n")).concat();
        let out = run(lines.as_bytes(), each);
        let mut lines: Vec<&str> = out.lines().collect();
        lines.dedup();
        assert_eq!(lines.len(), 1, "{out}");
    }

    #[test]
    fn a_summary_lists_the_most_frequent_first() {
        let out = run(b"a 1\nb [ERROR]\nb [ERROR]\n", |out, miner, _| summary(out, miner));
        let lines: Vec<Vec<&str>> = out.lines().map(|line| line.split('\t').collect()).collect();
        assert_eq!((lines[0][0], lines[0][2], lines[0][3]), ("2", "error", "b [ERROR]"));
        assert_eq!(lines[1][3], "a <*>");
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let mut lines = vec![b'a'; (LINE as usize) + 10];
        lines.extend_from_slice(b"\nnext\n");
        let out = run(&lines, each);
        assert_eq!(out.lines().count(), 2);
    }
}
