//! A data directory with bytes of it changed: opening it, asking for everything, writing and merging go on.

#![no_main]

mod written;

use std::path::Path;
use std::sync::{Arc, LazyLock};

use aegis_store::{MemoryDisk, Snapshot, Store, StoreSettings};
use libfuzzer_sys::fuzz_target;
use signal::{Matcher, Nanos, TimeRange, Timestamp};
use written::{DIR, Written};

static WRITTEN: LazyLock<Written> = LazyLock::new(Written::make);

fuzz_target!(|bytes: &[u8]| {
    let Some((first, changes)) = bytes.split_first() else { return };
    let mut files = WRITTEN.files.clone();
    // Four bytes each name a file, a place in it and what stands there instead.
    for change in changes.as_chunks::<4>().0 {
        let [file, low, high, byte] = *change;
        let count = files.len();
        let file = &mut files[usize::from(file & 0x7f) % count].bytes;
        let Some(at) = usize::from(u16::from_le_bytes([low, high])).checked_rem(file.len()) else { continue };
        if change[0] & 0x80 == 0 {
            file[at] = byte;
        } else {
            file.truncate(at);
        }
    }
    let disk = MemoryDisk::new();
    for mut file in files {
        // Most of the time the checksums fit again, or nothing behind them would ever be read.
        if first % 8 != 0 {
            file.mend();
        }
        disk.put(&file.path, file.bytes);
    }
    let settings = StoreSettings { cache_bytes: 1 << 20, ..StoreSettings::default() };
    let Ok(store) = Store::open(Path::new(DIR), settings, Arc::new(disk)) else { return };
    let _ = store.status();
    ask(&store.snapshot());
    let _ = store.append(&[written::batch(50)]);
    let _ = store.flush();
    let _ = store.delete(vec![Matcher::equal("job", "api")], TimeRange::new(Timestamp(0), Timestamp(20_000)));
    for deletion in store.line_deletions().iter().take(1) {
        let _ = store.cancel_line_deletion(deletion.id);
    }
    let _ = store.delete_lines(Timestamp(0), written::lines(Nanos(4_000_000_000)));
    ask(&store.snapshot());
    let _ = store.clean();
    let _ = store.maintain(Timestamp(1 << 40));
    ask(&store.snapshot());
});

fn ask(snapshot: &Snapshot) {
    let all = TimeRange::all();
    let few = [Matcher::equal("job", "api"), Matcher::equal("absent", "")];
    for matchers in [&[], &few[..]] {
        let _ = snapshot.select(matchers, all);
        let _ = snapshot.series(matchers, TimeRange::new(Timestamp(15_000), Timestamp(40_000)));
        let _ = snapshot.exemplars(matchers, all);
        for name in snapshot.label_names(matchers, all) {
            let _ = snapshot.label_values(&name, matchers, all);
        }
        for reader in snapshot.find(matchers, all) {
            let _ = reader.latest(all);
        }
        let _ = snapshot.streams(matchers, Nanos(i64::MIN), Nanos(i64::MAX));
        let _ = snapshot.stream_labels(matchers, Nanos(1_000_000_001), Nanos(4_000_000_000));
    }
    let _ = snapshot.metadata();
    for trace in snapshot.traces(all) {
        let _ = snapshot.trace(trace.id);
    }
}
