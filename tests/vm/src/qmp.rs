//! Orders to QEMU that `scripts/cluster` does not give (QEMU Machine Protocol: JSON objects, a line each).

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use crate::cluster::Cluster;

const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Plugs the cable of a node's card between the nodes in, or out.
///
/// # Errors
/// If QEMU does not.
pub fn set_link(cluster: &Cluster, node: u16, is_up: bool) -> anyhow::Result<()> {
    println!("qmp: the link of node {node} is up: {is_up}");
    let path = cluster.folder().join(format!("node-{node}/qmp.sock"));
    let socket = UnixStream::connect(path).context("QEMU does not take orders")?;
    socket.set_read_timeout(Some(ANSWERS_WITHIN))?;
    let mut socket = BufReader::new(socket);
    execute(&mut socket, &json!({ "execute": "qmp_capabilities" }))?;
    let order = json!({ "name": "cluster", "up": is_up });
    execute(&mut socket, &json!({ "execute": "set_link", "arguments": order }))
}

fn execute(socket: &mut BufReader<UnixStream>, order: &Value) -> anyhow::Result<()> {
    socket.get_mut().write_all(format!("{order}\n").as_bytes())?;
    loop {
        let mut line = String::new();
        anyhow::ensure!(socket.read_line(&mut line)? > 0, "QEMU hung up");
        let message: Value = serde_json::from_str(&line)?;
        anyhow::ensure!(message.get("error").is_none(), "QEMU refuses: {message}");
        // The greeting and events are no answers.
        if message.get("return").is_some() {
            return Ok(());
        }
    }
}
