//! A cluster of three, when nothing goes wrong.

use crate::client;
use crate::stories::{Ending, World};

/// Every node takes writes, and every node reads them all.
pub fn every_node(world: &mut World) -> anyhow::Result<Ending> {
    let cluster = world.boot(&[])?;
    let nodes = [1, 2, 3];
    client::set(&mut cluster.redis(1)?, "greeting", "hello")?;
    cluster.expect(&nodes, "greeting", "hello")?;
    for node in nodes {
        client::set(&mut cluster.redis(node)?, &format!("of-{node}"), &node.to_string())?;
    }
    for node in nodes {
        cluster.expect(&nodes, &format!("of-{node}"), &node.to_string())?;
        let health = client::page(cluster.http_port(node), "/healthz")?;
        anyhow::ensure!(health.0 == 200, "node {node} is not well: {health:?}");
        // One counter, incremented by each in turn.
        let count: u16 = redis::cmd("INCR").arg("turns").query(&mut cluster.redis(node)?)?;
        anyhow::ensure!(count == node, "the counter is {count} after {node} increments");
    }
    Ok(Ending::Good)
}
