//! Buffers that devices read and write directly: allocated once, moved by ownership, never copied.
//!
//! A [`Pool`] is a run of equal, page-aligned buffers in memory whose device address is known. Taking a
//! buffer gives a [`PacketBuffer`]: whoever holds it owns the bytes, and dropping it gives the bytes back.
//! A [`Frame`] is a buffer and the window of it that holds a packet, with headroom in front for headers
//! (the virtio header above all), so that a header never costs a second descriptor or a copy.
//!
//! Packets and disk blocks alike travel in these buffers; each kind has a pool of its own, so that a
//! flood of one never starves the other.
//!
//! Running out is an ordinary event: [`Pool::allocate`] answers `None` and counts it.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod buffer;
mod frame;
mod pool;
mod region;

pub use buffer::PacketBuffer;
pub use frame::Frame;
pub use pool::{Pool, PoolStatistics};
pub use region::Region;

/// The unit of alignment: every buffer starts on a page and is a whole number of pages.
pub const PAGE_BYTES: usize = 4096;

/// Where a packet starts in a fresh [`Frame`]: room in front for the device's header and one more layer.
pub const HEADROOM_BYTES: usize = 128;
