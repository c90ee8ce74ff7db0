//! One file: what happened to it since the last look, and what of it is new.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use signal::{Labels, Nanos, Timestamp};

use super::position::{Mark, Position, Read, Sent};
use super::split::{HalfLine, split};
use super::tailer::Output;
use super::{FileId, Files, Seen, Start, TailJob};
use crate::pipeline::{Entry, Pipeline, lossy};

/// Bytes read of a file at once, unless its lines may be longer.
const CHUNK: usize = 512 << 10;
/// A file that has no name any more and does not grow is done with after this long.
const AWAY: Duration = Duration::from_secs(30);
/// Times between two looks, by how long nothing came.
const LOOKS: [(Duration, Duration); 3] = [
    (Duration::from_secs(300), Duration::from_millis(1000)),
    (Duration::from_secs(10), Duration::from_millis(500)),
    (Duration::ZERO, Duration::ZERO),
];

/// A place between two lines, or inside one that was cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Place {
    offset: u64,
    mark: Mark,
    is_inside_cut: bool,
}

/// One file that is followed.
pub(super) struct Follower<O> {
    pub(super) job: Arc<TailJob>,
    /// Where it is looked for.
    pub(super) path: String,
    pub(super) id: FileId,
    /// The file whose place this one took; it is read to its end first.
    pub(super) after: Option<FileId>,
    /// The time given last to a line without one.
    pub(super) last_time: Nanos,
    /// What its lines are called by, whatever became of its name since.
    name: String,
    labels: Labels,
    open: Option<O>,
    /// Up to here lines are in the pipeline or behind it.
    read: Place,
    /// Up to here bytes were looked at, the last of them perhaps half a line.
    tried: u64,
    size: u64,
    /// Of the look before and of this one.
    modified: [i128; 2],
    /// Up to here everything is in the store.
    kept: Place,
    /// As `kept` will be once the round under way is accepted.
    sent: Option<Place>,
    /// When what is behind `kept` was read.
    reads: Vec<Read>,
    pipeline: Pipeline,
    /// Up to here the file was sent once, without an answer.
    replay: Option<u64>,
    /// When something came last.
    grown: Timestamp,
    looked: Timestamp,
    /// Since when no known name means it.
    pub(super) away: Option<Timestamp>,
    /// What is on disk is not what is here.
    is_changed: bool,
    problem: Option<String>,
}

/// What a turn found beside lines.
#[derive(Debug)]
pub(super) enum Event<O> {
    /// The name means another file now.
    Replaced,
    /// The file was cut to nothing, and this one is a copy of what it was.
    Copied(Box<O>),
    /// Nothing more comes.
    Over,
}

impl<O> Follower<O> {
    /// Follows a file from where `start` says.
    pub(super) fn new(job: Arc<TailJob>, path: String, id: FileId, now: Timestamp) -> Self {
        let labels = job.labels.with("filename", &path);
        let pipeline = job.pipeline.clone();
        Self {
            job,
            name: path.clone(),
            path,
            id,
            after: None,
            last_time: Nanos(i64::MIN),
            labels,
            open: None,
            read: Place::default(),
            tried: 0,
            size: 0,
            modified: [0; 2],
            kept: Place::default(),
            sent: None,
            reads: Vec::new(),
            pipeline,
            replay: None,
            grown: now,
            looked: Timestamp::MIN,
            away: None,
            is_changed: true,
            problem: None,
        }
    }

    /// Goes on where a file was left. `path` is where it is now.
    pub(super) fn resume(job: Arc<TailJob>, path: String, id: FileId, known: Position, now: Timestamp) -> Self {
        let mut follower = Self::new(job, known.path, id, now);
        follower.path = path;
        let place = Place { offset: known.offset, mark: known.mark, is_inside_cut: known.is_inside_cut };
        (follower.read, follower.kept, follower.tried) = (place, place, place.offset);
        follower.replay = known.sent.map(|sent| sent.offset).filter(|sent| *sent > known.offset);
        if follower.replay.is_some() {
            follower.reads = known.reads;
        }
        follower
    }

    /// Begins with what comes after the last byte of now.
    pub(super) fn skip_to_end<F: Files<Open = O>>(&mut self, files: &F) {
        let Some(seen) = files.look(&self.path) else { return };
        if seen.id != self.id {
            return;
        }
        let mark = files.open(&self.path).and_then(|file| mark_at(files, &file, seen.size));
        self.read = Place { offset: seen.size, mark: mark.unwrap_or_default(), is_inside_cut: false };
        (self.kept, self.tried, self.size) = (self.read, seen.size, seen.size);
        self.is_changed = true;
    }

    /// Whether the file has bytes that nobody has looked at.
    pub(super) fn is_behind(&self) -> bool {
        self.problem.is_none() && (self.tried < self.size || self.looked == Timestamp::MIN)
    }

    /// Whether something of it was read.
    pub(super) fn has_begun(&self) -> bool {
        !self.read.mark.is_empty()
    }

    /// Whether a file that is being discovered begins with what was read of this one.
    pub(super) fn is_copied_in<F: Files<Open = O>>(&self, files: &F, file: &O, size: u64) -> bool {
        self.has_begun() && self.read.offset <= size && is_marked(files, file, self.read.offset, self.read.mark)
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Gives the file back to the system if nothing came for this long.
    pub(super) fn close_if_idle(&mut self, after: Duration, now: Timestamp) {
        if self.away.is_none() && !self.is_behind() && now.since(self.grown) >= after {
            self.open = None;
        }
    }

    /// Whether it is time for a look.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        let idle = now.since(self.grown);
        let wait = LOOKS.iter().find(|(least, _)| idle >= *least).map_or(Duration::ZERO, |(_, wait)| *wait);
        self.looked == Timestamp::MIN || now < self.looked || now.since(self.looked) >= wait
    }

    /// Looks at the file and takes what is new, at most one chunk.
    pub(super) fn turn<F: Files<Open = O>>(
        &mut self,
        files: &F,
        now: Timestamp,
        output: &mut Output,
    ) -> Option<Event<Self>> {
        let outcome = self.look(files, now, output);
        self.looked = now;
        output.take_dropped(self.pipeline.take_dropped());
        match outcome {
            Ok(event) => {
                self.problem = None;
                event
            }
            Err(error) => {
                let error = error.to_string();
                if self.problem.as_ref() != Some(&error) {
                    output.problems.push((self.path.clone(), error.clone()));
                    self.problem = Some(error);
                }
                None
            }
        }
    }

    fn look<F: Files<Open = O>>(
        &mut self,
        files: &F,
        now: Timestamp,
        output: &mut Output,
    ) -> io::Result<Option<Event<Self>>> {
        let named = files.look(&self.path);
        let mut event = None;
        let mine = named.filter(|seen| seen.id == self.id);
        match mine.filter(|_| self.away.is_none()) {
            Some(seen) => self.see(seen),
            None => {
                if self.away.is_none() {
                    self.away = Some(now);
                    if self.open.is_none() {
                        self.open = self.find_by_id(files);
                    }
                }
                if mine.is_none() && named.is_some() {
                    event = Some(Event::Replaced);
                }
                match &self.open {
                    Some(file) => self.see(files.seen(file)?),
                    // Nothing is left of it but what it had said before.
                    None => self.size = self.tried,
                }
            }
        }
        if self.size < self.read.offset {
            return Ok(self.begin_again(files, now, output).or(event));
        }
        // Cut and written to again, a file may have the size it had.
        let [before, modified] = self.modified;
        if self.size > self.tried || before != modified {
            if self.size > self.tried {
                self.grown = now;
            }
            if !self.take(files, now, HalfLine::Waits, output)? {
                return Ok(self.begin_again(files, now, output).or(event));
            }
        } else {
            let is_over = self.away.is_some_and(|away| now.since(away) >= AWAY && now.since(self.grown) >= AWAY);
            let has_waited = now.since(self.grown) >= self.job.half_line_wait;
            let is_done = self.pipeline.oldest_held().is_none() && self.kept.offset == self.read.offset;
            if is_over && is_done && (self.open.is_none() || self.tried <= self.read.offset) {
                return Ok(Some(Event::Over));
            }
            if self.tried > self.read.offset && (is_over || has_waited) {
                self.take(files, now, HalfLine::Counts, output)?;
            }
            let mut done = Vec::new();
            if is_over {
                self.pipeline.flush(now.to_nanos(), &mut done);
            } else {
                self.pipeline.flush_due(now.to_nanos(), &mut done);
            }
            output.add(done);
        }
        self.advance(files)?;
        Ok(event)
    }

    fn see(&mut self, seen: Seen) {
        self.size = seen.size;
        let [_, before] = self.modified;
        self.modified = [before, seen.modified];
    }

    /// Reads one chunk; false when the file is not the one that was read before.
    fn take<F: Files<Open = O>>(
        &mut self,
        files: &F,
        now: Timestamp,
        half: HalfLine,
        output: &mut Output,
    ) -> io::Result<bool> {
        let file = match self.open.take() {
            Some(file) => file,
            None => {
                let file = match files.open(&self.path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
                    file => file?,
                };
                if files.seen(&file)?.id != self.id {
                    // Replaced since the look; the next one sees it.
                    return Ok(true);
                }
                file
            }
        };
        let taken = self.take_from(files, &file, now, half, output);
        self.open = Some(file);
        taken
    }

    fn take_from<F: Files<Open = O>>(
        &mut self,
        files: &F,
        file: &O,
        now: Timestamp,
        half: HalfLine,
        output: &mut Output,
    ) -> io::Result<bool> {
        let before = self.read.mark.length();
        let mut most = CHUNK.max(self.job.max_line_bytes.saturating_add(4096));
        if let Some(end) = self.replay {
            most = most.min(usize::try_from(end.saturating_sub(self.read.offset)).unwrap_or(most));
        }
        let from = self.read.offset.saturating_sub(before as u64);
        let buffer = read_fully(files, file, from, before.saturating_add(most), &mut output.buffer)?;
        let Some((head, bytes)) = buffer.split_at_checked(before) else { return Ok(false) };
        if Mark::of(head) != self.read.mark && before > 0 {
            return Ok(false);
        }
        let is_replayed = self.replay.is_some_and(|end| self.read.offset.saturating_add(bytes.len() as u64) >= end);
        if self.replay.is_none() && !bytes.is_empty() {
            let at = now.to_nanos().max(Nanos(self.last_time.0.saturating_add(1)));
            self.reads.push(Read { from: self.read.offset, at });
        }
        let half = if is_replayed { HalfLine::Counts } else { half };
        let (base, now) = (self.read.offset, now.to_nanos());
        let mut done = Vec::new();
        let (reads, pipeline, labels) = (&self.reads, &mut self.pipeline, &self.labels);
        let counts = &mut output.counts;
        let rest = split(bytes, self.read.is_inside_cut, self.job.max_line_bytes, half, |line| {
            let from = base.saturating_add(line.from as u64);
            let (text, is_replaced) = lossy(line.bytes);
            counts.lines += 1;
            counts.replaced += u64::from(is_replaced);
            counts.cut += u64::from(line.is_cut);
            pipeline.feed(Entry::new(time_of(reads, from, now), labels.clone(), text, from), now, &mut done);
        });
        if is_replayed {
            self.pipeline.flush(now, &mut done);
            self.replay = None;
        }
        counts.bytes += rest.used as u64;
        self.last_time = time_of(&self.reads, base.saturating_add(rest.used as u64), now).max(self.last_time);
        let mark = Mark::of(buffer.get(..before + rest.used).unwrap_or_default());
        let offset = base.saturating_add(rest.used as u64);
        self.tried = base.saturating_add(bytes.len() as u64);
        self.read = Place { offset, mark, is_inside_cut: rest.is_inside_cut };
        output.add(done);
        Ok(true)
    }

    /// Decides what may count as kept once the round is accepted.
    fn advance<F: Files<Open = O>>(&mut self, files: &F) -> io::Result<()> {
        let mut place = self.read;
        if let Some(held) = self.pipeline.oldest_held().filter(|held| *held < place.offset) {
            let Some(file) = &self.open else { return Ok(()) };
            place = if held == self.kept.offset {
                self.kept
            } else {
                Place { offset: held, mark: mark_at(files, file, held)?, is_inside_cut: false }
            };
        }
        if place != self.kept {
            self.sent = Some(place);
            self.is_changed = true;
        }
        Ok(())
    }

    /// The round under way is in the store.
    pub(super) fn accepted(&mut self) {
        let Some(place) = self.sent.take() else { return };
        self.kept = place;
        self.is_changed = true;
        if self.kept.offset >= self.read.offset {
            self.reads.clear();
            return;
        }
        // The last that begins before what is kept still tells the times behind it.
        let first = self.reads.iter().rposition(|read| read.from <= place.offset).unwrap_or(0);
        self.reads.drain(..first);
    }

    /// What is to be on disk before the round is written; `None` when it is there already.
    pub(super) fn change(&mut self) -> Option<Position> {
        std::mem::take(&mut self.is_changed).then(|| self.position())
    }

    /// How far the file is read.
    pub(super) fn position(&self) -> Position {
        // Only what was sent without an answer is ever read for a second time.
        let reads = if self.sent.is_some() { self.reads.clone() } else { Vec::new() };
        Position {
            job: self.job.name.clone(),
            path: self.name.clone(),
            device: self.id.device,
            inode: self.id.inode,
            offset: self.kept.offset,
            mark: self.kept.mark,
            is_inside_cut: self.kept.is_inside_cut,
            reads,
            sent: self.sent.map(|sent| Sent { offset: sent.offset, mark: sent.mark }),
            is_over: false,
        }
    }

    /// The file was cut, and begins anew. What nobody has read yet may be in a copy, which is followed to its end.
    fn begin_again<F: Files<Open = O>>(
        &mut self,
        files: &F,
        now: Timestamp,
        output: &mut Output,
    ) -> Option<Event<Self>> {
        let copy = self.find_copy(files);
        let fresh = Self::new(Arc::clone(&self.job), self.name.clone(), self.id, now);
        let fresh = Self {
            path: self.path.clone(),
            last_time: self.last_time,
            size: self.size,
            modified: self.modified,
            open: None,
            away: self.away,
            ..fresh
        };
        let mut old = std::mem::replace(self, fresh);
        let Some((path, id, file, size)) = copy else {
            let mut done = Vec::new();
            old.pipeline.flush(now.to_nanos(), &mut done);
            output.add(done);
            return None;
        };
        self.open = old.open.take();
        self.after = Some(id);
        old.open = Some(file);
        (old.path, old.id, old.size) = (path, id, size);
        (old.away, old.looked, old.is_changed) = (Some(now), Timestamp::MIN, true);
        Some(Event::Copied(Box::new(old)))
    }

    /// A file beside this one that has the bytes read last at the same place.
    fn find_copy<F: Files<Open = O>>(&self, files: &F) -> Option<(String, FileId, O, u64)> {
        if self.read.mark.is_empty() {
            return None;
        }
        files.beside(&self.path).into_iter().find_map(|path| {
            let file = files.open(&path).ok()?;
            let seen = files.seen(&file).ok()?;
            let is_copy = seen.id != self.id && is_marked(files, &file, self.read.offset, self.read.mark);
            is_copy.then_some((path, seen.id, file, seen.size))
        })
    }

    fn find_by_id<F: Files<Open = O>>(&self, files: &F) -> Option<O> {
        files.beside(&self.path).into_iter().find_map(|path| {
            files.look(&path).filter(|seen| seen.id == self.id)?;
            let file = files.open(&path).ok()?;
            let seen = files.seen(&file).ok()?;
            (seen.id == self.id && is_marked(files, &file, self.read.offset, self.read.mark)).then_some(file)
        })
    }
}

/// The time of a line without one.
fn time_of(reads: &[Read], from: u64, now: Nanos) -> Nanos {
    match reads.iter().rev().find(|read| read.from <= from) {
        Some(read) => Nanos(read.at.0.saturating_add(i64::try_from(from - read.from).unwrap_or(i64::MAX))),
        None => now,
    }
}

fn read_fully<'b, F: Files>(
    files: &F,
    file: &F::Open,
    from: u64,
    most: usize,
    buffer: &'b mut Vec<u8>,
) -> io::Result<&'b [u8]> {
    if buffer.len() < most {
        buffer.resize(most, 0);
    }
    let mut filled = 0;
    while filled < most {
        let room = buffer.get_mut(filled..most).unwrap_or_default();
        match files.read_at(file, from.saturating_add(filled as u64), room) {
            Ok(0) => break,
            Ok(read) => filled += read.min(room.len()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(buffer.get(..filled).unwrap_or_default())
}

fn mark_at<F: Files>(files: &F, file: &F::Open, offset: u64) -> io::Result<Mark> {
    let length = Mark::length_at(offset);
    let mut bytes = Vec::new();
    let read = read_fully(files, file, offset - length as u64, length, &mut bytes)?;
    if read.len() < length {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter"));
    }
    Ok(Mark::of(read))
}

/// Whether the bytes before `offset` are those of the mark; one that says nothing fits everywhere.
pub(super) fn is_marked<F: Files>(files: &F, file: &F::Open, offset: u64, mark: Mark) -> bool {
    if mark.is_empty() {
        return true;
    }
    let Some(from) = offset.checked_sub(mark.length() as u64) else { return false };
    let mut bytes = Vec::new();
    read_fully(files, file, from, mark.length(), &mut bytes)
        .is_ok_and(|read| read.len() == mark.length() && Mark::of(read) == mark)
}

/// Whether a file without a position begins with its end.
pub(super) fn begins_at_end(job: &TailJob, is_first_look: bool) -> bool {
    match job.start {
        Start::End => is_first_look,
        Start::Beginning => false,
    }
}
