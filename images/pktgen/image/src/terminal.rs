//! The console on the serial port. Nobody waits for the port: what it does not take now, it takes later.
//!
//! A Unix socket holds some hundred bytes that were written one by one; when it is full, QEMU's main loop has
//! to find out that there is room again, for which a busy host may take long. An answer of which the end was
//! given up would look as if there were none.

use alloc::format;
use alloc::vec::Vec;
use core::fmt::Display;

use base::{Duration, Instant};
use pktgen::{Station, commands};
use platform::clock::Clock;
use platform::power::{self, Exit};
use platform::serial::Serial;
use shell::Console;

/// How soon the port is looked at again that had no room.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(5);

/// See the module.
pub(crate) struct Terminal {
    console: Console,
    serial: Serial,
    /// What the port has not taken yet.
    unsent: Vec<u8>,
}

impl Terminal {
    /// Says a first line.
    pub(crate) fn new(greeting: &dyn Display) -> Terminal {
        let mut console = commands::console();
        console.print_log(&format!("pktgen: {greeting}; 'help' lists what it can do"));
        let (serial, unsent) = (Serial::new(), Vec::new());
        let mut terminal = Terminal { console, serial, unsent };
        terminal.send();
        terminal
    }

    /// Answers what was typed, which waits until the last answer has left. True if nothing was.
    pub(crate) fn serve(&mut self, station: &mut Station, clock: Clock) -> bool {
        self.send();
        if !self.unsent.is_empty() {
            return true;
        }
        let mut bytes = [0; 64];
        let count = self.serial.read(&mut bytes);
        self.console.handle_bytes(&bytes[..count]);
        while let Some(line) = self.console.poll_line() {
            let is_over = commands::execute(&line, &mut self.console, station, clock.now());
            self.send();
            if is_over {
                self.serial.write_all(&self.unsent);
                power::exit(Exit::PowerOff)
            }
        }
        self.send();
        count == 0
    }

    /// When to serve again, if something waits to be sent.
    pub(crate) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        (!self.unsent.is_empty()).then_some(now + TRY_AGAIN_AFTER)
    }

    fn send(&mut self) {
        while let Some(output) = self.console.poll_output() {
            self.unsent.extend_from_slice(&output);
        }
        let count = self.serial.write(&self.unsent);
        self.unsent.drain(..count);
    }
}
