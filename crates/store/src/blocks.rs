//! The blocks of one signal: which there are, how they come and how they go.
//!
//! What was written moves here from the head with every flush. Blocks never change; merging and forgetting replace them.

mod compact;
mod days;
pub(crate) mod logs;
mod metrics;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use signal::{TimeRange, Timestamp};

use crate::block::{MergeError, PageCache};
use crate::block_file::{BlockError, BlockOrigin};
use crate::deletion::Deletion;
use crate::disk::Disk;
use crate::errors::{FlushError, OpenError};
use crate::manifest::{Listed, Manifest, ReadError};
use crate::retention::Floors;
use crate::status::Problem;

pub(crate) use days::DAY;

/// A block of one signal, as far as its directory has to know.
pub(crate) trait BlockFile: Sized + Send + Sync + Debug {
    fn open(disk: &Arc<dyn Disk>, file: &Path, cache: &Arc<PageCache>) -> Result<Self, BlockError>;

    /// First and last instant, in whole milliseconds around them.
    fn range(&self) -> TimeRange;

    /// On disk.
    fn bytes(&self) -> u64;

    /// How many times what it holds has been merged.
    fn level(&self) -> u32;

    /// Whether a deletion that fits its time may concern something in it.
    fn may_have(&self, deletion: &Deletion) -> bool;

    /// Whether writing it anew leaves out what `floors` say is no longer kept, and enough of it.
    fn has_expired(&self, floors: &Floors) -> bool;

    /// Writes one block of several; answers whether anything is left for it. Without, there is no file.
    fn merge(job: &MergeJob<'_, Self>) -> Result<bool, MergeError>;
}

/// What is to become one block.
#[derive(Debug)]
pub(crate) struct MergeJob<'a, B> {
    pub(crate) disk: &'a Arc<dyn Disk>,
    pub(crate) file: &'a Path,
    pub(crate) origin: BlockOrigin,
    /// Oldest arrivals first.
    pub(crate) parts: &'a [Arc<OpenBlock<B>>],
    /// What is left out.
    pub(crate) deletions: &'a [&'a Deletion],
    pub(crate) floors: &'a Floors,
}

const EXTENSION: &str = "block";

/// One block that is served.
#[derive(Debug)]
pub(crate) struct OpenBlock<B> {
    pub(crate) number: u64,
    /// The number of the block in which the newest of it arrived.
    pub(crate) arrived: u64,
    pub(crate) file: PathBuf,
    pub(crate) block: Arc<B>,
    /// The first damage that a reader came upon.
    damage: OnceLock<Problem>,
}

/// What readers see. A copy is cheap and never changes.
#[derive(Debug)]
pub(crate) struct BlockSet<B> {
    /// Oldest arrivals first.
    pub(crate) blocks: Arc<Vec<Arc<OpenBlock<B>>>>,
    pub(crate) deletions: Arc<Vec<Deletion>>,
    /// Since when what is there counts.
    pub(crate) floors: Arc<Floors>,
}

impl<B> Clone for BlockSet<B> {
    fn clone(&self) -> Self {
        let Self { blocks, deletions, floors } = self;
        Self { blocks: Arc::clone(blocks), deletions: Arc::clone(deletions), floors: Arc::clone(floors) }
    }
}

impl<B> Default for BlockSet<B> {
    fn default() -> Self {
        Self { blocks: Arc::default(), deletions: Arc::default(), floors: Arc::default() }
    }
}

/// The directory of the blocks; whoever holds it may change it.
#[derive(Debug)]
pub(crate) struct BlockDir<B> {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    cache: Arc<PageCache>,
    manifest: Manifest,
    set: BlockSet<B>,
    /// Numbers of blocks that are to be written anew because of the floors.
    expired: BTreeSet<u64>,
}

impl<B: BlockFile> OpenBlock<B> {
    fn open(listed: Listed, file: PathBuf, disk: &Arc<dyn Disk>, cache: &Arc<PageCache>) -> Result<Self, BlockError> {
        let block = Arc::new(B::open(disk, &file, cache)?);
        let Listed { number, arrived } = listed;
        Ok(Self { number, arrived, file, block, damage: OnceLock::new() })
    }

    pub(crate) fn range(&self) -> TimeRange {
        self.block.range()
    }

    fn listed(&self) -> Listed {
        Listed { number: self.number, arrived: self.arrived }
    }

    /// Whether it may hold something of what was deleted.
    pub(crate) fn is_touched(&self, deletion: &Deletion) -> bool {
        deletion.touches(self.arrived, self.range()) && self.block.may_have(deletion)
    }
}

impl<B> OpenBlock<B> {
    /// What was read; nothing when that is damaged, which is noted.
    pub(crate) fn or_note<T: Default>(&self, read: Result<T, BlockError>) -> T {
        read.unwrap_or_else(|error| {
            self.note(&error);
            T::default()
        })
    }

    /// Remembers the first damage.
    pub(crate) fn note(&self, error: &BlockError) {
        self.damage.get_or_init(|| problem(self.file.clone(), error));
    }

    pub(crate) fn damage(&self) -> Option<&Problem> {
        self.damage.get()
    }
}

impl<B: BlockFile> BlockSet<B> {
    /// The blocks that may have something in `range`.
    pub(crate) fn near(&self, range: TimeRange) -> impl Iterator<Item = &Arc<OpenBlock<B>>> {
        self.blocks.iter().filter(move |block| block.range().overlaps(&range))
    }
}

impl<B> BlockSet<B> {
    /// What readers found damaged.
    pub(crate) fn damages(&self) -> impl Iterator<Item = Problem> {
        self.blocks.iter().filter_map(|block| block.damage().cloned())
    }
}

impl<B: BlockFile> BlockDir<B> {
    /// Opens the blocks the manifest names and removes what else lies there. Damaged ones are set aside and reported.
    pub(crate) fn open(
        dir: PathBuf,
        disk: Arc<dyn Disk>,
        cache: Arc<PageCache>,
        problems: &mut Vec<Problem>,
    ) -> Result<Self, OpenError> {
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { action, path, source }
        };
        disk.create_dir_all(&dir).map_err(io("make directory", &dir))?;
        let names = disk.list(&dir).map_err(io("list", &dir))?;
        let found = |name: &String| name.strip_suffix(EXTENSION)?.strip_suffix('.')?.parse::<u64>().ok();
        let mut numbers: Vec<u64> = names.iter().filter_map(found).collect();
        numbers.sort_unstable();
        let mut manifest = read_manifest(&dir, &*disk, &numbers, problems)?;
        for name in names.iter().filter(|name| name.ends_with(".tmp")) {
            remove(&*disk, &dir.join(name)).map_err(io("remove", &dir.join(name)))?;
        }
        let mut opened = Self {
            dir,
            disk,
            cache,
            manifest: Manifest::default(),
            set: BlockSet::default(),
            expired: BTreeSet::new(),
        };
        let is_listed = |number: u64| manifest.blocks.iter().any(|listed| listed.number == number);
        for number in numbers.iter().filter(|number| !is_listed(**number)) {
            let file = opened.file(*number);
            remove(&*opened.disk, &file).map_err(io("remove", &file))?;
        }
        let mut blocks = Vec::with_capacity(manifest.blocks.len());
        for listed in std::mem::take(&mut manifest.blocks) {
            let file = opened.file(listed.number);
            match OpenBlock::open(listed, file.clone(), &opened.disk, &opened.cache) {
                Ok(block) => blocks.push(Arc::new(block)),
                Err(BlockError::Version { file, found, known }) => {
                    return Err(OpenError::Version { file, found, known });
                }
                Err(error @ BlockError::Damaged { .. }) => {
                    problems.push(problem(opened.set_aside(&file), &error));
                    continue;
                }
                Err(BlockError::Io { file, source }) if source.kind() == io::ErrorKind::NotFound => {
                    problems.push(Problem { file, offset: 0, reason: "the block is missing".to_owned() });
                    continue;
                }
                Err(BlockError::Io { file, source }) => {
                    return Err(OpenError::Io { action: "open", path: file, source });
                }
            }
            manifest.blocks.push(listed);
        }
        opened.set.blocks = Arc::new(blocks);
        opened.set.deletions = Arc::new(manifest.deletions.clone());
        opened.manifest = manifest;
        Ok(opened)
    }

    /// A directory without blocks that exists in memory only.
    pub(crate) fn empty(dir: PathBuf, disk: Arc<dyn Disk>, cache: Arc<PageCache>) -> Self {
        let manifest = Manifest { next: 1, ..Manifest::default() };
        Self { dir, disk, cache, manifest, set: BlockSet::default(), expired: BTreeSet::new() }
    }

    fn file(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:08}.{EXTENSION}"))
    }

    /// Gives a damaged block a name that is not read again; answers where it is now.
    fn set_aside(&self, file: &Path) -> PathBuf {
        let aside = file.with_extension("damaged");
        match self.disk.rename(file, &aside).and_then(|()| self.disk.sync_dir(&self.dir)) {
            Ok(()) => aside,
            // It is evidence; that it keeps its name does not matter.
            Err(_) => file.to_owned(),
        }
    }

    pub(crate) fn set(&self) -> &BlockSet<B> {
        &self.set
    }

    /// What is older no longer counts, from now on.
    pub(crate) fn set_floors(&mut self, floors: Floors) -> BlockSet<B> {
        let has_expired = |block: &&Arc<OpenBlock<B>>| block.block.has_expired(&floors);
        self.expired = self.set.blocks.iter().filter(has_expired).map(|block| block.number).collect();
        self.set.floors = Arc::new(floors);
        self.set.clone()
    }

    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.set.blocks.iter().map(|block| block.block.bytes()).sum()
    }

    /// Makes `blocks` and what goes with them the state of the directory.
    fn commit(
        &mut self,
        blocks: Vec<Arc<OpenBlock<B>>>,
        change: impl FnOnce(&mut Manifest),
    ) -> Result<BlockSet<B>, FlushError> {
        let mut manifest = self.manifest.clone();
        manifest.blocks = blocks.iter().map(|block| block.listed()).collect();
        change(&mut manifest);
        manifest.deletions.retain(|deletion| blocks.iter().any(|block| block.is_touched(deletion)));
        let path = Manifest::path(&self.dir);
        manifest.write(&self.dir, &*self.disk).map_err(|source| FlushError::Io { file: path, source })?;
        let gone: Vec<PathBuf> = {
            let kept = &manifest.blocks;
            let old = self.set.blocks.iter().filter(|block| kept.iter().all(|kept| kept.number != block.number));
            old.map(|block| block.file.clone()).collect()
        };
        self.set.blocks = Arc::new(blocks);
        self.set.deletions = Arc::new(manifest.deletions.clone());
        self.manifest = manifest;
        for file in gone {
            // What stays behind is not in the manifest, and the next start removes it.
            let _ = self.disk.remove(&file);
        }
        Ok(self.set.clone())
    }

    /// Drops blocks that end before `cutoff`, and the oldest ones beyond `max_bytes`; never the newest.
    pub(crate) fn retain(&mut self, cutoff: Timestamp, max_bytes: u64) -> Result<(u64, u64), FlushError> {
        let mut oldest: Vec<&Arc<OpenBlock<B>>> = self.set.blocks.iter().collect();
        oldest.sort_by_key(|block| block.range().end);
        let mut excess = self.bytes().saturating_sub(max_bytes);
        let (mut dropped, mut bytes) = (Vec::new(), 0);
        if let Some((_newest, older)) = oldest.split_last() {
            for block in older {
                if excess > 0 || block.range().end < cutoff {
                    dropped.push(block.number);
                    bytes += block.block.bytes();
                    excess = excess.saturating_sub(block.block.bytes());
                }
            }
        }
        if dropped.is_empty() {
            return Ok((0, 0));
        }
        let kept = self.set.blocks.iter().filter(|block| !dropped.contains(&block.number)).cloned().collect();
        self.commit(kept, |_| {})?;
        Ok((dropped.len() as u64, bytes))
    }

    /// Opens a block that was just written.
    fn reopen(&self, listed: Listed) -> Result<OpenBlock<B>, FlushError> {
        Ok(OpenBlock::open(listed, self.file(listed.number), &self.disk, &self.cache)?)
    }

    /// Writes the blocks, as they are, to another directory.
    pub(crate) fn copy_to(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir_all(dir)?;
        for block in &*self.set.blocks {
            if let Some(name) = block.file.file_name() {
                self.disk.link(&block.file, &dir.join(name))?;
            }
        }
        // The copy has no write-ahead log: nothing of it is in blocks.
        let manifest = Manifest { floor: 0, ..self.manifest.clone() };
        manifest.write(dir, &*self.disk)
    }
}

fn problem(file: PathBuf, error: &BlockError) -> Problem {
    let (offset, reason) = match error {
        BlockError::Damaged { offset, what, .. } => (*offset, (*what).to_owned()),
        BlockError::Io { source, .. } => (0, source.to_string()),
        BlockError::Version { .. } => (0, error.to_string()),
    };
    Problem { file, offset, reason }
}

fn remove(disk: &dyn Disk, file: &Path) -> io::Result<()> {
    match disk.remove(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The manifest; one that cannot be read is reported, and every finished block counts then: what is there twice is
/// answered once.
fn read_manifest(
    dir: &Path,
    disk: &dyn Disk,
    numbers: &[u64],
    problems: &mut Vec<Problem>,
) -> Result<Manifest, OpenError> {
    let file = Manifest::path(dir);
    match Manifest::read(dir, disk) {
        Ok(Some(manifest)) => Ok(manifest),
        Ok(None) => Ok(Manifest { next: 1, ..Manifest::default() }),
        Err(ReadError::Version(found)) => Err(OpenError::Version { file, found, known: crate::manifest::VERSION }),
        Err(ReadError::Io(source)) => Err(OpenError::Io { action: "read", path: file, source }),
        Err(ReadError::Damage(reason)) => {
            problems.push(Problem { file, offset: 0, reason: reason.to_owned() });
            let next = numbers.last().map_or(1, |last| last + 1);
            let blocks = numbers.iter().copied().map(Listed::new).collect();
            Ok(Manifest { next, blocks, ..Manifest::default() })
        }
    }
}
