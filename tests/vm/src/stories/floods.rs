//! A node of four that floods the others with all that costs them something, as fast as its links take it: it
//! does not slow them by more than README says.

use std::time::{Duration, Instant};

use anyhow::Context;
use redis::Connection;

use crate::clock;
use crate::cluster::Cluster;
use crate::stories::{Ending, World};

/// The stated bound: an entry takes at most so many times as long, at the median, and so many times fewer are
/// decided in a second.
const SLOWER_MAX: u32 = 3;
/// Node 1 is the primary of the first view, node 4 of none that is reached.
const LIARS: [u16; 2] = [4, 1];
const ENTRIES: usize = 20;
/// The machines' code is translated with the first ones.
const UNCOUNTED: usize = 6;
const PAUSE: Duration = Duration::from_millis(50);
/// How long an entry may take, and a primary that floods may stay that.
const WITHIN: Duration = Duration::from_secs(10);

/// How long entries take.
struct Pace {
    median: Duration,
    all: Duration,
}

/// See the module.
pub fn bounded(world: &mut World) -> anyhow::Result<Ending> {
    let cluster = world.boot(&["--nodes", "4", "--adversary"])?;
    for liar in LIARS {
        let honest: Vec<u16> = (1..=4).filter(|node| *node != liar).collect();
        let calm = pace(&cluster, &honest)?;
        cluster.run(&["sh", &liar.to_string(), "bft adversary flood"])?;
        leave_primary(&cluster, honest[0], liar)?;
        let flooded = pace(&cluster, &honest)?;
        cluster.run(&["sh", &liar.to_string(), "bft adversary off"])?;
        let ratio =
            |of: fn(&Pace) -> Duration| of(&flooded).as_secs_f64() / of(&calm).as_secs_f64();
        println!(
            "node {liar} floods: an entry takes {:.1} ms instead of {:.1} at the median, {:.2} and all {:.2} \
             times as long",
            flooded.median.as_secs_f64() * 1_000.0,
            calm.median.as_secs_f64() * 1_000.0,
            ratio(|pace| pace.median),
            ratio(|pace| pace.all),
        );
        anyhow::ensure!(
            flooded.median <= calm.median * SLOWER_MAX,
            "the median is beyond the bound"
        );
        anyhow::ensure!(flooded.all <= calm.all * SLOWER_MAX, "the rate is beyond the bound");
        floods_were_seen(&cluster, &honest, liar)?;
    }
    Ok(Ending::Good)
}

/// If the liar is the primary, it does not stay that for long.
fn leave_primary(cluster: &Cluster, node: u16, liar: u16) -> anyhow::Result<()> {
    let since = clock::now();
    while status(cluster, node)?["primary"].as_u64() == Some(u64::from(liar)) {
        anyhow::ensure!(clock::now() - since < WITHIN, "node {liar} is still the primary");
        append(&mut cluster.redis(node)?, clock::now())?;
    }
    Ok(())
}

fn status(cluster: &Cluster, node: u16) -> anyhow::Result<serde_json::Value> {
    let text = cluster.run(&["sh", &node.to_string(), "bft status --json"])?;
    Ok(serde_json::from_str(&text)?)
}

/// Entries through all honest nodes in turn.
fn pace(cluster: &Cluster, honest: &[u16]) -> anyhow::Result<Pace> {
    let connections = honest.iter().map(|node| cluster.redis(*node));
    let mut connections = connections.collect::<anyhow::Result<Vec<_>>>()?;
    let mut spans = Vec::new();
    for at in 0..UNCOUNTED + ENTRIES {
        let place = at % connections.len();
        let since = clock::now();
        append(&mut connections[place], since)
            .with_context(|| format!("node {}", honest[place]))?;
        if at >= UNCOUNTED {
            spans.push(clock::now() - since);
        }
        std::thread::sleep(PAUSE);
    }
    spans.sort_unstable();
    Ok(Pace { median: spans[ENTRIES / 2], all: spans.iter().sum() })
}

/// Appends an entry, again if a node says that it was not answered in time.
fn append(connection: &mut Connection, since: Instant) -> anyhow::Result<()> {
    loop {
        let answer = redis::cmd("LEDGER.APPEND").arg("an entry of 24 bytes ...").query(connection);
        let answer: redis::RedisResult<(u64, String, u64)> = answer;
        match answer {
            Ok(_) => return Ok(()),
            Err(error) if clock::now() - since > WITHIN => return Err(error.into()),
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// There was a flood: each honest node has heard bad signatures, of nobody but the liars.
fn floods_were_seen(cluster: &Cluster, honest: &[u16], liar: u16) -> anyhow::Result<()> {
    for node in honest {
        let status = status(cluster, *node)?;
        let named = status["bad_signatures_from"].as_str().unwrap_or_default();
        let is_named = named.split(' ').any(|one| one == liar.to_string());
        anyhow::ensure!(is_named, "node {node} has not heard node {liar}: {status}");
    }
    Ok(())
}
