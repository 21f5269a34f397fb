//! Talking to nodes as their users do: with a Redis client, over HTTP, and with bytes that are neither.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Context;
use redis::{Client, Connection, ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use serde_json::Value;

/// Longer than a node takes in the worst case to say that it cannot.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long a page may take.
const PAGE_WITHIN: Duration = Duration::from_secs(3);

/// A Redis connection with the node at `port` of this host.
///
/// # Errors
/// If there is nobody, or nobody answers.
pub fn redis(port: u16) -> anyhow::Result<Connection> {
    let address = ConnectionAddr::Tcp("127.0.0.1".into(), port);
    let info: ConnectionInfo = address.into_connection_info()?;
    let connection = Client::open(info)?.get_connection_with_timeout(PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    Ok(connection)
}

/// A write that must be acknowledged.
///
/// # Errors
/// If it is not.
pub fn set(connection: &mut Connection, key: &str, value: &str) -> anyhow::Result<()> {
    let answer: String = redis::cmd("SET").arg(key).arg(value).query(connection)?;
    anyhow::ensure!(answer == "OK", "SET {key} was answered '{answer}'");
    Ok(())
}

/// A value, if there is one.
///
/// # Errors
/// If the node cannot say.
pub fn get(connection: &mut Connection, key: &str) -> anyhow::Result<Option<String>> {
    Ok(redis::cmd("GET").arg(key).query(connection)?)
}

/// The first word of what a node refused something with, such as `CLUSTERDOWN`.
pub fn code(error: &redis::RedisError) -> String {
    error.code().unwrap_or("no answer of a node").to_string()
}

/// The status and the text of a page, whatever the status.
///
/// # Errors
/// If none comes in time.
pub fn page(port: u16, path: &str) -> anyhow::Result<(u16, String)> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(PAGE_WITHIN))
        .http_status_as_error(false)
        .build();
    let url = format!("http://127.0.0.1:{port}{path}");
    let response = ureq::Agent::new_with_config(config).get(&url).call().context(url)?;
    let status = response.status().as_u16();
    Ok((status, response.into_body().read_to_string()?))
}

/// A page of JSON.
///
/// # Errors
/// If there is none.
pub fn json(port: u16, path: &str) -> anyhow::Result<Value> {
    let (status, text) = page(port, path)?;
    anyhow::ensure!(status == 200, "{path} has status {status}: {}", text.trim());
    serde_json::from_str(&text).with_context(|| format!("{path} is no JSON"))
}

/// A sample of `/metrics`, with its labels as they are written there.
///
/// # Errors
/// If there is none.
pub fn metric(port: u16, name: &str) -> anyhow::Result<u64> {
    let (_, text) = page(port, "/metrics")?;
    let sample = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let sample = sample.with_context(|| format!("/metrics has no {name}"))?;
    sample.parse().with_context(|| format!("{name} is {sample}"))
}

/// Sends bytes, and returns what comes back: until that contains what is wanted, the node hangs up, or it has
/// been silent for too long.
///
/// # Errors
/// If nobody accepts the connection.
pub fn exchange(port: u16, bytes: &[u8], wanted: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PAGE_WITHIN))?;
    // A node that has heard enough may hang up before it has all.
    let _ = stream.write_all(bytes);
    let (mut answer, mut some) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut some) {
        answer.extend_from_slice(&some[..count]);
        if String::from_utf8_lossy(&answer).contains(wanted) {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Sends bytes and leaves at once.
///
/// # Errors
/// If nobody accepts the connection.
pub fn send_and_leave(port: u16, bytes: &[u8]) -> anyhow::Result<()> {
    TcpStream::connect(("127.0.0.1", port))?.write_all(bytes).context("sending")
}
