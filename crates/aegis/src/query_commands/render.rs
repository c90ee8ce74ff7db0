//! Answers as text.

use std::collections::BTreeSet;
use std::io::{self, Write};

use serde_json::{Value as Json, json};
use signal::{Labels, Timestamp};

use super::answer::{Answered, Bucket, Found, Point, Row, Shown};
use super::numbers::{api, general, plain, seconds};
use super::{Output, When};

/// Marks of a trend, from lowest to highest.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Width of a trend.
const TREND: usize = 32;

pub(super) fn write(out: &mut impl Write, answered: &Answered, when: When, output: Output) -> io::Result<()> {
    match output {
        Output::Table => table(out, &answered.value, when),
        Output::Json => writeln!(out, "{}", as_json(&answered.value)),
        Output::Csv => csv(out, &answered.value),
        Output::Prom => prom(out, &answered.value),
    }
}

fn table(out: &mut impl Write, value: &Found, when: When) -> io::Result<()> {
    match value {
        Found::Scalar(at, value) => writeln!(out, "{}\n\nat {at}", plain(*value)),
        Found::String(_, text) => writeln!(out, "{text}"),
        Found::Vector(rows) | Found::Matrix(rows) if rows.is_empty() => writeln!(out, "no series"),
        Found::Vector(rows) => {
            let shared = Shared::of(rows);
            let times: BTreeSet<_> = rows.iter().flat_map(|row| &row.points).map(|(at, _)| *at).collect();
            let mut grid = Grid::new(shared.heads(&["VALUE"]));
            for row in rows {
                let cells = row.points.first().map(|(_, point)| point_text(point));
                grid.add(shared.cells(&row.labels, cells));
            }
            shared.write(out)?;
            grid.write(out)?;
            match times.first() {
                Some(at) => writeln!(out, "\n{}, at {at}", counted(rows.len())),
                None => Ok(()),
            }
        }
        Found::Matrix(rows) => {
            let shared = Shared::of(rows);
            let mut grid = Grid::new(shared.heads(&["POINTS", "FIRST", "LOWEST", "HIGHEST", "LAST", "TREND"]));
            for row in rows {
                grid.add(shared.cells(&row.labels, summary(row)));
            }
            shared.write(out)?;
            grid.write(out)?;
            let count = counted(rows.len());
            match when {
                When::Over(steps) => {
                    let step = signal::format_duration(steps.step);
                    writeln!(out, "\n{count}, from {} to {}, every {step}", steps.start, steps.end)
                }
                When::At(at) => writeln!(out, "\n{count}, at {at}"),
            }
        }
    }
}

fn counted(rows: usize) -> String {
    if rows == 1 { "1 series".to_owned() } else { format!("{rows} series") }
}

fn point_text(point: &Point) -> String {
    match point {
        Point::Float(value) => plain(*value),
        Point::Histogram(shown) => format!("count {}, sum {}", plain(shown.count), plain(shown.sum)),
    }
}

/// Points, first, lowest, highest, last and a picture; of histograms the counts.
fn summary(row: &Row) -> Vec<String> {
    let values: Vec<f64> = row.points.iter().map(|(_, point)| height(point)).collect();
    let real = values.iter().copied().filter(|value| !value.is_nan());
    let lowest = real.clone().min_by(f64::total_cmp).unwrap_or(f64::NAN);
    let highest = real.max_by(f64::total_cmp).unwrap_or(f64::NAN);
    let first = values.first().copied().unwrap_or(f64::NAN);
    let last = values.last().copied().unwrap_or(f64::NAN);
    let mut cells = vec![values.len().to_string()];
    cells.extend([first, lowest, highest, last].map(plain));
    cells.push(trend(&values, lowest, highest));
    cells
}

fn height(point: &Point) -> f64 {
    match point {
        Point::Float(value) => *value,
        Point::Histogram(shown) => shown.count,
    }
}

fn trend(values: &[f64], lowest: f64, highest: f64) -> String {
    let columns = values.len().min(TREND);
    let span = highest - lowest;
    let bar = |column: usize| {
        let value = values.get(column * values.len() / columns.max(1)).copied().unwrap_or(f64::NAN);
        if value.is_nan() {
            return ' ';
        }
        let share = if span > 0.0 && span.is_finite() { (value - lowest) / span } else { 0.0 };
        let top = BARS.len() - 1;
        BARS.get((share * top as f64).round() as usize).copied().unwrap_or('█')
    };
    (0..columns).map(bar).collect()
}

/// Labels that are the same in every row stand above the table once, the others are its columns.
struct Shared {
    same: Labels,
    columns: Vec<String>,
}

impl Shared {
    fn of(rows: &[Row]) -> Self {
        let names: BTreeSet<&str> = rows.iter().flat_map(|row| row.labels.iter().map(|(name, _)| name)).collect();
        let first = rows.first().map(|row| row.labels.clone()).unwrap_or_default();
        let is_same = |name: &str| rows.iter().all(|row| row.labels.get(name) == first.get(name));
        let columns = if rows.len() > 1 {
            names.iter().filter(|name| !is_same(name)).map(|name| (*name).to_owned()).collect()
        } else {
            Vec::new()
        };
        Self { same: first.without(|name| columns.iter().any(|column| column == name)), columns }
    }

    fn heads(&self, more: &[&str]) -> Vec<String> {
        self.columns.iter().cloned().chain(more.iter().map(|head| (*head).to_owned())).collect()
    }

    fn cells(&self, labels: &Labels, more: impl IntoIterator<Item = String>) -> Vec<String> {
        self.columns.iter().map(|name| labels.get_or_empty(name).to_owned()).chain(more).collect()
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        if self.same.is_empty() { Ok(()) } else { writeln!(out, "{}\n", self.same) }
    }
}

/// A table with columns as wide as they need; numbers to the right.
struct Grid {
    heads: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Grid {
    fn new(heads: Vec<String>) -> Self {
        Self { heads, rows: Vec::new() }
    }

    fn add(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).chain(self.heads.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let is_number = |column: usize| {
            let mut cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.all(|cell| cell.parse::<f64>().is_ok())
        };
        let columns: Vec<_> = (0..self.heads.len()).map(|column| (width(column), is_number(column))).collect();
        for row in std::iter::once(&self.heads).chain(&self.rows) {
            let mut line = String::new();
            for (cell, (width, is_number)) in row.iter().zip(&columns) {
                let pad = " ".repeat(width - cell.chars().count().min(*width));
                let (before, after) = if *is_number { (&*pad, "") } else { ("", &*pad) };
                line.extend([before, cell, after, "  "]);
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

fn as_json(value: &Found) -> Json {
    let (kind, result) = match value {
        Found::Scalar(at, value) => ("scalar", json!([json_time(*at), api(*value)])),
        Found::String(at, text) => ("string", json!([json_time(*at), text])),
        Found::Vector(rows) => ("vector", rows.iter().map(vector_row).collect()),
        Found::Matrix(rows) => ("matrix", rows.iter().map(matrix_row).collect()),
    };
    json!({ "resultType": kind, "result": result })
}

fn json_time(at: Timestamp) -> Json {
    if at.0 % 1000 == 0 { json!(at.0 / 1000) } else { json!(at.as_secs_f64()) }
}

fn vector_row(row: &Row) -> Json {
    let points = row.points.iter().map(|(at, point)| {
        let (key, value) = json_point(point);
        (key, json!([json_time(*at), value]))
    });
    object(std::iter::once(("metric", json!(row.labels))).chain(points))
}

fn matrix_row(row: &Row) -> Json {
    let (mut floats, mut histograms) = (Vec::new(), Vec::new());
    for (at, point) in &row.points {
        let (_, value) = json_point(point);
        match point {
            Point::Float(_) => floats.push(json!([json_time(*at), value])),
            Point::Histogram(_) => histograms.push(json!([json_time(*at), value])),
        }
    }
    let points = [("values", floats), ("histograms", histograms)];
    let points = points.into_iter().filter(|(_, points)| !points.is_empty());
    object(std::iter::once(("metric", json!(row.labels))).chain(points.map(|(key, points)| (key, points.into()))))
}

fn json_point(point: &Point) -> (&'static str, Json) {
    match point {
        Point::Float(value) => ("value", json!(api(*value))),
        Point::Histogram(Shown { count, sum, buckets }) => {
            let bucket = |one: &Bucket| json!([one.rule, api(one.lower), api(one.upper), api(one.count)]);
            let buckets = (!buckets.is_empty()).then(|| ("buckets", buckets.iter().map(bucket).collect()));
            let totals = [("count", json!(api(*count))), ("sum", json!(api(*sum)))];
            ("histogram", object(totals.into_iter().chain(buckets)))
        }
    }
}

fn object(members: impl Iterator<Item = (&'static str, Json)>) -> Json {
    Json::Object(members.map(|(key, value)| (key.to_owned(), value)).collect())
}

fn csv(out: &mut impl Write, value: &Found) -> io::Result<()> {
    let rows = match value {
        Found::Scalar(at, value) => return writeln!(out, "timestamp,value\n{},{}", seconds(at.0), plain(*value)),
        Found::String(at, text) => return writeln!(out, "timestamp,value\n{},{}", seconds(at.0), quoted_csv(text)),
        Found::Vector(rows) | Found::Matrix(rows) => rows,
    };
    let names: BTreeSet<&str> = rows.iter().flat_map(|row| row.labels.iter().map(|(name, _)| name)).collect();
    for name in &names {
        write!(out, "{},", quoted_csv(name))?;
    }
    writeln!(out, "timestamp,value")?;
    for row in rows {
        let labels: String =
            names.iter().map(|name| format!("{},", quoted_csv(row.labels.get_or_empty(name)))).collect();
        for (at, point) in &row.points {
            let value = match point {
                Point::Float(value) => plain(*value),
                Point::Histogram(_) => quoted_csv(&json_point(point).1.to_string()),
            };
            writeln!(out, "{labels}{},{value}", seconds(at.0))?;
        }
    }
    Ok(())
}

fn quoted_csv(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell.to_owned() }
}

fn prom(out: &mut impl Write, value: &Found) -> io::Result<()> {
    match value {
        Found::Scalar(at, value) => writeln!(out, "scalar: {} @[{}]", plain(*value), seconds(at.0)),
        Found::String(_, text) => writeln!(out, "{text}"),
        // Nothing is a line too.
        Found::Vector(rows) | Found::Matrix(rows) if rows.is_empty() => writeln!(out),
        Found::Vector(rows) => {
            for row in rows {
                for (at, point) in &row.points {
                    writeln!(out, "{} => {} @[{}]", row.labels, prom_point(point), seconds(at.0))?;
                }
            }
            Ok(())
        }
        Found::Matrix(rows) => {
            for row in rows {
                writeln!(out, "{} =>", row.labels)?;
                for (at, point) in &row.points {
                    writeln!(out, "{} @[{}]", prom_point(point), seconds(at.0))?;
                }
            }
            Ok(())
        }
    }
}

fn prom_point(point: &Point) -> String {
    match point {
        Point::Float(value) => plain(*value),
        Point::Histogram(shown) => {
            let buckets: Vec<String> = shown.buckets.iter().map(prom_bucket).collect();
            format!("Count: {}, Sum: {}, Buckets: [{}]", plain(shown.count), plain(shown.sum), buckets.join(" "))
        }
    }
}

fn prom_bucket(bucket: &Bucket) -> String {
    let open = if matches!(bucket.rule, 1 | 3) { '[' } else { '(' };
    let close = if matches!(bucket.rule, 0 | 3) { ']' } else { ')' };
    format!("{open}{},{}{close}:{}", general(bucket.lower), general(bucket.upper), plain(bucket.count))
}
