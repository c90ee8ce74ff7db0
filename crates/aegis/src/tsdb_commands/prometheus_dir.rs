//! A Prometheus data directory as files.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use ingest::prometheus_tsdb::{Block, BlockFiles, BlockMeta, Source};

/// A file that is read here and there.
#[derive(Debug)]
pub(super) struct BlockFile {
    file: File,
    size: u64,
}

impl BlockFile {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let failed = || format!("cannot open {}", path.display());
        let file = File::open(path).with_context(failed)?;
        let size = file.metadata().with_context(failed)?.len();
        Ok(Self { file, size })
    }
}

impl Source for BlockFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, offset)
    }
}

/// The blocks below `dir`, or `dir` itself when it is one; oldest first.
pub(super) fn blocks(dir: &Path) -> anyhow::Result<Vec<(PathBuf, BlockMeta)>> {
    if dir.join("meta.json").is_file() {
        return Ok(vec![(dir.to_owned(), meta(dir)?)]);
    }
    let mut blocks = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))? {
        let path = entry.with_context(|| format!("cannot list {}", dir.display()))?.path();
        // A name with a dot is being made or removed.
        let is_settled = path.file_name().is_some_and(|name| !name.to_string_lossy().contains('.'));
        if is_settled && path.join("meta.json").is_file() {
            let meta = meta(&path)?;
            blocks.push((path, meta));
        }
    }
    if blocks.is_empty() {
        bail!("there is no block of a Prometheus in {}", dir.display());
    }
    blocks.sort_by(|(_, a), (_, b)| (a.range.start, &a.ulid).cmp(&(b.range.start, &b.ulid)));
    Ok(blocks)
}

/// Whether the write-ahead log next to the blocks holds something.
pub(super) fn has_log(dir: &Path) -> bool {
    let Ok(entries) = fs::read_dir(dir.join("wal")) else { return false };
    entries.flatten().any(|entry| entry.metadata().is_ok_and(|file| file.is_dir() || file.len() > 0))
}

pub(super) fn open(dir: &Path) -> anyhow::Result<Block<BlockFile>> {
    let mut chunks = Vec::new();
    let chunk_dir = dir.join("chunks");
    for entry in fs::read_dir(&chunk_dir).with_context(|| format!("cannot list {}", chunk_dir.display()))? {
        let path = entry.with_context(|| format!("cannot list {}", chunk_dir.display()))?.path();
        let is_chunks = path.file_name().is_some_and(|name| name.to_string_lossy().parse::<u32>().is_ok());
        if is_chunks {
            chunks.push(path);
        }
    }
    chunks.sort();
    let tombstones = match fs::read(dir.join("tombstones")) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", dir.join("tombstones").display())),
    };
    let files = BlockFiles {
        meta: read(&dir.join("meta.json"))?,
        index: BlockFile::open(&dir.join("index"))?,
        chunks: chunks.iter().map(|path| BlockFile::open(path)).collect::<Result<_, _>>()?,
        tombstones,
    };
    Ok(Block::open(files)?)
}

fn meta(dir: &Path) -> anyhow::Result<BlockMeta> {
    let file = dir.join("meta.json");
    BlockMeta::parse(&read(&file)?).with_context(|| format!("cannot use block {}", dir.display()))
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}
