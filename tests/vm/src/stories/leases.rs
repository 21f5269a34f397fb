//! Reads by lease, and a leader that does not notice how much time has passed without it.

use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cluster::Cluster;
use crate::stories::{Ending, World};
use crate::{client, clock};

/// How long the leader stands still: several elections.
const SUSPENDED: Duration = Duration::from_secs(2);
const BY_LEASE: &str = "coterie_raft_reads_total{by=\"lease\"}";

/// A process that does not run, until this is dropped. Its machine's clock goes on: QEMU reads the host's.
struct Suspended(Pid);

impl Suspended {
    fn new(process: Pid) -> anyhow::Result<Suspended> {
        println!("process {process} is suspended");
        kill(process, Signal::SIGSTOP)?;
        Ok(Suspended(process))
    }
}

impl Drop for Suspended {
    fn drop(&mut self) {
        // If it is gone, there is nothing to wake.
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

/// The machine of a leader with a lease is suspended, another leads, and the first read after it goes on must
/// not be answered from before.
pub fn leader_suspended(world: &mut World) -> anyhow::Result<Ending> {
    let cluster = world.boot(&["--reads", "lease", "--append", "coterie.clock=continuous"])?;
    let leader = cluster.leader(None)?;
    let other = leader % 3 + 1;
    cluster.write(leader, "x", "old")?;
    cluster.expect(&[leader, other], "x", "old")?;
    anyhow::ensure!(cluster.raft(leader)?["reads"] == "lease", "reads are not by lease");
    let by_lease = client::metric(cluster.http_port(leader), BY_LEASE)?;
    anyhow::ensure!(by_lease > 0, "no read was answered by lease");
    // What would halt the clock is refused.
    let refusal = cluster.run_in_vain(&["pause", &leader.to_string()])?;
    anyhow::ensure!(refusal.contains("by lease"), "'pause' is refused with '{refusal}'");

    let mut connection = cluster.redis(leader)?;
    let suspended = Suspended::new(machine_of(&cluster, leader)?)?;
    let since = clock::now();
    cluster.write(other, "x", "new")?;
    std::thread::sleep(SUSPENDED.saturating_sub(since.elapsed()));
    drop(suspended);
    let found = client::get(&mut connection, "x")?;
    anyhow::ensure!(found.as_deref() == Some("new"), "a stale read after the pause: {found:?}");
    let jumps = client::metric(cluster.http_port(leader), "coterie_time_jumps_total")?;
    anyhow::ensure!(jumps > 0, "the machine has not noticed that it stood still");
    let new = cluster.leader(None)?;
    anyhow::ensure!(new != leader, "nobody has taken over");
    cluster.wait_until_follows(leader, new)?;
    cluster.expect(&[1, 2, 3], "x", "new")?;
    Ok(Ending::Good)
}

fn machine_of(cluster: &Cluster, node: u16) -> anyhow::Result<Pid> {
    let machines = cluster.machines()?;
    let found = machines.iter().find(|(id, _)| *id == node);
    Ok(found.context("its machine does not run")?.1)
}
