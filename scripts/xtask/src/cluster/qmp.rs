//! Orders to QEMU (QEMU Machine Protocol): JSON objects, a line each.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Lets QEMU execute something, and returns what it answers.
///
/// # Errors
/// If it does not, or does not answer within five seconds.
pub fn execute(socket: &Path, order: &str) -> anyhow::Result<Value> {
    execute_with(socket, order, &json!({}))
}

/// The same, of an order that takes arguments.
///
/// # Errors
/// If it does not, or does not answer within five seconds.
pub fn execute_with(socket: &Path, order: &str, arguments: &Value) -> anyhow::Result<Value> {
    let socket = UnixStream::connect(socket).context("QEMU does not take orders")?;
    socket.set_read_timeout(Some(ANSWER_WITHIN))?;
    let mut socket = BufReader::new(socket);
    let mut send = |order: &Value| {
        socket.get_mut().write_all(format!("{order}\n").as_bytes())?;
        answer(&mut socket)
    };
    send(&json!({ "execute": "qmp_capabilities" }))?;
    send(&json!({ "execute": order, "arguments": arguments }))
}

/// The next line that is an answer: the greeting and events are none.
fn answer(socket: &mut impl BufRead) -> anyhow::Result<Value> {
    loop {
        let mut line = String::new();
        let count = socket.read_line(&mut line).context("QEMU does not answer")?;
        anyhow::ensure!(count > 0, "QEMU hung up");
        let mut message: Value = serde_json::from_str(&line)?;
        if let Some(error) = message.pointer("/error/desc") {
            anyhow::bail!("QEMU refuses: {error}");
        }
        if let Some(answer) = message.get_mut("return") {
            return Ok(answer.take());
        }
    }
}
