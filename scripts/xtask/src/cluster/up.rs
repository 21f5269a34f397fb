//! `up`: a cluster from nothing, or from what is left of one.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::process::{self, Role};
use super::state::{Accel, Description, Folder, Machine, Net, Reads};
use super::{absolute, accel, disks, keys, launch, status};
use crate::interrupt;

/// As many nodes as a cluster may have, and an address for each.
pub(super) const NODES_MAX: u16 = 64;
/// Ports of the first cluster; others are so far above.
const PORT_BASE: u16 = 7_100;
const PORT_STEP: u16 = 100;

/// What somebody wants; the rest is up to us.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// How many nodes.
    pub nodes: Option<u16>,
    /// How they are joined.
    pub net: Option<Net>,
    /// The database of an Open vSwitch that runs already.
    pub ovs_db: Option<PathBuf>,
    /// Which machines.
    pub machine: Option<Machine>,
    /// `auto`, `kvm` or `tcg`.
    pub accel: Option<String>,
    /// Memory of each.
    pub memory_mib: Option<u32>,
    /// Disk of each.
    pub disk_mib: Option<u32>,
    /// Where clients find them.
    pub port_base: Option<u16>,
    /// Where their disks are.
    pub disk_dir: Option<PathBuf>,
    /// What they boot.
    pub image: Option<PathBuf>,
    /// They boot the image whose nodes can be made to lie.
    pub is_adversary: bool,
    /// How reads are answered.
    pub reads: Option<Reads>,
    /// Further words for their kernel command lines.
    pub append: Option<String>,
}

/// Boots a cluster, waits until it serves, and says where.
pub(super) fn up(folder: Folder, wishes: &Wishes) -> anyhow::Result<()> {
    let mut folder = folder;
    folder.lock()?;
    let description = match folder.load()? {
        Some(known) => known_again(known, wishes)?,
        None => create(&folder, wishes)?,
    };
    folder.enter()?;
    interrupt::watch()?;
    let before = process::running(Path::new("."));
    let running: Vec<_> =
        description.node_numbers().filter(|node| before.contains_key(&Role::Node(*node))).collect();
    if running.len() == description.nodes.len() {
        writeln!(std::io::stdout(), "cluster '{}' is up already", description.name)?;
    } else if !running.is_empty() {
        writeln!(std::io::stdout(), "nodes {running:?} run already; the others are started")?;
    }
    if let Err(error) = boot(&description) {
        // What ran before stays; what was started now ends.
        let started = description.node_numbers().filter(|node| !running.contains(node));
        launch::kill_nodes(started)?;
        if running.is_empty() {
            launch::end_all(&description)?;
        }
        return Err(error);
    }
    write!(std::io::stdout(), "{}", status::to_table(&description, &status::of(&description)))?;
    let first = description.node_numbers().next().unwrap_or(1);
    let port = description.resp_port(first);
    writeln!(std::io::stdout(), "\nTry: redis-cli -p {port} set greeting hello")?;
    writeln!(std::io::stdout(), "     scripts/cluster shell {first}")?;
    Ok(())
}

fn boot(description: &Description) -> anyhow::Result<()> {
    let mut children = launch::start_all(description)?;
    let lost = disks::all_lost(description)?;
    lost.values().for_each(|sentence| eprintln!("{sentence}"));
    let nodes: Vec<_> =
        description.node_numbers().filter(|node| !lost.contains_key(node)).collect();
    launch::wait_until_serving(description, &nodes, &mut children)?;
    disks::note_formatted(description)
}

/// A cluster that was made before: what it is does not change.
fn known_again(known: Description, wishes: &Wishes) -> anyhow::Result<Description> {
    let mut differing = Vec::new();
    if wishes.nodes.is_some_and(|nodes| usize::from(nodes) != known.nodes.len()) {
        differing.push(format!("has {} nodes ('add' and 'remove' change that)", known.nodes.len()));
    }
    if wishes.net.is_some_and(|net| net != known.net) {
        differing.push(format!("is joined by '{:?}'", known.net).to_lowercase());
    }
    if wishes.ovs_db.is_some() && wishes.ovs_db != known.ovs_db {
        differing.push("is not joined by that Open vSwitch".into());
    }
    if wishes.disk_mib.is_some_and(|size| size != known.disk_mib) {
        differing.push(format!("has disks of {} MiB", known.disk_mib));
    }
    if wishes.disk_dir.is_some() && wishes.disk_dir != known.disk_dir {
        differing.push("has its disks elsewhere".into());
    }
    if wishes.port_base.is_some_and(|base| base != known.port_base) {
        differing.push(format!("has its ports at {}", known.port_base));
    }
    anyhow::ensure!(
        differing.is_empty(),
        "cluster '{}' {}; 'scripts/cluster down --wipe' makes room for another, or choose another --name",
        known.name,
        differing.join(", ")
    );
    // What it boots, and on what, may change from start to start.
    let image = wishes.image.clone().unwrap_or_else(|| known.image.clone());
    let machine = wishes.machine.unwrap_or(known.machine);
    let memory_mib = wishes.memory_mib.unwrap_or(known.memory_mib);
    let reads = wishes.reads.unwrap_or(known.reads);
    let append = wishes.append.clone().unwrap_or_else(|| known.append.clone());
    Ok(Description { image, machine, memory_mib, reads, append, ..known })
}

/// A cluster that was not there before; writes its description.
///
/// # Errors
/// If the wishes cannot be met.
pub fn create(folder: &Folder, wishes: &Wishes) -> anyhow::Result<Description> {
    let nodes = wishes.nodes.unwrap_or(3);
    anyhow::ensure!((1..=NODES_MAX).contains(&nodes), "a cluster has 1 to {NODES_MAX} nodes");
    let memory_mib = wishes.memory_mib.unwrap_or(64);
    anyhow::ensure!((48..=2_048).contains(&memory_mib), "a node has 48 to 2048 MiB of memory");
    let disk_mib = wishes.disk_mib.unwrap_or(256);
    anyhow::ensure!((16..=65_536).contains(&disk_mib), "a node has 16 to 65536 MiB of disk");
    let image = match &wishes.image {
        Some(image) => image.clone(),
        None if wishes.is_adversary => absolute(&folder.path().join("../../coterie-adversary"))?,
        None => absolute(&folder.path().join("../../coterie-node"))?,
    };
    anyhow::ensure!(
        image.exists(),
        "there is no image at {}; scripts/image builds it",
        image.display()
    );
    let (accel, reason) = match wishes.accel.as_deref() {
        None | Some("auto") => accel::choose(&image),
        Some("kvm") => (Accel::Kvm, "as asked".into()),
        Some("tcg") => (Accel::Tcg, "as asked".into()),
        Some(other) => anyhow::bail!("an accelerator is auto, kvm or tcg, not '{other}'"),
    };
    eprintln!("accelerator: {} ({reason})", if accel == Accel::Kvm { "kvm" } else { "tcg" });
    anyhow::ensure!(
        wishes.ovs_db.is_none() || wishes.net == Some(Net::Ovs),
        "--ovs-db goes with --net ovs"
    );
    if let Some(folder) = &wishes.disk_dir {
        std::fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
    }
    let port_base = match wishes.port_base {
        Some(base) => {
            anyhow::ensure!((1_024..60_000).contains(&base), "a port base is 1024 to 59999");
            base
        }
        None => free_ports(nodes)?,
    };
    let name = folder.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let description = Description {
        name,
        id: random_id()?,
        founders: nodes,
        nodes: (1..=nodes).collect(),
        next_node: nodes + 1,
        net: wishes.net.unwrap_or(Net::Switch),
        ovs_db: wishes.ovs_db.clone(),
        machine: wishes.machine.unwrap_or(Machine::Q35),
        accel,
        memory_mib,
        disk_mib,
        port_base,
        image,
        reads: wishes.reads.unwrap_or_default(),
        has_keys: usize::from(nodes) <= base::limits::BFT_REPLICAS_MAX,
        append: wishes.append.clone().unwrap_or_default(),
        disk_dir: wishes.disk_dir.clone(),
    };
    if description.has_keys {
        keys::make(folder.path(), &description.id, nodes)?;
    }
    folder.save(&description)?;
    Ok(description)
}

/// The first block of ports that nobody uses.
fn free_ports(nodes: u16) -> anyhow::Result<u16> {
    let mut bases = (0..9).map(|block| PORT_BASE + block * PORT_STEP);
    let found = bases.find(|base| launch::are_ports_free(*base, nodes));
    found.context("no block of ports from 7100 on is free; --port-base chooses others")
}

/// A cluster's identity keeps its nodes from listening to those of another.
fn random_id() -> anyhow::Result<String> {
    use std::io::Read;
    let mut bytes = [0; 8];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{:016x}", u64::from_be_bytes(bytes).max(1)))
}
