//! Frames for a machine that has no buffers now.

use std::collections::VecDeque;

use crate::BACKLOG_FRAMES;
use crate::frame::{Packet, Stored};

/// Frames that wait, in the order in which they came. Memory is used again, so that a machine that is always
/// a little late does not cost an allocation for each frame.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    frames: VecDeque<Stored>,
    spare: Vec<Stored>,
}

impl Backlog {
    /// Keeps a copy; false if there are too many.
    #[must_use]
    pub(super) fn push(&mut self, packet: &Packet<'_, '_>) -> bool {
        if self.frames.len() == BACKLOG_FRAMES {
            return false;
        }
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
        self.spare.extend(self.frames.pop_front());
    }

    pub(super) fn clear(&mut self) {
        self.frames.clear();
        self.spare.clear();
    }
}
