//! A shell on a serial line: what a person types and sees, and what a program asks over the same line. It
//! knows no command: a table of them comes from above, and a line that is complete goes up as text.
//!
//! - [`console`] is the whole: bytes in, lines and bytes out. Log lines never garble the line being typed.
//! - [`keys`] makes keys of bytes, [`editor`] a line of keys, [`history`] remembers lines.
//! - [`commands`] matches a line against a table, completes it, and writes help.
//! - [`words`] takes a line apart.
//! - [`report`] is what a command answers: text for people, JSON for programs, from the same data.
//!
//! # Programs on the line
//! A program need not take screens apart. It sends a request, which leaves alone the line that a person
//! types:
//!
//! ```text
//! RS tag SP command LF               tag: 1 to 16 of 0-9 a-z
//! STX tag LF output ETX status LF     status: 0, or 1 if the command failed, 2 if it was not understood
//! ```
//!
//! RS, STX and ETX are the bytes 30, 2 and 3; they occur nowhere else. Log lines come between answers, never
//! within one.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod commands;
pub mod console;
pub mod editor;
pub mod history;
pub mod keys;
pub mod report;
pub mod words;

pub use commands::{Command, CommandTable, Match};
pub use console::{Console, Line, Source};
pub use report::{Listing, Record, Report, Value};
