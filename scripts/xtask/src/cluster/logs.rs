//! What a node has said on its serial line, for people: without what programs asked on the same line.

use std::io::{Read, Seek, SeekFrom, Write};
use std::time::Duration;

use anyhow::Context;

use super::console::{END_OF_TEXT, START_OF_TEXT};
use super::machine;
use crate::interrupt;

/// How often a log that is followed is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Prints the log of a node; goes on with `follow` until somebody interrupts.
///
/// # Errors
/// If the node has never run, or the log cannot be read.
pub(super) fn show(node: u16, follow: bool) -> anyhow::Result<()> {
    let path = machine::serial_log(node);
    let mut file = std::fs::File::open(&path).context("the node has never run")?;
    let mut output = std::io::stdout();
    interrupt::watch()?;
    let (mut place, mut filter) = (0, Filter::default());
    loop {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(place))?;
        file.read_to_end(&mut bytes)?;
        place += bytes.len() as u64;
        bytes.retain(|byte| filter.keeps(*byte));
        output.write_all(&bytes)?;
        output.flush()?;
        if !follow || interrupt::check().is_err() {
            return Ok(());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Where in the log we are.
#[derive(Default)]
enum Filter {
    /// Among what people read.
    #[default]
    Text,
    /// In the answer to a program, which begins with STX.
    Answer,
    /// In its last line, the status behind ETX.
    Status,
}

impl Filter {
    /// Whether the next byte is for people.
    fn keeps(&mut self, byte: u8) -> bool {
        let (keeps, next) = match (&self, byte) {
            (Filter::Text, START_OF_TEXT) => (false, Filter::Answer),
            (Filter::Text, byte) => (byte != b'\r', Filter::Text),
            (Filter::Answer, END_OF_TEXT) => (false, Filter::Status),
            (Filter::Answer, _) => (false, Filter::Answer),
            (Filter::Status, b'\n') => (false, Filter::Text),
            (Filter::Status, _) => (false, Filter::Status),
        };
        *self = next;
        keeps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_to_programs_are_left_out() {
        let mut bytes = b"one\r\n\x02script\r\nanswer\r\n\x030\r\ntwo\r\n\x02script\r\n".to_vec();
        let mut filter = Filter::default();
        bytes.retain(|byte| filter.keeps(*byte));
        assert_eq!(bytes, b"one\ntwo\n");
    }
}
