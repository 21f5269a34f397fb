//! A packet that lies in several buffers.

use crate::{Frame, Pool};

/// How many frames a chain has at most: 64 KiB in buffers of a page, each with a little less room.
pub const CHAIN_FRAMES_MAX: usize = 17;

/// One packet in several frames, in the order of its bytes; the headers are in the first.
#[derive(Debug)]
pub struct FrameChain {
    /// Invariant: not empty.
    frames: heapless::Vec<Frame, CHAIN_FRAMES_MAX>,
}

impl FrameChain {
    /// A packet that lies in one frame, as most do.
    #[inline]
    pub fn new(first: Frame) -> FrameChain {
        let mut frames = heapless::Vec::new();
        frames.push(first).expect("a chain has room for one");
        FrameChain { frames }
    }

    /// Adds what follows.
    ///
    /// # Errors
    /// The frame, if there are [`CHAIN_FRAMES_MAX`] already.
    pub fn push(&mut self, frame: Frame) -> Result<(), Frame> {
        self.frames.push(frame)
    }

    /// The frames: at least one.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// How many bytes the packet has. (It cannot be empty of frames, but may be of bytes.)
    pub fn bytes(&self) -> usize {
        self.frames.iter().map(|frame| frame.len()).sum()
    }

    /// The frame that holds the packet; `None`, and the packet is gone, if it lies in several.
    pub fn into_single(mut self) -> Option<Frame> {
        let last = self.frames.pop();
        last.filter(|_| self.frames.is_empty())
    }

    /// The packet in one frame: as it lies if it lies in one, and else copied, and counted, into a buffer of
    /// `large`. `None`, and the packet is gone, if that has no buffer, or none that is long enough.
    pub fn into_contiguous(self, large: &Pool) -> Option<Frame> {
        if self.frames.len() == 1 {
            return self.into_single();
        }
        let room = large.allocate_frame();
        let mut whole = room.filter(|room| room.tailroom() >= self.bytes())?;
        self.frames.iter().for_each(|frame| whole.append_copy(frame));
        Some(whole)
    }
}
