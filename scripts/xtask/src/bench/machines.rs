//! The machines that are measured: a cluster of their own, fresh for each measurement.

use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::figures::Figures;
use super::{conditions, load};
use crate::cluster::state::{Description, Folder};
use crate::cluster::up::{Wishes, create};
use crate::cluster::{client, launch, status};
use crate::{clock, interrupt};

/// The cluster that is measured is nobody else's.
const NAME: &str = "bench";
/// So many nodes are asked for the first write after a failure, over so many connections in all.
const PROBED_NODES: usize = 3;
const PROBES: usize = 96;

/// Ends and removes what is there under the bench's name.
pub(super) fn forget() -> anyhow::Result<()> {
    let mut folder = Folder::of(NAME)?;
    folder.lock()?;
    folder.enter()?;
    if let Some(description) = folder.load()? {
        launch::end_all(&description)?;
    }
    folder.remove()
}

/// The figures that `measure` adds, with the conditions before them. Whatever comes of it, no machine is
/// left.
pub(super) fn measured(
    measure: impl FnOnce(&mut Figures) -> anyhow::Result<()>,
) -> anyhow::Result<Figures> {
    interrupt::watch()?;
    let mut figures = Figures::default();
    conditions::note(&mut figures);
    let result = measure(&mut figures);
    forget()?;
    result.map(|()| figures)
}

/// A cluster that has never run. The program works in its folder from then on.
pub(super) fn fresh(nodes: u16) -> anyhow::Result<Description> {
    forget()?;
    let mut folder = Folder::of(NAME)?;
    folder.lock()?;
    let description = create(&folder, &Wishes { nodes: Some(nodes), ..Wishes::default() })?;
    folder.enter()?;
    Ok(description)
}

/// Boots a fresh cluster; how many seconds until the first write is acknowledged.
pub(super) fn start(nodes: u16) -> anyhow::Result<(Description, f64)> {
    let description = fresh(nodes)?;
    let started = clock::now();
    let children = launch::start_all(&description)?;
    let first_s = first_write(&description, children, started)?;
    Ok((description, first_s))
}

/// Starts all nodes of a cluster that has lost power; how many seconds until the first write is acknowledged.
///
/// # Errors
/// If none is.
pub(super) fn start_again(description: &Description) -> anyhow::Result<f64> {
    let started = clock::now();
    let mut children = Vec::new();
    for node in description.node_numbers() {
        children.push((node, launch::start_node(description, node)?));
    }
    first_write(description, children, started)
}

/// How many seconds after `started` the first write is acknowledged; then waits until all nodes serve.
fn first_write(
    description: &Description,
    mut children: Vec<(u16, Child)>,
    started: Instant,
) -> anyhow::Result<f64> {
    let all: Vec<_> = description.node_numbers().collect();
    let ports: Vec<_> = all.iter().take(3).map(|node| description.resp_port(*node)).collect();
    let first = load::first_write(&ports, Duration::from_millis(15), started)?;
    launch::wait_until_serving(description, &all, &mut children)?;
    Ok(first.as_secs_f64())
}

/// What failures of leaders have shown, in milliseconds.
#[derive(Debug, Default)]
pub(super) struct Failovers {
    /// From the end of the leader's machine to the next accepted write.
    pub(super) spans_ms: Vec<f64>,
    /// From a candidacy to its success, as the winner tells it.
    pub(super) elections_ms: Vec<f64>,
}

/// Kills the leader's machine, waits for the next accepted write, and starts it again; so often.
///
/// # Errors
/// If the cluster does not recover.
pub(super) fn failovers(description: &Description, times: usize) -> anyhow::Result<Failovers> {
    let mut failovers = Failovers::default();
    for _ in 0..times {
        interrupt::check()?;
        let old = leader(description)?;
        let others: Vec<_> =
            description.node_numbers().filter(|node| *node != old).take(PROBED_NODES).collect();
        let ports: Vec<_> = others.iter().map(|node| description.resp_port(*node)).collect();
        let probe = load::Probe::new(&ports, PROBES / ports.len())?;
        let killed = clock::now();
        launch::kill_nodes([old].into_iter())?;
        let span = probe.first_accepted(killed)?;
        failovers.spans_ms.push(span.as_secs_f64() * 1_000.0);
        let new = leader(description)?;
        failovers.elections_ms.push(last_election_ms(description, new)?);
        restart(description, old)?;
    }
    Ok(failovers)
}

/// Starts a node again, and waits until it knows as much as the others.
///
/// # Errors
/// If it does not.
pub(super) fn restart(description: &Description, node: u16) -> anyhow::Result<()> {
    let child = launch::start_node(description, node)?;
    launch::wait_until_serving(description, &[node], &mut [(node, child)])?;
    wait_until_caught_up(description)
}

/// How long the last election that this node has won took.
fn last_election_ms(description: &Description, node: u16) -> anyhow::Result<f64> {
    let elections = client::elections(description.http_port(node))?;
    let won = |election: &&serde_json::Value| {
        election["candidate"] == node && election["outcome"] == "won"
    };
    let last = elections.as_array().into_iter().flatten().rev().find(won);
    last.and_then(|election| election["duration_ms"].as_f64()).context("no election was won")
}

/// Who leads.
///
/// # Errors
/// If nobody does for ten seconds.
pub(super) fn leader(description: &Description) -> anyhow::Result<u16> {
    let give_up = clock::now() + Duration::from_secs(10);
    loop {
        if let Some(leader) = status::leader(&status::of(description)) {
            return Ok(leader);
        }
        anyhow::ensure!(clock::now() < give_up, "nobody leads");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Until all nodes know as much as the leader.
fn wait_until_caught_up(description: &Description) -> anyhow::Result<()> {
    let give_up = clock::now() + Duration::from_secs(30);
    let ports: Vec<_> =
        description.node_numbers().map(|node| description.http_port(node)).collect();
    loop {
        let commits =
            ports.iter().map(|port| client::raft_status(*port).ok()?["commit_index"].as_u64());
        let commits: Option<Vec<_>> = commits.collect();
        if commits.is_some_and(|commits| commits.iter().all(|commit| *commit == commits[0])) {
            return Ok(());
        }
        anyhow::ensure!(
            clock::now() < give_up,
            "a node does not catch up; see {:?}",
            Path::new(NAME)
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
