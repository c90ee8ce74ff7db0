//! The members' Cargo.toml files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;
use toml::Value;

use super::read;

/// One folder of `crates/`.
#[derive(Debug)]
pub(super) struct Member {
    /// Name of the folder.
    pub(super) name: String,
    /// Its Cargo.toml, from the root.
    pub(super) manifest: PathBuf,
    /// Name of the package.
    pub(super) package: String,
    /// Whether it takes the workspace's lints.
    pub(super) takes_lints: bool,
    pub(super) dependencies: Vec<Dependency>,
}

/// One line under `[dependencies]` and its siblings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Dependency {
    /// Another member's folder, or a package from outside.
    pub(super) on: On,
    /// Whether only tests have it.
    pub(super) is_dev: bool,
    /// Line in the Cargo.toml.
    pub(super) line: usize,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum On {
    Member(String),
    Package(String),
}

#[derive(Deserialize)]
struct Root {
    workspace: Workspace,
}

#[derive(Deserialize)]
struct Workspace {
    #[serde(default)]
    dependencies: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct Manifest {
    package: Package,
    #[serde(default)]
    lints: BTreeMap<String, Value>,
    #[serde(flatten)]
    tables: Tables,
    #[serde(default)]
    target: BTreeMap<String, Tables>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Tables {
    #[serde(default)]
    dependencies: BTreeMap<String, Value>,
    #[serde(default)]
    build_dependencies: BTreeMap<String, Value>,
    #[serde(default)]
    dev_dependencies: BTreeMap<String, Value>,
}

/// Every folder of `crates/` that has a Cargo.toml, by name.
pub(super) fn members(root: &Path) -> anyhow::Result<Vec<Member>> {
    let shared: Root = parse(&root.join("Cargo.toml"))?;
    let folder = root.join("crates");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.path().join("Cargo.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    names.into_iter().map(|name| member(root, name, &shared.workspace.dependencies)).collect()
}

fn member(root: &Path, name: String, shared: &BTreeMap<String, Value>) -> anyhow::Result<Member> {
    let path = Path::new("crates").join(&name).join("Cargo.toml");
    let text = read(&root.join(&path))?;
    let manifest: Manifest = parse(&root.join(&path))?;
    let mut dependencies = Vec::new();
    for tables in std::iter::once(&manifest.tables).chain(manifest.target.values()) {
        for (entries, is_dev) in
            [(&tables.dependencies, false), (&tables.build_dependencies, false), (&tables.dev_dependencies, true)]
        {
            for (key, value) in entries {
                dependencies.push(Dependency { on: on(key, value, shared), is_dev, line: line_of(&text, key, is_dev) });
            }
        }
    }
    let takes_lints = manifest.lints.get("workspace").and_then(Value::as_bool) == Some(true);
    Ok(Member { name, manifest: path, package: manifest.package.name, takes_lints, dependencies })
}

fn parse<T: for<'de> Deserialize<'de>>(path: &Path) -> anyhow::Result<T> {
    toml::from_str(&read(path)?).with_context(|| format!("{} cannot be understood", path.display()))
}

/// What a key stands for; a key that inherits is looked up in the workspace.
fn on(key: &str, value: &Value, shared: &BTreeMap<String, Value>) -> On {
    let inherits = value.get("workspace").and_then(Value::as_bool) == Some(true);
    let value = if inherits { shared.get(key).unwrap_or(value) } else { value };
    let text = |name: &str| value.get(name).and_then(Value::as_str);
    if let Some(folder) = text("path").and_then(|path| Path::new(path).file_name()) {
        return On::Member(folder.to_string_lossy().into_owned());
    }
    On::Package(text("package").unwrap_or(key).to_owned())
}

/// Where `key` stands under a heading of its sort; the file's first line when it is written in another way.
fn line_of(text: &str, key: &str, is_dev: bool) -> usize {
    let mut heading = "";
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            heading = line;
        }
        let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
        if name == key && heading.contains("dependencies") && heading.contains("dev-") == is_dev {
            return at + 1;
        }
    }
    1
}
