//! What happens to leaders.

use std::time::Duration;

use anyhow::Context;

use crate::cluster::{Cluster, ELECTION_WITHIN};
use crate::stories::{Ending, World};
use crate::{client, clock};

/// A client of a minority hears of it within this; the node promises a second less.
const REFUSED_WITHIN: Duration = Duration::from_secs(4);

/// A cluster of three, its leader, and the others.
fn boot(world: &mut World) -> anyhow::Result<(Cluster, u16, [u16; 2])> {
    let cluster = world.boot(&[])?;
    let leader = cluster.leader(None)?;
    let others = match leader {
        1 => [2, 3],
        2 => [1, 3],
        _ => [1, 2],
    };
    Ok((cluster, leader, others))
}

/// The leader's machine dies; the others go on; it comes back and catches up.
pub fn leader_killed(world: &mut World) -> anyhow::Result<Ending> {
    let (cluster, leader, others) = boot(world)?;
    cluster.write(leader, "before", "1")?;
    cluster.order("kill", leader)?;
    cluster.write(others[0], "after", "1")?;
    for number in 0..100 {
        client::set(&mut cluster.redis(others[1])?, &format!("missed-{number}"), "1")?;
    }
    let new = cluster.leader(Some(leader))?;
    cluster.order("start", leader)?;
    cluster.wait_until_follows(leader, new)?;
    cluster.expect(&[1, 2, 3], "before", "1")?;
    cluster.expect(&[1, 2, 3], "missed-99", "1")?;
    cluster.write(leader, "after", "2")?;
    cluster.expect(&[1, 2, 3], "after", "2")?;
    Ok(Ending::Good)
}

/// Time stops for the leader. When it goes on, it believes for a moment that it still leads.
pub fn leader_paused(world: &mut World) -> anyhow::Result<Ending> {
    let (cluster, leader, others) = boot(world)?;
    cluster.write(leader, "x", "old")?;
    cluster.order("pause", leader)?;
    cluster.write(others[0], "x", "new")?;
    let new = cluster.leader(Some(leader))?;
    let status = cluster.status()?;
    let state = &status["nodes"][usize::from(leader) - 1]["state"];
    anyhow::ensure!(state == "paused", "the state of node {leader} is {state}");
    cluster.order("resume", leader)?;
    // The very first read after the pause: it must not be answered from before it.
    let found = client::get(&mut cluster.redis(leader)?, "x")?;
    anyhow::ensure!(found.as_deref() == Some("new"), "a stale read after the pause: {found:?}");
    cluster.wait_until_follows(leader, new)?;
    cluster.expect(&[1, 2, 3], "x", "new")?;
    Ok(Ending::Good)
}

/// The leader is alone on its side of the network.
pub fn partition(world: &mut World) -> anyhow::Result<Ending> {
    let (cluster, leader, others) = boot(world)?;
    cluster.write(leader, "x", "before")?;
    cluster.part(leader, &others)?;
    for key in ["lost", "lost-again"] {
        refused(&cluster, leader, key)?;
    }
    cluster.write(others[0], "x", "majority")?;
    let new = cluster.leader(Some(leader))?;
    anyhow::ensure!(others.contains(&new), "node {new} cannot lead: it is alone");
    cluster.expect(&others, "x", "majority")?;
    let asked = redis::cmd("GET").arg("x").query::<Option<String>>(&mut cluster.redis(leader)?);
    let refusal = asked.as_ref().err().map(client::code);
    anyhow::ensure!(refusal.as_deref() == Some("CLUSTERDOWN"), "a read alone: {asked:?}");

    cluster.run(&["heal"])?;
    cluster.wait_until_follows(leader, new)?;
    cluster.expect(&[1, 2, 3], "x", "majority")?;
    // The client was told that its write may still happen: then it has happened for everybody.
    clock::wait("all nodes agree on the write that was refused", ELECTION_WITHIN, || {
        let mut values = Vec::new();
        for node in [1, 2, 3] {
            values.push(client::get(&mut cluster.redis(node)?, "lost")?);
        }
        Ok(values.iter().all(|value| *value == values[0]))
    })?;
    cluster.write(leader, "x", "healed")?;
    cluster.expect(&[1, 2, 3], "x", "healed")?;
    Ok(Ending::Good)
}

/// A write to a node in a minority is refused in time, and the refusal says whether it may still happen.
fn refused(cluster: &Cluster, node: u16, key: &str) -> anyhow::Result<()> {
    let mut connection = cluster.redis(node)?;
    let started = clock::now();
    let answer = redis::cmd("SET").arg(key).arg("1").query::<String>(&mut connection);
    let took = started.elapsed();
    println!("the minority answers after {} ms: {answer:?}", took.as_millis());
    let error = answer.err().context("a minority has acknowledged a write")?;
    anyhow::ensure!(client::code(&error) == "CLUSTERDOWN", "refused with {error}");
    let detail = error.detail().unwrap_or_default().to_string();
    anyhow::ensure!(detail.contains("executed"), "it does not say what became of it: {detail}");
    anyhow::ensure!(took <= REFUSED_WITHIN, "refused only after {} ms", took.as_millis());
    Ok(())
}
