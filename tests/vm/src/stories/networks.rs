//! Other networks between the machines, and other machines.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::stories::{Ending, World};
use crate::{clock, machine, qmp};

/// Each bus with each kind of backend: QEMU tells card and backend in other ways.
const WIRES: [&[&str]; 4] = [
    &[],
    &["--machine", "microvm"],
    &["--net", "socket"],
    &["--net", "socket", "--machine", "microvm"],
];
/// How long a node may take to notice that its cable is out, or in again.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);

/// Our switch over Unix sockets.
pub fn socket(world: &mut World) -> anyhow::Result<Ending> {
    survives_its_leader(&world.boot(&["--net", "socket"])?)
}

/// Machines with devices on the board.
pub fn microvm(world: &mut World) -> anyhow::Result<Ending> {
    survives_its_leader(&world.boot(&["--machine", "microvm"])?)
}

/// A bridge of the kernel, in a network namespace.
pub fn bridge(world: &mut World) -> anyhow::Result<Ending> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(Ending::Skipped("needs root"));
    }
    if std::process::Command::new("ip").arg("-V").output().is_err() {
        return Ok(Ending::Skipped("needs the program 'ip'"));
    }
    let cluster = world.boot(&["--net", "bridge"])?;
    survives_its_leader(&cluster)?;
    let complaint = cluster.run_in_vain(&["partition", "1|2,3"])?;
    anyhow::ensure!(complaint.contains("bridge"), "a fault on a bridge: {complaint}");
    cluster.run(&["down"])?;
    let namespace = Path::new("/run/netns").join(format!("coterie-{}", cluster.name));
    anyhow::ensure!(!namespace.exists(), "'down' has left {}", namespace.display());
    Ok(Ending::Good)
}

/// Open vSwitch with DPDK, of the cluster's own. It reads packed rings, too.
pub fn ovs(world: &mut World) -> anyhow::Result<Ending> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(Ending::Skipped("needs root"));
    }
    if !Path::new("/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk").exists() {
        return Ok(Ending::Skipped("needs Open vSwitch with DPDK (scripts/setup --ovs)"));
    }
    let cluster = world.boot(&["--net", "ovs"])?;
    survives_its_leader(&cluster)?;
    let complaint = cluster.run_in_vain(&["partition", "1|2,3"])?;
    anyhow::ensure!(complaint.contains("Open vSwitch"), "a fault on Open vSwitch: {complaint}");
    cluster.run(&["down"])?;
    cluster.up(&["--packed"])?;
    are_packed(&cluster, &[1, 2, 3])?;
    cluster.expect(&[1, 2, 3], "x", "after")?;
    cluster.run(&["down"])?;
    let namespace = Path::new("/run/netns").join(format!("coterie-{}", cluster.name));
    anyhow::ensure!(!namespace.exists(), "'down' has left {}", namespace.display());
    Ok(Ending::Good)
}

/// Rings of other sizes between the nodes: the longest, and some so short that hardly a frame is on its way.
pub fn rings(world: &mut World) -> anyhow::Result<Ending> {
    let cluster = world.boot(&["--ring-size", "1024"])?;
    has_rings(&cluster, 1024)?;
    survives_its_leader(&cluster)?;
    cluster.run(&["down"])?;
    cluster.up(&["--ring-size", "2"])?;
    has_rings(&cluster, 2)?;
    cluster.expect(&[1, 2, 3], "x", "after")?;
    let complaint = cluster.run_in_vain(&["up", "--ring-size", "1000"])?;
    anyhow::ensure!(complaint.contains("a power of two up to 1024"), "{complaint}");
    Ok(Ending::Good)
}

/// The cable of a node's card is out for a while: the others go on, and it comes back.
pub fn link(world: &mut World) -> anyhow::Result<Ending> {
    for options in WIRES {
        let cluster = world.boot(options)?;
        comes_back_to_the_wire(&cluster).with_context(|| options.join(" "))?;
        cluster.run(&["down"])?;
    }
    Ok(Ending::Good)
}

fn comes_back_to_the_wire(cluster: &Cluster) -> anyhow::Result<()> {
    let cut_off = cluster.leader(None)?;
    let others: Vec<u16> = [1, 2, 3].into_iter().filter(|node| *node != cut_off).collect();
    cluster.write(cut_off, "x", "before")?;
    set_link(cluster, cut_off, false)?;
    let leader = cluster.leader(Some(cut_off))?;
    cluster.write(others[0], "x", "meanwhile")?;
    set_link(cluster, cut_off, true)?;
    cluster.wait_until_follows(cut_off, leader)?;
    cluster.write(cut_off, "x", "after")?;
    cluster.expect(&[1, 2, 3], "x", "after")
}

/// Pulls the cable out or puts it in, and waits until the node has noticed: it looks once a second.
fn set_link(cluster: &Cluster, node: u16, is_up: bool) -> anyhow::Result<()> {
    let changes = || -> anyhow::Result<Option<u64>> {
        let stats = cluster.run(&["sh", &node.to_string(), "netio stats --json"])?;
        let stats: Value = serde_json::from_str(&stats)?;
        let mut rows = stats.as_array().into_iter().flatten();
        let row = rows.find(|row| row["figure"] == "link_changes").context("no link_changes")?;
        Ok(row["cluster"].as_u64())
    };
    let before = changes()?;
    qmp::set_link(cluster, node, is_up)?;
    clock::wait("the node notices", NOTICED_WITHIN, || Ok(changes()? > before))
}

/// Packed rings of all devices, which QEMU itself reads.
pub fn packed(world: &mut World) -> anyhow::Result<Ending> {
    let cluster = world.boot(&["--net", "socket", "--packed"])?;
    are_packed(&cluster, &[1, 2, 3])?;
    survives_its_leader(&cluster)?;
    // It is known which it has, when it is started again.
    cluster.run(&["down"])?;
    cluster.up(&[])?;
    are_packed(&cluster, &[1, 2, 3])?;
    cluster.expect(&[1, 2, 3], "x", "after")?;
    let complaint = world.cluster()?.run_in_vain(&["up", "--packed"])?;
    anyhow::ensure!(complaint.contains("split rings only"), "packed for our switch: {complaint}");
    Ok(Ending::Good)
}

/// Nodes say at each start which rings their cards have.
fn are_packed(cluster: &Cluster, nodes: &[u16]) -> anyhow::Result<()> {
    for node in nodes {
        let said = machine::said(&cluster.folder(), *node)?;
        for card in ["card of the cluster", "card of the clients"] {
            let line = said.lines().rev().find(|line| line.contains(card));
            let is_packed = line.is_some_and(|line| line.contains("packed rings"));
            anyhow::ensure!(is_packed, "the {card} of node {node}: {line:?}");
        }
    }
    Ok(())
}

fn has_rings(cluster: &Cluster, size: u16) -> anyhow::Result<()> {
    let status: Value = serde_json::from_str(&cluster.run(&["sh", "1", "netio status --json"])?)?;
    let of = |card: usize| {
        ["receive_ring", "transmit_ring"].map(|ring| status["cards"][card][ring].as_u64())
    };
    // The card of the clients has the usual ones.
    let is_so = of(0) == [Some(size.into()); 2] && of(1) == [Some(256); 2];
    anyhow::ensure!(is_so, "rings of {size}: {status}");
    Ok(())
}

fn survives_its_leader(cluster: &Cluster) -> anyhow::Result<Ending> {
    cluster.write(1, "x", "before")?;
    cluster.expect(&[1, 2, 3], "x", "before")?;
    let leader = cluster.leader(None)?;
    cluster.order("kill", leader)?;
    let others: Vec<u16> = [1, 2, 3].into_iter().filter(|node| *node != leader).collect();
    cluster.write(others[0], "x", "after")?;
    cluster.expect(&others, "x", "after")?;
    Ok(Ending::Good)
}
