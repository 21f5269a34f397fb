//! Two machines that were given the same number: the commonest mistake of people who start machines by hand.

use std::fs::File;
use std::time::Duration;

use anyhow::Context;
use nix::unistd::Pid;

use crate::cluster::{Cluster, ELECTION_WITHIN};
use crate::machine::Machine;
use crate::stories::{Ending, World};
use crate::{client, clock};

/// Whose number is given again, and in whose place at the switch.
const NUMBER: u16 = 1;
const PLACE: u16 = 5;
/// The others are a majority without either.
const OTHERS: [u16; 3] = [2, 3, 4];
/// As large as the disk that is imitated, in bytes.
const DISK_BYTES: u64 = 256 << 20;
/// How long both are at work.
const TOGETHER: Duration = Duration::from_secs(3);

/// A machine with an empty disk gets the number of one that has been there for longer.
pub fn impostor(world: &mut World) -> anyhow::Result<Ending> {
    let cluster = world.boot(&["--nodes", "5"])?;
    // The real one has started twice: its peers know it in its second life.
    cluster.order("kill", NUMBER)?;
    cluster.order("start", NUMBER)?;
    cluster.write(OTHERS[0], "count", "0")?;
    wait_until_well(&cluster)?;
    meet(&cluster, "stale", &OTHERS)?;
    Ok(Ending::Good)
}

/// The same, when neither has started more often than the other: they differ in what they drew then.
pub fn twin(world: &mut World) -> anyhow::Result<Ending> {
    let cluster = world.boot(&["--nodes", "5"])?;
    let mut leader = cluster.leader(None)?;
    while !OTHERS.contains(&leader) {
        let order = format!("raft transfer {}", OTHERS[0]);
        cluster.run(&["sh", &leader.to_string(), &order])?;
        leader = cluster.leader(Some(leader))?;
    }
    cluster.write(OTHERS[0], "count", "0")?;
    wait_until_well(&cluster)?;
    // Only who has heard the first one can tell, and followers have little to say to each other.
    meet(&cluster, "twin", &[leader])?;
    let said = cluster.raft(leader)?["same_number"].clone();
    let text = format!("has the number {NUMBER}");
    let is_said = said.as_str().is_some_and(|said| said.contains(&text));
    anyhow::ensure!(is_said, "the leader shows {said} of two machines with one number");
    Ok(Ending::Good)
}

/// Both are at work for a while, and the witnesses refuse what the second one sends, for this cause.
fn meet(cluster: &Cluster, cause: &str, witnesses: &[u16]) -> anyhow::Result<()> {
    let impostor = imitate(cluster)?;
    cluster.order("kill", PLACE)?;
    cluster.leader(Some(PLACE))?;
    [NUMBER, PLACE].iter().try_for_each(|place| cluster.unpin(*place))?;

    let mut child = impostor.start()?;
    let count = count_meanwhile(cluster)?;
    is_noticed(cluster, cause, witnesses)?;
    child.kill()?;
    child.wait()?;
    // The machine that had the number first has lost nothing, and is well again.
    wait_until_well(cluster)?;
    cluster.expect(&[NUMBER, 2, 3, 4], "count", &count.to_string())
}

/// A client of another node works on, and none of its writes is lost or refused.
fn count_meanwhile(cluster: &Cluster) -> anyhow::Result<u64> {
    let mut bystander = cluster.redis(OTHERS[0])?;
    let started = clock::now();
    let mut count = 0;
    while started.elapsed() < TOGETHER {
        let value: u64 = redis::cmd("INCR").arg("count").query(&mut bystander)?;
        count += 1;
        anyhow::ensure!(value == count, "increment {count} has led to {value}");
    }
    println!("{count} writes were acknowledged meanwhile");
    Ok(count)
}

/// The peers refuse what the second machine sends; it says why nobody listens to it.
fn is_noticed(cluster: &Cluster, cause: &str, witnesses: &[u16]) -> anyhow::Result<()> {
    for &node in witnesses {
        let refused = format!("coterie_link_frames_refused_total{{cause=\"{cause}\"}}");
        clock::wait(&format!("node {node} refuses frames"), ELECTION_WITHIN, || {
            Ok(client::metric(cluster.http_port(node), &refused)? > 0)
        })?;
    }
    let superseded = "coterie_link_frames_refused_total{cause=\"superseded\"}";
    clock::wait("the second machine says what is wrong", ELECTION_WITHIN, || {
        let counted = client::metric(cluster.http_port(PLACE), superseded)?;
        let log = cluster.run(&["logs", &PLACE.to_string()])?;
        Ok(counted > 0 && log.contains("another machine has its number"))
    })
}

fn wait_until_well(cluster: &Cluster) -> anyhow::Result<()> {
    clock::wait("the node that had the number first is well", ELECTION_WITHIN, || {
        Ok(client::page(cluster.http_port(NUMBER), "/healthz")?.0 == 200)
    })
}

/// The machine in that place, with that number and an empty disk.
fn imitate(cluster: &Cluster) -> anyhow::Result<Machine> {
    let machines = cluster.machines()?;
    let found = machines.iter().find(|(node, _)| *node == PLACE);
    let pid: Pid = found.context("no machine in that place")?.1;
    let mut machine = Machine::of(pid)?;
    machine.replace(&format!("coterie.id={PLACE}"), &format!("coterie.id={NUMBER}"))?;
    machine.replace(&format!(":00:00:{PLACE:02x}"), &format!(":00:00:{NUMBER:02x}"))?;
    // It takes part in the ledger, too, with the keys of that number.
    machine.replace(&format!("keys/node-{PLACE}"), &format!("keys/node-{NUMBER}"))?;
    let disk = format!("node-{PLACE}/second.img");
    File::create(cluster.folder().join(&disk))?.set_len(DISK_BYTES)?;
    machine.replace(&format!("node-{PLACE}/disk.img"), &disk)?;
    Ok(machine)
}
