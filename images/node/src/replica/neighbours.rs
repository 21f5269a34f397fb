//! What the node's other services say to those of other nodes: the links are the replica's.

use base::{Instant, NodeId};
use bytes::Bytes;
use wire::{Lane, ServiceId, TraceContext};

use super::Replica;

/// What notaries say is urgent unless it is longer than this: votes, certificates and short proposals.
const URGENT_MAX_BYTES: usize = 4 * 1024;

/// With more than this waiting for a peer, it gets no more: 31 that stand still must not fill the memory.
const NOTARY_QUEUE_MAX_BYTES: usize = 256 * 1024;

impl Replica {
    /// Sends a message to a peer's key-value service. It may be lost.
    pub(crate) fn send_kv(&mut self, to: NodeId, content: Bytes, now: Instant) {
        if let Some(member) = &mut self.member {
            let trace = TraceContext::default();
            // A full queue loses the message, which its sender survives: it tries again.
            let _ = member.links.send(to, ServiceId::Kv, Lane::Bulk, trace, content, now);
        }
    }

    /// Sends a message to a peer's notary. It may be lost.
    pub(crate) fn send_notary(&mut self, to: NodeId, content: Bytes, now: Instant) {
        let Some(member) = &mut self.member else { return };
        if member.links.queued_bytes(to) > NOTARY_QUEUE_MAX_BYTES {
            return;
        }
        let (service, trace) = (ServiceId::Bft, TraceContext::default());
        let lane = if content.len() <= URGENT_MAX_BYTES { Lane::Urgent } else { Lane::Bulk };
        // A full queue loses the message, which consensus survives.
        let _ = member.links.send(to, service, lane, trace, content, now);
    }

    /// Sends a message to a peer's notary that nobody acknowledges: as fast as the card takes them.
    #[cfg(feature = "adversary")]
    pub(crate) fn send_unbidden(&mut self, to: NodeId, content: Bytes) {
        let Some(member) = &mut self.member else { return };
        // What is too much is lost: there is more.
        let _ = member.links.send_datagram(to, ServiceId::Bft, TraceContext::default(), content);
    }
}
