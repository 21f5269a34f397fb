//! A power failure of everything at once, under load.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use redis::Connection;

use crate::client;
use crate::cluster::Cluster;
use crate::leftovers;
use crate::stories::{Ending, World};

/// Clients, two to a node.
const WRITERS: u16 = 6;
/// How long they write before the power fails.
const LOAD: Duration = Duration::from_secs(2);
/// With fewer acknowledged writes the story proves little.
const ACKNOWLEDGED_MIN: usize = 30;

/// What one client knows for certain, and what it does not.
#[derive(Debug, Default)]
struct Ledger {
    /// Keys that were acknowledged, with their values.
    written: BTreeMap<String, String>,
    /// The value that the last acknowledged increment returned.
    counted: u64,
    /// Increments that were sent, and neither acknowledged nor refused as not executed.
    uncertain: u64,
}

/// All machines die at once; they start again, and everything that was acknowledged is there.
pub fn all_at_once(world: &mut World) -> anyhow::Result<Ending> {
    let cluster = world.boot(&[])?;
    let machines = cluster.machines()?;
    anyhow::ensure!(machines.len() == 3, "three machines should run: {machines:?}");
    let pids: Vec<_> = machines.iter().map(|(_, pid)| *pid).collect();

    let is_over = AtomicBool::new(false);
    let ledgers = std::thread::scope(|scope| {
        let write = |writer| {
            let (cluster, is_over) = (&cluster, &is_over);
            scope.spawn(move || write_until(cluster, writer, is_over))
        };
        let writers: Vec<_> = (0..WRITERS).map(write).collect();
        std::thread::sleep(LOAD);
        let killed = leftovers::kill_all(&pids);
        is_over.store(true, Ordering::Relaxed);
        let ledgers = writers.into_iter().map(|writer| writer.join().expect("no panic"));
        let ledgers: Vec<_> = ledgers.collect::<anyhow::Result<_>>()?;
        killed.map(|()| ledgers)
    })?;
    let acknowledged: usize = ledgers.iter().map(|ledger| ledger.written.len()).sum();
    println!("{acknowledged} writes were acknowledged when the power failed");
    anyhow::ensure!(acknowledged >= ACKNOWLEDGED_MIN, "only {acknowledged} were acknowledged");

    for node in [1, 2, 3] {
        cluster.order("start", node)?;
    }
    cluster.leader(None)?;
    cluster.write(1, "light", "again")?;
    for (writer, ledger) in (0..).zip(&ledgers) {
        // Each looks through another node than it wrote through.
        check(&mut cluster.redis(node_of(writer + 1))?, writer, ledger)?;
    }
    Ok(Ending::Good)
}

fn node_of(writer: u16) -> u16 {
    writer % 3 + 1
}

fn counter(writer: u16) -> String {
    format!("counter:{writer}")
}

/// Writes until it is told to stop, or the node is gone. Every value is new, every key is written once.
fn write_until(cluster: &Cluster, writer: u16, is_over: &AtomicBool) -> anyhow::Result<Ledger> {
    let mut connection = cluster.redis(node_of(writer))?;
    let mut ledger = Ledger::default();
    for number in 0.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let (key, value) = (format!("w{writer}:{number}"), format!("{writer}/{number}"));
        match client::set(&mut connection, &key, &value) {
            Ok(()) => ledger.written.insert(key, value),
            Err(_) => break,
        };
        match redis::cmd("INCR").arg(counter(writer)).query::<u64>(&mut connection) {
            Ok(value) => {
                anyhow::ensure!(
                    value == ledger.counted + 1,
                    "{} was incremented once, from {} to {value}",
                    counter(writer),
                    ledger.counted
                );
                ledger.counted = value;
            }
            Err(_) => {
                ledger.uncertain += 1;
                break;
            }
        }
    }
    Ok(ledger)
}

/// Everything that the client knows must be so.
fn check(connection: &mut Connection, writer: u16, ledger: &Ledger) -> anyhow::Result<()> {
    let entries: Vec<_> = ledger.written.iter().collect();
    for some in entries.chunks(100) {
        let mut command = redis::cmd("MGET");
        some.iter().for_each(|(key, _)| {
            command.arg(key.as_str());
        });
        let found: Vec<Option<String>> = command.query(connection)?;
        for ((key, value), found) in some.iter().zip(&found) {
            anyhow::ensure!(
                found.as_ref() == Some(*value),
                "{key} was acknowledged as '{value}' and is {found:?}"
            );
        }
    }
    let value = client::get(connection, &counter(writer))?;
    let value: u64 = value.context("no counter")?.parse()?;
    let range = ledger.counted..=ledger.counted + ledger.uncertain;
    anyhow::ensure!(range.contains(&value), "{} is {value}, not in {range:?}", counter(writer));
    Ok(())
}
