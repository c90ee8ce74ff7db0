//! The files of this machine.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use ingest::tail::{FileId, Files, Seen};

use crate::config::LogFiles;

/// Files of a directory that are looked at when one was renamed.
const BESIDE: usize = 10_000;

/// The files of this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct OsFiles;

impl Files for OsFiles {
    type Open = File;

    fn look(&self, path: &str) -> Option<Seen> {
        fs::metadata(path).ok().filter(Metadata::is_file).map(|about| seen(&about))
    }

    fn open(&self, path: &str) -> io::Result<File> {
        File::open(path)
    }

    fn seen(&self, file: &File) -> io::Result<Seen> {
        file.metadata().map(|about| seen(&about))
    }

    fn read_at(&self, file: &File, from: u64, buffer: &mut [u8]) -> io::Result<usize> {
        FileExt::read_at(file, buffer, from)
    }

    fn beside(&self, path: &str) -> Vec<String> {
        let path = Path::new(path);
        let named = path.parent().map(Path::to_owned);
        // The name may be a link, and its file is renamed where that is.
        let real = fs::canonicalize(path).ok().and_then(|real| real.parent().map(Path::to_owned));
        let directories: BTreeSet<PathBuf> = named.into_iter().chain(real).collect();
        let mut found: Vec<(i128, String)> = Vec::new();
        for directory in directories {
            let Ok(entries) = fs::read_dir(directory) else { continue };
            for entry in entries.filter_map(Result::ok).take(BESIDE) {
                let name = entry.path();
                let about = fs::metadata(&name).ok().filter(Metadata::is_file);
                if let (Some(about), Some(name)) = (about, name.to_str().filter(|_| name != path)) {
                    found.push((seen(&about).modified, name.to_owned()));
                }
            }
        }
        found.sort_by_key(|(modified, _)| std::cmp::Reverse(*modified));
        found.into_iter().map(|(_, name)| name).collect()
    }
}

fn seen(about: &Metadata) -> Seen {
    let modified = i128::from(about.mtime()) * 1_000_000_000 + i128::from(about.mtime_nsec());
    Seen { id: FileId { device: about.dev(), inode: about.ino() }, size: about.size(), modified }
}

/// The files that patterns mean now, in order. Names that are no text cannot be labels and are left out.
pub(super) fn matching(files: &LogFiles) -> Vec<String> {
    let mut paths = BTreeSet::new();
    for pattern in &files.paths {
        let found = glob::glob(pattern).into_iter().flatten().filter_map(Result::ok);
        let found = found.filter_map(|path| path.to_str().map(str::to_owned));
        paths.extend(found.filter(|path| !files.exclude.iter().any(|pattern| pattern.matches(path))));
    }
    paths.into_iter().collect()
}
