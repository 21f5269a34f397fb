//! The stories, and what they have in common.

mod absence;
mod alone;
mod audit;
mod captures;
mod clock;
mod damage;
mod disk;
mod failures;
mod floods;
mod leases;
mod ledger;
mod liars;
mod members;
mod metrics;
mod netio;
mod networks;
mod nonsense;
mod others;
mod packets;
mod power;
mod same_number;
mod scripts;
mod serves;
mod shell;
mod snapshots;

use std::time::Duration;

use anyhow::Context;

use crate::cluster::Cluster;

/// How a story ends that does not fail.
pub enum Ending {
    /// Everything was as it should be.
    Good,
    /// It cannot be told here: why.
    Skipped(&'static str),
}

/// A story.
pub struct Story {
    /// How people call it.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// How long it may take, boots and waits included.
    pub limit: Duration,
    /// Tells it.
    pub tell: fn(&mut World) -> anyhow::Result<Ending>,
}

/// What a story may use: clusters of its own.
pub struct World {
    name: String,
    clusters: u32,
}

impl World {
    /// Clusters will be called so, or begin so.
    pub fn new(name: &str) -> World {
        World { name: name.into(), clusters: 0 }
    }

    /// A cluster that nobody has booted yet.
    ///
    /// # Errors
    /// If it has no place.
    pub fn cluster(&mut self) -> anyhow::Result<Cluster> {
        self.clusters += 1;
        Cluster::new(format!("{}-{}", self.name, self.clusters))
    }

    /// A cluster that serves.
    ///
    /// # Errors
    /// If it does not.
    pub fn boot(&mut self, options: &[&str]) -> anyhow::Result<Cluster> {
        let cluster = self.cluster()?;
        cluster.up(options)?;
        Ok(cluster)
    }
}

const fn story(
    name: &'static str,
    limit_s: u64,
    tell: fn(&mut World) -> anyhow::Result<Ending>,
    about: &'static str,
) -> Story {
    Story { name, about, limit: Duration::from_secs(limit_s), tell }
}

/// All stories, in the order in which they are told.
pub const ALL: &[Story] = &[
    story(
        "refusals",
        40,
        alone::refusals,
        "bad settings and a damaged disk end the boot: 33 and 37",
    ),
    story("moved", 40, alone::moved, "a disk is carried from one type of machine to another"),
    story(
        "packets",
        150,
        packets::arrive,
        "a packet generator's frames arrive, and nobody copies them",
    ),
    story(
        "queues",
        150,
        packets::queues,
        "two processors with a pair of queues each: a flow comes by one of them",
    ),
    story(
        "virtio-user",
        120,
        others::virtio_user,
        "our switch joins DPDK's driver with itself: every frame is accounted for",
    ),
    story(
        "testpmd",
        120,
        others::testpmd,
        "DPDK's device counts and carries what our driver sends, on split and packed rings",
    ),
    story(
        "offloads",
        60,
        others::offloads,
        "TCP with this host's kernel, which like ours leaves segments and sums to the card",
    ),
    story("rss", 60, others::rss, "QEMU's card spreads flows among two pairs, as it is told"),
    story(
        "linux",
        90,
        others::linux,
        "the same with Linux in a machine beside ours, by our switch",
    ),
    story("clock", 60, clock::rate, "the nodes' clocks run as fast as the host's"),
    story("serves", 40, serves::every_node, "every node takes writes, and every node reads them"),
    story(
        "leader-killed",
        60,
        failures::leader_killed,
        "the others go on, and the leader catches up",
    ),
    story("leader-paused", 60, failures::leader_paused, "time stops for the leader, and goes on"),
    story(
        "lease",
        60,
        leases::leader_suspended,
        "a leader that reads by lease is suspended, and does not answer from before",
    ),
    story(
        "partition",
        60,
        failures::partition,
        "a leader in a minority says so, and follows later",
    ),
    story(
        "power-failure",
        90,
        power::all_at_once,
        "all nodes die at once under load: nothing is lost",
    ),
    story(
        "snapshots",
        90,
        snapshots::in_place_of_the_log,
        "a node that was away for long is sent a snapshot; all start from theirs",
    ),
    story("grows", 120, members::grows, "a fourth node joins under load, votes, and is needed"),
    story("leader-removed", 120, members::leader_removed, "for good: nobody gets its number again"),
    story("wiped", 120, members::wiped, "a node without its disk is replaced by another"),
    story("add-interrupted", 120, members::add_interrupted, "Ctrl-C in the middle of 'add'"),
    story("full-disk", 60, disk::full, "writes are refused with a reason, and reads work"),
    story(
        "damaged-disk",
        60,
        damage::repaired,
        "a node whose log and snapshot are damaged has them from the others",
    ),
    story(
        "states-recalled",
        120,
        damage::recalled,
        "two nodes whose snapshots are damaged have their states from the third",
    ),
    story(
        "damaged-everywhere",
        120,
        damage::nowhere,
        "what no disk holds any more is not forgotten: the cluster stops and says why",
    ),
    story(
        "ledger",
        120,
        ledger::survives,
        "entries are proven by every node, through the loss of the primary and of all nodes",
    ),
    story(
        "absence",
        120,
        absence::comes_back,
        "a node that missed many decisions takes the state, and has the entries from the others",
    ),
    story(
        "audit",
        60,
        audit::disks,
        "the ledger is proven from disks whose machines are off; a changed byte is found and named",
    ),
    story(
        "liars",
        240,
        liars::outvoted,
        "a node that lies in each way in turn is outvoted, and named where that can be proven",
    ),
    story(
        "flood",
        120,
        floods::bounded,
        "a node that floods slows the others by no more than the stated bound",
    ),
    story("shell", 60, shell::session, "a person at the serial port, and a program"),
    story("netio", 60, netio::numbers, "what the shell says of frames, and bounds a class to"),
    story(
        "captures",
        60,
        captures::well_formed,
        "what the switch captures is well-formed throughout",
    ),
    story("nonsense", 40, nonsense::from_clients, "garbage is answered, counted, and harms nobody"),
    story("metrics", 60, metrics::promtool, "what Prometheus reads is as it should be"),
    story("same-number", 60, same_number::impostor, "a second node with the same number"),
    story("twins", 60, same_number::twin, "and one that has started just as often"),
    story("socket", 60, networks::socket, "the machines are joined by Unix sockets"),
    story("microvm", 60, networks::microvm, "machines without PCI"),
    story("rings", 90, networks::rings, "cards with longer and shorter rings"),
    story(
        "link",
        120,
        networks::link,
        "the cable of a leader's card is pulled out, and put in again",
    ),
    story("packed", 90, networks::packed, "devices with packed rings, in the place of split ones"),
    story("bridge", 60, networks::bridge, "the machines are joined by a bridge of the kernel"),
    story("ovs", 90, networks::ovs, "the machines are joined by Open vSwitch with DPDK"),
    story("up-twice", 40, scripts::up_twice, "what runs is said, and what is missing is started"),
    story("side-by-side", 60, scripts::side_by_side, "two clusters do not meet"),
    story("up-interrupted", 60, scripts::interrupted, "Ctrl-C and SIGKILL in the middle of 'up'"),
];

/// The stories of these names, or all of them if there are none.
///
/// # Errors
/// If there is no such story.
pub fn choose(names: &[String]) -> anyhow::Result<Vec<&'static Story>> {
    if names.is_empty() {
        return Ok(ALL.iter().collect());
    }
    let find = |name: &String| {
        let found = ALL.iter().find(|story| story.name == name);
        found.with_context(|| format!("there is no story '{name}'; --list shows all"))
    };
    names.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stories_are_chosen_by_name() {
        assert_eq!(choose(&[]).unwrap().len(), ALL.len());
        assert_eq!(choose(&["serves".into()]).unwrap()[0].name, "serves");
        assert!(choose(&["nothing".into()]).is_err());
    }
}
