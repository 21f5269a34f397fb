//! Buffers that devices read and write directly: allocated once, moved by ownership, never copied.
//!
//! A [`Pool`] is a run of equal, page-aligned buffers in memory whose device address is known. Taking a
//! buffer gives a [`PacketBuffer`]: whoever holds it owns the bytes, and dropping it gives the bytes back.
//! A [`Frame`] is a buffer and the window of it that holds a packet, with headroom in front for headers
//! (the virtio header above all), so that a header never costs a second descriptor or a copy. A packet that
//! a card has put into several is a [`FrameChain`].
//!
//! How long the buffers are is the pool's affair: one of pages for what a network carries, a small one of
//! [`LARGE_BUFFER_BYTES`] for what a card cuts into packets.
//!
//! Packets and disk blocks alike travel in these buffers; each kind has a pool of its own, so that a
//! flood of one never starves the other.
//!
//! Running out is an ordinary event: [`Pool::allocate`] answers `None` and counts it.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod buffer;
mod chain;
mod frame;
mod pool;
mod region;
mod returns;

pub use buffer::PacketBuffer;
pub use chain::{CHAIN_FRAMES_MAX, FrameChain};
pub use frame::Frame;
pub use pool::{Burst, Pool, PoolStatistics};
pub use region::Region;
pub use returns::Returns;

/// The unit of alignment: every buffer starts on a page and is a whole number of pages.
pub const PAGE_BYTES: usize = 4096;

/// Where a packet starts in a fresh [`Frame`]: room in front for the device's header and one more layer.
pub const HEADROOM_BYTES: usize = 128;

/// How long a buffer must be for the longest packet of IP, 64 KiB, behind the headroom.
pub const LARGE_BUFFER_BYTES: usize = 17 * PAGE_BYTES;

/// How many buffers are taken or given back at most under one lock.
pub const BURST: usize = 32;

// Ethernet's header with a tag, that of IPv6, and the longest payload behind it.
const _: () = assert!(HEADROOM_BYTES + 18 + 40 + 65_535 <= LARGE_BUFFER_BYTES);
// A packet of that length fits into a chain of pages that lack their headroom.
const _: () = assert!(18 + 40 + 65_535 <= CHAIN_FRAMES_MAX * (PAGE_BYTES - HEADROOM_BYTES));
