//! Talking to nodes as their users do: with a Redis client, and over HTTP.

use std::time::Duration;

use anyhow::Context;
use redis::{Client, Connection, ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use serde_json::Value;

/// A Redis connection with the node at `port` of this host.
///
/// # Errors
/// If there is nobody, or the node does not answer within `patience`.
pub fn redis(port: u16, patience: Duration) -> anyhow::Result<Connection> {
    let address = ConnectionAddr::Tcp("127.0.0.1".into(), port);
    let info: ConnectionInfo = address.into_connection_info()?;
    let connection = Client::open(info)?.get_connection_with_timeout(patience)?;
    connection.set_read_timeout(Some(patience))?;
    connection.set_write_timeout(Some(patience))?;
    Ok(connection)
}

/// Whether the node at `port` serves: it can answer a read, which takes a majority.
pub fn serves(port: u16, patience: Duration) -> bool {
    let read = |mut connection: Connection| {
        redis::cmd("EXISTS").arg("coterie:ready").query::<u64>(&mut connection)
    };
    redis(port, patience).is_ok_and(|connection| read(connection).is_ok())
}

/// A page of JSON of the node whose HTTP is at `port`.
///
/// # Errors
/// If it does not come within two seconds, or is none.
pub fn page(port: u16, path: &str) -> anyhow::Result<Value> {
    let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(2))).build();
    let response = ureq::Agent::new_with_config(config)
        .get(format!("http://127.0.0.1:{port}{path}"))
        .call()
        .context("the node does not answer over HTTP")?;
    let text = response.into_body().read_to_string()?;
    Ok(serde_json::from_str(&text)?)
}

/// What a node says of its part in consensus.
///
/// # Errors
/// If it does not answer.
pub fn raft_status(http_port: u16) -> anyhow::Result<Value> {
    page(http_port, "/v1/raft/status")
}

/// The elections that a node has seen.
///
/// # Errors
/// If it does not answer.
pub fn elections(http_port: u16) -> anyhow::Result<Value> {
    page(http_port, "/v1/raft/elections")
}
