//! A node of the ledger is away while the others decide more than they keep in memory for it.

use std::time::Duration;

use anyhow::Context;
use redis::Connection;
use serde_json::Value;

use crate::clock;
use crate::cluster::Cluster;
use crate::stories::{Ending, World};

/// So many, each decided by itself: several windows.
const MISSED: usize = 200;
/// How long it may take until a node that is back has what it missed.
const BACK_WITHIN: Duration = Duration::from_secs(30);

/// It takes a state with its proof, takes part again, and gives its clients what it was away for: asked of
/// the others, and believed when enough of them say the same.
pub fn comes_back(world: &mut World) -> anyhow::Result<Ending> {
    let cluster = world.boot(&["--nodes", "4"])?;
    let mut connection = cluster.redis(2)?;
    append(&mut connection, 1)?;
    cluster.order("kill", 4)?;
    for position in 2..2 + MISSED {
        append(&mut connection, position)?;
    }
    cluster.order("start", 4)?;
    let last = 2 + MISSED;
    let since = clock::now();
    while append(&mut cluster.redis(4)?, last).is_err() {
        anyhow::ensure!(clock::now() - since < BACK_WITHIN, "node 4 appends nothing");
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("node 4 appends again after {:.2} s", (clock::now() - since).as_secs_f64());

    for position in [1, 2, 60, 130, last - 1, last] {
        let read: String = redis::cmd("LEDGER.GET").arg(position).query(&mut cluster.redis(4)?)?;
        anyhow::ensure!(read == format!("entry {position}"), "{position} is '{read}'");
    }
    let absent = verified(&cluster)?["absent"].as_u64().context("no number of absent blocks")?;
    anyhow::ensure!(
        absent > 60,
        "only {absent} blocks were not on its disk: it was not away for long"
    );
    // The others need it now.
    cluster.order("kill", 1)?;
    let since = clock::now();
    while append(&mut cluster.redis(3)?, last + 1).is_err() {
        anyhow::ensure!(clock::now() - since < BACK_WITHIN, "three of four append nothing");
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(Ending::Good)
}

/// Appends an entry that names its position; that it has it already is as good.
fn append(connection: &mut Connection, position: usize) -> anyhow::Result<()> {
    let entry = format!("entry {position}");
    let answer = redis::cmd("LEDGER.APPEND").arg(&entry).query(connection);
    let (at, _, _): (usize, String, u64) = answer.with_context(|| entry.clone())?;
    anyhow::ensure!(at == position, "'{entry}' is at {at}");
    Ok(())
}

/// What node 4 says of its own disk, once it has looked at all of it.
fn verified(cluster: &Cluster) -> anyhow::Result<Value> {
    let since = clock::now();
    loop {
        let text = cluster.run(&["sh", "4", "bft verify --json"])?;
        let report: Value = serde_json::from_str(&text)?;
        if report["state"] != "running" {
            return Ok(report);
        }
        anyhow::ensure!(clock::now() - since < BACK_WITHIN, "it is still verifying: {report}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
