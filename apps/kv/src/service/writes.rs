//! The writes of this node's clients that are under way to the log.
//!
//! Each has a sequence, given once and kept through all tries, so that the machine can tell a
//! repeated try from a new write. Sequences are settled in any order; the lowest that is not is the
//! low water, and a new sequence stays within a window above it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use base::{Instant, limits};
use bytes::Bytes;

use super::ClientId;

/// Where a write is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// To be sent, when its time comes or a leader is found.
    Waiting,
    /// With the present leader.
    Sent,
}

/// A write that is under way.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Whose it is.
    pub client: ClientId,
    /// Which of the client's commands it is.
    pub slot: u64,
    /// The write, encoded.
    pub encoded: Bytes,
    /// When the client is told that there is no answer.
    pub deadline: Instant,
    /// Where it is.
    pub stage: Stage,
    /// How many tries may have come into a log: sent, and not refused since.
    pub unresolved: u32,
    /// When something is to be done about it, at the latest at `deadline`.
    act_at: Instant,
}

/// All writes that are under way.
#[derive(Debug)]
pub struct Writes {
    /// The next sequence to give. Sequences start at 1.
    next: u64,
    /// Invariant: all within [`limits::KV_WRITES_IN_FLIGHT_MAX`] of each other and of `next`.
    pending: BTreeMap<u64, Pending>,
    /// The same, by client, to find a write's predecessor.
    by_client: BTreeSet<(ClientId, u64)>,
    /// The same, by `act_at`. Equal instants are in the order of their sequences.
    agenda: BTreeSet<(Instant, u64)>,
    /// Invariant: the sum of the lengths of what is encoded.
    bytes: usize,
}

impl Writes {
    /// Nothing under way.
    pub fn new() -> Writes {
        Writes {
            next: 1,
            pending: BTreeMap::new(),
            by_client: BTreeSet::new(),
            agenda: BTreeSet::new(),
            bytes: 0,
        }
    }

    /// Every sequence below this is settled: executed here, or given up for good.
    pub fn low_water(&self) -> u64 {
        self.pending.keys().next().copied().unwrap_or(self.next)
    }

    /// How many writes are under way.
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// How many bytes are under way.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a write of so many bytes may start.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.next - self.low_water() < limits::KV_WRITES_IN_FLIGHT_MAX as u64
            && self.bytes + bytes <= limits::KV_WRITES_IN_FLIGHT_MAX_BYTES
    }

    /// Gives a write its sequence; it is to be acted on at once.
    pub fn start(
        &mut self,
        (client, slot): (ClientId, u64),
        encoded: Bytes,
        deadline: Instant,
        now: Instant,
    ) -> u64 {
        assert!(self.has_room(encoded.len()), "the caller asked whether there is room");
        let sequence = self.next;
        self.next += 1;
        self.bytes += encoded.len();
        self.by_client.insert((client, sequence));
        let act_at = now.min(deadline);
        self.agenda.insert((act_at, sequence));
        let stage = Stage::Waiting;
        let pending = Pending { client, slot, encoded, deadline, stage, unresolved: 0, act_at };
        self.pending.insert(sequence, pending);
        sequence
    }

    /// A write that is under way.
    pub fn get(&self, sequence: u64) -> Option<&Pending> {
        self.pending.get(&sequence)
    }

    /// The sequences of all that is under way, in order.
    pub fn sequences(&self) -> Vec<u64> {
        self.pending.keys().copied().collect()
    }

    /// The write of the same client before this one, if it is under way too.
    pub fn predecessor(&self, sequence: u64) -> Option<u64> {
        let client = self.pending.get(&sequence)?.client;
        let earlier = self.by_client.range((client, 0)..(client, sequence));
        earlier.last().map(|&(_, sequence)| sequence)
    }

    /// The write that has been due for longest at `now`, if any is.
    pub fn due(&self, now: Instant) -> Option<u64> {
        self.agenda.first().filter(|(at, _)| *at <= now).map(|&(_, sequence)| sequence)
    }

    /// When something is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.agenda.first().map(|&(at, _)| at)
    }

    /// Notes that a write went to a leader, and when to act on it next.
    pub fn mark_sent(&mut self, sequence: u64, act_at: Instant) {
        self.reschedule(sequence, Stage::Sent, act_at);
        self.pending.get_mut(&sequence).expect("a sent write is pending").unresolved += 1;
    }

    /// Notes that a write is not with a leader, and when to act on it next.
    pub fn postpone(&mut self, sequence: u64, act_at: Instant) {
        self.reschedule(sequence, Stage::Waiting, act_at);
    }

    /// Notes that one try certainly did not come into a log. Answers how many others may have.
    pub fn refuse(&mut self, sequence: u64, act_at: Instant) -> Option<u32> {
        let pending = self.pending.get_mut(&sequence)?;
        pending.unresolved = pending.unresolved.saturating_sub(1);
        let unresolved = pending.unresolved;
        self.reschedule(sequence, Stage::Waiting, act_at);
        Some(unresolved)
    }

    /// There is another leader: everything is to be sent again, in the order of the sequences.
    pub fn rewind(&mut self, now: Instant) {
        self.agenda.clear();
        for (&sequence, pending) in &mut self.pending {
            pending.stage = Stage::Waiting;
            pending.act_at = now.min(pending.deadline);
            self.agenda.insert((pending.act_at, sequence));
        }
    }

    /// A write is executed or given up: forgets it.
    pub fn settle(&mut self, sequence: u64) -> Option<Pending> {
        let pending = self.pending.remove(&sequence)?;
        self.bytes -= pending.encoded.len();
        self.by_client.remove(&(pending.client, sequence));
        self.agenda.remove(&(pending.act_at, sequence));
        Some(pending)
    }

    /// Checks what must always hold.
    ///
    /// # Panics
    /// If it does not.
    pub fn check_invariants(&self) {
        let bytes: usize = self.pending.values().map(|pending| pending.encoded.len()).sum();
        assert_eq!(self.bytes, bytes, "the bytes are the sum of all bytes");
        assert!(bytes <= limits::KV_WRITES_IN_FLIGHT_MAX_BYTES, "the bytes under way have a limit");
        assert!(
            self.next - self.low_water() <= limits::KV_WRITES_IN_FLIGHT_MAX as u64,
            "sequences stay within their window"
        );
        assert_eq!(self.agenda.len(), self.pending.len(), "something is due for every write");
        assert_eq!(self.by_client.len(), self.pending.len(), "every write is its client's");
        for (&sequence, pending) in &self.pending {
            assert!(self.agenda.contains(&(pending.act_at, sequence)), "the agenda is right");
            assert!(pending.act_at <= pending.deadline, "no deadline is missed");
            assert!(
                pending.stage == Stage::Waiting || pending.unresolved > 0,
                "what was sent may be in a log"
            );
        }
    }

    fn reschedule(&mut self, sequence: u64, stage: Stage, act_at: Instant) {
        let pending = self.pending.get_mut(&sequence).expect("the caller knows a pending write");
        self.agenda.remove(&(pending.act_at, sequence));
        pending.stage = stage;
        pending.act_at = act_at.min(pending.deadline);
        self.agenda.insert((pending.act_at, sequence));
    }
}
