//! The vocabulary that every layer above the drivers shares: identities, time, seeded randomness,
//! byte codecs, checksums and the limits.
//!
//! Nothing here reads a clock, draws entropy or performs I/O: time and seeds come in as arguments, so
//! that a node on hardware and a node in the simulator run the same code and give the same outputs.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod checksum;
pub mod codec;
mod id;
pub mod limits;
mod prng;
mod time;

pub use id::{ClusterId, LogIndex, NodeId, Term};
pub use prng::Prng;
pub use time::{Duration, Instant};
