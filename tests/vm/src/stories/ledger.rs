//! The ledger: entries that four nodes agree on, through the loss of any one of them, and of all at once.

use std::time::{Duration, Instant};

use anyhow::Context;
use redis::Connection;
use serde_json::Value;

use crate::client;
use crate::clock;
use crate::cluster::Cluster;
use crate::leftovers;
use crate::stories::{Ending, World};

const NODES: [u16; 4] = [1, 2, 3, 4];
/// How long the ledger may take to answer again after its primary is gone.
const AGAIN_WITHIN: Duration = Duration::from_secs(15);

/// Entries are appended through every node, read and proven by every node; the primary is killed, and then
/// all nodes are; nothing is lost or given another place.
pub fn survives(world: &mut World) -> anyhow::Result<Ending> {
    let cluster = world.boot(&["--nodes", "4"])?;
    let mut entries = Vec::new();
    for node in NODES {
        let entry = format!("from node {node}");
        append(&mut cluster.redis(node)?, &entry, &mut entries)?;
    }
    let posted = client::exchange(
        cluster.http_port(2),
        b"POST /v1/ledger HTTP/1.1\r\nContent-Length: 6\r\nConnection: close\r\n\r\nposted",
        "\"seq\":5",
    )?;
    anyhow::ensure!(posted.contains("200 OK") && posted.contains("\"view\":0"), "{posted}");
    entries.push("posted".into());
    check(&cluster, &NODES, &entries)?;

    // View 0 is node 1's.
    cluster.order("kill", 1)?;
    let since = clock::now();
    append_again(&cluster, 2, "without the primary", &mut entries, since)?;
    check(&cluster, &[2, 3, 4], &entries)?;
    cluster.order("start", 1)?;
    append_again(&cluster, 1, "the primary is back", &mut entries, clock::now())?;
    check(&cluster, &NODES, &entries)?;

    let pids: Vec<_> = cluster.machines()?.iter().map(|(_, pid)| *pid).collect();
    anyhow::ensure!(pids.len() == 4, "four machines should run");
    leftovers::kill_all(&pids)?;
    for node in NODES {
        cluster.order("start", node)?;
    }
    let since = clock::now();
    append_again(&cluster, 3, "after the power failure", &mut entries, since)?;
    check(&cluster, &NODES, &entries)?;
    refusals(&cluster)?;
    Ok(Ending::Good)
}

/// Appends an entry, which must get the next position.
fn append(
    connection: &mut Connection,
    entry: &str,
    entries: &mut Vec<String>,
) -> anyhow::Result<()> {
    let answer = redis::cmd("LEDGER.APPEND").arg(entry).query(connection);
    let (position, _, _): (usize, String, u64) = answer.with_context(|| entry.to_string())?;
    entries.push(entry.into());
    anyhow::ensure!(position == entries.len(), "'{entry}' is at {position}");
    Ok(())
}

fn try_append(cluster: &Cluster, node: u16, entry: &str) -> anyhow::Result<usize> {
    let answer = redis::cmd("LEDGER.APPEND").arg(entry).query(&mut cluster.redis(node)?)?;
    let (position, _, _): (usize, String, u64) = answer;
    Ok(position)
}

/// The same as soon as the nodes agree again. An entry that was not acknowledged may be there all the same.
fn append_again(
    cluster: &Cluster,
    node: u16,
    entry: &str,
    entries: &mut Vec<String>,
    since: Instant,
) -> anyhow::Result<()> {
    loop {
        match try_append(cluster, node, entry) {
            Ok(position) => {
                // Those of the tries before, if there were any.
                entries.resize(position, entry.into());
                println!("'{entry}' after {:.2} s", (clock::now() - since).as_secs_f64());
                return Ok(());
            }
            Err(error) => anyhow::ensure!(
                clock::now() - since < AGAIN_WITHIN,
                "'{entry}' is not appended: {error:#}"
            ),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// All of these nodes have these entries at their positions, with the same proof of a quorum.
fn check(cluster: &Cluster, nodes: &[u16], entries: &[String]) -> anyhow::Result<()> {
    for (entry, position) in entries.iter().zip(1..) {
        let mut digests = Vec::new();
        for node in nodes {
            let proof = proof(cluster, *node, position)?;
            anyhow::ensure!(proof["entry"] == entry.as_str(), "node {node}, {position}: {proof}");
            // All four in one phase, or three in two.
            let certificate = &proof["certificate"];
            let signers = certificate["signers"].as_array().map_or(0, Vec::len);
            let is_proof = match certificate["phase"].as_str() {
                Some("prepare") => signers == 4,
                Some("commit") => signers == 3,
                _ => false,
            };
            anyhow::ensure!(is_proof, "node {node}, {position}: {certificate}");
            digests.push(proof["digest"].clone());
            let read: String =
                redis::cmd("LEDGER.GET").arg(position).query(&mut cluster.redis(*node)?)?;
            anyhow::ensure!(read == *entry, "node {node}, {position}: '{read}'");
        }
        anyhow::ensure!(digests.windows(2).all(|two| two[0] == two[1]), "{position}: {digests:?}");
    }
    Ok(())
}

/// What a node says of the entry at a position. One that is behind is waited for.
fn proof(cluster: &Cluster, node: u16, position: u64) -> anyhow::Result<Value> {
    let give_up = clock::now() + AGAIN_WITHIN;
    loop {
        match client::json(cluster.http_port(node), &format!("/v1/ledger/{position}")) {
            Ok(proof) => return Ok(proof),
            Err(error) if clock::now() > give_up => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// What is wrong is refused with a sentence, and harms nobody.
fn refusals(cluster: &Cluster) -> anyhow::Result<()> {
    let (status, text) = client::page(cluster.http_port(3), "/v1/ledger/1000")?;
    anyhow::ensure!(status == 404 && text.contains("no entry"), "{status} {text}");
    let (status, text) = client::page(cluster.http_port(3), "/v1/ledger/x")?;
    anyhow::ensure!(status == 400, "{status} {text}");
    let empty = b"POST /v1/ledger HTTP/1.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    client::exchange(cluster.http_port(3), empty, "400 Bad Request")?;
    let status = cluster.run(&["sh", "2", "bft status --json"])?;
    let status: Value = serde_json::from_str(&status)?;
    anyhow::ensure!(status["quorum"] == 3 && status["bad_signatures"] == 0, "{status}");
    anyhow::ensure!(status["decided_fast"].as_u64() > Some(0), "{status}");
    // Only the image of the story 'liars' has nodes that can be made to lie.
    cluster.run_in_vain(&["sh", "2", "bft adversary silent"])?;
    cluster.run(&["sh", "2", "bft views"])?;
    cluster.run(&["sh", "2", "bft consensus"])?;
    cluster.run(&["sh", "2", "bft checkpoints"])?;
    Ok(())
}
