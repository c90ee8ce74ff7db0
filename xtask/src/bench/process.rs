//! A server as the kernel sees it: processor time, memory, files. Linux only.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use super::clock::Stopwatch;

/// `USER_HZ`, which is 100 on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;
/// A server that uses less than this share of a core for a while is quiet.
const QUIET: f64 = 0.06;
const LOOK_EVERY: Duration = Duration::from_millis(1500);
const MOST_SETTLING: Duration = Duration::from_secs(30);

/// Memory in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Memory {
    pub(super) resident: f64,
    pub(super) peak: f64,
}

/// Seconds of processor time that a process and its finished children have used.
pub(super) fn cpu_seconds(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name may hold anything, but it is the only thing in parentheses.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: f64 = fields.skip(11).take(4).filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / TICKS_PER_SECOND
}

/// Seconds of processor time that the whole machine has used.
pub(super) fn machine_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8).enumerate();
    // The fourth and fifth are idle time.
    let busy = fields.filter(|(at, _)| !matches!(at, 3 | 4));
    busy.filter_map(|(_, field)| field.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

pub(super) fn memory(process: u32) -> Memory {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let of = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let kib = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next()?.parse::<f64>().ok());
        kib.unwrap_or_default() * 1024.0
    };
    Memory { resident: of("VmRSS"), peak: of("VmHWM") }
}

/// From here on the peak counts anew.
pub(super) fn forget_peak(process: u32) {
    let _ = fs::write(format!("/proc/{process}/clear_refs"), "5");
}

/// Waits until what a server still does in the background is in the books.
pub(super) fn settle(process: u32) {
    let watch = Stopwatch::start();
    while watch.elapsed() < MOST_SETTLING {
        let before = cpu_seconds(process);
        sleep(LOOK_EVERY);
        if cpu_seconds(process) - before < QUIET * LOOK_EVERY.as_secs_f64() {
            return;
        }
    }
}

/// Bytes of all files below a directory; holes and further names of a file do not count.
pub(super) fn disk_bytes(dir: &Path) -> f64 {
    let mut seen = HashSet::new();
    let mut total = 0;
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(file) = entry.metadata() else { continue };
            if file.is_dir() {
                waiting.push(entry.path());
            } else if seen.insert((file.dev(), file.ino())) {
                total += file.len().min(file.blocks() * 512);
            }
        }
    }
    total as f64
}
