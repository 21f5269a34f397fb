//! The nodes' clocks, on a host that has more to do than it has processors.

use std::ops::RangeInclusive;
use std::time::Instant;

use anyhow::Context;

use crate::client;
use crate::clock;
use crate::cluster::Cluster;
use crate::stories::{Ending, World};

/// How long the clocks are watched.
const WATCHED_S: u64 = 2;
/// A node's second may be so long, in seconds of the host. Timeouts would bear more, expiry dates would not.
const RIGHT: RangeInclusive<f64> = 0.98..=1.02;

/// What a node's clock showed between two moments of the host.
struct Reading {
    asked: Instant,
    shown: f64,
    answered: Instant,
}

/// Machines that boot all at once on a busy host measure how fast their processor counts. They must not be
/// misled by the host's attention to others.
pub fn rate(world: &mut World) -> anyhow::Result<Ending> {
    let cluster = world.boot(&["--nodes", "5"])?;
    let nodes = [1, 2, 3, 4, 5];
    let first = read_all(&cluster, &nodes)?;
    std::thread::sleep(std::time::Duration::from_secs(WATCHED_S));
    let second = read_all(&cluster, &nodes)?;
    for ((node, first), second) in nodes.iter().zip(&first).zip(&second) {
        let shown = second.shown - first.shown;
        // Between asking and answering the clock was read; nobody knows when.
        let slowest = shown / (second.answered - first.asked).as_secs_f64();
        let fastest = shown / (second.asked - first.answered).as_secs_f64();
        println!("node {node}: its clock runs {slowest:.3} to {fastest:.3} times as fast as ours");
        anyhow::ensure!(
            slowest <= *RIGHT.end() && fastest >= *RIGHT.start(),
            "the clock of node {node} runs {slowest:.3} to {fastest:.3} times as fast as it should"
        );
    }
    Ok(Ending::Good)
}

fn read_all(cluster: &Cluster, nodes: &[u16]) -> anyhow::Result<Vec<Reading>> {
    nodes.iter().map(|node| read(cluster.http_port(*node))).collect()
}

fn read(port: u16) -> anyhow::Result<Reading> {
    let asked = clock::now();
    let (_, page) = client::page(port, "/metrics")?;
    let answered = clock::now();
    let shown = page.lines().find_map(|line| line.strip_prefix("coterie_uptime_seconds "));
    let shown = shown.context("/metrics has no uptime")?.parse()?;
    Ok(Reading { asked, shown, answered })
}
