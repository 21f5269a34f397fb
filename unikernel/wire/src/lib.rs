//! The envelope: what is in front of the content of every frame between two nodes.
//!
//! As in smoltcp, a message has two views: [`Packet`] is a window over bytes, [`Repr`] is the value that a
//! program wants. [`Packet::new_checked`] accepts only whole frames of this version whose checksum holds;
//! after that no accessor panics. Whether a frame is for *us* is a question of its own: [`Packet::admit`].
//! Every refusal has a name, for an operator needs to know whether it is noise, a replay, or another cluster.
//!
//! ```text
//!  0  version      1  kind      2  service     3  flags (1 first, 2 last fragment)
//!  4  source (u16)              6  destination (u16)
//!  8  cluster (u64)
//! 16  epoch of the source (u32)               20  stream of the source (u32)
//! 24  epoch of the destination, 0 if unknown  28  lane (u8), zero (u8), length of the content (u16)
//! 32  sequence (u32)                          36  acknowledged stream (u32)
//! 40  next sequence wanted (u32)              44  which of the 32 behind it are here (u32)
//! 48  length of the message (u32)             52  place of the content in it (u32)
//! 56  trace id (u128)                         72  span id (u64)
//! 80  trace flags (u8), zero (3)              84  nonce of the source (u32)
//! 88  nonce of the destination, 0 if unknown  92  CRC-32C of everything else, content included (u32)
//! ```
//!
//! The epoch counts a node's starts; the nonce is drawn anew at each. Two machines that were given the same
//! number, and have started equally often, differ in nothing else.
//!
//! All numbers are little-endian.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod packet;
mod repr;

pub use packet::{HEADER_BYTES, Packet, Refusal};
pub use repr::{Kind, Lane, Repr, ServiceId, TraceContext};

/// The version that this program speaks. Frames of another are refused.
pub const VERSION: u8 = 2;
