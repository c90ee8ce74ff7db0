//! Positions of log files, stages as written, and lines through them.

#![no_main]

use aegis_ingest::pipeline::{Entry, Pipeline, StageFile, Surroundings, lossy};
use aegis_ingest::tail::Positions;
use libfuzzer_sys::fuzz_target;
use signal::{Labels, Nanos};

fuzz_target!(|bytes: &[u8]| {
    let _ = Positions::read(bytes);
    // Stages before the first line break, lines behind it.
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let written = lines.next().unwrap_or_default();
    let Ok(stages) = serde_json::from_slice::<Vec<StageFile>>(written) else { return };
    let around = Surroundings { zone: &|_| None, max_line_bytes: 1000 };
    let Ok(mut pipeline) = Pipeline::new(&stages, around) else { return };
    let labels = Labels::from_pairs([("job", "fuzz")]);
    let mut done = Vec::new();
    for (at, line) in (0_u64..).zip(lines) {
        let (text, _) = lossy(line);
        pipeline.feed(Entry::new(Nanos(0), labels.clone(), text, at), Nanos(1_710_072_000_000_000_000), &mut done);
        if let Some(held) = pipeline.oldest_held() {
            assert!(held <= at);
        }
    }
    pipeline.flush(Nanos(i64::MAX), &mut done);
    assert_eq!(pipeline.oldest_held(), None);
    done.into_iter().for_each(|entry| drop(entry.into_line()));
});
