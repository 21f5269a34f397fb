//! The serial shell of a node, for people and for programs.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{self, SetArg, Termios};

use crate::clock;

const REQUEST: u8 = 0x1e;
/// An answer to a program begins with this …
pub(super) const START_OF_TEXT: u8 = 0x02;
/// … and this comes before its status.
pub(super) const END_OF_TEXT: u8 = 0x03;
/// What a program's requests are called: there is one at a time.
const TAG: &str = "script";
/// How long a command may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What a command led to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// What it printed.
    pub output: String,
    /// 0, or 1 if it failed, or 2 if it was not understood.
    pub status: u8,
}

fn connect(socket: &Path) -> anyhow::Result<UnixStream> {
    UnixStream::connect(socket).context("the node's serial port is not there: is the node running?")
}

/// Runs one command on a node.
///
/// # Errors
/// If the node does not answer within ten seconds.
pub fn run(socket: &Path, command: &str) -> anyhow::Result<Answer> {
    anyhow::ensure!(
        command.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
        "a command is one line of printable ASCII; \"\\xHH\" in quotes stands for other bytes"
    );
    let mut serial = connect(socket)?;
    let request = [&[REQUEST], TAG.as_bytes(), b" ", command.as_bytes(), b"\n"].concat();
    serial.write_all(&request)?;
    let give_up = clock::now() + ANSWER_WITHIN;
    let mut received = Vec::new();
    loop {
        if let Some(answer) = find_answer(&received) {
            return Ok(answer);
        }
        let rest = give_up.saturating_duration_since(clock::now());
        anyhow::ensure!(
            !rest.is_zero(),
            "the node does not answer; if a shell is attached to it, detach that first"
        );
        serial.set_read_timeout(Some(rest))?;
        let mut bytes = [0; 4096];
        match serial.read(&mut bytes) {
            Ok(0) => anyhow::bail!("the node hung up"),
            Ok(count) => received.extend_from_slice(&bytes[..count]),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The answer in what came over the line, once it is whole: `STX tag LF output ETX status LF`.
fn find_answer(received: &[u8]) -> Option<Answer> {
    let begin = [&[START_OF_TEXT], TAG.as_bytes(), b"\r\n"].concat();
    let start = received.windows(begin.len()).position(|window| window == begin)? + begin.len();
    let rest = &received[start..];
    let end = rest.iter().position(|byte| *byte == END_OF_TEXT)?;
    let status = rest[end + 1..].split(|byte| *byte == b'\r' || *byte == b'\n').next()?;
    if rest.len() <= end + 1 + status.len() {
        return None;
    }
    let output = String::from_utf8_lossy(&rest[..end]).replace("\r\n", "\n");
    Some(Answer { output, status: std::str::from_utf8(status).ok()?.parse().ok()? })
}

/// The terminal, back as it was when this goes away.
struct RawTerminal(Option<Termios>);

impl RawTerminal {
    fn new() -> anyhow::Result<RawTerminal> {
        let Ok(before) = termios::tcgetattr(std::io::stdin()) else { return Ok(RawTerminal(None)) };
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, &raw)?;
        Ok(RawTerminal(Some(before)))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // There is nobody to tell if the terminal is gone.
            let _ = termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, before);
        }
    }
}

const DETACH: u8 = 0x1d;
/// Away with a half-typed line, then the prompt.
const WAKE: &[u8] = b"\x15\r";
/// Away with a half-typed line, then nothing more is drawn.
const SLEEP: &[u8] = b"\x15\x04";

/// Joins the terminal and a node's serial shell until Ctrl-] is typed, or the input or the node ends.
///
/// # Errors
/// If that is not possible.
pub fn attach(socket: &Path, node: u16) -> anyhow::Result<()> {
    let mut serial = connect(socket)?;
    eprintln!("node {node}: Ctrl-] detaches, 'help' lists the commands");
    let terminal = RawTerminal::new()?;
    serial.write_all(WAKE)?;
    let result = relay(&mut serial);
    // The node may be gone.
    let _ = serial.write_all(SLEEP);
    drop(terminal);
    eprintln!();
    result
}

/// How long answers are waited for when the input has ended, as that of a pipe does.
const LAST_WORDS: u16 = 500;

fn relay(serial: &mut UnixStream) -> anyhow::Result<()> {
    let (mut input, mut output) = (std::io::stdin(), std::io::stdout());
    let mut has_input = true;
    let mut bytes = [0; 4096];
    loop {
        let mut ready = vec![PollFd::new(serial.as_fd(), PollFlags::POLLIN)];
        if has_input {
            ready.push(PollFd::new(input.as_fd(), PollFlags::POLLIN));
        }
        let timeout = if has_input { PollTimeout::NONE } else { PollTimeout::from(LAST_WORDS) };
        let count = poll(&mut ready, timeout)?;
        if count == 0 {
            return Ok(());
        }
        let happened =
            |entry: Option<&PollFd<'_>>| entry.is_some_and(|fd| fd.any().unwrap_or(false));
        let (is_output, is_input) = (happened(ready.first()), happened(ready.get(1)));
        if is_output {
            match serial.read(&mut bytes)? {
                0 => anyhow::bail!("the node hung up"),
                count => output.write_all(&bytes[..count])?,
            }
            output.flush()?;
        }
        if is_input {
            let count = input.read(&mut bytes)?;
            has_input = count > 0;
            let typed = &bytes[..count];
            if let Some(end) = typed.iter().position(|byte| *byte == DETACH) {
                serial.write_all(&typed[..end])?;
                return Ok(());
            }
            serial.write_all(typed)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_among_log_lines() {
        let whole = b"[0.1] raft: x\r\n\x02script\r\none\r\ntwo\r\n\x031\r";
        let answer = Answer { output: "one\ntwo\n".into(), status: 1 };
        assert_eq!(find_answer(whole), Some(answer.clone()));
        assert_eq!(find_answer(&[whole, &b"\n[0.2] y\r\n"[..]].concat()), Some(answer));
        for end in 0..whole.len() {
            assert_eq!(find_answer(&whole[..end]), None, "{end}");
        }
        assert_eq!(find_answer(b"\x02other\r\nno\r\n\x030\r\n"), None);
    }
}
