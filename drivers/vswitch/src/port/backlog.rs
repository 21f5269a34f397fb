//! Frames for a machine that has no buffers now.

use std::collections::VecDeque;

use crate::frame::{Packet, Stored};
use crate::{BACKLOG_BYTES, BACKLOG_FRAMES};

/// For how many frames memory is kept.
const SPARE_FRAMES: usize = 1_024;

/// Frames that wait, in the order in which they came. Memory is used again, so that a machine that is always
/// a little late does not cost an allocation for each frame.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    frames: VecDeque<Stored>,
    spare: Vec<Stored>,
    bytes: usize,
}

impl Backlog {
    /// Keeps a copy; false if there are too many.
    #[must_use]
    pub(super) fn push(&mut self, packet: &Packet<'_, '_>) -> bool {
        let bytes = self.bytes + packet.len();
        if self.frames.len() == BACKLOG_FRAMES || bytes > BACKLOG_BYTES {
            return false;
        }
        self.bytes = bytes;
        let mut frame = self.spare.pop().unwrap_or_default();
        frame.set(packet);
        self.frames.push_back(frame);
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(super) fn front_mut(&mut self) -> Option<&mut Stored> {
        self.frames.front_mut()
    }

    /// The first one is no longer needed.
    pub(super) fn pop(&mut self) {
        let Some(frame) = self.frames.pop_front() else { return };
        self.bytes -= frame.len();
        // What is kept for the next ones is no more than what may wait at once.
        if self.spare.len() < SPARE_FRAMES {
            self.spare.push(frame);
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Backlog::default();
    }
}
