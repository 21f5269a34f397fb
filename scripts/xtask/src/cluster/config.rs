//! A cluster as a file describes it: the options of `up` by their names, as TOML. `images/` has some.
//!
//! ```toml
//! nodes = 4
//! services = "bft"    # raft, bft or both
//! disk-size = 1024    # MiB
//! ```

use std::path::{Path, PathBuf};

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use super::absolute;
use super::up::{self, Wishes};
use crate::toml_file;

/// Reads a file. What it says of files and folders is meant from where it is itself.
///
/// # Errors
/// If it cannot be read, or says what no cluster can be: with the line.
pub(super) fn read(file: &Path) -> anyhow::Result<Wishes> {
    let wishes: Wishes = toml_file::read(file)?;
    let folder = absolute(file)?;
    let folder = folder.parent().unwrap_or(Path::new("/"));
    let from_there = |path: Option<PathBuf>| path.map(|path| folder.join(path));
    Ok(Wishes {
        ovs_db: from_there(wishes.ovs_db),
        disk_dir: from_there(wishes.disk_dir),
        image: from_there(wishes.image),
        ..wishes
    })
}

pub(super) fn nodes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u16>, D::Error> {
    checked(from, up::check_nodes)
}

pub(super) fn memory_mib<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    checked(from, up::check_memory)
}

pub(super) fn disk_mib<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    checked(from, up::check_disk)
}

pub(super) fn port_base<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u16>, D::Error> {
    checked(from, up::check_port_base)
}

pub(super) fn ring_size<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u16>, D::Error> {
    checked(from, up::check_ring_size)
}

/// A value that is refused here, where its line is known.
fn checked<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
    check: impl Fn(T) -> Result<T, String>,
) -> Result<Option<T>, D::Error> {
    check(T::deserialize(from)?).map(Some).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::state::{Net, Reads, Services};
    use super::super::up::AccelWish;
    use super::*;

    fn parse(text: &str) -> anyhow::Result<Wishes> {
        toml_file::parse("some.toml", text)
    }

    #[test]
    fn every_option_has_a_place() {
        let wishes = parse(
            "nodes = 5\nservices = 'both'\nnet = 'socket'\naccel = 'tcg'\nmemory = 96\ndisk-size = 32\n\
             port-base = 7300\nring-size = 512\npacked = true\n\
             reads = 'lease'\nappend = 'coterie.snapshot=200'\nmachine = 'microvm'\n",
        );
        let wishes = wishes.unwrap();
        assert_eq!((wishes.nodes, wishes.services), (Some(5), Some(Services::Both)));
        assert_eq!((wishes.net, wishes.accel), (Some(Net::Socket), Some(AccelWish::Tcg)));
        assert_eq!((wishes.memory_mib, wishes.disk_mib), (Some(96), Some(32)));
        assert_eq!((wishes.port_base, wishes.reads), (Some(7300), Some(Reads::Lease)));
        assert_eq!((wishes.ring_size, wishes.is_packed), (Some(512), Some(true)));
        assert_eq!(wishes.append.as_deref(), Some("coterie.snapshot=200"));
        assert_eq!(parse("").unwrap(), Wishes::default());
    }

    #[test]
    fn mistakes_are_told_with_line_and_reason() {
        for (text, line, reason) in [
            ("nodes = 4\nnodez = 4", 2, "unknown field `nodez`"),
            ("nodes = 4\n\nnodes = 4", 3, "duplicate key"),
            ("nodes = 0", 1, "a cluster has 1 to 64 nodes"),
            ("nodes = 65", 1, "a cluster has 1 to 64 nodes"),
            ("nodes = 70000", 1, "expected u16"),
            ("nodes = 'four'", 1, "invalid type"),
            ("# disks\ndisk-size = 15", 2, "16 to 65536 MiB of disk"),
            ("memory = 47", 1, "48 to 2048 MiB of memory"),
            ("port-base = 80", 1, "1024 to 59999"),
            ("ring-size = 0", 1, "a power of two up to 1024"),
            ("ring-size = 1000", 1, "a power of two up to 1024"),
            ("ring-size = 2048", 1, "a power of two up to 1024"),
            ("net = 'tin-cans'", 1, "unknown variant `tin-cans`"),
            ("services = 'tea'", 1, "unknown variant `tea`"),
            ("packed = 2", 1, "expected a boolean"),
            ("accel = 'now'", 1, "unknown variant `now`"),
            ("is-adversary = true", 1, "unknown field"),
            ("nodes", 1, ""),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.starts_with(&format!("some.toml:{line}: ")), "{text}: {error}");
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert!(read(Path::new("there/is/no.toml")).is_err());
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let line = Wishes { nodes: Some(7), reads: Some(Reads::Index), ..Wishes::default() };
        let wishes = line.or(parse("nodes = 4\nservices = 'bft'\nreads = 'lease'").unwrap());
        assert_eq!((wishes.nodes, wishes.services), (Some(7), Some(Services::Bft)));
        assert_eq!((wishes.reads, wishes.net), (Some(Reads::Index), None));
    }

    #[test]
    fn paths_are_meant_from_the_file() {
        let folder = std::env::temp_dir().join(format!("coterie-config-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("some.toml");
        fs::write(&file, "image = 'node'\ndisk-dir = '/disks'\n").unwrap();
        let wishes = read(&file);
        fs::remove_dir_all(&folder).unwrap();
        let wishes = wishes.unwrap();
        assert_eq!(wishes.image, Some(folder.join("node")));
        assert_eq!(wishes.disk_dir, Some(PathBuf::from("/disks")));
    }

    /// The files that come with the images are what their names say.
    #[test]
    fn the_descriptions_beside_the_images_are_good() {
        let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../images");
        for (name, services) in
            [("raft", Services::Raft), ("bft", Services::Bft), ("both", Services::Both)]
        {
            let wishes = read(&images.join(format!("{name}.toml"))).unwrap();
            assert_eq!(wishes.services, Some(services), "{name}");
        }
    }
}
