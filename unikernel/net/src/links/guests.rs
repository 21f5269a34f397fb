//! Who has a link without being a peer, and until when.

use alloc::collections::BTreeMap;

use base::{Duration, Instant, NodeId, limits};

/// A guest that has been silent for so long is forgotten.
const PATIENCE: Duration = Duration::from_millis(limits::LINK_GUEST_SILENT_MS);

/// The guests.
#[derive(Clone, Debug, Default)]
pub(super) struct Guests {
    /// When each of them will have been silent for too long. Invariant: at most `LINK_GUESTS_MAX`.
    until: BTreeMap<NodeId, Instant>,
}

impl Guests {
    /// Makes a node a guest, if there is room for one more.
    pub(super) fn admit(&mut self, id: NodeId, now: Instant) -> bool {
        let has_room = self.until.len() < limits::LINK_GUESTS_MAX;
        if has_room {
            self.until.insert(id, now + PATIENCE);
        }
        has_room
    }

    /// A guest has said something.
    pub(super) fn note_heard(&mut self, id: NodeId, now: Instant) {
        self.until.insert(id, now + PATIENCE);
    }

    pub(super) fn contains(&self, id: NodeId) -> bool {
        self.until.contains_key(&id)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = NodeId> {
        self.until.keys().copied()
    }

    /// It is no guest any more, but a peer.
    pub(super) fn remove(&mut self, id: NodeId) {
        self.until.remove(&id);
    }

    /// A guest that has been silent for too long. It is none any more.
    pub(super) fn take_silent(&mut self, now: Instant) -> Option<NodeId> {
        let (&id, _) = self.until.iter().find(|(_, until)| **until <= now)?;
        self.until.remove(&id);
        Some(id)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.until.values().min().copied()
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.until.len() <= limits::LINK_GUESTS_MAX);
    }
}
