//! A node that lies, of four, in each way in turn: the others go on as if nothing were, and say who it is
//! where that can be proven.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;

use crate::clock;
use crate::cluster::Cluster;
use crate::stories::{Ending, World};

/// The liar; node 1 is the primary of the first view.
const LIAR_NAME: &str = "1";
const HONEST: [u16; 3] = [2, 3, 4];
/// How long an entry may take while somebody lies, a change of views or two included.
const WITHIN: Duration = Duration::from_secs(15);
/// So many entries are appended with each kind of liar.
const ENTRIES: usize = 12;

/// See the module.
pub fn outvoted(world: &mut World) -> anyhow::Result<Ending> {
    let cluster = world.boot(&["--nodes", "4", "--adversary"])?;
    let logs = cluster.run(&["logs", "1"])?;
    anyhow::ensure!(logs.contains("THIS IMAGE IS FOR TESTS"), "it does not say so: {logs}");
    let mut appended = 0;
    for lie in ["equivocate", "silent", "delay", "forge"] {
        cluster.run(&["sh", "1", &format!("bft adversary {lie}")])?;
        let since = clock::now();
        for at in 0..ENTRIES {
            let entry = format!("{lie} {at}");
            append(&cluster, HONEST[at % HONEST.len()], &entry)?;
            appended += 1;
        }
        println!("{lie}: {ENTRIES} entries in {:.2} s", (clock::now() - since).as_secs_f64());
        agree(&cluster, appended)?;
        match lie {
            "equivocate" => appended += named(&cluster, "proven_liars")?,
            "forge" => appended += named(&cluster, "bad_signatures_from")?,
            _ => {}
        }
    }
    cluster.run(&["sh", "1", "bft adversary off"])?;
    Ok(Ending::Good)
}

/// Appends an entry, once more if the node was not answered in time.
fn append(cluster: &Cluster, node: u16, entry: &str) -> anyhow::Result<()> {
    let since = clock::now();
    loop {
        let answer = redis::cmd("LEDGER.APPEND").arg(entry).query(&mut cluster.redis(node)?);
        let answer: redis::RedisResult<(u64, String, u64)> = answer;
        match answer {
            Ok(_) => return Ok(()),
            Err(error) if clock::now() - since > WITHIN => {
                return Err(error).with_context(|| format!("'{entry}' through node {node}"));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn status(cluster: &Cluster, node: u16) -> anyhow::Result<Value> {
    let text = cluster.run(&["sh", &node.to_string(), "bft status --json"])?;
    Ok(serde_json::from_str(&text)?)
}

/// The honest ones have one chain, of so many entries at the least.
fn agree(cluster: &Cluster, entries_min: u64) -> anyhow::Result<()> {
    let since = clock::now();
    loop {
        let all = HONEST.map(|node| status(cluster, node));
        let all = all.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
        let entries: Vec<u64> = all.iter().filter_map(|one| one["entries"].as_u64()).collect();
        let is_same = all.windows(2).all(|two| two[0]["head"] == two[1]["head"]);
        if is_same && entries.iter().all(|entries| *entries >= entries_min) {
            return no_honest_liar(&all);
        }
        anyhow::ensure!(!is_over(since), "they do not agree: {all:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Nobody honest is said to lie.
fn no_honest_liar(all: &[Value]) -> anyhow::Result<()> {
    for one in all {
        let named = one["proven_liars"].as_str().unwrap_or(LIAR_NAME);
        anyhow::ensure!(named == LIAR_NAME, "an honest node is named: {one}");
    }
    Ok(())
}

/// One of the honest nodes at the least says who lies. Whoever has a quorum without the liar does not look at
/// what else it said, so that entries are appended until somebody had to. Returns how many.
fn named(cluster: &Cluster, what: &str) -> anyhow::Result<u64> {
    let since = clock::now();
    let mut appended = 0;
    loop {
        for node in HONEST {
            if status(cluster, node)?[what].as_str() == Some(LIAR_NAME) {
                return Ok(appended);
            }
        }
        anyhow::ensure!(!is_over(since), "nobody says that node {LIAR_NAME} lies ({what})");
        append(cluster, HONEST[0], &format!("{what} {appended}"))?;
        appended += 1;
    }
}

fn is_over(since: Instant) -> bool {
    clock::now() - since > WITHIN
}
