//! The key-value service: Redis commands in, a replicated log between, replies out.
//!
//! ```text
//! bytes -> resp::Parser -> Command -> KvService -> Output::Propose / Forward -> (the log)
//!                                         ^                                        |
//! bytes <- Connection <- Reply <----------+------------ KvMachine <- handle_applied+
//! ```
//!
//! Reading order: [`command`] (what can be asked), [`machine`] (what a command does, the same on
//! every node), [`service`] (how a command gets through the log exactly once, or a read past it),
//! [`resp`] and [`Connection`] (bytes).
//!
//! The crate knows no consensus protocol: it hands out payloads to be proposed, and is told which
//! were committed, in order. It reads no clock and owns no socket.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod command;
mod connection;
mod glob;
mod hash;
pub mod machine;
mod mutant;
mod output;
pub mod resp;
pub mod service;

pub use command::{Command, CommandError};
pub use connection::Connection;
pub use machine::KvMachine;
pub use mutant::Mutant;
pub use resp::Reply;
pub use service::KvService;
