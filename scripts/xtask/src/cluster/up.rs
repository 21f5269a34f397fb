//! `up`: a cluster from nothing, or from what is left of one.

use std::io::Write;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use anyhow::Context;
use base::limits;
use serde::Deserialize;

use super::process::{self, Role};
use super::state::{Accel, Description, Folder, Machine, Net, Reads, Services};
use super::{absolute, accel, config, disks, keys, launch, status};
use crate::interrupt;

/// As many nodes as a cluster may have, and an address for each.
pub(super) const NODES_MAX: u16 = 64;
/// Ports of the first cluster; others are so far above.
const PORT_BASE: u16 = 7_100;
const PORT_STEP: u16 = 100;

/// What somebody wants, on the command line or in a file; the rest is up to us.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Wishes {
    /// How many nodes.
    #[serde(deserialize_with = "config::nodes")]
    pub nodes: Option<u16>,
    /// What they are for.
    pub services: Option<Services>,
    /// How they are joined.
    pub net: Option<Net>,
    /// The database of an Open vSwitch that runs already.
    pub ovs_db: Option<PathBuf>,
    /// Which machines.
    pub machine: Option<Machine>,
    /// What runs them.
    pub accel: Option<AccelWish>,
    /// Memory of each.
    #[serde(rename = "memory", deserialize_with = "config::memory_mib")]
    pub memory_mib: Option<u32>,
    /// Disk of each.
    #[serde(rename = "disk-size", deserialize_with = "config::disk_mib")]
    pub disk_mib: Option<u32>,
    /// Where clients find them.
    #[serde(deserialize_with = "config::port_base")]
    pub port_base: Option<u16>,
    /// Where their disks are.
    pub disk_dir: Option<PathBuf>,
    /// What they boot.
    pub image: Option<PathBuf>,
    /// They boot the image whose nodes can be made to lie. No file says so.
    #[serde(skip)]
    pub is_adversary: bool,
    /// How reads are answered.
    pub reads: Option<Reads>,
    /// Descriptors of each ring of the cards between the nodes.
    #[serde(deserialize_with = "config::ring_size")]
    pub ring_size: Option<u16>,
    /// Whether the rings of their devices are packed.
    #[serde(rename = "packed")]
    pub is_packed: Option<bool>,
    /// Further words for their kernel command lines.
    pub append: Option<String>,
}

/// What shall run the machines' instructions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccelWish {
    /// The processor if that works.
    #[default]
    Auto,
    /// The processor.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

impl Wishes {
    /// These; and where they say nothing, others.
    pub fn or(self, others: Wishes) -> Wishes {
        Wishes {
            nodes: self.nodes.or(others.nodes),
            services: self.services.or(others.services),
            net: self.net.or(others.net),
            ovs_db: self.ovs_db.or(others.ovs_db),
            machine: self.machine.or(others.machine),
            accel: self.accel.or(others.accel),
            memory_mib: self.memory_mib.or(others.memory_mib),
            disk_mib: self.disk_mib.or(others.disk_mib),
            port_base: self.port_base.or(others.port_base),
            disk_dir: self.disk_dir.or(others.disk_dir),
            image: self.image.or(others.image),
            is_adversary: self.is_adversary || others.is_adversary,
            reads: self.reads.or(others.reads),
            ring_size: self.ring_size.or(others.ring_size),
            is_packed: self.is_packed.or(others.is_packed),
            append: self.append.or(others.append),
        }
    }
}

/// As many nodes as a cluster may have.
pub(super) fn check_nodes(nodes: u16) -> Result<u16, String> {
    within(nodes, 1..=NODES_MAX, || format!("a cluster has 1 to {NODES_MAX} nodes"))
}

/// As much memory as a node can do with.
pub(super) fn check_memory(mib: u32) -> Result<u32, String> {
    within(mib, 48..=2_048, || "a node has 48 to 2048 MiB of memory".into())
}

/// As large a disk as a node can do with.
pub(super) fn check_disk(mib: u32) -> Result<u32, String> {
    within(mib, 16..=65_536, || "a node has 16 to 65536 MiB of disk".into())
}

/// Ports that are nobody's by convention, with room above for those of HTTP.
pub(super) fn check_port_base(base: u16) -> Result<u16, String> {
    within(base, 1_024..=59_999, || "a port base is 1024 to 59999".into())
}

/// A size that rings may have.
pub(super) fn check_ring_size(size: u16) -> Result<u16, String> {
    let rule = || format!("a ring has a power of two up to {} descriptors", limits::RING_SIZE_MAX);
    if limits::is_ring_size(size) { Ok(size) } else { Err(rule()) }
}

/// Rings of a format that whatever joins the machines can read.
fn check_packed(is_packed: bool, net: Net) -> Result<bool, String> {
    // QEMU would say nothing, and leave the rings split.
    let rule = "our switch reads split rings only: --packed goes with --net socket, bridge or ovs";
    if is_packed && net == Net::Switch { Err(rule.into()) } else { Ok(is_packed) }
}

fn within<T: PartialOrd>(
    value: T,
    range: RangeInclusive<T>,
    rule: impl Fn() -> String,
) -> Result<T, String> {
    if range.contains(&value) { Ok(value) } else { Err(rule()) }
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
    if wishes.services.is_some_and(|services| services != known.services) {
        differing.push(format!("is for '{:?}'", known.services).to_lowercase());
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
    let ring_size = wishes.ring_size.unwrap_or(known.ring_size);
    let ring_size = check_ring_size(ring_size).map_err(anyhow::Error::msg)?;
    let is_packed = wishes.is_packed.unwrap_or(known.is_packed);
    let is_packed = check_packed(is_packed, known.net).map_err(anyhow::Error::msg)?;
    let append = wishes.append.clone().unwrap_or_else(|| known.append.clone());
    Ok(Description { image, machine, memory_mib, reads, ring_size, is_packed, append, ..known })
}

/// A cluster that was not there before; writes its description.
///
/// # Errors
/// If the wishes cannot be met.
pub fn create(folder: &Folder, wishes: &Wishes) -> anyhow::Result<Description> {
    let refuse = anyhow::Error::msg::<String>;
    let nodes = check_nodes(wishes.nodes.unwrap_or(3)).map_err(refuse)?;
    let memory_mib = check_memory(wishes.memory_mib.unwrap_or(64)).map_err(refuse)?;
    let disk_mib = check_disk(wishes.disk_mib.unwrap_or(256)).map_err(refuse)?;
    let ring_size =
        check_ring_size(wishes.ring_size.unwrap_or(limits::RING_SIZE)).map_err(refuse)?;
    let net = wishes.net.unwrap_or(Net::Switch);
    let is_packed = check_packed(wishes.is_packed.unwrap_or(false), net).map_err(refuse)?;
    let services = wishes.services.unwrap_or_default();
    let has_keys = has_ledger(services, nodes)?;
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
    let (accel, reason) = match wishes.accel.unwrap_or_default() {
        AccelWish::Auto => accel::choose(&image),
        AccelWish::Kvm => (Accel::Kvm, "as asked".into()),
        AccelWish::Tcg => (Accel::Tcg, "as asked".into()),
    };
    eprintln!("accelerator: {} ({reason})", if accel == Accel::Kvm { "kvm" } else { "tcg" });
    anyhow::ensure!(wishes.ovs_db.is_none() || net == Net::Ovs, "--ovs-db goes with --net ovs");
    if let Some(folder) = &wishes.disk_dir {
        std::fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
    }
    let port_base = match wishes.port_base {
        Some(base) => check_port_base(base).map_err(refuse)?,
        None => free_ports(nodes)?,
    };
    let name = folder.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let description = Description {
        name,
        id: random_id()?,
        founders: nodes,
        nodes: (1..=nodes).collect(),
        next_node: nodes + 1,
        net,
        ovs_db: wishes.ovs_db.clone(),
        machine: wishes.machine.unwrap_or(Machine::Q35),
        accel,
        memory_mib,
        disk_mib,
        port_base,
        image,
        reads: wishes.reads.unwrap_or_default(),
        ring_size,
        is_packed,
        services,
        has_keys,
        append: wishes.append.clone().unwrap_or_default(),
        disk_dir: wishes.disk_dir.clone(),
    };
    if description.has_keys {
        keys::make(folder.path(), &description.id, nodes)?;
    }
    folder.save(&description)?;
    Ok(description)
}

/// Whether the nodes that found the cluster have a ledger.
fn has_ledger(services: Services, nodes: u16) -> anyhow::Result<bool> {
    let may_have = usize::from(nodes) <= limits::BFT_REPLICAS_MAX;
    anyhow::ensure!(
        may_have || services != Services::Bft,
        "a ledger has at most {} nodes",
        limits::BFT_REPLICAS_MAX
    );
    Ok(may_have && services != Services::Raft)
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
