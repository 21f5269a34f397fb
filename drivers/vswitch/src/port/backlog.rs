//! Frames for a machine that has no buffers now.

use std::collections::VecDeque;

use crate::frame::{Packet, Stored};
use crate::{BACKLOG_BYTES, BACKLOG_FRAMES};

/// For how many frames memory is kept, and how much: what the longest ones needed is not kept for all.
const SPARE_FRAMES: usize = 1_024;
const SPARE_BYTES: usize = BACKLOG_BYTES;

/// Frames that wait, in the order in which they came. Memory is used again, so that a machine that is always
/// a little late does not cost an allocation for each frame.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    frames: VecDeque<Stored>,
    spare: Vec<Stored>,
    spare_bytes: usize,
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
        self.spare_bytes -= frame.capacity();
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
        let spare_bytes = self.spare_bytes + frame.capacity();
        if self.spare.len() < SPARE_FRAMES && spare_bytes <= SPARE_BYTES {
            self.spare_bytes = spare_bytes;
            self.spare.push(frame);
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Backlog::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LARGE_MAX_BYTES;
    use crate::frame::with_packet;

    #[test]
    fn what_is_kept_for_later_frames_is_bounded() {
        let mut backlog = Backlog::default();
        // Waves of long and short frames: memory of the long ones is used again for short ones.
        for wave in 0..200 {
            let bytes = if wave % 2 == 0 { LARGE_MAX_BYTES } else { 60 };
            while with_packet(&mut vec![2; bytes], |packet| backlog.push(packet)) {}
            while !backlog.is_empty() {
                backlog.pop();
            }
            let kept: usize = backlog.spare.iter().map(Stored::capacity).sum();
            assert_eq!((kept, backlog.bytes), (backlog.spare_bytes, 0));
            assert!(kept <= SPARE_BYTES && !backlog.spare.is_empty(), "{kept} bytes");
        }
    }
}
