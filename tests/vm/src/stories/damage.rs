//! Disks that do not hold what was written on them: a node has it from the others, and what nobody has is not
//! forgotten.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Context;
use block::SECTOR_BYTES;
use node::Region;
use store::anatomy::{Anatomy, DiskImage, Place};

use crate::cluster::Cluster;
use crate::stories::{Ending, World};
use crate::{client, clock};

/// The smallest disk there is, and a snapshot soon. The last quarter of it is the ledger's.
const OPTIONS: [&str; 4] = ["--disk-size", "16", "--append", "coterie.snapshot=200"];
const WRITES: usize = 260;

/// A payload behind the snapshot, and the snapshot itself: the node starts, says what it found, has it from
/// the others, and serves.
pub fn repaired(world: &mut World) -> anyhow::Result<Ending> {
    let cluster = world.boot(&OPTIONS)?;
    write_many(&cluster)?;
    let leader = cluster.leader(None)?;
    let victim = [1, 2, 3].into_iter().find(|node| *node != leader).context("a follower")?;
    cluster.wait_until_follows(victim, leader)?;
    cluster.order("stop", victim)?;
    let disk = cluster.disk(victim);
    let image = look(&disk)?;
    let snapshot = image.snapshots.last().context("a snapshot was taken")?;
    spoil(&disk, Place { sector: snapshot.data.start, offset: 7 })?;
    spoil(&disk, payload_of(&image, image.records.len() - 20)?)?;

    cluster.order("start", victim)?;
    cluster.wait_until_follows(victim, leader)?;
    let port = cluster.http_port(victim);
    let repaired = || client::metric(port, "coterie_disk_repaired_total");
    clock::wait("the node repairs its disk", client::PATIENCE, || Ok(repaired()? >= 1))?;
    anyhow::ensure!(cluster.raft(victim)?["damage"].is_null(), "something is damaged still");
    let log = cluster.run(&["logs", &victim.to_string()])?;
    for wanted in ["the snapshot of entry", "going on from entry", "is damaged", "is repaired"] {
        anyhow::ensure!(log.contains(wanted), "the log does not say {wanted:?}");
    }
    for number in (0..WRITES).step_by(13) {
        cluster.expect(&[victim], &format!("key-{number}"), "good")?;
    }
    // The disk is whole again: the node stands on its own.
    cluster.order("stop", victim)?;
    let image = look(&disk)?;
    let is_whole = image.records.iter().all(|record| record.is_payload_intact);
    anyhow::ensure!(is_whole, "the repair is not on the disk");
    Ok(Ending::Good)
}

/// Both snapshots of two nodes, with logs that do not reach back to the older one: no two nodes have a state
/// together, and these two have theirs from the third.
pub fn recalled(world: &mut World) -> anyhow::Result<Ending> {
    let cluster = world.boot(&OPTIONS)?;
    (0..3).try_for_each(|_| write_many(&cluster))?;
    let leader = cluster.leader(None)?;
    for node in [1, 2, 3] {
        let taken = || client::metric(cluster.http_port(node), "coterie_snapshots_taken_total");
        clock::wait("two snapshots are taken", client::PATIENCE, || Ok(taken()? >= 2))?;
    }
    for node in [1, 2, 3] {
        cluster.order("stop", node)?;
    }
    let victims = [1, 2, 3].into_iter().filter(|node| *node != leader).collect::<Vec<_>>();
    for victim in &victims {
        let disk = cluster.disk(*victim);
        let image = look(&disk)?;
        anyhow::ensure!(image.snapshots.len() == 2, "there are two snapshots");
        let reaches_back = image.records.first().is_some_and(|record| record.index.0 == 1);
        anyhow::ensure!(!reaches_back, "the log should have been given up");
        for snapshot in &image.snapshots {
            spoil(&disk, Place { sector: snapshot.data.start, offset: 7 })?;
        }
    }
    for node in [1, 2, 3] {
        cluster.order("start", node)?;
    }
    for victim in &victims {
        let has_state = || Ok(cluster.raft(*victim).is_ok_and(|status| status["damage"].is_null()));
        clock::wait("the state has come", client::PATIENCE, has_state)?;
        let log = cluster.run(&["logs", &victim.to_string()])?;
        anyhow::ensure!(log.contains("another node is asked for one"), "the log does not say why");
    }
    cluster.write(1, "after", "good")?;
    cluster.expect(&[1, 2, 3], "after", "good")?;
    for number in (0..WRITES).step_by(13) {
        cluster.expect(&[1, 2, 3], &format!("key-{number}"), "good")?;
    }
    Ok(Ending::Good)
}

/// One entry on all three disks: the cluster says why it stops, and goes on when one disk is whole again.
pub fn nowhere(world: &mut World) -> anyhow::Result<Ending> {
    let cluster = world.boot(&["--disk-size", "16"])?;
    write_many(&cluster)?;
    cluster.expect(&[1, 2, 3], &format!("key-{}", WRITES - 1), "good")?;
    let mut spoilt = Vec::new();
    for node in [1, 2, 3] {
        cluster.order("stop", node)?;
        let image = look(&cluster.disk(node))?;
        spoilt.push(payload_of(&image, 100)?);
    }
    for (node, place) in (1..).zip(&spoilt) {
        spoil(&cluster.disk(node), *place)?;
    }
    for node in [1, 2, 3] {
        cluster.order("start", node)?;
    }
    for node in [1, 2, 3] {
        let says_why = || {
            let status = cluster.raft(node)?;
            let damage = status["damage"].as_str().unwrap_or_default().to_string();
            Ok(damage.contains("entry 101") && damage.contains("no other node has an intact copy"))
        };
        clock::wait("a node says why it stops", client::PATIENCE, says_why)?;
    }
    let answer = client::set(&mut cluster.redis(1)?, "after", "bad");
    anyhow::ensure!(answer.is_err(), "a write is accepted by a cluster that lacks an entry");

    cluster.order("stop", 2)?;
    spoil(&cluster.disk(2), spoilt[1])?;
    cluster.order("start", 2)?;
    cluster.leader(None)?;
    cluster.write(1, "after", "good")?;
    cluster.expect(&[1, 2, 3], "after", "good")?;
    cluster.expect(&[1, 2, 3], "key-100", "good")?;
    Ok(Ending::Good)
}

fn write_many(cluster: &Cluster) -> anyhow::Result<()> {
    let mut connection = cluster.redis(1)?;
    for number in 0..WRITES {
        client::set(&mut connection, &format!("key-{number}"), "good")?;
    }
    Ok(())
}

/// The replicated log on a disk whose machine is off.
fn look(disk: &Path) -> anyhow::Result<DiskImage> {
    let sectors = Region::of(sectors_of(disk)?).sectors_before();
    look_at(disk, &Anatomy::new(sectors)?, 0)
}

/// How many sectors a disk has.
pub(super) fn sectors_of(disk: &Path) -> anyhow::Result<u64> {
    Ok(fs::metadata(disk)?.len() / SECTOR_BYTES as u64)
}

/// What is on the part of a disk that begins at the sector `first`.
pub(super) fn look_at(disk: &Path, anatomy: &Anatomy, first: u64) -> anyhow::Result<DiskImage> {
    let bytes = fs::read(disk)?;
    let read = |sector: u64| {
        let start = (first + sector) as usize * SECTOR_BYTES;
        bytes[start..start + SECTOR_BYTES].try_into().expect("a sector")
    };
    anatomy.look(&read).context("there is no store on the disk")
}

/// The first byte of the payload of the record at a position, or of the next one that has any.
fn payload_of(image: &DiskImage, position: usize) -> anyhow::Result<Place> {
    let payload = image.records.iter().skip(position).find_map(|record| record.payload);
    Ok(payload.context("there are records with content")?.0)
}

/// Flips a bit; done twice, it is as it was.
pub(super) fn spoil(disk: &Path, place: Place) -> anyhow::Result<()> {
    let file = fs::File::options().read(true).write(true).open(disk)?;
    let at = place.sector * SECTOR_BYTES as u64 + place.offset as u64;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 1], at)?;
    Ok(())
}
