//! The file that says how far log files are read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use ingest::tail::{Position, Positions};

/// Bytes after which the file is written anew, with the last word about each file only.
const REWRITE: u64 = 1 << 20;

/// An open journal.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    positions: Positions,
    is_synced: bool,
    size: u64,
    rewrite_at: u64,
}

impl Journal {
    /// Opens the journal at `path`, or begins one.
    ///
    /// # Errors
    /// When it cannot be read or written, or is damaged: then the files would be read a second time without a word.
    pub(super) fn open(path: &Path, is_synced: bool) -> anyhow::Result<(Self, Positions)> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let positions = Positions::read(&bytes).with_context(|| {
            format!("{} is damaged; without it all log files are read from their beginning", path.display())
        })?;
        let (file, size) =
            rewrite(path, &positions, is_synced).with_context(|| format!("cannot write {}", path.display()))?;
        let journal = Self {
            path: path.to_owned(),
            file,
            positions: positions.clone(),
            is_synced,
            size,
            rewrite_at: REWRITE.max(size * 4),
        };
        Ok((journal, positions))
    }

    /// Makes changes durable.
    ///
    /// # Errors
    /// When they are not; they may be appended again.
    pub(super) fn append(&mut self, changed: &[Position]) -> io::Result<()> {
        if changed.is_empty() {
            return Ok(());
        }
        self.positions.apply(changed.iter().cloned());
        if self.size >= self.rewrite_at {
            (self.file, self.size) = rewrite(&self.path, &self.positions, self.is_synced)?;
            self.rewrite_at = REWRITE.max(self.size * 4);
            return Ok(());
        }
        let line = Positions::line(changed);
        let written = self.file.write_all(&line).and_then(|()| sync(&self.file, self.is_synced));
        match written {
            Ok(()) => self.size += line.len() as u64,
            // Half a line must not stand before others: the next attempt writes everything anew.
            Err(_) => self.rewrite_at = 0,
        }
        written
    }
}

fn rewrite(path: &Path, positions: &Positions, is_synced: bool) -> io::Result<(File, u64)> {
    let fresh = path.with_extension("new");
    let bytes = positions.journal();
    let mut file = File::create(&fresh)?;
    file.write_all(&bytes)?;
    sync(&file, is_synced)?;
    fs::rename(&fresh, path)?;
    if let Some(directory) = path.parent() {
        sync(&File::open(directory)?, is_synced)?;
    }
    Ok((OpenOptions::new().append(true).open(path)?, bytes.len() as u64))
}

fn sync(file: &File, is_synced: bool) -> io::Result<()> {
    if is_synced { file.sync_data() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(inode: u64, offset: u64) -> Position {
        Position { job: "j".to_owned(), path: format!("/{inode}"), inode, offset, ..Position::default() }
    }

    #[test]
    fn what_was_appended_is_there_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("positions");
        let offsets = |positions: Positions| positions.into_all().map(|position| position.offset).collect::<Vec<_>>();
        let (mut journal, positions) = Journal::open(&path, true).unwrap();
        assert_eq!(offsets(positions), Vec::<u64>::new());
        journal.append(&[position(1, 5), position(2, 6)]).unwrap();
        journal.append(&[position(1, 7)]).unwrap();
        journal.rewrite_at = 0;
        journal.append(&[position(2, 8)]).unwrap();
        journal.append(&[Position { is_over: true, ..position(1, 7) }]).unwrap();
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"0123").unwrap();
        let (_, positions) = Journal::open(&path, false).unwrap();
        assert_eq!(offsets(positions), [8]);
        fs::write(&path, b"00000000 x\n00000000 y\n").unwrap();
        let error = format!("{:#}", Journal::open(&path, true).unwrap_err());
        assert!(error.contains("is damaged") && error.contains("line 1 of the positions"), "{error}");
    }
}
