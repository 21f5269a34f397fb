//! What notaries of other nodes have said, until there is time for it.
//!
//! A turn of the node's loop verifies a few signatures, and then its other services go on. What comes in
//! faster waits here, in a queue for each peer, and the peers have their turns: one that floods fills its own
//! queue, and delays the others by one message for each of theirs.

use alloc::collections::{BTreeMap, VecDeque};
use core::ops::Bound;

use base::{NodeId, limits};
use bytes::Bytes;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    queues: BTreeMap<NodeId, Queue>,
    /// Whose turn it was last.
    last: Option<NodeId>,
    bytes: usize,
    dropped: u64,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Bytes>,
    bytes: usize,
}

impl Inbox {
    /// Takes a message, unless too many of this peer wait.
    pub(super) fn push(&mut self, from: NodeId, content: Bytes) {
        let queue = self.queues.entry(from).or_default();
        if queue.messages.len() >= limits::BFT_INBOX_MESSAGES_MAX
            || queue.bytes >= limits::BFT_INBOX_MAX_BYTES
            || self.bytes >= limits::BFT_INBOX_ALL_MAX_BYTES && queue.bytes > 0
        {
            self.dropped += 1;
            return;
        }
        queue.bytes += content.len();
        self.bytes += content.len();
        queue.messages.push_back(content);
    }

    /// The next message: of the peer behind the one whose turn it was, if it has one.
    pub(super) fn pop(&mut self) -> Option<(NodeId, Bytes)> {
        let behind = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let waits = |(id, queue): (&NodeId, &Queue)| (!queue.messages.is_empty()).then_some(*id);
        let next = self.queues.range((behind, Bound::Unbounded)).find_map(waits);
        let next = next.or_else(|| self.queues.iter().find_map(waits))?;
        let queue = self.queues.get_mut(&next)?;
        let content = queue.messages.pop_front()?;
        queue.bytes -= content.len();
        self.bytes -= content.len();
        self.last = Some(next);
        Some((next, content))
    }

    /// How many messages were lost because too many of their sender waited.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.queues.len() < limits::BFT_REPLICAS_MAX, "members alone have queues");
        let bytes = self.queues.values().map(|queue| queue.bytes);
        assert_eq!(self.bytes, bytes.sum::<usize>());
        for queue in self.queues.values() {
            assert!(queue.messages.len() <= limits::BFT_INBOX_MESSAGES_MAX);
            assert_eq!(queue.bytes, queue.messages.iter().map(Bytes::len).sum::<usize>());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u16) -> NodeId {
        NodeId::new(number).unwrap()
    }

    /// One that floods delays each message of another by one of its own, and loses the rest.
    #[test]
    fn peers_have_turns() {
        let mut inbox = Inbox::default();
        for _ in 0..10 * limits::BFT_INBOX_MESSAGES_MAX {
            inbox.push(id(2), Bytes::from_static(b"flood"));
        }
        for at in 0..3 {
            inbox.push(id(1 + 2 * at), Bytes::from_static(b"vote"));
        }
        inbox.push(id(1), Bytes::from_static(b"another"));
        let order: Vec<u16> = (0..7).map(|_| inbox.pop().unwrap().0.get()).collect();
        assert_eq!(order, [1, 2, 3, 5, 1, 2, 2]);
        let rest = core::iter::from_fn(|| inbox.pop()).count();
        assert_eq!(rest, limits::BFT_INBOX_MESSAGES_MAX - 3);
        assert_eq!(inbox.dropped(), 9 * limits::BFT_INBOX_MESSAGES_MAX as u64);
        inbox.check_invariants();
    }

    /// A long message is taken if there is any room, and then no other is.
    #[test]
    fn bytes_are_bounded_too() {
        let mut inbox = Inbox::default();
        let long = Bytes::from(alloc::vec![0; limits::BFT_INBOX_MAX_BYTES]);
        inbox.push(id(1), Bytes::from_static(b"short"));
        inbox.push(id(1), long.clone());
        inbox.push(id(1), Bytes::from_static(b"short"));
        inbox.push(id(2), long);
        let lengths: Vec<usize> =
            core::iter::from_fn(|| inbox.pop()).map(|(_, content)| content.len()).collect();
        let most = limits::BFT_INBOX_MAX_BYTES;
        assert_eq!(lengths, [5, most, most]);
        inbox.check_invariants();
    }
}
