//! A frame on its way through the switch.
//!
//! It stays where its sender wrote it, and is copied once: into the memory of whoever gets it. That one copy
//! is the price of machines that cannot see each other's memory. The sender may still write there meanwhile,
//! so what decisions rest on, the Ethernet header, is read once and kept; the rest nobody here believes.

mod scatter;

pub use scatter::{PIECES_MAX, Scatter};

use vm_memory::VolatileSlice;

use crate::FRAME_MIN_BYTES;

/// A frame: its Ethernet header as it was read, and all of it as it stands in memory.
#[derive(Debug)]
pub struct Packet<'p, 'm> {
    /// The Ethernet header.
    pub ethernet: [u8; FRAME_MIN_BYTES],
    /// The whole frame.
    pub content: &'p Scatter<'m>,
}

impl<'p, 'm> Packet<'p, 'm> {
    /// The frame in `content`; `None` if it is shorter than its header.
    pub fn new(content: &'p Scatter<'m>) -> Option<Packet<'p, 'm>> {
        Some(Packet { ethernet: content.peek()?, content })
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.content.len()
    }

    /// It has a header at least.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// A copy that needs nobody's memory.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len());
        self.content.append_to(&mut bytes);
        bytes
    }
}

/// Does something with a frame that is in memory of our own.
///
/// # Panics
/// If it is shorter than its header.
pub fn with_packet<R>(bytes: &mut [u8], act: impl FnOnce(&Packet<'_, '_>) -> R) -> R {
    let mut content = Scatter::default();
    content.push(VolatileSlice::from(bytes)).expect("one piece");
    act(&Packet::new(&content).expect("frames have a header"))
}
