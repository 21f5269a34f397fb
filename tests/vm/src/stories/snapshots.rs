//! Snapshots in the place of the log: a node's own at its next start, and the leader's for a node that was
//! away for too long.

use crate::cluster::Cluster;
use crate::stories::{Ending, World};
use crate::{client, clock};

/// A snapshot is taken after so many entries …
const EVERY: &str = "coterie.snapshot=200";
/// … and so many are written at a time: the log before them is given up.
const WRITES: usize = 900;

/// One node misses so much that the log does not reach back to it; then all start again.
pub fn in_place_of_the_log(world: &mut World) -> anyhow::Result<Ending> {
    let cluster = world.boot(&["--append", EVERY])?;
    let leader = cluster.leader(None)?;
    let away = leader % 3 + 1;
    write_many(&cluster, leader, "early")?;
    snapshot_taken(&cluster, leader)?;
    cluster.order("kill", away)?;
    write_many(&cluster, leader, "missed")?;
    cluster.order("start", away)?;
    cluster.wait_until_follows(away, leader)?;
    let installed = client::metric(cluster.http_port(away), "coterie_snapshots_installed_total")?;
    anyhow::ensure!(installed >= 1, "the node caught up from the log: it should be gone");
    everything_is_there(&cluster, away)?;

    for node in [1, 2, 3] {
        cluster.order("kill", node)?;
    }
    for node in [1, 2, 3] {
        cluster.order("start", node)?;
    }
    cluster.leader(None)?;
    cluster.write(away, "late", "1")?;
    for node in [1, 2, 3] {
        everything_is_there(&cluster, node)?;
    }
    Ok(Ending::Good)
}

fn write_many(cluster: &Cluster, node: u16, name: &str) -> anyhow::Result<()> {
    let mut connection = cluster.redis(node)?;
    for number in 0..WRITES {
        client::set(&mut connection, &format!("{name}:{number}"), &number.to_string())?;
    }
    Ok(())
}

fn snapshot_taken(cluster: &Cluster, node: u16) -> anyhow::Result<()> {
    let taken = || client::metric(cluster.http_port(node), "coterie_snapshots_taken_total");
    clock::wait("two snapshots are taken", client::PATIENCE, || Ok(taken()? >= 2))
}

fn everything_is_there(cluster: &Cluster, node: u16) -> anyhow::Result<()> {
    let mut connection = cluster.redis(node)?;
    for name in ["early", "missed"] {
        for number in (0..WRITES).step_by(7) {
            let found = client::get(&mut connection, &format!("{name}:{number}"))?;
            let is_there = found.as_deref() == Some(number.to_string().as_str());
            anyhow::ensure!(is_there, "node {node}: {name}:{number} is {found:?}");
        }
    }
    Ok(())
}
