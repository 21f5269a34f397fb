//! Sends commands to a switch.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use crate::control::Request;

/// How long a switch may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A connection with a switch.
#[derive(Debug)]
pub struct Client {
    socket: BufReader<UnixStream>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// If nobody listens there.
    pub fn connect(control: &Path) -> anyhow::Result<Client> {
        let socket = UnixStream::connect(control)
            .with_context(|| format!("no switch answers at {}", control.display()))?;
        socket.set_read_timeout(Some(ANSWER_WITHIN))?;
        socket.set_write_timeout(Some(ANSWER_WITHIN))?;
        Ok(Client { socket: BufReader::new(socket) })
    }

    /// Sends a command, and waits for the answer.
    ///
    /// # Errors
    /// If the switch refuses (its reason), or does not answer within five seconds.
    pub fn request(&mut self, request: &Request) -> anyhow::Result<Value> {
        let line = serde_json::to_string(request)? + "\n";
        self.socket.get_mut().write_all(line.as_bytes()).context("the switch does not listen")?;
        let mut answer = String::new();
        self.socket.read_line(&mut answer).context("the switch does not answer")?;
        let answer: Value = serde_json::from_str(&answer).context("the switch speaks no JSON")?;
        if answer["ok"] != Value::Bool(true) {
            anyhow::bail!("{}", answer["error"].as_str().unwrap_or("the switch gives no reason"));
        }
        Ok(answer)
    }
}
