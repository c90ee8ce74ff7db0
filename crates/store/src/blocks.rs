//! The blocks of a data directory: which there are, how they come and how they go.
//!
//! Series move here from the head with every flush. Blocks never change; merging and forgetting replace them.

mod compact;
mod write;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use signal::{HistogramSample, Labels, MatchOp, Matcher, Sample, TimeRange, Timestamp, all_match};

use crate::block::{Block, PageCache};
use crate::block_file::BlockError;
use crate::disk::Disk;
use crate::errors::{FlushError, OpenError};
use crate::manifest::{Deletion, Manifest, ReadError};
use crate::snapshot::Latest;
use crate::status::Problem;

const EXTENSION: &str = "block";

/// One block that is served.
#[derive(Debug)]
pub(crate) struct OpenBlock {
    pub(crate) number: u64,
    pub(crate) file: PathBuf,
    pub(crate) block: Arc<Block>,
    /// The first damage that a reader came upon.
    damage: OnceLock<Problem>,
}

/// What readers see. A copy is cheap and never changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct BlockSet {
    /// Oldest arrivals first.
    pub(crate) blocks: Arc<Vec<Arc<OpenBlock>>>,
    pub(crate) deletions: Arc<Vec<Deletion>>,
}

/// The directory of the blocks; whoever holds it may change it.
#[derive(Debug)]
pub(crate) struct BlockDir {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    cache: Arc<PageCache>,
    manifest: Manifest,
    set: BlockSet,
}

impl OpenBlock {
    fn open(number: u64, file: PathBuf, disk: &Arc<dyn Disk>, cache: &Arc<PageCache>) -> Result<Self, BlockError> {
        let block = Arc::new(Block::open(&**disk, &file, cache)?);
        Ok(Self { number, file, block, damage: OnceLock::new() })
    }

    pub(crate) fn range(&self) -> TimeRange {
        self.block.meta().range
    }

    /// What the matchers allow; nothing from an index that is damaged, which is noted.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> Vec<u32> {
        self.or_note(self.block.select(matchers))
    }

    /// The labels of series, in the order of the numbers.
    pub(crate) fn labels(&self, ids: &[u32]) -> Vec<Labels> {
        self.or_note(self.block.labels(ids))
    }

    /// What can be read; damage is noted.
    pub(crate) fn read(
        &self,
        id: u32,
        range: TimeRange,
        samples: &mut Vec<Sample>,
        histograms: &mut Vec<HistogramSample>,
    ) {
        self.or_note(self.block.read(id, range, samples, histograms));
    }

    /// The newest in `range`; damage is noted.
    pub(crate) fn latest(&self, id: u32, range: TimeRange) -> Option<Latest> {
        self.or_note(self.block.latest(id, range))
    }

    /// The names of labels on series with something in `range`, of those that are `wanted`; damage is noted.
    pub(crate) fn label_names(&self, range: TimeRange, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let names = self.block.label_names().filter(|name| wanted(name));
        let is_whole = range.start <= self.range().start && self.range().end <= range.end;
        let is_there = |name: &str| {
            let carries = Matcher::new(name, MatchOp::NotEqual, "");
            carries.is_ok_and(|carries| self.select(&[carries]).into_iter().any(|id| self.has_any(id, range)))
        };
        names.filter(|name| is_whole || is_there(name)).map(str::to_owned).collect()
    }

    /// The values of a label on series with something in `range`; damage is noted.
    pub(crate) fn label_values(&self, name: &str, range: TimeRange) -> Vec<String> {
        let own = self.range();
        if range.start <= own.start && own.end <= range.end {
            return self.or_note(self.block.label_values(name, None));
        }
        let Ok(carries) = Matcher::new(name, MatchOp::NotEqual, "") else { return Vec::new() };
        let mut ids = self.select(&[carries]);
        ids.retain(|id| self.has_any(*id, range));
        self.or_note(self.block.label_values(name, Some(&ids)))
    }

    pub(crate) fn has_any(&self, id: u32, range: TimeRange) -> bool {
        self.or_note(self.block.has_samples(id, range))
    }

    fn or_note<T: Default>(&self, read: Result<T, BlockError>) -> T {
        read.unwrap_or_else(|error| {
            self.note(&error);
            T::default()
        })
    }

    /// Remembers the first damage.
    fn note(&self, error: &BlockError) {
        self.damage.get_or_init(|| problem(self.file.clone(), error));
    }

    pub(crate) fn damage(&self) -> Option<&Problem> {
        self.damage.get()
    }
}

impl BlockSet {
    /// Whether any block may have something in `range`.
    pub(crate) fn near(&self, range: TimeRange) -> impl Iterator<Item = &OpenBlock> {
        self.blocks.iter().map(|block| &**block).filter(move |block| block.range().overlaps(&range))
    }

    /// What was asked to be forgotten of a series, each with the number of the first block it does not concern.
    pub(crate) fn deleted(&self, labels: &Labels) -> Vec<(u64, TimeRange)> {
        let concerns = |deletion: &&Deletion| all_match(&deletion.matchers, labels);
        self.deletions.iter().filter(concerns).map(|deletion| (deletion.below, deletion.range)).collect()
    }
}

impl BlockDir {
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
        let mut opened = Self { dir, disk, cache, manifest: Manifest::default(), set: BlockSet::default() };
        for number in numbers.iter().filter(|number| !manifest.blocks.contains(number)) {
            let file = opened.file(*number);
            remove(&*opened.disk, &file).map_err(io("remove", &file))?;
        }
        let mut blocks = Vec::with_capacity(manifest.blocks.len());
        for number in std::mem::take(&mut manifest.blocks) {
            let file = opened.file(number);
            match OpenBlock::open(number, file.clone(), &opened.disk, &opened.cache) {
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
            manifest.blocks.push(number);
        }
        opened.set = BlockSet { blocks: Arc::new(blocks), deletions: Arc::new(manifest.deletions.clone()) };
        opened.manifest = manifest;
        Ok(opened)
    }

    /// A directory without blocks that exists in memory only.
    pub(crate) fn empty(dir: PathBuf, disk: Arc<dyn Disk>, cache: Arc<PageCache>) -> Self {
        let manifest = Manifest { next: 1, ..Manifest::default() };
        Self { dir, disk, cache, manifest, set: BlockSet::default() }
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

    pub(crate) fn set(&self) -> &BlockSet {
        &self.set
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
        blocks: Vec<Arc<OpenBlock>>,
        change: impl FnOnce(&mut Manifest),
    ) -> Result<BlockSet, FlushError> {
        let mut manifest = self.manifest.clone();
        manifest.blocks = blocks.iter().map(|block| block.number).collect();
        change(&mut manifest);
        manifest.deletions.retain(|deletion| blocks.iter().any(|block| deletion.touches(block)));
        let path = Manifest::path(&self.dir);
        manifest.write(&self.dir, &*self.disk).map_err(|source| FlushError::Io { file: path, source })?;
        let gone: Vec<PathBuf> = {
            let kept = &manifest.blocks;
            let old = self.set.blocks.iter().filter(|block| !kept.contains(&block.number));
            old.map(|block| block.file.clone()).collect()
        };
        self.set = BlockSet { blocks: Arc::new(blocks), deletions: Arc::new(manifest.deletions.clone()) };
        self.manifest = manifest;
        for file in gone {
            // What stays behind is not in the manifest, and the next start removes it.
            let _ = self.disk.remove(&file);
        }
        Ok(self.set.clone())
    }

    /// Drops blocks that end before `cutoff`, and the oldest ones beyond `max_bytes`; never the newest.
    pub(crate) fn retain(&mut self, cutoff: Timestamp, max_bytes: u64) -> Result<(u64, u64), FlushError> {
        let mut oldest: Vec<&Arc<OpenBlock>> = self.set.blocks.iter().collect();
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

    /// Forgets what the matchers allow in `range`, in every block there is now.
    pub(crate) fn delete(&mut self, matchers: Vec<Matcher>, range: TimeRange) -> Result<BlockSet, FlushError> {
        let blocks = self.set.blocks.to_vec();
        self.commit(blocks, |manifest| {
            manifest.deletions.push(Deletion { matchers, range, below: manifest.next });
        })
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

impl Deletion {
    /// Whether a block may hold something of what was deleted.
    fn touches(&self, block: &OpenBlock) -> bool {
        self.below > block.number && self.range.overlaps(&block.range())
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
            Ok(Manifest { next, blocks: numbers.to_vec(), ..Manifest::default() })
        }
    }
}
