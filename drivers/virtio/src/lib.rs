//! Drivers for virtio network cards and disks, on a ring of our own (Virtio 1.3).
//!
//! From hardware to packets, one module per step:
//!
//! 1. [`transport`] finds devices and reaches their registers. The trait, the types and the transport for
//!    memory-mapped devices are those of the `virtio-drivers` crate; the transport for PCI is ours, because
//!    the crate's has no MSI-X, touches three registers for a kick, and waits without bound.
//! 2. [`queue`] is the virtqueue, split or packed: buffers go in with their owner's token, tokens come out
//!    again.
//! 3. [`net`] and [`blk`] are the drivers: bursts of frames, and requests to a disk.
//!
//! The device is not trusted. Whatever it writes into a ring is checked against the driver's own records
//! before use; a device that breaks the rules is reset, reported as a [`Fault`], and never used again. (A
//! card that asks for a reset is another matter: it is started again.)
//! What cannot be defended is the content of buffers: a device can reach all memory.
//!
//! Buffers are never lost and never doubled: they come back to their pool when the device has confirmed
//! its reset, and only if it never does they stay away, for the device may still write to them.
#![cfg_attr(not(test), no_std)]

extern crate alloc;
#[cfg(feature = "fake")]
extern crate std;

pub mod blk;
mod device;
#[cfg(feature = "fake")]
pub mod fake;
mod memory;
pub mod net;
pub mod queue;
pub mod transport;

pub use blk::VirtioBlk;
pub use device::{Fault, InitError};
pub use net::{VirtioCard, VirtioNet};

// Rings and headers are little-endian, and are written as they lie in memory.
const _: () = assert!(cfg!(target_endian = "little"));
