//! The manifests: which crates there are, and which they name.

use anyhow::Context;
use toml::{Table, Value};

use super::tree::{File, Tree};

/// A crate that a manifest names.
#[derive(Debug)]
pub(super) struct Dependency {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) is_for_tests: bool,
    /// Its version is the workspace's.
    pub(super) is_inherited: bool,
    pub(super) version: Option<String>,
    /// There is a comment at the end of its line, or above it.
    pub(super) has_reason: bool,
}

/// A crate of ours.
#[derive(Debug)]
pub(super) struct Package {
    pub(super) name: String,
    /// Its folder, from the repository's root.
    pub(super) folder: String,
    pub(super) manifest: String,
    /// It is a member of the workspace at the root.
    pub(super) is_member: bool,
    /// The workspace at the root leaves it out by name.
    pub(super) is_excluded: bool,
    pub(super) dependencies: Vec<Dependency>,
}

/// All manifests.
#[derive(Debug, Default)]
pub(super) struct Manifests {
    pub(super) packages: Vec<Package>,
    /// The table that members inherit from, without crates of ours.
    pub(super) shared: Vec<Dependency>,
}

impl Manifests {
    pub(super) fn read(tree: &Tree) -> anyhow::Result<Manifests> {
        let root = match tree.file("Cargo.toml") {
            Some(file) => parse(file)?,
            None => Table::new(),
        };
        let workspace = |key| strings(root.get("workspace").and_then(|table| table.get(key)));
        let (members, excluded) = (workspace("members"), workspace("exclude"));
        let mut manifests = Manifests::default();
        for file in tree.files.iter().filter(|file| file.path.ends_with("/Cargo.toml")) {
            let table = parse(file)?;
            let Some(name) = table.get("package").and_then(|package| package.get("name")) else {
                continue;
            };
            let folder = file.path.trim_end_matches("/Cargo.toml");
            let below =
                |outer: &String| folder == outer || folder.starts_with(&format!("{outer}/"));
            manifests.packages.push(Package {
                name: name.as_str().unwrap_or_default().into(),
                folder: folder.into(),
                manifest: file.path.clone(),
                is_member: members.iter().any(|member| member == folder),
                is_excluded: excluded.iter().any(below),
                dependencies: dependencies(file, &table),
            });
        }
        if let Some(file) = tree.file("Cargo.toml") {
            let table = root.get("workspace").and_then(|table| table.get("dependencies"));
            let mut shared = table.map_or_else(Vec::new, |table| entries(file, table, false));
            shared.retain(|dependency| !manifests.is_ours(&dependency.name));
            manifests.shared = shared;
        }
        Ok(manifests)
    }

    pub(super) fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }

    pub(super) fn is_ours(&self, name: &str) -> bool {
        self.package(name).is_some()
    }
}

fn parse(file: &File) -> anyhow::Result<Table> {
    file.text.parse().with_context(|| format!("{} is no manifest", file.path))
}

fn strings(value: Option<&Value>) -> Vec<String> {
    let array = value.and_then(Value::as_array).into_iter().flatten();
    array.filter_map(|value| Some(value.as_str()?.to_owned())).collect()
}

/// What a manifest names, for whichever target.
fn dependencies(file: &File, table: &Table) -> Vec<Dependency> {
    let targets = table.get("target").and_then(Value::as_table);
    let of_targets = targets.into_iter().flat_map(Table::values).filter_map(Value::as_table);
    let mut found = Vec::new();
    for table in [table].into_iter().chain(of_targets) {
        for (section, is_for_tests) in
            [("dependencies", false), ("build-dependencies", false), ("dev-dependencies", true)]
        {
            if let Some(named) = table.get(section) {
                found.extend(entries(file, named, is_for_tests));
            }
        }
    }
    found
}

fn entries(file: &File, table: &Value, is_for_tests: bool) -> Vec<Dependency> {
    let table = table.as_table().into_iter().flatten();
    let entry = |(key, value): (&String, &Value)| {
        let version = value.as_str().or_else(|| value.get("version")?.as_str());
        let line = line_of(file, key);
        Dependency {
            name: value.get("package").and_then(Value::as_str).unwrap_or(key).into(),
            line,
            is_for_tests,
            is_inherited: value.get("workspace").and_then(Value::as_bool) == Some(true),
            version: version.map(str::to_owned),
            has_reason: has_reason(file, line),
        }
    };
    table.map(entry).collect()
}

/// The first line that begins with the key. The parser does not tell.
fn line_of(file: &File, key: &str) -> usize {
    let begins =
        |line: &str| line.strip_prefix(key).is_some_and(|rest| rest.starts_with([' ', '.', '=']));
    file.lines().find(|(_, line)| begins(line)).map_or(1, |(number, _)| number)
}

fn has_reason(file: &File, number: usize) -> bool {
    let lines: Vec<_> = file.text.lines().collect();
    let Some(line) = lines.get(number - 1) else { return false };
    let above = number.checked_sub(2).and_then(|above| lines.get(above));
    line.contains(" # ") || above.is_some_and(|above| above.starts_with('#'))
}
