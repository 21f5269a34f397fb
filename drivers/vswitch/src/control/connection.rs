//! Somebody who sends commands: they are answered one after the other, each when the answer before is taken.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

/// How long a command may be.
const COMMAND_MAX_BYTES: usize = 64 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Connection {
    socket: UnixStream,
    input: Vec<u8>,
    /// The answer that is being taken, and how much of it is.
    answer: Vec<u8>,
    taken: usize,
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Connection {
    /// Over a socket that does not block.
    pub(super) fn new(socket: UnixStream) -> Connection {
        Connection { socket, input: Vec::new(), answer: Vec::new(), taken: 0 }
    }

    /// Whether an answer waits to be taken. All ports at once are more than a socket holds.
    pub(super) fn has_answer(&self) -> bool {
        self.taken < self.answer.len()
    }

    /// Goes on as far as it goes without waiting.
    ///
    /// # Errors
    /// If the connection is over.
    pub(super) fn handle(&mut self, execute: &mut impl FnMut(&str) -> Value) -> io::Result<()> {
        self.go_on(execute)?;
        if self.has_answer() {
            return Ok(());
        }
        let mut bytes = [0; 4096];
        match self.socket.read(&mut bytes) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => self.input.extend_from_slice(&bytes[..count]),
            Err(error) if is_for_now(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
        self.go_on(execute)?;
        let is_command = self.has_answer() || self.input.len() <= COMMAND_MAX_BYTES;
        if is_command { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
    }

    /// Gives the answer that waits, then executes the next command that has come, and so on.
    fn go_on(&mut self, execute: &mut impl FnMut(&str) -> Value) -> io::Result<()> {
        loop {
            self.give()?;
            if self.has_answer() {
                return Ok(());
            }
            let end = self.input.iter().position(|byte| *byte == b'\n');
            let Some(end) = end else { return Ok(()) };
            let line: Vec<u8> = self.input.drain(..=end).collect();
            let reply = match std::str::from_utf8(&line) {
                Ok(line) => execute(line.trim_end()),
                Err(_) => json!({ "ok": false, "error": "a command is UTF-8 text" }),
            };
            (self.answer, self.taken) = (format!("{reply}\n").into(), 0);
        }
    }

    /// Writes as much of the answer as the socket takes.
    fn give(&mut self) -> io::Result<()> {
        while self.has_answer() {
            match self.socket.write(&self.answer[self.taken..]) {
                Ok(count) => self.taken += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_for_now(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        // It may have been long.
        (self.answer, self.taken) = (Vec::new(), 0);
        Ok(())
    }
}

fn is_for_now(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ends of a connection.
    fn connect() -> (Connection, UnixStream) {
        let (here, there) = UnixStream::pair().unwrap();
        [&here, &there].into_iter().for_each(|socket| socket.set_nonblocking(true).unwrap());
        (Connection::new(here), there)
    }

    #[test]
    fn who_does_not_take_an_answer_gets_no_other() {
        let (mut connection, mut client) = connect();
        let mut executed = 0;
        let mut execute = |_: &str| {
            executed += 1;
            json!("x".repeat(3_000_000))
        };
        client.write_all(b"one\ntwo\n").unwrap();
        for _ in 0..10 {
            connection.handle(&mut execute).unwrap();
        }
        assert!(connection.has_answer());
        let (mut lines, mut bytes, mut some) = (0, 0, vec![0; 65_536]);
        while lines < 2 {
            let count = client.read(&mut some).unwrap();
            lines += some[..count].iter().filter(|byte| **byte == b'\n').count();
            bytes += count;
            connection.handle(&mut execute).unwrap();
        }
        assert_eq!((bytes, executed), (2 * 3_000_003, 2));
        assert!(!connection.has_answer());
    }

    #[test]
    fn a_command_without_an_end_ends_the_connection() {
        let (mut connection, mut client) = connect();
        let mut execute = |_: &str| -> Value { unreachable!("there is no command") };
        for _ in 0..COMMAND_MAX_BYTES / 4096 {
            client.write_all(&[b'x'; 4096]).unwrap();
            connection.handle(&mut execute).unwrap();
        }
        client.write_all(b"x").unwrap();
        connection.handle(&mut execute).unwrap_err();
    }
}
