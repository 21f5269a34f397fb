//! What `scripts/cluster` does when it is asked twice, at the same time, or is interrupted.

use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::cluster::Cluster;
use crate::stories::{Ending, World};
use crate::{client, clock, leftovers};

/// How long a script may take to tidy up.
const TIDIES_WITHIN: Duration = Duration::from_secs(15);

/// `up` again says what runs, starts what does not, and does not change what there is.
pub fn up_twice(world: &mut World) -> anyhow::Result<Ending> {
    let cluster = world.boot(&["--nodes", "2"])?;
    let before = cluster.machines()?;
    let said = cluster.up(&[])?;
    anyhow::ensure!(said.contains("is up already"), "a second 'up' says: {said}");
    anyhow::ensure!(cluster.machines()? == before, "a second 'up' has started machines");
    let complaint = cluster.run_in_vain(&["up", "--nodes", "5"])?;
    anyhow::ensure!(complaint.contains("has 2 nodes"), "another size: {complaint}");

    cluster.order("stop", 2)?;
    let status = cluster.status()?;
    anyhow::ensure!(status["nodes"][1]["state"] == "stopped", "after 'stop': {status}");
    let said = cluster.up(&[])?;
    anyhow::ensure!(said.contains("nodes [1] run already"), "'up' with one missing: {said}");
    let after = cluster.machines()?;
    anyhow::ensure!(after.len() == 2 && after[0] == before[0], "{before:?} became {after:?}");

    looks_and_mistakes(&cluster)?;
    cluster.run(&["down"])?;
    is_down(&cluster)?;
    let said = cluster.run(&["status"])?;
    anyhow::ensure!(said.matches("stopped").count() == 2, "after 'down': {said}");
    Ok(Ending::Good)
}

/// `status`, `logs`, `list`, `net`, and what people get wrong.
fn looks_and_mistakes(cluster: &Cluster) -> anyhow::Result<()> {
    let status = cluster.status()?;
    for field in ["name", "net", "machine", "accel", "leader", "nodes"] {
        anyhow::ensure!(!status[field].is_null(), "'status --json' lacks {field}: {status}");
    }
    let log = cluster.run(&["logs", "1"])?;
    anyhow::ensure!(log.contains("raft:") && !log.contains('\r'), "'logs 1' shows: {log}");
    let listed = cluster.run(&["list"])?;
    let line = format!("{}: 2 of 2 nodes run", cluster.name);
    anyhow::ensure!(listed.lines().any(|listed| listed == line), "'list' shows: {listed}");
    let table = cluster.run(&["net"])?;
    anyhow::ensure!(table.matches("yes").count() == 2, "'net' shows: {table}");
    for (words, reason) in [
        (&["kill", "3"] as &[&str], "no '3'"),
        (&["start", "1"], "running already"),
        (&["dance"], "no command 'dance'"),
        (&["partition", "1|9"], "9"),
    ] {
        let complaint = cluster.run_in_vain(words)?;
        anyhow::ensure!(complaint.contains(reason), "{words:?}: {complaint}");
    }
    Ok(())
}

fn is_down(cluster: &Cluster) -> anyhow::Result<()> {
    let left = leftovers::in_cluster(&cluster.name);
    anyhow::ensure!(left.is_empty(), "processes are left behind: {left:?}");
    Ok(())
}

/// Two clusters at the same time: neither the data nor the faults of one are those of the other.
pub fn side_by_side(world: &mut World) -> anyhow::Result<Ending> {
    let one = world.boot(&["--nodes", "2"])?;
    let other = world.boot(&["--nodes", "2"])?;
    client::set(&mut one.redis(1)?, "x", "one")?;
    client::set(&mut other.redis(1)?, "x", "other")?;
    one.expect(&[1, 2], "x", "one")?;
    other.expect(&[1, 2], "x", "other")?;
    one.run(&["partition", "1|2"])?;
    other.write(2, "x", "still other")?;
    one.run(&["down", "--wipe"])?;
    is_down(&one)?;
    other.expect(&[1, 2], "x", "still other")?;
    Ok(Ending::Good)
}

/// `up` is interrupted, and killed, while machines boot.
pub fn interrupted(world: &mut World) -> anyhow::Result<Ending> {
    let cluster = world.cluster()?;
    let mut script = cluster.begin_up(&[])?;
    let group = Pid::from_raw(i32::try_from(script.id())?);
    machines_appear(&cluster)?;
    killpg(group, Signal::SIGINT)?;
    let mut status = None;
    clock::wait("'up' ends after Ctrl-C", TIDIES_WITHIN, || {
        status = script.try_wait()?;
        Ok(status.is_some())
    })?;
    anyhow::ensure!(!status.context("no status")?.success(), "'up' was interrupted, and succeeded");
    is_down(&cluster)?;

    // Killed, it can tidy up nothing: 'down' does.
    let mut script = cluster.begin_up(&[])?;
    let group = Pid::from_raw(i32::try_from(script.id())?);
    machines_appear(&cluster)?;
    killpg(group, Signal::SIGKILL)?;
    script.wait()?;
    let left = leftovers::in_cluster(&cluster.name);
    anyhow::ensure!(!left.is_empty(), "machines should outlive a script that is killed");
    cluster.run(&["down"])?;
    is_down(&cluster)?;

    // Nothing of that has harmed the cluster.
    cluster.up(&[])?;
    cluster.write(1, "x", "1")?;
    cluster.expect(&[1, 2, 3], "x", "1")?;
    Ok(Ending::Good)
}

/// Waits until the switch and a machine are there.
fn machines_appear(cluster: &Cluster) -> anyhow::Result<()> {
    clock::wait("machines appear", TIDIES_WITHIN, || {
        Ok(leftovers::in_cluster(&cluster.name).len() >= 3)
    })
}
