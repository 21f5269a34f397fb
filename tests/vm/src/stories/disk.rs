//! Disks that are full.

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
