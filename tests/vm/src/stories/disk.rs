//! Disks that are full, and disks that are damaged.

use std::fs;
use std::path::Path;

use anyhow::Context;
use redis::Connection;

use crate::client;
use crate::cluster::Cluster;
use crate::stories::{Ending, World};

/// The smallest disk there is, in MiB.
const DISK_MIB: usize = 16;
const SMALLEST: [&str; 2] = ["--disk-size", "16"];
/// Writes of this many bytes fill it soon.
const VALUE_BYTES: usize = 256 * 1024;
/// Few keys, so that it is the log that is full and not the memory.
const KEYS: usize = 8;

/// What was acknowledged last, for each key: the number of the write.
type Acknowledged = [Option<usize>; KEYS];

/// A log without room refuses writes; nothing that it has is lost.
pub fn full(world: &mut World) -> anyhow::Result<Ending> {
    let cluster = world.boot(&SMALLEST)?;
    let acknowledged = fill(&mut cluster.redis(1)?)?;
    check(&cluster, 2, &acknowledged)?;
    // All nodes die and start again: the log is as full, and as good, as it was.
    cluster.run(&["down"])?;
    cluster.up(&[])?;
    for node in [1, 2, 3] {
        check(&cluster, node, &acknowledged)?;
    }
    Ok(Ending::Good)
}

fn value(number: usize) -> String {
    format!("{number}:{}", "x".repeat(VALUE_BYTES))
}

/// Writes until a write is refused because the log is full.
fn fill(connection: &mut Connection) -> anyhow::Result<Acknowledged> {
    let mut acknowledged = [None; KEYS];
    for number in 0..=(DISK_MIB << 20) / VALUE_BYTES {
        let key = format!("key-{}", number % KEYS);
        match redis::cmd("SET").arg(&key).arg(value(number)).query::<String>(connection) {
            Ok(_) => acknowledged[number % KEYS] = Some(number),
            Err(error) => {
                println!("write {number} is refused: {error}");
                anyhow::ensure!(client::code(&error) == "MISCONF", "refused with {error}");
                anyhow::ensure!(number > KEYS, "refused before much was written");
                return Ok(acknowledged);
            }
        }
    }
    anyhow::bail!("more than the disk holds was acknowledged")
}

/// The node has everything, and refuses more.
fn check(cluster: &Cluster, node: u16, acknowledged: &Acknowledged) -> anyhow::Result<()> {
    let mut connection = cluster.redis(node)?;
    for (key, number) in acknowledged.iter().enumerate() {
        let found = client::get(&mut connection, &format!("key-{key}"))?;
        let is_right = found == number.map(value);
        anyhow::ensure!(is_right, "node {node} does not have write {number:?} of key-{key}");
    }
    let refused = redis::cmd("SET").arg("more").arg("1").query::<String>(&mut connection);
    let code = refused.as_ref().err().map(client::code);
    anyhow::ensure!(code.as_deref() == Some("MISCONF"), "node {node} answers {code:?}");
    Ok(())
}

/// Headers begin here and are so long (see `unikernel/store`). A copy of each lies in front of its body.
const HEADERS_START: usize = 8 * 512;
const HEADER_BYTES: usize = 64;

/// A record of the log is lost, with its copy: the node says so and does not start, and the others go on.
pub fn damaged(world: &mut World) -> anyhow::Result<Ending> {
    let cluster = world.boot(&SMALLEST)?;
    for number in 0..50 {
        client::set(&mut cluster.redis(1)?, &format!("key-{number}"), "good")?;
    }
    let leader = cluster.leader(None)?;
    let victim = [1, 2, 3].into_iter().find(|node| *node != leader).context("a follower")?;
    cluster.wait_until_follows(victim, leader)?;
    cluster.order("stop", victim)?;
    spoil_record(&cluster.disk(victim), 20)?;

    let complaint = cluster.run_in_vain(&["start", &victim.to_string()])?;
    anyhow::ensure!(complaint.contains("damaged"), "'start' says: {complaint}");
    anyhow::ensure!(complaint.contains("20"), "it does not say where: {complaint}");
    let log = cluster.run(&["logs", &victim.to_string()])?;
    anyhow::ensure!(log.contains("damaged"), "the node's log does not say why");

    let others: Vec<u16> = [1, 2, 3].into_iter().filter(|node| *node != victim).collect();
    cluster.write(others[0], "after", "good")?;
    cluster.expect(&others, "after", "good")?;
    cluster.expect(&others, "key-49", "good")?;
    Ok(Ending::Good)
}

/// Flips a byte of the header of a record, wherever it is written.
fn spoil_record(image: &Path, index: usize) -> anyhow::Result<()> {
    let mut bytes = fs::read(image)?;
    let start = HEADERS_START + (index - 1) * HEADER_BYTES;
    let header = bytes[start..start + HEADER_BYTES].to_vec();
    anyhow::ensure!(header.starts_with(b"CH"), "there is no header of record {index}");
    let mut places = 0;
    for place in (HEADERS_START..bytes.len() - HEADER_BYTES).step_by(8) {
        if bytes[place..place + HEADER_BYTES] == header {
            bytes[place + 20] ^= 0xff;
            places += 1;
        }
    }
    anyhow::ensure!(places == 2, "record {index} has {places} headers, not 2");
    fs::write(image, bytes)?;
    Ok(())
}
