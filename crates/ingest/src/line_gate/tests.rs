use proptest::prelude::*;

use super::*;
use crate::{Admitted, Intake};

const NOW: Timestamp = Timestamp(1_000_000);

fn stream(name: &str, lines: &[&str]) -> StreamWrite {
    let lines =
        lines.iter().map(|line| LogLine { at: NOW.to_nanos(), line: (*line).to_owned(), metadata: Labels::empty() });
    StreamWrite { labels: Labels::from_pairs([("app", name)]), lines: lines.collect() }
}

fn batch(streams: &[(&str, &[&str])]) -> signal::WriteBatch {
    let streams = streams.iter().map(|(name, lines)| stream(name, lines)).collect();
    signal::WriteBatch { streams, ..signal::WriteBatch::default() }
}

/// Reason, number, whether it passes by itself, sentence.
type Refused<'a> = (&'a str, u64, bool, &'a str);

/// The names of streams that got in, and what was refused.
fn outcome(admitted: &Admitted) -> (Vec<&str>, Vec<Refused<'_>>) {
    let names = admitted.batch.streams.iter().map(|stream| stream.labels.get_or_empty("app")).collect();
    let rejected = admitted.rejected.iter();
    (names, rejected.map(|one| (one.reason, one.count, one.is_for_now(), &*one.example)).collect())
}

#[test]
fn a_stream_that_is_too_fast_is_refused_by_name_and_the_others_are_not() {
    let limits = Limits { max_stream_bytes_per_second: Some(1024), ..Limits::default() };
    let mut intake = Intake::new(limits);
    let long = "x".repeat(3000);
    let push = batch(&[("loud", &[&long, &long]), ("quiet", &["a"])]);
    assert_eq!(outcome(&intake.admit(push.clone(), NOW)), (vec!["loud", "quiet"], vec![]), "a burst");
    let refused = "Per stream rate limit exceeded (limit: 1KB/sec) while attempting to ingest for stream \
                   '{app=\"loud\"}' totaling 5.9KB, consider splitting a stream via additional labels or raise the limit \
                   (limits.max_stream_bytes_per_second)";
    let admitted = intake.admit(push.clone(), NOW);
    assert_eq!(outcome(&admitted), (vec!["quiet"], vec![("per_stream_rate_limit", 2, true, refused)]));
    let later = NOW.plus(Duration::from_secs(1));
    assert_eq!(outcome(&intake.admit(push, later)), (vec!["loud", "quiet"], vec![]), "after the debt is paid");
}

#[test]
fn further_streams_are_refused_by_name_until_others_are_idle() {
    let mut intake = Intake::new(Limits { max_streams: 2, ..Limits::default() });
    let admitted = intake.admit(batch(&[("a", &["1"]), ("b", &["1"]), ("c", &["1", "2"])]), NOW);
    let refused = "Maximum active stream limit exceeded when trying to create stream {app=\"c\"}, reduce the number of \
                   active streams (reduce labels or reduce label values), or raise the limit of 2 (limits.max_streams)";
    assert_eq!(outcome(&admitted), (vec!["a", "b"], vec![("stream_limit", 2, true, refused)]));
    let later = NOW.plus(IDLE);
    assert_eq!(outcome(&intake.admit(batch(&[("b", &["1"])]), later)).0, ["b"]);
    assert_eq!(outcome(&intake.admit(batch(&[("c", &["1"])]), later)).0, ["c"], "a is idle");
    assert_eq!(outcome(&intake.admit(batch(&[("a", &["1"])]), later)).0, Vec::<&str>::new());
}

#[test]
fn lines_of_all_senders_keep_one_rate() {
    let mut intake = Intake::new(Limits { max_lines_per_second: Some(2), ..Limits::default() });
    let push = batch(&[("a", &["1", "2", "3"])]);
    assert_eq!(intake.admit(push.clone(), NOW).batch.line_count(), 3);
    let refused = "lines come faster than the limit of 2 a second (limits.max_lines_per_second); try again in 1 s";
    assert_eq!(outcome(&intake.admit(push.clone(), NOW)), (vec![], vec![("line_rate", 3, true, refused)]));
    assert_eq!(intake.admit(push, NOW.plus(Duration::from_secs(2))).batch.line_count(), 3);
}

#[test]
fn long_lines_are_cut_where_that_is_wanted() {
    let limits = Limits { max_line_bytes: 4, long_lines: LongLines::Truncate, ..Limits::default() };
    let mut intake = Intake::new(limits);
    let admitted = intake.admit(batch(&[("a", &["1234", "12345", "123é"])]), NOW);
    let lines: Vec<_> = admitted.batch.streams[0].lines.iter().map(|line| &*line.line).collect();
    assert_eq!((lines, intake.truncated_lines()), (vec!["1234", "1234", "123"], 2));
    assert!(admitted.rejected.is_empty());
}

#[test]
fn any_age_is_taken_unless_there_is_a_limit() {
    let mut old = batch(&[("a", &["1"])]);
    old.streams[0].lines[0].at = Nanos(0);
    assert_eq!(Intake::new(Limits::default()).admit(old.clone(), NOW).batch.line_count(), 1);
    let limits = Limits { max_line_age: Some(Duration::from_secs(600)), ..Limits::default() };
    let refused = "entry for stream '{app=\"a\"}' has timestamp too old: 1970-01-01T00:00:00Z, oldest acceptable \
                   timestamp is: 1970-01-01T00:06:40Z (limits.max_line_age)";
    let admitted = Intake::new(limits).admit(old, NOW);
    assert_eq!(outcome(&admitted), (vec![], vec![("greater_than_max_sample_age", 1, false, refused)]));
}

#[test]
fn sizes_are_written_for_people() {
    let sizes = [1, 1024, 1536, 3 << 20, 15_800_000, 5 << 30].map(size);
    assert_eq!(sizes, ["1B", "1KB", "1.5KB", "3MB", "15.1MB", "5GB"]);
}

proptest! {
    #[test]
    fn the_number_of_streams_never_exceeds_its_limit(
        pushes in proptest::collection::vec((0_u8..12, 0_i64..3_000), 0..60),
        most in 1_u32..6,
    ) {
        let limits = Limits { max_streams: most, ..Limits::default() };
        let mut gate = LineGate::default();
        let mut now = NOW;
        for (name, wait) in pushes {
            now = now.plus(Duration::from_secs(wait.unsigned_abs()));
            let mut refusals = Refusals::default();
            let mut streams = vec![stream(&name.to_string(), &["x"])];
            streams[0].lines[0].at = now.to_nanos();
            gate.admit(&mut streams, Seen::Never, &limits, now, &mut refusals);
            prop_assert!(gate.streams.len() <= most as usize);
            prop_assert_eq!(streams.is_empty(), refusals.total() > 0);
        }
    }
}
