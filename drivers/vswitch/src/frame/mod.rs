//! A frame on its way through the switch.
//!
//! It stays where its sender wrote it, and is copied once: into the memory of whoever gets it. That one copy
//! is the price of machines that cannot see each other's memory. The sender may still write there meanwhile,
//! so what decisions rest on, the Ethernet header and the card's, is read once and kept; the rest nobody here
//! believes.
//!
//! It is copied once more where it cannot stay: when it waits for a machine without buffers or on a delayed
//! way ([`Stored`]), when something is done to it that its receiver's card does not do ([`Completer`], where
//! cut segments are copied again), and when it comes from or goes to a socket, through memory of ours on
//! either side. These bytes are counted ([`crate::statistics::Statistics::copied`]), at the port that they
//! are for, or, from a socket, at the port that they come from. What a capture copies is not.

mod complete;
mod framing;
mod scatter;

pub use complete::Completer;
pub use framing::{Deframer, INPUT_BYTES, LENGTH_BYTES, NoLength};
pub use scatter::{PIECES_MAX, Scatter};

use virtio::net::{Checksum, HEADER_BYTES, Header};
use vm_memory::VolatileSlice;

use crate::FRAME_MIN_BYTES;

/// A frame: its two headers as they were read, and all of it as it stands in memory.
#[derive(Debug)]
pub struct Packet<'p, 'm> {
    /// What its sender has left for others to do.
    pub header: Header,
    /// The Ethernet header.
    pub ethernet: [u8; FRAME_MIN_BYTES],
    /// The whole frame, without the card's header.
    pub content: &'p Scatter<'m>,
}

impl<'p, 'm> Packet<'p, 'm> {
    /// The frame in `content`; `None` if it is shorter than its header.
    pub fn new(header: Header, content: &'p Scatter<'m>) -> Option<Packet<'p, 'm>> {
        Some(Packet { header, ethernet: content.peek()?, content })
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.content.len()
    }

    /// It has a header at least.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Whether nothing is left to do.
    pub fn is_complete(&self) -> bool {
        let is_checked = !matches!(self.header.checksum, Checksum::Partial(_));
        is_checked && self.header.segmentation.is_none()
    }

    /// A copy of the frame that needs nobody's memory.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.len());
        self.content.append_to(&mut bytes);
        bytes
    }

    /// As [`Packet::to_vec`], with the checksum that the sender has left to its card, if it fits the frame.
    pub fn to_checked_vec(&self) -> Vec<u8> {
        let mut bytes = self.to_vec();
        if let Checksum::Partial(checksum) = self.header.checksum {
            // A frame that is not what its header says stays as it is, for people to look at.
            let _ = complete::fill(&mut bytes, checksum);
        }
        bytes
    }
}

/// A frame that waits, with the card's header before it. The memory can be used again.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Stored(Vec<u8>);

impl Stored {
    /// Keeps a copy of a frame.
    pub fn set(&mut self, packet: &Packet<'_, '_>) {
        let mut header = [0; HEADER_BYTES];
        packet.header.emit(&mut header);
        self.0.clear();
        self.0.extend(header);
        packet.content.append_to(&mut self.0);
    }

    /// How many bytes the frame has.
    #[allow(clippy::len_without_is_empty, reason = "a frame has a header")]
    pub fn len(&self) -> usize {
        self.0.len().saturating_sub(HEADER_BYTES)
    }

    /// How much memory it has.
    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// Does something with the frame.
    ///
    /// # Panics
    /// If none was kept.
    pub fn with<R>(&mut self, act: impl FnOnce(&Packet<'_, '_>) -> R) -> R {
        let (header, frame) = self.0.split_first_chunk_mut().expect("a frame was kept");
        let header = Header::parse(header).expect("it was one when it was kept");
        with_frame(header, frame, act)
    }
}

/// Does something with a frame that is in memory of our own, and of which nothing is left to do.
///
/// # Panics
/// If it is shorter than its header.
pub fn with_packet<R>(bytes: &mut [u8], act: impl FnOnce(&Packet<'_, '_>) -> R) -> R {
    with_frame(Header::PLAIN, bytes, act)
}

fn with_frame<R>(header: Header, bytes: &mut [u8], act: impl FnOnce(&Packet<'_, '_>) -> R) -> R {
    let mut content = Scatter::default();
    content.push(VolatileSlice::from(bytes)).expect("one piece");
    act(&Packet::new(header, &content).expect("frames have a header"))
}
