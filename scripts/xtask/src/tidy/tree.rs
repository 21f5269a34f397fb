//! The files of the repository: what Git tracks, and what it would if it were added.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// A file that is text.
#[derive(Debug)]
pub(super) struct File {
    /// From the repository's root, with slashes.
    pub(super) path: String,
    pub(super) text: String,
}

impl File {
    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Lines, with their numbers from 1 on.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.split('\n').zip(1..).map(|(line, number)| (number, line))
    }
}

/// All files, in the order of their paths.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) files: Vec<File>,
}

impl Tree {
    pub(super) fn new(files: impl IntoIterator<Item = (String, String)>) -> Tree {
        let mut files: Vec<_> = files.into_iter().map(|(path, text)| File { path, text }).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Tree { files }
    }

    /// The repository of which this crate is a part. Files that are not text are left out.
    pub(super) fn of_repository() -> anyhow::Result<Tree> {
        let root = root();
        let listing = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(&root)
            .output()
            .context("git cannot be started")?;
        ensure!(listing.status.success(), "git does not list the files of {}", root.display());
        let listing = String::from_utf8(listing.stdout)?;
        // A file that was deleted is listed until that is committed.
        let read = |path: &str| Some((path.into(), std::fs::read_to_string(root.join(path)).ok()?));
        Ok(Tree::new(listing.split_terminator('\0').filter_map(read)))
    }

    pub(super) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }
}

/// The scripts say where the repository is; in a test it is where this crate was built.
fn root() -> PathBuf {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::env::var_os("COTERIE_ROOT").map_or_else(built, PathBuf::from)
}
