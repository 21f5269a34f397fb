//! The disks of the nodes, and which of them may be formatted: a disk is made and formatted once. One that is
//! gone has taken with it what its node has promised, and an empty one in its place must not be taken for a
//! new node's.
//!
//! What is known of each disk is written down before anything is done that follows from it:
//!
//! | known | on the disk | so |
//! |---|---|---|
//! | nothing | no machine has had it | it is made, unless that was interrupted, and may be formatted |
//! | made | the front is empty | a machine may have had it, and has not formatted it: it may |
//! | made | something | it is formatted, and that is written down |
//! | formatted | whatever is there | it may not be formatted |
//! | made or formatted | it is not there | it is lost: the node does not start any more |

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::state::{self, Description};

/// What is known of a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Known {
    /// It was made.
    Made,
    /// It was seen to be formatted.
    Formatted,
}

/// Whether the node may format its disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// It is new.
    Allowed,
    /// It has been formatted: an empty one has lost what was on it.
    Forbidden,
}

/// A node's disk.
pub fn path(description: &Description, node: u16) -> PathBuf {
    match &description.disk_dir {
        Some(folder) => folder.join(format!("{}-node-{node}.img", description.name)),
        None => super::machine::node_folder(node).join("disk.img"),
    }
}

/// Makes a node's disk, unless there is one.
///
/// # Errors
/// If that is not possible, the disk is of another size, or the one that was there is lost.
pub fn prepare(description: &Description, node: u16) -> anyhow::Result<Format> {
    prepare_by(Path::new(FILE), description, node)
}

fn prepare_by(file: &Path, description: &Description, node: u16) -> anyhow::Result<Format> {
    let (path, mut known) = (path(description, node), load(file)?);
    let before = known.get(&node).copied();
    if before.is_none() {
        make(&path, description)?;
    }
    let found = match fs::metadata(&path) {
        Ok(found) => found.len(),
        Err(error) if error.kind() == ErrorKind::NotFound => anyhow::bail!(lost(&path, node)),
        Err(error) => return Err(error).with_context(|| format!("{}", path.display())),
    };
    let bytes = u64::from(description.disk_mib) << 20;
    anyhow::ensure!(
        found == bytes,
        "{} has {found} bytes, not {bytes}: give the old --disk-size, or remove it",
        path.display(),
    );
    let after = match before {
        None => Known::Made,
        Some(Known::Made) if is_formatted(&path)? => Known::Formatted,
        Some(same) => same,
    };
    if before != Some(after) {
        known.insert(node, after);
        save(file, &known)?;
    }
    Ok(match after {
        Known::Made => Format::Allowed,
        Known::Formatted => Format::Forbidden,
    })
}

fn make(path: &Path, description: &Description) -> anyhow::Result<()> {
    let file = File::options().create_new(true).write(true).open(path);
    match file {
        // Only what is written takes up room.
        Ok(file) => Ok(file.set_len(u64::from(description.disk_mib) << 20)?),
        // That was interrupted, or somebody has put it there.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let file = File::options().write(true).open(path)?;
            let is_begun = file.metadata()?.len() == 0;
            if is_begun {
                file.set_len(u64::from(description.disk_mib) << 20)?;
            }
            Ok(())
        }
        Err(error) => Err(error).with_context(|| format!("{}", path.display())),
    }
}

fn lost(path: &Path, node: u16) -> String {
    format!(
        "the disk of node {node} is gone ({}): the node has forgotten what it promised, and must not come \
         back under its number; 'scripts/cluster remove {node}', and then 'add' another",
        path.display()
    )
}

/// Those nodes whose disks are lost, with a sentence for each.
///
/// # Errors
/// If it cannot be found out.
pub fn all_lost(description: &Description) -> anyhow::Result<BTreeMap<u16, String>> {
    let known = load(Path::new(FILE))?;
    let lost = |node: u16| {
        let path = path(description, node);
        let is_lost = known.contains_key(&node) && !path.exists();
        is_lost.then(|| (node, lost(&path, node)))
    };
    Ok(description.node_numbers().filter_map(lost).collect())
}

/// Notes which disks have been formatted by now.
///
/// # Errors
/// If that cannot be written down.
pub fn note_formatted(description: &Description) -> anyhow::Result<()> {
    note_formatted_by(Path::new(FILE), description)
}

fn note_formatted_by(file: &Path, description: &Description) -> anyhow::Result<()> {
    let mut known = load(file)?;
    let before = known.clone();
    for (node, known) in &mut known {
        // One that is gone, or cannot be read, is no news here.
        if is_formatted(&path(description, *node)).unwrap_or(false) {
            *known = Known::Formatted;
        }
    }
    if known == before { Ok(()) } else { save(file, &known) }
}

/// Forgets the disk of a node that has left for good, whose number is not used again.
///
/// # Errors
/// If that cannot be written down.
pub fn forget(node: u16) -> anyhow::Result<()> {
    let file = Path::new(FILE);
    let mut known = load(file)?;
    known.remove(&node);
    save(file, &known)
}

/// Where the store has its superblock, and the copy of it: they are written last, when all else is there.
const FRONT_BYTES: usize = 2 * 512;

fn is_formatted(disk: &Path) -> anyhow::Result<bool> {
    let mut front = [0; FRONT_BYTES];
    File::open(disk).and_then(|mut file| file.read_exact(&mut front))?;
    Ok(front.iter().any(|byte| *byte != 0))
}

/// Within the cluster's folder.
const FILE: &str = "disks.json";

fn load(file: &Path) -> anyhow::Result<BTreeMap<u16, Known>> {
    match fs::read(file) {
        Ok(text) => serde_json::from_slice(&text)
            .context("disks.json is damaged; without it no disk can be trusted to be new"),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error).with_context(|| format!("{}", file.display())),
    }
}

fn save(file: &Path, known: &BTreeMap<u16, Known>) -> anyhow::Result<()> {
    state::write(file, known)
}

#[cfg(test)]
mod tests {
    use super::super::state::{Accel, Machine, Net, Reads, Services};
    use super::*;

    /// A cluster's folder, gone when the test is over.
    struct Scene {
        folder: PathBuf,
        register: PathBuf,
        description: Description,
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }

    impl Scene {
        fn new(name: &str) -> Scene {
            let folder = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            let description = Description {
                name: name.into(),
                id: "1".into(),
                founders: 1,
                nodes: [1].into(),
                next_node: 2,
                net: Net::Switch,
                ovs_db: None,
                machine: Machine::Q35,
                accel: Accel::Tcg,
                memory_mib: 64,
                disk_mib: 1,
                port_base: 7_100,
                image: PathBuf::new(),
                reads: Reads::Index,
                ring_size: 256,
                is_packed: false,
                services: Services::Both,
                has_keys: false,
                append: String::new(),
                disk_dir: Some(folder.clone()),
            };
            Scene { register: folder.join(FILE), folder, description }
        }

        fn prepare(&self) -> anyhow::Result<Format> {
            prepare_by(&self.register, &self.description, 1)
        }

        fn disk(&self) -> PathBuf {
            path(&self.description, 1)
        }

        /// What a node does.
        fn format(&self) {
            let mut bytes = fs::read(self.disk()).unwrap();
            bytes[..4].copy_from_slice(b"ours");
            fs::write(self.disk(), bytes).unwrap();
        }
    }

    #[test]
    fn a_disk_is_made_and_formatted_once() {
        let scene = Scene::new("disk-once");
        assert_eq!(scene.prepare().unwrap(), Format::Allowed);
        assert_eq!(fs::metadata(scene.disk()).unwrap().len(), 1 << 20);
        assert_eq!(scene.prepare().unwrap(), Format::Allowed, "its machine has not got that far");
        scene.format();
        assert_eq!(scene.prepare().unwrap(), Format::Forbidden);
        // An empty one in its place is none that is new.
        File::create(scene.disk()).unwrap().set_len(1 << 20).unwrap();
        assert_eq!(scene.prepare().unwrap(), Format::Forbidden);
    }

    #[test]
    fn a_disk_that_is_gone_is_not_made_again() {
        let scene = Scene::new("disk-gone");
        scene.prepare().unwrap();
        // The launcher was interrupted: it has not seen that the disk was formatted.
        scene.format();
        fs::remove_file(scene.disk()).unwrap();
        for _ in 0..2 {
            let error = scene.prepare().unwrap_err().to_string();
            assert!(error.contains("has forgotten what it promised"), "{error}");
        }
        assert!(!scene.disk().exists());
        // What was seen is written down, and outlives the disk.
        let scene = Scene::new("disk-noted");
        scene.prepare().unwrap();
        scene.format();
        note_formatted_by(&scene.register, &scene.description).unwrap();
        File::create(scene.disk()).unwrap().set_len(1 << 20).unwrap();
        assert_eq!(scene.prepare().unwrap(), Format::Forbidden);
    }

    /// Wherever the launcher is interrupted before a machine has had the disk, the disk is as good as new.
    #[test]
    fn a_disk_that_was_never_formatted_is_not_refused() {
        let scene = Scene::new("disk-begun");
        File::create(scene.disk()).unwrap();
        assert_eq!(scene.prepare().unwrap(), Format::Allowed, "it had no length yet");
        fs::remove_file(&scene.register).unwrap();
        assert_eq!(scene.prepare().unwrap(), Format::Allowed, "it was not written down yet");
        assert_eq!(fs::metadata(scene.disk()).unwrap().len(), 1 << 20);
    }
}
