//! Tables of figures, and what stands above all of them.

use std::fmt::Write;
use std::fs;

use super::process::machine_seconds;
use super::servers::{Contender, Product};
use super::settings::Settings;

/// What was said to come here.
pub(super) fn command(arguments: &[String]) -> String {
    format!("cargo run --release --package xtask -- bench {}", arguments.join(" "))
}

/// What stands above the first table.
pub(super) fn head(out: &mut String, what: &str, settings: &Settings, contenders: &[Contender]) -> std::fmt::Result {
    writeln!(out, "# {what}: Aegis beside other servers\n")?;
    writeln!(out, "Written by the command above each table; do not edit.")?;
    writeln!(out, "{}", machine())?;
    for contender in contenders {
        writeln!(out, "{}: `{}`.", contender.product.title(), contender.version)?;
    }
    let measured = |product: Product| contenders.iter().any(|one| one.product == product);
    for product in settings.signal.products().into_iter().filter(|product| !measured(*product)) {
        writeln!(out, "{} was not measured.", product.title())?;
    }
    writeln!(
        out,
        "The servers ran one after the other, each on an empty directory and with {}; {}.",
        settings.signal.how_set_up(),
        match settings.repeat {
            1 => "shown is one run".to_owned(),
            runs => format!("shown is the median of {runs} runs, with the lowest and the highest"),
        }
    )?;
    writeln!(out, "The last column is Aegis against the better of the others; **bold** is where Aegis is behind.\n")
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Better {
    More,
    Less,
    Neither,
}

/// A figure of a run, if it has one.
type Figure<M> = Box<dyn Fn(&M) -> Option<f64>>;

/// A line of a table.
pub(super) struct Row<M> {
    title: String,
    better: Better,
    decimals: usize,
    of: Figure<M>,
}

pub(super) fn row<M>(title: &str, better: Better, decimals: usize, of: impl Fn(&M) -> Option<f64> + 'static) -> Row<M> {
    Row { title: title.to_owned(), better, decimals, of: Box::new(of) }
}

impl<M> Row<M> {
    pub(super) fn figure(&self, run: &M) -> Option<f64> {
        (self.of)(run)
    }

    /// A line of a table with two columns: ours and another figure.
    pub(super) fn against(&self, ours: Option<f64>, other: f64) -> String {
        let shown = |value: f64| grouped(value, self.decimals);
        let ratio = ours.map(|ours| marked(ours / other, self.better)).unwrap_or_default();
        format!("| {} | {} | {} | {ratio} |", self.title, ours.map_or("–".to_owned(), shown), shown(other))
    }
}

/// Rows against servers, and how Aegis stands.
pub(super) fn table<M>(
    out: &mut String,
    contenders: &[Contender],
    results: &[Vec<M>],
    rows: &[Row<M>],
) -> std::fmt::Result {
    let titles: Vec<_> = contenders.iter().map(|one| one.product.title()).collect();
    writeln!(out, "| | {} | Aegis : best other |", titles.join(" | "))?;
    writeln!(out, "|---|{}", "---:|".repeat(titles.len() + 1))?;
    for Row { title, better, decimals, of } in rows {
        let runs: Vec<Vec<f64>> = results
            .iter()
            .map(|runs| {
                let mut values: Vec<f64> = runs.iter().filter_map(&**of).collect();
                values.sort_by(f64::total_cmp);
                values
            })
            .collect();
        let medians: Vec<Option<f64>> = runs.iter().map(|values| median(values)).collect();
        let cells: Vec<String> = runs.iter().map(|values| cell(values, *decimals)).collect();
        let ratio = ratio(contenders, &medians, *better);
        writeln!(out, "| {title} | {} | {ratio} |", cells.join(" | "))?;
    }
    Ok(())
}

fn ratio(contenders: &[Contender], medians: &[Option<f64>], better: Better) -> String {
    let pairs = || contenders.iter().zip(medians).filter_map(|(one, median)| Some((one.product, (*median)?)));
    let ours = pairs().find(|(product, _)| *product == Product::Aegis).map(|(_, median)| median);
    let others = pairs().filter(|(product, _)| *product != Product::Aegis).map(|(_, median)| median);
    let best = match better {
        Better::More => others.max_by(f64::total_cmp),
        Better::Less => others.min_by(f64::total_cmp),
        Better::Neither => None,
    };
    let Some((ours, best)) = ours.zip(best).filter(|(_, best)| *best > 0.0) else { return String::new() };
    marked(ours / best, better)
}

/// Bold where Aegis is behind.
fn marked(ratio: f64, better: Better) -> String {
    let is_behind = match better {
        Better::More => ratio < 1.0,
        Better::Less => ratio > 1.0,
        Better::Neither => return String::new(),
    };
    if is_behind { format!("**{ratio:.2}**") } else { format!("{ratio:.2}") }
}

pub(super) fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    let upper = sorted.get(middle).copied()?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some((sorted.get(middle - 1).copied()? + upper) / 2.0)
}

pub(super) fn cell(sorted: &[f64], decimals: usize) -> String {
    let (Some(middle), Some(first), Some(last)) = (median(sorted), sorted.first(), sorted.last()) else {
        return "–".to_owned();
    };
    let shown = |value: f64| grouped(value, decimals);
    if sorted.len() == 1 || shown(*first) == shown(*last) {
        return shown(middle);
    }
    format!("{} ({} … {})", shown(middle), shown(*first), shown(*last))
}

/// `1,234,567.8`
pub(super) fn grouped(value: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", value.abs());
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let mut out = String::new();
    if value < 0.0 && text.bytes().any(|byte| matches!(byte, b'1'..=b'9')) {
        out.push('-');
    }
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if !part.is_empty() {
        out.push('.');
        out.push_str(part);
    }
    out
}

/// What the numbers were measured on.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let of = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.starts_with(key));
        line.and_then(|line| line.split_once(':'))
            .map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = of(&read("/proc/meminfo"), "MemTotal");
    let gib = memory.split(' ').next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / f64::from(1 << 20);
    let since_start = read("/proc/uptime").split(' ').next().and_then(|up| up.parse::<f64>().ok()).unwrap_or(0.0);
    let busy = machine_seconds() / since_start.max(1.0);
    format!(
        "Machine: {cores} cores of {}, {gib:.0} GiB of memory, Linux {}; since its start on average {busy:.1} cores were busy.",
        of(&read("/proc/cpuinfo"), "model name"),
        read("/proc/sys/kernel/osrelease").trim()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    type Run = (f64, f64, Option<f64>);

    #[test]
    fn a_table_shows_medians_and_says_where_aegis_is_behind() {
        let contender = |product| Contender { product, program: "x".into(), version: "1".to_owned() };
        let contenders = [Product::Aegis, Product::Prometheus, Product::VictoriaMetrics].map(contender);
        let run = |rate: f64, disk: f64| (rate, disk, (disk > 1.0).then_some(disk));
        let results = [
            vec![run(2_500_000.0, 1.0), run(2_000_000.0, 1.0), run(1_500_000.4, 1.0)],
            vec![run(230_000.0, 9.0), run(220_000.0, 11.0)],
            vec![run(800_000.0, 0.5)],
        ];
        let rows = [
            row("rate", Better::More, 0, |one: &Run| Some(one.0)),
            row("disk", Better::Less, 2, |one: &Run| Some(one.1)),
            row("long", Better::Less, 2, |one: &Run| one.2),
        ];
        let mut out = String::new();
        table(&mut out, &contenders, &results, &rows).unwrap();
        let want = "| | Aegis | Prometheus | VictoriaMetrics | Aegis : best other |\n\
                    |---|---:|---:|---:|---:|\n\
                    | rate | 2,000,000 (1,500,000 … 2,500,000) | 225,000 (220,000 … 230,000) | 800,000 | 2.50 |\n\
                    | disk | 1.00 | 10.00 (9.00 … 11.00) | 0.50 | **2.00** |\n\
                    | long | – | 10.00 (9.00 … 11.00) | – |  |\n";
        assert_eq!(out, want);
        let [rate, disk, _] = rows;
        assert_eq!(rate.against(Some(1_000.0), 4_000.0), "| rate | 1,000 | 4,000 | **0.25** |");
        assert_eq!(disk.against(Some(1.0), 4.0), "| disk | 1.00 | 4.00 | 0.25 |");
        assert_eq!(disk.against(None, 4.0), "| disk | – | 4.00 |  |");
    }
}
