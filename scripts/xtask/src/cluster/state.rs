//! What a cluster is: its description on the disk, and the folder in which its machines run.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

/// How the machines are joined.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Net {
    /// Our switch, over shared rings.
    Switch,
    /// Our switch, over Unix sockets.
    Socket,
    /// A bridge of the kernel, with TAP devices, in a network namespace.
    Bridge,
    /// Open vSwitch with DPDK, over shared rings.
    Ovs,
}

impl Net {
    /// Whether the machines share their memory with what joins them (vhost-user).
    pub fn shares_memory(self) -> bool {
        matches!(self, Net::Switch | Net::Ovs)
    }
}

/// Which machine QEMU plays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Machine {
    /// A PC with PCI Express.
    Q35,
    /// A small machine without PCI.
    Microvm,
}

/// What runs the machines' instructions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// The processor, with the kernel's help.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

/// How its leader answers reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reads {
    /// After it has asked a majority.
    #[default]
    Index,
    /// By a lease, without asking anybody.
    Lease,
}

/// What its nodes are for. The replicated log is there always: who belongs to the cluster is written in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Services {
    /// The store alone: there is no ledger, and the whole disk is the log's.
    Raft,
    /// The ledger: no node that founds the cluster boots without it.
    Bft,
    /// The store, and the ledger unless the cluster is founded by more nodes than that may have.
    #[default]
    Both,
}

/// A cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Description {
    /// By which people know it.
    pub name: String,
    /// By which its nodes know it.
    pub id: String,
    /// How many nodes founded it: 1 to this number.
    pub founders: u16,
    /// The numbers of the nodes that it has.
    pub nodes: BTreeSet<u16>,
    /// The number of the next node that joins: no number is used twice.
    pub next_node: u16,
    /// How they are joined.
    pub net: Net,
    /// The database of the Open vSwitch that joins them, if it is not the cluster's own.
    #[serde(default)]
    pub ovs_db: Option<PathBuf>,
    /// Which machine they are.
    pub machine: Machine,
    /// What runs them.
    pub accel: Accel,
    /// Memory of each, in MiB.
    pub memory_mib: u32,
    /// Disk of each, in MiB.
    pub disk_mib: u32,
    /// Node I is at this port plus I (RESP), and 1000 above (HTTP).
    pub port_base: u16,
    /// What they boot.
    pub image: PathBuf,
    /// How reads are answered.
    #[serde(default)]
    pub reads: Reads,
    /// How many descriptors each ring of the cards between them has.
    #[serde(default = "ring_size_default")]
    pub ring_size: u16,
    /// The rings of their devices are packed.
    #[serde(default)]
    pub is_packed: bool,
    /// What they are for.
    #[serde(default)]
    pub services: Services,
    /// Those who founded it have keys for the ledger. It stays so: their disks are divided accordingly.
    #[serde(default)]
    pub has_keys: bool,
    /// Further words for their kernel command lines.
    #[serde(default)]
    pub append: String,
    /// Where their disks are, if not in the cluster's folder.
    pub disk_dir: Option<PathBuf>,
}

fn ring_size_default() -> u16 {
    base::limits::RING_SIZE
}

/// RESP and HTTP are so far apart.
const HTTP_ABOVE: u16 = 1_000;

impl Description {
    /// Where a node answers Redis clients.
    pub fn resp_port(&self, node: u16) -> u16 {
        self.port_base + node
    }

    /// Where a node answers HTTP clients.
    pub fn http_port(&self, node: u16) -> u16 {
        self.port_base + HTTP_ABOVE + node
    }

    /// All nodes.
    pub fn node_numbers(&self) -> impl Iterator<Item = u16> + use<> {
        self.nodes.clone().into_iter()
    }

    /// The number of a node, from what somebody typed.
    ///
    /// # Errors
    /// If there is no such node.
    pub fn parse_node(&self, text: &str) -> anyhow::Result<u16> {
        let number = text.parse().ok().filter(|number| self.nodes.contains(number));
        number.with_context(|| {
            let numbers: Vec<_> = self.nodes.iter().map(u16::to_string).collect();
            format!("cluster '{}' has nodes {}, no '{text}'", self.name, numbers.join(", "))
        })
    }
}

/// Where all clusters are.
pub fn all_clusters() -> anyhow::Result<PathBuf> {
    let root = std::env::var_os("COTERIE_ROOT").context("run this through scripts/cluster")?;
    Ok(Path::new(&root).join("target/cluster"))
}

/// The folder of a cluster. The program works in it, so that the paths of sockets stay short.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Held while the cluster is changed.
    lock: Option<Flock<File>>,
}

const DESCRIPTION: &str = "cluster.json";

impl Folder {
    /// The folder of the cluster of that name, whether or not there is one.
    ///
    /// # Errors
    /// If the name cannot be one.
    pub fn of(name: &str) -> anyhow::Result<Folder> {
        let is_name = !name.is_empty()
            && name.len() <= 32
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        anyhow::ensure!(is_name, "a cluster's name is 1 to 32 letters, digits, '-' and '_'");
        Ok(Folder { path: all_clusters()?.join(name), lock: None })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the folder if need be, and keeps others from changing the cluster.
    ///
    /// # Errors
    /// If somebody else is changing it.
    pub fn lock(&mut self) -> anyhow::Result<()> {
        fs::create_dir_all(&self.path).with_context(|| format!("{}", self.path.display()))?;
        let file = File::create(self.path.join("lock"))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock);
        self.lock = Some(lock.map_err(|_| {
            anyhow::anyhow!("another scripts/cluster is at work on this cluster; wait for it")
        })?);
        Ok(())
    }

    /// Works in the folder from now on.
    ///
    /// # Errors
    /// If it is not there.
    pub fn enter(&self) -> anyhow::Result<()> {
        std::env::set_current_dir(&self.path).with_context(|| format!("{}", self.path.display()))
    }

    /// The cluster's description, if there is a cluster.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn load(&self) -> anyhow::Result<Option<Description>> {
        let path = self.path.join(DESCRIPTION);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context(format!("{}", path.display())),
        };
        let description = serde_json::from_slice(&text);
        let advice = "is damaged, or of another version; remove its folder to forget this cluster";
        description.map(Some).with_context(|| format!("{} {advice}", path.display()))
    }

    /// Writes the description: all of it or nothing.
    ///
    /// # Errors
    /// If that is not possible.
    pub fn save(&self, description: &Description) -> anyhow::Result<()> {
        write(&self.path.join(DESCRIPTION), description)
    }

    /// Removes the folder with everything in it.
    ///
    /// # Errors
    /// If that is not possible.
    pub fn remove(&self) -> anyhow::Result<()> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// Writes a value to a file, as JSON: all of it or nothing, whatever happens meanwhile.
///
/// # Errors
/// If that is not possible.
pub(super) fn write(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(&serde_json::to_vec_pretty(value)?)?;
    file.sync_all()?;
    fs::rename(new, path)?;
    Ok(())
}
