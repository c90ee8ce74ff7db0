//! Rules over logs that clients handed in: kept in the data directory, a file for each group.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use rules::GroupSpec;
use tokio::sync::watch;
use tracing::warn;
use web::{LogRules, LogRulesError, Namespaces};

/// Namespace and name of a group.
pub(super) type Key = (String, String);

/// Groups that are kept at most.
const GROUPS: usize = 1_000;
/// Longest name of a file.
const NAME_BYTES: usize = 200;
/// What a group's file ends with.
const ENDING: &str = "yaml";

/// Keeps groups, and tells whoever evaluates them of every change.
pub(crate) struct KeptRules {
    dir: PathBuf,
    groups: Mutex<BTreeMap<Key, Kept>>,
    changes: watch::Sender<Vec<(Key, GroupSpec)>>,
}

#[derive(Clone)]
struct Kept {
    spec: GroupSpec,
    /// As it was given.
    shown: serde_json::Value,
}

impl KeptRules {
    /// Reads what is kept in `dir`, which need not exist yet. A file that cannot be read is named and left alone.
    pub(crate) fn open(dir: PathBuf) -> anyhow::Result<Self> {
        let mut groups = BTreeMap::new();
        for namespace in entries(&dir)? {
            let Some(name) = namespace.file_name().and_then(|name| decoded(&name.to_string_lossy())) else { continue };
            for file in entries(&namespace)?.into_iter().filter(|file| file.extension().is_some_and(|is| is == ENDING))
            {
                let read = fs::read_to_string(&file).map_err(|error| error.to_string());
                match read.and_then(|text| parse(&name, &text)) {
                    Ok(kept) => {
                        groups.insert((name.clone(), kept.spec.name.clone()), kept);
                    }
                    Err(error) => {
                        warn!(file = %file.display(), %error, "a kept rule group cannot be read; it is not evaluated");
                    }
                }
            }
        }
        let (changes, _) = watch::channel(specs(&groups));
        Ok(Self { dir, groups: Mutex::new(groups), changes })
    }

    /// The groups there are, and after every change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Vec<(Key, GroupSpec)>> {
        self.changes.subscribe()
    }

    /// What the HTTP API may do with them.
    pub(crate) fn handle(self: &Arc<Self>) -> LogRules {
        let (listing, putting, removing) = (Arc::clone(self), Arc::clone(self), Arc::clone(self));
        LogRules {
            list: Arc::new(move || listing.list()),
            put: Arc::new(move |namespace, text| putting.put(namespace, text)),
            remove: Arc::new(move |namespace, group| removing.remove(namespace, group)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Kept>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn list(&self) -> Namespaces {
        let mut found = Namespaces::new();
        for ((namespace, _), kept) in self.lock().iter() {
            found.entry(namespace.clone()).or_default().push(kept.shown.clone());
        }
        found
    }

    fn put(&self, namespace: &str, text: &str) -> Result<(), LogRulesError> {
        let kept = parse(namespace, text).map_err(LogRulesError::Invalid)?;
        let file = self.file(namespace, &kept.spec.name)?;
        let mut groups = self.lock();
        let key = (namespace.to_owned(), kept.spec.name.clone());
        if groups.len() >= GROUPS && !groups.contains_key(&key) {
            return Err(LogRulesError::Invalid(format!(
                "there are {GROUPS} rule groups already, and no more are kept"
            )));
        }
        write(&file, text).map_err(|error| LogRulesError::Storage(format!("{error:#}")))?;
        groups.insert(key, kept);
        self.changes.send_replace(specs(&groups));
        Ok(())
    }

    fn remove(&self, namespace: &str, group: Option<&str>) -> Result<(), LogRulesError> {
        let mut groups = self.lock();
        let wanted = |key: &Key| key.0 == namespace && group.is_none_or(|group| key.1 == group);
        let gone: Vec<Key> = groups.keys().filter(|key| wanted(key)).cloned().collect();
        if gone.is_empty() {
            return Err(if group.is_some() { LogRulesError::NoGroup } else { LogRulesError::NoNamespace });
        }
        for key in gone {
            let file = self.file(&key.0, &key.1)?;
            let removed = fs::remove_file(&file).and_then(|()| sync(file.parent()));
            removed.map_err(|error| LogRulesError::Storage(format!("cannot remove {}: {error}", file.display())))?;
            groups.remove(&key);
            self.changes.send_replace(specs(&groups));
        }
        Ok(())
    }

    fn file(&self, namespace: &str, group: &str) -> Result<PathBuf, LogRulesError> {
        let (namespace, group) = (encoded(namespace), encoded(group));
        if namespace.is_empty() || namespace.len() > NAME_BYTES || group.len() > NAME_BYTES {
            let text = format!("names of namespaces and groups must have from 1 to {NAME_BYTES} bytes");
            return Err(LogRulesError::Invalid(text));
        }
        Ok(self.dir.join(namespace).join(format!("{group}.{ENDING}")))
    }
}

fn specs(groups: &BTreeMap<Key, Kept>) -> Vec<(Key, GroupSpec)> {
    groups.iter().map(|(key, kept)| (key.clone(), kept.spec.clone())).collect()
}

fn parse(namespace: &str, text: &str) -> Result<Kept, String> {
    let spec = GroupSpec::parse_logs(namespace, text).map_err(|error| error.to_string())?;
    let shown = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    Ok(Kept { spec, shown })
}

/// What lies in a directory, by name; nothing where there is none.
fn entries(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let read = match fs::read_dir(dir) {
        Ok(read) => read,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", dir.display())),
    };
    let mut found = read.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    found.sort();
    Ok(found)
}

/// Puts a file in place whole or not at all.
fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let dir = file.parent().context("a group needs a directory")?;
    let new = file.with_extension("new");
    let put = || -> std::io::Result<()> {
        fs::create_dir_all(dir)?;
        let mut out = File::create(&new)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        fs::rename(&new, file)?;
        sync(Some(dir))?;
        sync(dir.parent())?;
        sync(dir.parent().and_then(Path::parent))
    };
    put().with_context(|| format!("cannot write {}", file.display()))
}

fn sync(dir: Option<&Path>) -> std::io::Result<()> {
    match dir {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

/// A name as a file name: letters, digits, `-` and `_` as they are, other bytes as `%XX`.
fn encoded(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn decoded(name: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut bytes = name.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            out.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: &str = "name: one\nrules:\n- record: job:lines\n  expr: sum(rate({job=\"a\"}[1m]))\n";

    #[test]
    fn groups_are_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("rules");
        let rules = KeptRules::open(dir.clone()).unwrap();
        let mut changes = rules.subscribe();
        assert_eq!(changes.borrow_and_update().len(), 0);
        rules.put("../name space", GROUP).unwrap();
        rules.put("../name space", &GROUP.replace("one", "two")).unwrap();
        rules.put("other", &format!("{GROUP}  labels: {{a: b}}\n")).unwrap();
        rules.put("other", GROUP).unwrap();
        assert_eq!(changes.borrow_and_update().len(), 3);

        let again = KeptRules::open(dir.clone()).unwrap();
        assert_eq!(again.list(), rules.list());
        assert_eq!(again.list()["../name space"][1]["name"], "two");
        assert_eq!(again.list()["other"][0].get("labels"), None, "replaced as a whole");

        again.remove("../name space", Some("one")).unwrap();
        assert_eq!(again.remove("../name space", Some("one")), Err(LogRulesError::NoGroup));
        again.remove("other", None).unwrap();
        assert_eq!(again.remove("other", None), Err(LogRulesError::NoNamespace));
        assert_eq!(again.subscribe().borrow().len(), 1);
        assert_eq!(KeptRules::open(dir).unwrap().list().len(), 1);
    }

    #[test]
    fn what_is_wrong_is_neither_kept_nor_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let rules = KeptRules::open(dir.path().to_owned()).unwrap();
        for (namespace, text) in [("a", "name: g\nrules: [{record: r, expr: up}]"), ("a", "{"), ("", GROUP)] {
            assert!(matches!(rules.put(namespace, text), Err(LogRulesError::Invalid(_))), "{text}");
        }
        rules.put("a", GROUP).unwrap();
        fs::write(dir.path().join("a/broken.yaml"), "{").unwrap();
        fs::write(dir.path().join("a/unfinished.new"), "name: x").unwrap();
        assert_eq!(KeptRules::open(dir.path().to_owned()).unwrap().list()["a"].len(), 1);
    }

    #[test]
    fn names_survive_as_file_names() {
        for name in ["plain", "../..", "grüße/x y", "%41", "."] {
            assert!(!encoded(name).contains(['/', '.']), "{name}");
            assert_eq!(decoded(&encoded(name)).as_deref(), Some(name));
        }
        assert_eq!(decoded("%4"), None);
    }
}
