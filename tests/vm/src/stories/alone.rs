//! A cluster of one: what it takes to boot, and what does not boot.

use std::fs;

use anyhow::Context;
use block::SECTOR_BYTES;
use store::anatomy::Anatomy;

use crate::client;
use crate::cluster::Cluster;
use crate::machine::{self, Machine};
use crate::stories::{Ending, World};

/// Exit statuses of the image (`Exit` in `unikernel/platform`).
const BAD_SETTING: i32 = 33;
const BAD_DISK: i32 = 37;

/// The machine of node 1, as it was started.
fn machine_of_node_1(cluster: &Cluster) -> anyhow::Result<Machine> {
    let machines = cluster.machines()?;
    let (_, pid) = machines.first().context("no machine runs")?;
    Machine::of(*pid)
}

/// The boot ends with this status, and a line that says why.
fn expect_end(
    cluster: &Cluster,
    machine: &Machine,
    status: i32,
    reason: &str,
) -> anyhow::Result<()> {
    let before = machine::said(&cluster.folder(), 1)?.len();
    let ended = machine.run()?;
    anyhow::ensure!(ended.code() == Some(status), "the boot ended with {ended}, not {status}");
    let said = machine::said(&cluster.folder(), 1)?.split_off(before);
    println!("it said: {}", said.trim());
    anyhow::ensure!(said.contains(reason), "it does not say '{reason}'");
    Ok(())
}

/// Wrong settings and a damaged hard state end the boot: with a status for programs and a line for people.
pub fn refusals(world: &mut World) -> anyhow::Result<Ending> {
    let cluster = world.boot(&["--nodes", "1", "--disk-size", "16"])?;
    let good = machine_of_node_1(&cluster)?;
    cluster.order("stop", 1)?;
    empty_disk(&cluster, &good)?;
    for (text, with, reason) in [
        ("coterie.id=1", "coterie.id=1 coterie.colour=red", "unknown setting 'coterie.colour=red'"),
        ("coterie.id=1", "coterie.id=1 coterie.reads=lease", "needs a clock that goes on"),
        ("coterie.id=1", "coterie.id=0", "bad setting 'coterie.id=0'"),
        ("coterie.peers=1", "coterie.peers=2,3", "coterie.peers does not list this node"),
        ("coterie.peers=1", "coterie.join=1", "coterie.join names this node"),
        ("coterie.peers=1", "", "exactly one of 'coterie.peers"),
        ("coterie.id=1 ", "", "setting 'coterie.id=…' is missing"),
    ] {
        let mut bad = good.clone();
        bad.replace(text, with)?;
        expect_end(&cluster, &bad, BAD_SETTING, reason)?;
    }
    spoil_hard_state(&cluster)?;
    expect_end(&cluster, &good, BAD_DISK, "the hard state is damaged")?;
    Ok(Ending::Good)
}

/// A disk that is empty where one with data is expected: the node has forgotten.
fn empty_disk(cluster: &Cluster, good: &Machine) -> anyhow::Result<()> {
    let mut empty = good.clone();
    empty.replace("coterie.format=yes ", "")?;
    empty.replace("node-1/disk.img", "node-1/empty.img")?;
    fs::File::create(cluster.folder().join("node-1/empty.img"))?.set_len(16 << 20)?;
    expect_end(cluster, &empty, BAD_DISK, "the disk is empty")
}

/// Both places of the hard state, and both copies of each.
fn spoil_hard_state(cluster: &Cluster) -> anyhow::Result<()> {
    let path = cluster.disk(1);
    let mut image = fs::read(&path)?;
    let anatomy = Anatomy::new((image.len() / SECTOR_BYTES) as u64)?;
    for sector in anatomy.hard_state_sectors().into_iter().flatten() {
        let start = sector as usize * SECTOR_BYTES;
        image[start..start + SECTOR_BYTES].fill(0xa5);
    }
    fs::write(path, image)?;
    Ok(())
}

/// What was written on one type of machine is there on another.
pub fn moved(world: &mut World) -> anyhow::Result<Ending> {
    let cluster = world.boot(&["--nodes", "1"])?;
    client::set(&mut cluster.redis(1)?, "greeting", "hello")?;
    let _: u64 = redis::cmd("INCR").arg("counter").query(&mut cluster.redis(1)?)?;
    cluster.order("kill", 1)?;
    cluster.up(&["--machine", "microvm"])?;
    cluster.expect(&[1], "greeting", "hello")?;
    let count: u64 = redis::cmd("INCR").arg("counter").query(&mut cluster.redis(1)?)?;
    anyhow::ensure!(count == 2, "the counter is {count}");
    let role = cluster.raft(1)?["role"].clone();
    anyhow::ensure!(role == "leader", "the only node is a {role}");
    Ok(Ending::Good)
}
