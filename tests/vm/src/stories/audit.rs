//! Disks as proofs, of a cluster that a file describes: what nodes have appended to the ledger is proven from
//! their disks when all machines are off, by the public keys alone, and a disk that was tampered with is not.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::Context;
use node::Region;
use serde_json::Value;
use store::anatomy::Anatomy;

use crate::cluster::Cluster;
use crate::stories::damage::{look_at, sectors_of, spoil};
use crate::stories::{Ending, World};
use crate::{client, clock, leftovers};

const NODES: [u16; 4] = [1, 2, 3, 4];
/// So many entries are appended, one block each.
const ENTRIES: u64 = 12;
/// The block that is tampered with.
const TAMPERED: u64 = 5;

/// See the module.
pub fn disks(world: &mut World) -> anyhow::Result<Ending> {
    // Four nodes, says the file; what is said here wins over its disks of a gigabyte.
    let cluster = world.boot(&["--config", "images/bft.toml", "--disk-size", "16"])?;
    let machines = cluster.machines()?.len();
    anyhow::ensure!(machines == NODES.len(), "{machines} machines run");
    for number in 1..=ENTRIES {
        let node = NODES[number as usize % NODES.len()];
        let mut append = redis::cmd("LEDGER.APPEND");
        let answer = append.arg(format!("entry {number}")).query(&mut cluster.redis(node)?);
        let (position, _, _): (u64, String, u64) = answer?;
        anyhow::ensure!(position == number, "entry {number} is at {position}");
    }
    for node in NODES {
        clock::wait("a node has the last entry", client::PATIENCE, || {
            let read = redis::cmd("LEDGER.GET").arg(ENTRIES).query(&mut cluster.redis(node)?);
            let entry: String = read?;
            Ok(entry == format!("entry {ENTRIES}"))
        })?;
    }
    let output = audit(&cluster.disk(1), &keys(&cluster))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let is_refused = output.status.code() == Some(2) && said.contains("using this disk");
    anyhow::ensure!(is_refused, "the disk of a machine that runs: {said}");

    let pids: Vec<_> = cluster.machines()?.iter().map(|(_, pid)| *pid).collect();
    leftovers::kill_all(&pids)?;
    let mut heads = Vec::new();
    for node in NODES {
        let found = verdict(&cluster, node, 0)?;
        anyhow::ensure!(found["proven"] == true && found["node"] == node, "{found}");
        heads.push((found["entries"].as_u64(), found["head"].clone()));
    }
    // A quorum of three had the last entry when it was acknowledged.
    let newest = heads.iter().filter(|(entries, _)| *entries == Some(ENTRIES));
    let newest: Vec<_> = newest.map(|(_, head)| head).collect();
    let is_one = newest.windows(2).all(|two| two[0] == two[1]);
    anyhow::ensure!(newest.len() >= 3 && is_one, "the disks hold {heads:?}");

    tamper(&cluster.disk(2))?;
    let found = verdict(&cluster, 2, 1)?;
    let is_named = found["proven"] == false && found["fault"]["block"] == TAMPERED;
    anyhow::ensure!(is_named && found["blocks"] == TAMPERED - 1, "{found}");
    let text = audit(&cluster.disk(2), &keys(&cluster))?.stdout;
    let text = String::from_utf8_lossy(&text);
    let sentence =
        format!("NOT PROVEN: block {TAMPERED} does not verify: it is damaged on the disk");
    anyhow::ensure!(text.contains(&sentence), "{text}");
    Ok(Ending::Good)
}

fn keys(cluster: &Cluster) -> PathBuf {
    cluster.folder().join("keys/public")
}

/// `scripts/audit`, whatever comes of it.
fn audit(disk: &Path, keys: &Path) -> anyhow::Result<Output> {
    let mut command = Command::new("scripts/audit");
    command.arg(disk).arg("--keys").arg(keys);
    println!("$ {command:?}");
    command.output().context("scripts/audit")
}

/// The same as JSON, which must end with this status.
fn verdict(cluster: &Cluster, node: u16, status: i32) -> anyhow::Result<Value> {
    let mut command = Command::new("scripts/audit");
    command.arg(cluster.disk(node)).arg("--keys").arg(keys(cluster)).arg("--json");
    println!("$ {command:?}");
    let output = command.output().context("scripts/audit")?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    anyhow::ensure!(output.status.code() == Some(status), "{:?}: {text}", output.status);
    Ok(serde_json::from_str(&text)?)
}

/// Flips a bit of the block's record. Nothing but blocks is in the log yet.
fn tamper(disk: &Path) -> anyhow::Result<()> {
    let [_, entries] = Region::of(sectors_of(disk)?).parts();
    let image = look_at(disk, &Anatomy::without_snapshots(entries.sectors())?, entries.first())?;
    let (mut place, _) = image.records[TAMPERED as usize - 1].payload.context("it is empty")?;
    place.sector += entries.first();
    spoil(disk, place)
}
