//! Members come and go while the cluster works.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use crate::cluster::{Cluster, ELECTION_WITHIN};
use crate::stories::{Ending, World};
use crate::{client, clock};

/// A node joins while clients write, votes, and serves; then it is needed for a majority.
pub fn grows(world: &mut World) -> anyhow::Result<Ending> {
    let cluster = world.boot(&["--append", "coterie.snapshot=300"])?;
    let leader = cluster.leader(None)?;
    // The log before a snapshot is gone: the new node is sent one.
    for number in 0..800 {
        client::set(&mut cluster.redis(leader)?, &format!("early-{number}"), "1")?;
    }
    let (is_over, written) = (AtomicBool::new(false), AtomicU64::new(0));
    let row = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write_until(&cluster, leader, &is_over, &written));
        let row = cluster.run(&["add", "--json"]);
        is_over.store(true, Ordering::Relaxed);
        writer.join().expect("writing does not panic")?;
        row
    })?;
    let written = written.load(Ordering::Relaxed);
    println!("{written} writes were acknowledged while node 4 came in");
    anyhow::ensure!(written > 0, "nothing was written meanwhile");
    let row: Value = serde_json::from_str(&row)?;
    anyhow::ensure!(row["id"] == 4 && row["raft"]["membership"] == "voter", "'add' says {row}");
    for key in ["early-0", "early-799", &format!("late-{written}")] {
        cluster.expect(&[4], key, "1")?;
    }
    cluster.write(4, "by-four", "1")?;
    cluster.expect(&[1, 2, 3, 4], "by-four", "1")?;

    // Three of four are a majority, and it is one of them.
    cluster.order("kill", leader)?;
    cluster.write(4, "without", "1")?;
    cluster.order("start", leader)?;
    let new = cluster.leader(None)?;
    if new != leader {
        cluster.wait_until_follows(leader, new)?;
    }
    // All of it is on the disks.
    cluster.run(&["down"])?;
    cluster.up(&[])?;
    cluster.expect(&[1, 2, 3, 4], "without", "1")?;
    Ok(Ending::Good)
}

fn write_until(
    cluster: &Cluster,
    node: u16,
    is_over: &AtomicBool,
    written: &AtomicU64,
) -> anyhow::Result<()> {
    let mut connection = cluster.redis(node)?;
    while !is_over.load(Ordering::Relaxed) {
        let number = written.load(Ordering::Relaxed) + 1;
        client::set(&mut connection, &format!("late-{number}"), "1")?;
        written.store(number, Ordering::Relaxed);
    }
    Ok(())
}

/// The leader is removed: another leads soon. Its number is gone for good.
pub fn leader_removed(world: &mut World) -> anyhow::Result<Ending> {
    let cluster = world.boot(&[])?;
    let leader = cluster.leader(None)?;
    cluster.write(leader, "x", "before")?;
    let said = cluster.run(&["remove", &leader.to_string()])?;
    anyhow::ensure!(said.contains("is removed"), "'remove' says {said}");
    anyhow::ensure!(!cluster.disk(leader).exists(), "its disk is still there");
    let new = cluster.leader(Some(leader))?;
    cluster.write(new, "x", "after")?;
    let status = cluster.status()?;
    let ids: Vec<_> = status["nodes"].as_array().context("no nodes")?.iter().collect();
    anyhow::ensure!(ids.iter().all(|node| node["id"] != leader), "it is listed: {status}");
    let nobody = cluster.run_in_vain(&["start", &leader.to_string()])?;
    anyhow::ensure!(nobody.contains("has nodes"), "'start' says {nobody}");

    cluster.run(&["add"])?;
    cluster.expect(&[4], "x", "after")?;
    let nodes = members(&cluster, new)?;
    anyhow::ensure!(nodes.contains(&(4, "voter".into())), "{nodes:?}");
    anyhow::ensure!(nodes.contains(&(u64::from(leader), "retired".into())), "{nodes:?}");
    let refused = cluster.run_in_vain(&["sh", &new.to_string(), "raft remove 9"])?;
    anyhow::ensure!(refused.contains("no such member"), "'raft remove 9' says {refused}");
    number_is_refused(&cluster, leader)?;
    Ok(Ending::Good)
}

/// Who belongs to the cluster, as a node says.
fn members(cluster: &Cluster, node: u16) -> anyhow::Result<Vec<(u64, String)>> {
    let shown = cluster.run(&["sh", &node.to_string(), "raft nodes --json"])?;
    let shown: Value = serde_json::from_str(&shown)?;
    let of = |node: &Value| Some((node["id"].as_u64()?, node["membership"].as_str()?.to_string()));
    Ok(shown.as_array().into_iter().flatten().filter_map(of).collect())
}

/// A machine in the place of node 4, with an empty disk and the number of one that was removed.
fn number_is_refused(cluster: &Cluster, gone: u16) -> anyhow::Result<()> {
    let machines = cluster.machines()?;
    let (_, pid) = machines.iter().find(|(node, _)| *node == 4).context("node 4 does not run")?;
    let mut machine = crate::machine::Machine::of(*pid)?;
    machine.replace("coterie.id=4", &format!("coterie.id={gone}"))?;
    machine.replace(":00:00:04", &format!(":00:00:{gone:02x}"))?;
    let disk = "node-4/second.img";
    fs::File::create(cluster.folder().join(disk))?.set_len(256 << 20)?;
    machine.replace("node-4/disk.img", disk)?;
    cluster.order("kill", 4)?;
    cluster.unpin(4)?;
    let before = crate::machine::said(&cluster.folder(), 4)?.len();
    let ended = machine.run()?;
    let said = crate::machine::said(&cluster.folder(), 4)?.split_off(before);
    anyhow::ensure!(ended.code() == Some(33), "the machine ended with {ended}");
    anyhow::ensure!(said.contains("numbers are not used twice"), "it says {said}");
    cluster.order("start", 4)?;
    cluster.wait_until_follows(4, cluster.leader(Some(4))?)
}

/// A disk is deleted. Its node does not start any more, under no circumstances; another takes its place.
pub fn wiped(world: &mut World) -> anyhow::Result<Ending> {
    let cluster = world.boot(&[])?;
    cluster.write(1, "x", "1")?;
    let leader = cluster.leader(None)?;
    let victim = leader % 3 + 1;
    cluster.order("kill", victim)?;
    fs::remove_file(cluster.disk(victim))?;
    let said = cluster.run_in_vain(&["start", &victim.to_string()])?;
    anyhow::ensure!(said.contains("has forgotten what it promised"), "'start' says {said}");
    // Nor if somebody puts an empty disk in its place.
    fs::File::create(cluster.disk(victim))?.set_len(256 << 20)?;
    let said = cluster.run_in_vain(&["start", &victim.to_string()])?;
    anyhow::ensure!(said.contains("the disk is empty"), "'start' says {said}");
    fs::remove_file(cluster.disk(victim))?;
    let said = cluster.attempt(&["up"])?;
    anyhow::ensure!(said.status.success(), "the others do not run on");
    let said = String::from_utf8(said.stderr)?;
    anyhow::ensure!(said.contains(&format!("the disk of node {victim} is gone")), "'up': {said}");

    cluster.run(&["remove", &victim.to_string()])?;
    cluster.run(&["add"])?;
    cluster.expect(&[4], "x", "1")?;
    let others: Vec<u16> = [1, 2, 3, 4].into_iter().filter(|node| *node != victim).collect();
    for node in &others {
        cluster.write(*node, "y", &node.to_string())?;
        cluster.expect(&others, "y", &node.to_string())?;
    }
    Ok(Ending::Good)
}

/// Somebody presses Ctrl-C while a node comes in: nothing of it is left, but for its number.
pub fn add_interrupted(world: &mut World) -> anyhow::Result<Ending> {
    use nix::sys::signal::{Signal, killpg};
    use std::os::unix::process::CommandExt;
    let cluster = world.boot(&[])?;
    let leader = cluster.leader(None)?;
    // The first is not heard by anybody, and would wait for ever; the second may be in by then.
    cluster.run(&["partition", "1,2,3"])?;
    for (number, millis) in [(4, 1_500), (5, 0)] {
        let mut child = cluster.command(&["add"]).process_group(0).spawn()?;
        clock::wait("its machine runs", ELECTION_WITHIN, || {
            Ok(cluster.machines()?.iter().any(|(node, _)| *node == number))
        })?;
        std::thread::sleep(Duration::from_millis(millis));
        // It may be over already.
        let _ = killpg(nix::unistd::Pid::from_raw(i32::try_from(child.id())?), Signal::SIGINT);
        let is_in = child.wait()?.success();
        anyhow::ensure!(!is_in || number != 4, "nobody can have let it in");
        cluster.run(&["heal"])?;
        let runs = cluster.machines()?.iter().any(|(node, _)| *node == number);
        let known = members(&cluster, leader)?;
        let votes = known.contains(&(u64::from(number), "voter".into()));
        let learns = known.contains(&(u64::from(number), "learner".into()));
        anyhow::ensure!(runs == is_in && votes == is_in && !learns, "{number}: {runs}, {known:?}");
    }
    cluster.run(&["add"])?;
    let last = cluster.machines()?.last().context("no machine")?.0;
    anyhow::ensure!(last == 6, "node {last} was added: numbers are not used twice");
    cluster.write(last, "x", "1")?;
    Ok(Ending::Good)
}
