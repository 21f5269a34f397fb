//! Virtqueues, split and packed (Virtio 1.3, sections 2.7 and 2.8): how buffers reach a device and come back.
//!
//! The two formats differ in memory, not in what they do; [`Queue`] is either. A ring is packed where whoever
//! runs the machine wants that (QEMU: `-global virtio-net-pci.packed=on`, and the same for `virtio-blk-pci`).
//!
//! A buffer goes in as a chain of [`Segment`]s together with a *token*, the value that owns the memory.
//! The token rests in a table beside the ring until the device has used the chain, and comes out in a
//! [`Completion`], in whatever order the device likes.
//!
//! Three things make the ring cheap. What is added is not shown to the device before [`Queue::publish`], once
//! per burst, which says whether the device wants a notification. Completions are looked for in memory, not
//! by interrupt: [`Queue::arm`] asks for an interrupt only when the driver is about to sleep. And the
//! device's index is read again only when everything that it last announced has been taken (split), or
//! there is none (packed).
//!
//! Two things make it safe. Nothing that is needed to find or free a chain is read back from memory that
//! the device can write. And every number of the device is checked: what it breaks is a [`QueueError`].

#[cfg(test)]
mod bursts;
mod either;
mod event;
mod layout;
mod packed;
mod packed_ring;
#[cfg(test)]
mod races;
mod ring;
mod slots;
mod split;
#[cfg(test)]
mod tests;

use core::fmt;

pub use either::{Queue, RingFormat};
pub use event::notification_wanted;
pub use layout::{RingLayout, SIZE_MAX};
pub use packed::PackedQueue;
pub use split::SplitQueue;

/// What a device must be told to find a ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RingAddresses {
    /// Of the descriptors.
    pub descriptors: u64,
    /// Of the driver's part: the available ring, or the event word of the driver.
    pub driver: u64,
    /// Of the device's part: the used ring, or the event word of the device.
    pub device: u64,
}

/// Who uses a segment, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// The device only reads it.
    DeviceReads,
    /// The device only writes it.
    DeviceWrites,
}

/// A run of memory for the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// The device's address of its first byte.
    pub address: u64,
    /// How many bytes.
    pub length: u32,
    /// What the device does with it.
    pub direction: Direction,
}

impl Segment {
    /// How many bytes the device may write.
    #[inline]
    fn writable_bytes(&self) -> u32 {
        match self.direction {
            Direction::DeviceReads => 0,
            Direction::DeviceWrites => self.length,
        }
    }
}

/// How the two sides tell each other that they need no notification.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Suppression {
    /// By an index: "when you pass this one" (`VIRTIO_F_EVENT_IDX`).
    EventIndex,
    /// By a flag: "not at all".
    Flags,
}

/// A chain that the device has used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Completion<T> {
    /// What owns the memory.
    pub token: T,
    /// How many bytes the device says it wrote; at most as many as it was given to write.
    pub written: u32,
}

/// How a device broke the rules of the ring. Nothing it says afterwards is believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QueueError {
    /// It announces more completions than there are chains in its hands.
    IndexJump,
    /// It completes a descriptor that does not exist.
    UnknownDescriptor,
    /// It completes a descriptor that is not the head of a chain in its hands: never given, or given back
    /// before.
    NotOutstanding,
    /// It claims to have written more than it was given to write.
    TooLong,
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            QueueError::IndexJump => "the device announces more completions than requests",
            QueueError::UnknownDescriptor => {
                "the device completes a descriptor that does not exist"
            }
            QueueError::NotOutstanding => "the device completes a descriptor that it does not hold",
            QueueError::TooLong => "the device claims to have written beyond a buffer",
        })
    }
}

impl core::error::Error for QueueError {}
