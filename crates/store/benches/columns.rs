//! What columns of log fields take, in time and in bytes: `cargo bench -p aegis-store --bench columns`.
//!
//! With `COLUMNS` set to a directory, also those in its files: a value a line, and in the file `times` the rows' times.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench"
)]

/// Columns are no public name of the crate.
#[path = "../src"]
#[allow(dead_code, unused_imports, reason = "the bench asks for some of it")]
mod src {
    pub mod column;
    pub mod wire;
}

use std::time::Instant;

use memchr::memmem::Finder;
use src::column::{self, Column, Texts};
use src::wire;

const ROWS: usize = 2048;
const GROUPS: usize = 24;
const ROUNDS: usize = 5;
const START: i64 = 1_795_401_714_048_000_321;

fn main() {
    println!(
        "{:<22} {:>10} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "ns and bytes a value",
        "kind",
        "text B",
        "bytes",
        "encode",
        "texts",
        "answers",
        "equal",
        "find",
        "get",
        "pick 1%"
    );
    for (name, values) in columns() {
        let groups: Vec<Texts> = values.chunks(ROWS).map(|group| group.iter().map(String::as_str).collect()).collect();
        measure(name, &groups, &times(values.len()));
    }
    if let Some(dir) = std::env::var_os("COLUMNS") {
        let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap();
        let dir = std::path::PathBuf::from(dir);
        let times: Vec<i64> = read(&dir.join("times")).lines().map(|time| time.parse().unwrap()).collect();
        let mut files: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        let mut whole = (0.0, 0.0, 0.0);
        for file in files.iter().filter(|file| !file.ends_with("times")) {
            let text = read(file);
            let lines: Vec<&str> = text.lines().collect();
            let groups: Vec<Texts> = lines.chunks(ROWS).map(|group| group.iter().copied().collect()).collect();
            let (bytes, encode, texts) = measure(&file.file_name().unwrap().to_string_lossy(), &groups, &times);
            whole = (whole.0 + bytes, whole.1 + encode, whole.2 + texts);
        }
        println!("{:<22} {:>10} {:>8} {:>8.2} {:>8.1} {:>8.1}", "in all", "", "", whole.0, whole.1, whole.2);
    }
}

/// Answers bytes of a value, nanoseconds to encode one and nanoseconds to have it back as text.
fn measure(name: &str, groups: &[Texts], times: &[i64]) -> (f64, f64, f64) {
    let rows: usize = groups.iter().map(Texts::len).sum();
    let text: usize = groups.iter().map(|group| group.bytes().len()).sum();
    let group_times = || times.chunks(ROWS);
    let best = |run: &mut dyn FnMut()| {
        let once = |run: &mut dyn FnMut()| {
            let begun = Instant::now();
            run();
            begun.elapsed().as_nanos() as f64 / rows as f64
        };
        (0..ROUNDS).map(|_| once(run)).fold(f64::MAX, f64::min)
    };
    let mut packed: Vec<Vec<u8>> = Vec::new();
    let encode = best(&mut || {
        packed.clear();
        for (group, times) in groups.iter().zip(group_times()) {
            let mut bytes = Vec::new();
            column::encode(group, times, &mut bytes);
            packed.push(bytes);
        }
    });
    let bytes: usize = packed.iter().map(Vec::len).sum();
    let opened = || packed.iter().zip(groups).map(|(bytes, group)| Column::open(bytes, group.len()).unwrap());
    let mut out = Texts::default();
    let texts = best(&mut || {
        for (column, times) in opened().zip(group_times()) {
            out.clear();
            column.texts(times, &mut out).unwrap();
        }
    });
    let answers = best(&mut || {
        for column in opened() {
            std::hint::black_box((column.dictionary().unwrap(), column.numbers().unwrap()));
        }
    });
    let wanted = groups[groups.len() / 2].get(77).to_owned();
    let equal = best(&mut || {
        for (column, times) in opened().zip(group_times()) {
            std::hint::black_box(column.rows_equal(&wanted, times).unwrap());
        }
    });
    let finder = Finder::new(&wanted);
    let find = best(&mut || {
        for (column, times) in opened().zip(group_times()) {
            std::hint::black_box(column.rows_containing(&finder, times).unwrap());
        }
    });
    let get = best(&mut || {
        for ((column, times), group) in opened().zip(group_times()).zip(groups) {
            out.clear();
            column.pick(&[777 % group.len() as u32], times, &mut out).unwrap();
        }
    }) * rows as f64
        / groups.len() as f64;
    let pick = best(&mut || {
        for ((column, times), group) in opened().zip(group_times()).zip(groups) {
            out.clear();
            let rows: Vec<u32> = (0..group.len() as u32).step_by(100).collect();
            column.pick(&rows, times, &mut out).unwrap();
        }
    });
    let each = |all: usize| all as f64 / rows as f64;
    println!(
        "{name:<22} {:>10} {:>8.1} {:>8.2} {encode:>8.1} {texts:>8.1} {answers:>8.2} {equal:>8.2} {find:>8.2} {get:>8.0} {pick:>8.2}",
        packed[packed.len() / 2][0],
        each(text),
        each(bytes),
    );
    (each(bytes), encode, texts)
}

fn times(rows: usize) -> Vec<i64> {
    (0..rows as i64).map(|row| START + row * 48_017_003).collect()
}

fn columns() -> Vec<(&'static str, Vec<String>)> {
    let mut state = 1_u64;
    let mut chance = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state ^ state >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 20
    };
    let words =
        ["the", "request", "of", "user", "was", "not", "sent", "because", "no", "upstream", "had", "room", "left"];
    let mut column = |name, make: &mut dyn FnMut(usize, u64) -> String| {
        (name, (0..ROWS * GROUPS).map(|row| make(row, chance())).collect::<Vec<String>>())
    };
    vec![
        column("constant", &mut |_, _| "backend".to_owned()),
        column("level", &mut |_, chance| ["info", "info", "warn", "error"][chance as usize % 4].to_owned()),
        column("status", &mut |_, chance| format!("{}", 200 + chance % 7)),
        column("time", &mut |row, _| {
            let millis = (START + row as i64 * 48_017_003) / 1_000_000 % 86_400_000;
            let (hours, minutes) = (millis / 3_600_000, millis / 60_000 % 60);
            format!("2026-11-23T{hours:02}:{minutes:02}:{:02}.{:03}Z", millis / 1000 % 60, millis % 1000)
        }),
        column("trace id", &mut |_, chance| format!("{:016x}{:016x}", chance * 7_777_777, chance * 333_333_333)),
        column("uuid", &mut |_, chance| {
            format!("{:08x}-{:04x}-4000-8000-{:012x}", chance as u32, chance as u16, chance >> 2 & 0xffff_ffff_ffff)
        }),
        column("duration", &mut |_, chance| format!("{}.{}", (chance % 1000) * (chance >> 10 & 7), chance >> 20 & 7)),
        column("bytes", &mut |_, chance| format!("{}", chance % 1_000_000)),
        column("user", &mut |_, chance| format!("u-{}", chance % 50_000)),
        column("half empty number", &mut |_, chance| {
            if chance & 1 == 0 { String::new() } else { format!("{}", chance % 9999) }
        }),
        column("rare", &mut |row, chance| if row % 500 == 0 { format!("failed at {chance}") } else { String::new() }),
        column("path", &mut |_, chance| match chance % 3 {
            0 => format!("/api/v1/orders/{}", chance >> 3 & 0xffff),
            1 => format!("/api/v1/users/{}/cart", chance >> 3 & 0xfff),
            _ => "/healthz".to_owned(),
        }),
        column("message", &mut |_, chance| match chance % 5 {
            0 => format!("order {} created with {} items", chance >> 3 & 0xffff, chance >> 20 & 7),
            1 => {
                format!("retrying call to inventory, attempt {} of 5 after {} ms", chance >> 20 & 3, chance >> 23 & 511)
            }
            2 => "request completed".to_owned(),
            3 => format!("slow query detected: {} ms on table items", chance >> 9 & 4095),
            _ => format!("parsed request body of {} bytes", chance >> 9 & 0xffff),
        }),
        column("prose", &mut |_, chance| {
            (0..10).map(|word| words[(chance >> (word * 4)) as usize % 13]).collect::<Vec<_>>().join(" ")
        }),
        column("random text", &mut |_, chance| {
            (0..30).map(|letter| char::from(b'a' + (chance.wrapping_mul(letter * 2 + 1) >> 17) as u8 % 26)).collect()
        }),
    ]
}
