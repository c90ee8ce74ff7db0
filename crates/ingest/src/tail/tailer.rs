//! All files that are followed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use signal::{Labels, LogLine, StreamWrite, Timestamp, WriteBatch};

use super::follow::{Event, Follower, begins_at_end, is_marked};
use super::position::{Position, Positions};
use super::{FileId, Files, Found, TailJob};
use crate::pipeline::Entry;

/// Bytes of a batch after which the remaining files wait for the next one.
const BATCH_BYTES: usize = 2 << 20;
/// Files that stay open; beyond that, those where nothing comes are closed.
const OPEN_FILES: usize = 256;
/// Times after which idle files are closed, when few and when many are open.
const CLOSE_AFTER: [Duration; 2] = [Duration::from_secs(300), Duration::from_secs(2)];

/// Follows the files of all jobs. Rounds come one after the other, each accepted before the next.
pub struct Tailer<F: Files> {
    files: F,
    jobs: Vec<Arc<TailJob>>,
    followers: Vec<Follower<F::Open>>,
    /// Positions of an earlier run that no file was found for yet.
    known: Vec<Position>,
    /// Jobs whose files were looked for once.
    begun: BTreeSet<String>,
    /// Positions to be written that belong to no file that is followed.
    changed: Vec<Position>,
    /// Where the next round begins, so that a busy file does not keep the others waiting.
    next: usize,
    buffer: Vec<u8>,
}

/// What a round made.
#[derive(Debug, Default)]
pub struct Round {
    /// To be written, once `positions` are durable. May be empty.
    pub batch: WriteBatch,
    /// What has changed. To be made durable even when there is nothing to write.
    pub positions: Vec<Position>,
    /// What there is to count.
    pub counts: Counts,
    /// Files that cannot be read, and why; each is told once.
    pub problems: Vec<(String, String)>,
    /// Whether there is more to read at once.
    pub has_more: bool,
}

/// What there is to count of a round.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Lines read.
    pub lines: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Lines with bytes that are no UTF-8.
    pub replaced: u64,
    /// Lines that were cut.
    pub cut: u64,
    /// Lines dropped by stages, by reason.
    pub dropped: BTreeMap<Arc<str>, u64>,
}

/// What a round is collected in.
#[derive(Default)]
pub(super) struct Output {
    streams: Vec<StreamWrite>,
    places: HashMap<Labels, usize>,
    bytes: usize,
    pub(super) counts: Counts,
    pub(super) problems: Vec<(String, String)>,
    pub(super) buffer: Vec<u8>,
}

impl Output {
    pub(super) fn add(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            let (labels, line) = entry.into_line();
            self.bytes += line.line.len() + std::mem::size_of::<LogLine>();
            // Neighbours are mostly of one stream.
            if let Some(last) = self.streams.last_mut().filter(|last| last.labels == labels) {
                last.lines.push(line);
                continue;
            }
            let next = self.streams.len();
            let place = *self.places.entry(labels).or_insert_with_key(|labels| {
                self.streams.push(StreamWrite { labels: labels.clone(), lines: Vec::new() });
                next
            });
            if let Some(stream) = self.streams.get_mut(place) {
                stream.lines.push(line);
            }
        }
    }

    pub(super) fn take_dropped(&mut self, dropped: BTreeMap<Arc<str>, u64>) {
        for (reason, count) in dropped {
            *self.counts.dropped.entry(reason).or_default() += count;
        }
    }
}

impl<F: Files> Tailer<F> {
    /// Follows nothing yet. `positions` are those of the run before.
    pub fn new(files: F, positions: Positions) -> Self {
        Self {
            files,
            jobs: Vec::new(),
            followers: Vec::new(),
            known: positions.into_all().collect(),
            begun: BTreeSet::new(),
            changed: Vec::new(),
            next: 0,
            buffer: Vec::new(),
        }
    }

    /// How many files are followed.
    pub fn file_count(&self) -> usize {
        self.followers.len()
    }

    /// Says which files each job means now. Jobs that are not named are not followed any more; their positions are kept.
    pub fn follow(&mut self, found: Vec<Found>, now: Timestamp) {
        self.jobs = found.iter().map(|found| Arc::clone(&found.job)).collect();
        let mut kept = Vec::new();
        for follower in std::mem::take(&mut self.followers) {
            match self.jobs.iter().find(|job| job.name == follower.job.name) {
                Some(job) if Arc::ptr_eq(job, &follower.job) => kept.push(follower),
                // What a changed job held back is read again, by its new stages.
                Some(_) | None => {
                    self.changed.push(follower.position());
                    self.known.push(follower.position());
                }
            }
        }
        self.followers = kept;
        for Found { job, paths } in found {
            self.discover(&job, &paths, now);
        }
    }

    fn discover(&mut self, job: &Arc<TailJob>, paths: &[String], now: Timestamp) {
        let is_first_look = self.begun.insert(job.name.clone());
        self.resume(job, now);
        let same_job = self.followers.iter().enumerate().filter(|(_, known)| known.job.name == job.name);
        let mut places: BTreeMap<FileId, usize> = same_job.map(|(at, known)| (known.id, at)).collect();
        for path in paths {
            let Some(seen) = self.files.look(path) else { continue };
            match places.get(&seen.id).and_then(|at| self.followers.get_mut(*at)) {
                Some(known) => {
                    // It was renamed to a name that is meant, too.
                    if known.away.take().is_some() {
                        known.path.clone_from(path);
                    }
                }
                None => {
                    places.insert(seen.id, self.followers.len());
                    self.add(job, path, seen.id, is_first_look, now);
                }
            }
        }
    }

    fn add(&mut self, job: &Arc<TailJob>, path: &str, id: FileId, is_first_look: bool, now: Timestamp) {
        let mut follower = Follower::new(Arc::clone(job), path.to_owned(), id, now);
        let begun = self.followers.iter().filter(|known| known.has_begun() && known.job.name == job.name);
        let mut neighbours = begun.filter(|known| directory(&known.path) == directory(path)).peekable();
        let is_copy = neighbours.peek().is_some()
            && self.files.open(path).is_ok_and(|file| {
                let size = self.files.seen(&file).map_or(0, |seen| seen.size);
                neighbours.any(|known| known.is_copied_in(&self.files, &file, size))
            });
        // What a copy begins with was read in the original; what is new there is found when the original is cut.
        if is_copy || begins_at_end(job, is_first_look) {
            follower.skip_to_end(&self.files);
        }
        self.followers.push(follower);
    }

    /// Finds the files that an earlier run has followed: by name, or renamed, or copied.
    fn resume(&mut self, job: &Arc<TailJob>, now: Timestamp) {
        let (own, others) = std::mem::take(&mut self.known).into_iter().partition(|known| known.job == job.name);
        self.known = others;
        let own: Vec<Position> = own;
        for position in own {
            match self.find(&position) {
                Some((path, id)) => {
                    if id != position.id() {
                        self.changed.push(Position { is_over: true, ..position.clone() });
                    }
                    self.followers.push(Follower::resume(Arc::clone(job), path, id, position, now));
                }
                None => self.changed.push(Position { is_over: true, ..position }),
            }
        }
    }

    /// Where a file is now that was read up to a position.
    fn find(&self, position: &Position) -> Option<(String, FileId)> {
        let (offset, mark) = position.furthest();
        let look = |path: &str| {
            let seen = self.files.look(path)?;
            let is_followed = self.followers.iter().any(|known| known.job.name == position.job && known.id == seen.id);
            if is_followed || seen.size < offset {
                return None;
            }
            let file = self.files.open(path).ok()?;
            is_marked(&self.files, &file, offset, mark).then_some(seen.id)
        };
        let named = look(&position.path);
        if let Some(id) = named.filter(|id| *id == position.id()) {
            return Some((position.path.clone(), id));
        }
        let beside = self.files.beside(&position.path);
        let beside: Vec<_> = beside.into_iter().filter_map(|path| Some((look(&path)?, path))).collect();
        let renamed = beside.iter().find(|(id, _)| *id == position.id());
        if let Some((id, path)) = renamed {
            return Some((path.clone(), *id));
        }
        if mark.is_empty() {
            // Without a single byte to compare, another file is just that.
            return None;
        }
        named.map(|id| (position.path.clone(), id)).or_else(|| beside.into_iter().next().map(|(id, path)| (path, id)))
    }

    /// Looks at the files that are due, and takes what is new.
    pub fn round(&mut self, now: Timestamp) -> Round {
        let mut output = Output { buffer: std::mem::take(&mut self.buffer), ..Output::default() };
        let (mut over, mut added, mut replaced) = (Vec::new(), Vec::new(), Vec::new());
        let count = self.followers.len();
        let (mut visited, mut has_waiting) = (0, false);
        while visited < count && output.bytes < BATCH_BYTES {
            let at = (self.next + visited) % count;
            visited += 1;
            if self.must_wait(at) {
                has_waiting = true;
                continue;
            }
            let Some(follower) = self.followers.get_mut(at).filter(|follower| follower.is_due(now)) else { continue };
            match follower.turn(&self.files, now, &mut output) {
                None => {}
                Some(Event::Replaced) => replaced.push((Arc::clone(&follower.job), follower.path.clone())),
                Some(Event::Copied(copy)) => added.push(*copy),
                Some(Event::Over) => over.push(at),
            }
        }
        self.next = if count == 0 { 0 } else { (self.next + visited) % count };
        let has_more = has_waiting || self.followers.iter().any(Follower::is_behind);
        let mut positions = std::mem::take(&mut self.changed);
        over.sort_unstable();
        for at in over.into_iter().rev() {
            let over = self.followers.remove(at);
            positions.push(Position { is_over: true, ..over.position() });
        }
        positions.extend(self.followers.iter_mut().filter_map(Follower::change));
        for mut copy in added {
            positions.extend(copy.change());
            self.followers.retain(|known| known.job.name != copy.job.name || known.id != copy.id);
            self.followers.push(copy);
        }
        for (job, path) in replaced {
            self.add_replacement(&job, &path, now);
        }
        self.close_idle(now);
        self.buffer = std::mem::take(&mut output.buffer);
        let Output { streams, counts, problems, .. } = output;
        Round { batch: WriteBatch { streams, ..WriteBatch::default() }, positions, counts, problems, has_more }
    }

    /// What is not on disk yet of how far files are read. For the end, when no further round comes.
    pub fn changes(&mut self) -> Vec<Position> {
        let mut changes = std::mem::take(&mut self.changed);
        changes.extend(self.followers.iter_mut().filter_map(Follower::change));
        changes
    }

    /// The last round is in the store, or had nothing for it.
    pub fn accepted(&mut self) {
        self.followers.iter_mut().for_each(Follower::accepted);
    }

    /// A file that took the place of another waits until that one is read.
    fn must_wait(&mut self, at: usize) -> bool {
        let Some((job, before)) = self.followers.get(at).and_then(|it| Some((&it.job, it.after?))) else {
            return false;
        };
        let before = self.followers.iter().find(|known| known.id == before && known.job.name == job.name);
        let (is_behind, last_time) = match before {
            Some(before) => (before.is_behind(), Some(before.last_time)),
            None => (false, None),
        };
        let Some(follower) = self.followers.get_mut(at) else { return false };
        if !is_behind {
            follower.after = None;
        }
        follower.last_time = follower.last_time.max(last_time.unwrap_or(follower.last_time));
        is_behind
    }

    fn add_replacement(&mut self, job: &Arc<TailJob>, path: &str, now: Timestamp) {
        let Some(seen) = self.files.look(path) else { return };
        let mut same_job = self.followers.iter().filter(|known| known.job.name == job.name);
        if same_job.clone().any(|known| known.id == seen.id) {
            return;
        }
        let before = same_job.rfind(|known| known.path == path).map(|known| known.id);
        let mut follower = Follower::new(Arc::clone(job), path.to_owned(), seen.id, now);
        follower.after = before;
        self.followers.push(follower);
    }

    fn close_idle(&mut self, now: Timestamp) {
        let open = self.followers.iter().filter(|follower| follower.is_open()).count();
        let [few, many] = CLOSE_AFTER;
        let after = if open > OPEN_FILES { many } else { few };
        self.followers.iter_mut().for_each(|follower| follower.close_if_idle(after, now));
    }
}

impl<F: Files> std::fmt::Debug for Tailer<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tailer").field("files", &self.followers.len()).finish_non_exhaustive()
    }
}

fn directory(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}
