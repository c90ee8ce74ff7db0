//! The machine against a file system in memory: whatever is done to the files, every line arrives once.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;

use proptest::prelude::*;
use signal::{Nanos, Timestamp};

use super::*;
use crate::pipeline::{StageFile, Surroundings};

/// Names and contents; a file without a name stays for those who have it open.
#[derive(Default)]
struct World {
    names: BTreeMap<String, usize>,
    contents: Vec<Vec<u8>>,
    /// Changes so far, and the last of each file.
    changes: i128,
    changed: BTreeMap<usize, i128>,
}

impl World {
    fn touch(&mut self, inode: usize) {
        self.changes += 1;
        self.changed.insert(inode, self.changes);
    }
}

#[derive(Clone, Default)]
struct Memory(Rc<RefCell<World>>);

impl Memory {
    fn append(&self, path: &str, bytes: &[u8]) {
        let world = &mut *self.0.borrow_mut();
        let next = world.contents.len();
        let inode = *world.names.entry(path.to_owned()).or_insert(next);
        if inode == next {
            world.contents.push(Vec::new());
        }
        world.contents[inode].extend_from_slice(bytes);
        world.touch(inode);
    }

    fn overwrite(&self, inode: usize, bytes: &[u8]) {
        let world = &mut *self.0.borrow_mut();
        world.contents[inode] = bytes.to_vec();
        world.touch(inode);
    }

    /// `app.log` becomes `app.log.1`, and so on.
    fn shift(&self) {
        let world = &mut *self.0.borrow_mut();
        let names = std::mem::take(&mut world.names);
        for (name, inode) in names {
            let number: u32 = name.strip_prefix("/d/app.log.").and_then(|text| text.parse().ok()).unwrap_or(0);
            world.names.insert(format!("/d/app.log.{}", number + 1), inode);
        }
    }

    fn copy_and_truncate(&self) {
        let Some(inode) = self.0.borrow().names.get("/d/app.log").copied() else { return };
        self.shift();
        let world = &mut *self.0.borrow_mut();
        let copy = world.contents.len();
        let content = std::mem::take(&mut world.contents[inode]);
        world.contents.push(content);
        world.names.insert("/d/app.log.1".to_owned(), copy);
        world.names.insert("/d/app.log".to_owned(), inode);
        world.touch(inode);
        world.touch(copy);
    }

    fn remove(&self, path: &str) {
        self.0.borrow_mut().names.remove(path);
    }

    fn names(&self) -> Vec<String> {
        self.0.borrow().names.keys().cloned().collect()
    }
}

impl Files for Memory {
    type Open = usize;

    fn look(&self, path: &str) -> Option<Seen> {
        let inode = self.0.borrow().names.get(path).copied()?;
        self.seen(&inode).ok()
    }

    fn open(&self, path: &str) -> io::Result<usize> {
        self.0.borrow().names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn seen(&self, file: &usize) -> io::Result<Seen> {
        let world = self.0.borrow();
        let modified = world.changed.get(file).copied().unwrap_or(0);
        let size = world.contents[*file].len() as u64;
        Ok(Seen { id: FileId { device: 1, inode: *file as u64 }, size, modified })
    }

    fn read_at(&self, file: &usize, from: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let world = self.0.borrow();
        let rest = world.contents[*file].get(from as usize..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn beside(&self, path: &str) -> Vec<String> {
        self.names().into_iter().filter(|name| name != path).collect()
    }
}

fn job(stages: &str) -> Arc<TailJob> {
    let files: Vec<StageFile> = serde_json::from_str(stages).unwrap();
    let around = Surroundings { zone: &|_| None, max_line_bytes: 1000 };
    Arc::new(TailJob {
        name: "j".to_owned(),
        labels: Labels::from_pairs([("job", "j")]),
        start: Start::Beginning,
        pipeline: Pipeline::new(&files, around).unwrap(),
        max_line_bytes: 1000,
        half_line_wait: Duration::from_secs(5),
    })
}

/// A tailer with its disk and its store; both outlive it.
struct Bench {
    files: Memory,
    job: Arc<TailJob>,
    /// Whether rotated files have names that are meant, too.
    means_all: bool,
    tailer: Tailer<Memory>,
    journal: Vec<u8>,
    store: BTreeSet<(Labels, Nanos, String)>,
    /// Lines in the order of their arrival; the store drops what it has.
    arrived: Vec<String>,
    now: Timestamp,
}

impl Bench {
    fn new(files: &Memory, stages: &str, means_all: bool) -> Self {
        let tailer = Tailer::new(files.clone(), Positions::default());
        let mut bench = Self {
            files: files.clone(),
            job: job(stages),
            means_all,
            tailer,
            journal: Vec::new(),
            store: BTreeSet::new(),
            arrived: Vec::new(),
            now: Timestamp(1_000_000),
        };
        bench.scan();
        bench
    }

    fn scan(&mut self) {
        let names = self.files.names().into_iter();
        let paths = names.filter(|name| self.means_all || name == "/d/app.log").collect();
        self.tailer.follow(vec![Found { job: Arc::clone(&self.job), paths }], self.now);
    }

    fn wait(&mut self, ms: i64) {
        self.now = Timestamp(self.now.0 + ms);
    }

    fn keep(&mut self, round: Round) {
        for stream in round.batch.streams {
            for line in stream.lines {
                if self.store.insert((stream.labels.clone(), line.at, line.line.clone())) {
                    self.arrived.push(line.line);
                }
            }
        }
    }

    /// One round, as the program does it.
    fn round(&mut self) -> bool {
        self.wait(250);
        let round = self.tailer.round(self.now);
        let has_more = round.has_more;
        self.journal.extend(Positions::line(&round.positions));
        self.keep(round);
        self.tailer.accepted();
        has_more
    }

    /// Rounds until nothing is left to read.
    fn settle(&mut self) {
        for _ in 0..50 {
            if !self.round() {
                return;
            }
        }
        panic!("it never ends");
    }

    /// Stops in the middle of a round and starts again.
    fn crash(&mut self, is_written: bool) {
        self.wait(250);
        let round = self.tailer.round(self.now);
        self.journal.extend(Positions::line(&round.positions));
        if is_written {
            self.keep(round);
        }
        self.restart();
    }

    fn restart(&mut self) {
        let positions = Positions::read(&self.journal).unwrap();
        self.journal = positions.journal();
        self.tailer = Tailer::new(self.files.clone(), positions);
        self.wait(1000);
        self.scan();
    }

    fn end(&mut self) {
        for _ in 0..6 {
            self.scan();
            self.settle();
            self.wait(20_000);
        }
    }
}

#[test]
fn a_file_is_read_as_it_grows() {
    let files = Memory::default();
    files.append("/d/app.log", b"one\ntw");
    let mut bench = Bench::new(&files, "[]", false);
    bench.round();
    assert_eq!(bench.arrived, ["one"]);
    files.append("/d/app.log", b"o\n");
    bench.round();
    assert_eq!(bench.arrived, ["one", "two"]);
    files.append("/d/app.log", b"half");
    bench.round();
    bench.wait(4000);
    bench.round();
    assert_eq!(bench.arrived.len(), 2, "its end may come");
    bench.wait(1000);
    bench.round();
    assert_eq!(bench.arrived[2..], ["half"], "it does not");
    let filename = bench.store.iter().next().unwrap().0.to_string();
    assert_eq!(filename, r#"{filename="/d/app.log", job="j"}"#);
}

#[test]
fn only_what_comes_later_is_read_where_that_is_wanted() {
    let files = Memory::default();
    files.append("/d/app.log", b"old\nold");
    let mut bench = Bench::new(&files, "[]", true);
    bench.job = Arc::new(TailJob { start: Start::End, ..(*bench.job).clone() });
    bench.tailer = Tailer::new(files.clone(), Positions::default());
    bench.scan();
    bench.settle();
    files.append("/d/app.log", b"er\nnew\n");
    files.append("/d/app.log.x", b"a file of its own\n");
    bench.scan();
    bench.settle();
    assert_eq!(bench.arrived, ["er", "new", "a file of its own"]);
}

#[test]
fn what_was_written_before_a_rotation_comes_first() {
    for means_all in [false, true] {
        let files = Memory::default();
        let mut bench = Bench::new(&files, "[]", means_all);
        let lines: Vec<String> =
            (0..30_000).map(|n| format!("line number {n:08}, and some more text to make it longer")).collect();
        let (old, new) = lines.split_at(25_000);
        files.append("/d/app.log", (old[..10].join("\n") + "\n").as_bytes());
        bench.scan();
        bench.round();
        files.append("/d/app.log", (old[10..].join("\n") + "\n").as_bytes());
        files.shift();
        files.append("/d/app.log", (new.join("\n") + "\n").as_bytes());
        bench.settle();
        assert_eq!(bench.arrived, lines, "{means_all}");
        let times: Vec<Nanos> = bench.store.iter().map(|(_, at, _)| *at).collect();
        assert_eq!(times.len(), lines.len());
        assert!(times.is_sorted(), "and their times say so");
    }
}

#[test]
fn a_deleted_file_is_read_to_its_end() {
    let files = Memory::default();
    files.append("/d/app.log", b"one\n");
    let mut bench = Bench::new(&files, "[]", false);
    bench.round();
    files.append("/d/app.log", b"two\nlast");
    files.remove("/d/app.log");
    bench.settle();
    bench.wait(31_000);
    bench.end();
    assert_eq!(bench.arrived, ["one", "two", "last"]);
    assert_eq!(bench.tailer.file_count(), 0);
    assert_eq!(Positions::read(&bench.journal).unwrap().into_all().count(), 0);
}

#[test]
fn a_file_that_begins_anew_is_read_anew() {
    let files = Memory::default();
    files.append("/d/app.log", b"one\ntwo\nthree\n");
    let mut bench = Bench::new(&files, "[]", false);
    bench.round();
    files.overwrite(0, b"four\n");
    bench.round();
    bench.round();
    files.overwrite(0, b"five, and longer than before\n");
    bench.settle();
    bench.settle();
    files.overwrite(0, b"6ive, and longer than before\n");
    bench.settle();
    assert_eq!(
        bench.arrived,
        ["one", "two", "three", "four", "five, and longer than before", "6ive, and longer than before"]
    );
}

#[test]
fn blocks_of_lines_survive_a_crash() {
    let stages = r#"[{"multiline": {"firstline": "^\\S", "max_wait_time": "3s"}}]"#;
    let files = Memory::default();
    files.append("/d/app.log", b"a\n 1\n 2\nb\n 1\n");
    let mut bench = Bench::new(&files, stages, false);
    bench.round();
    assert_eq!(bench.arrived, ["a\n 1\n 2"]);
    bench.crash(true);
    bench.round();
    assert_eq!(bench.arrived.len(), 1, "b may go on");
    files.append("/d/app.log", b" 2\nc\n");
    bench.crash(false);
    bench.settle();
    bench.wait(3000);
    bench.crash(true);
    bench.settle();
    bench.wait(3000);
    bench.settle();
    assert_eq!(bench.arrived, ["a\n 1\n 2", "b\n 1\n 2", "c"]);
}

#[test]
fn a_changed_job_goes_on_where_it_was() {
    let files = Memory::default();
    files.append("/d/app.log", b"one\n");
    let mut bench = Bench::new(&files, "[]", false);
    bench.settle();
    bench.job = job(r#"[{"static_labels": {"new": "1"}}]"#);
    files.append("/d/app.log", b"two\n");
    bench.scan();
    bench.settle();
    assert_eq!(bench.arrived, ["one", "two"]);
    bench.tailer.follow(Vec::new(), bench.now);
    assert_eq!(bench.tailer.file_count(), 0);
    bench.scan();
    files.append("/d/app.log", b"three\n");
    bench.settle();
    assert_eq!(bench.arrived, ["one", "two", "three"]);
}

#[test]
fn lines_that_are_too_long_or_no_text_are_counted() {
    let files = Memory::default();
    let mut content = vec![b'x'; 5000];
    content.extend_from_slice(b"\nok\n\xff\n");
    files.append("/d/app.log", &content);
    let mut bench = Bench::new(&files, "[]", false);
    let round = bench.tailer.round(bench.now);
    let counts = (round.counts.lines, round.counts.bytes, round.counts.cut, round.counts.replaced);
    assert_eq!(counts, (3, 5006, 1, 1));
    let lengths: Vec<_> = round.batch.streams[0].lines.iter().map(|line| line.line.len()).collect();
    assert_eq!(lengths, [1000, 2, 3]);
}

/// What happens to the files or to the program.
#[derive(Clone, Copy, Debug)]
enum Step {
    Append(u8),
    HalfLine,
    Rename,
    CopyTruncate,
    Round,
    Scan,
    CrashBeforeWrite,
    CrashAfterWrite,
    Restart,
    Wait,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1_u8..5).prop_map(Step::Append),
        1 => Just(Step::HalfLine),
        2 => Just(Step::Rename),
        2 => Just(Step::CopyTruncate),
        6 => Just(Step::Round),
        2 => Just(Step::Scan),
        1 => Just(Step::CrashBeforeWrite),
        1 => Just(Step::CrashAfterWrite),
        1 => Just(Step::Restart),
        1 => Just(Step::Wait),
    ];
    proptest::collection::vec(step, 0..50)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_line_arrives_once(steps in steps(), means_all in any::<bool>()) {
        let files = Memory::default();
        let mut bench = Bench::new(&files, "[]", means_all);
        let mut written: Vec<String> = Vec::new();
        let mut half: Option<String> = None;
        let write = |half: &mut Option<String>, written: &mut Vec<String>, is_whole: bool| {
            let line = format!("line {}", written.len());
            // Its beginning may be in the file already.
            let text = match half.take() {
                Some(_) => "more\n".to_owned(),
                None if is_whole => format!("{line}\n"),
                None => line.clone(),
            };
            if text == "more\n" {
                written.last_mut().unwrap().push_str("more");
            } else {
                written.push(line.clone());
                if !is_whole {
                    *half = Some(line);
                }
            }
            files.append("/d/app.log", text.as_bytes());
        };
        // Rotations end lines, as programs do before they go on elsewhere.
        for step in steps {
            match step {
                Step::Append(count) => (0..count).for_each(|_| write(&mut half, &mut written, true)),
                Step::HalfLine => {
                    if half.is_none() {
                        write(&mut half, &mut written, false);
                    }
                }
                Step::Rename | Step::CopyTruncate => {
                    if half.is_some() {
                        write(&mut half, &mut written, true);
                    }
                    // A file that was never looked at is not known to have been there.
                    let is_copy = matches!(step, Step::CopyTruncate);
                    if is_copy || files.look("/d/app.log").is_none() {
                        write(&mut half, &mut written, true);
                    }
                    bench.scan();
                    if is_copy {
                        // Of a file of which nothing was read a copy is not known.
                        bench.settle();
                    }
                    write(&mut half, &mut written, true);
                    match step {
                        Step::Rename => files.shift(),
                        _ => files.copy_and_truncate(),
                    }
                    if !means_all {
                        // Twice between two looks would be too much for the name alone.
                        bench.round();
                    }
                }
                Step::Round => {
                    bench.round();
                }
                Step::Scan => bench.scan(),
                Step::CrashBeforeWrite => bench.crash(false),
                Step::CrashAfterWrite => bench.crash(true),
                Step::Restart => bench.restart(),
                Step::Wait => {
                    // Longer than half a line waits would make two of it.
                    if half.is_none() {
                        bench.wait(10_000);
                    }
                }
            }
        }
        if half.is_some() {
            write(&mut half, &mut written, true);
        }
        bench.end();
        let mut arrived = bench.arrived.clone();
        arrived.sort();
        written.sort();
        prop_assert_eq!(arrived, written);
    }
}
