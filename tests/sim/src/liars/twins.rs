//! Twins (S. Bano and others, "Twins: BFT systems made robust", OPODIS '21): a liar is two copies of one
//! replica that run the code of all, unmodified, with one key. They equivocate, vote twice and forget,
//! without anybody having thought of how.

use base::{Duration, Instant};
use bft::Config;

use super::cluster::Cluster;
use super::faults::Network;
use super::machine;

/// The ways to part five copies in two, or not at all: a bit for each but the first.
pub const PARTITIONS: u32 = 16;

fn groups(code: u32) -> Vec<u32> {
    (0..5).map(|place| if place == 0 { 0 } else { code >> (place - 1) & 1 }).collect()
}

/// Two rounds of a partition each, long enough for a view change, and then all are connected.
///
/// # Panics
/// If something does not hold that must.
pub fn run(twin: usize, first: u32, second: u32, change: impl Fn(&mut Config)) {
    let round = Duration::from_millis(900);
    let mut network = Network::stormy(0, Instant::from_millis(1_800));
    network.delay_max = Duration::from_millis(4);
    network.groups = groups(first);
    let seed = u64::from(first * PARTITIONS + second) * 4 + twin as u64;
    let mut cluster = Cluster::with(4, seed, network, change);
    cluster.add_twin(twin);
    for partition in [first, second] {
        cluster.network.groups = groups(partition);
        for place in 0..5 {
            cluster.submit(place);
        }
        cluster.run(round);
    }
    // What was asked of twins alone may be forgotten: clients ask somebody else.
    let honest = if twin == 0 { 1 } else { 0 };
    for number in 0..cluster.checkers.submitted {
        cluster.submit_again(honest, machine::request(number));
    }
    cluster.expect_everything(Duration::from_secs(30));
}
