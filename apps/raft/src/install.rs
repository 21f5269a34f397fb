//! How a follower takes a snapshot: the caller stores part after part, verifies and installs the whole, and
//! the log begins anew behind it.
//!
//! From the moment that the caller has the last part until it says what came of it, this member takes no
//! entries, learns of no commitment that reaches the snapshot, and does not stand: the state that the
//! caller is about to have must not be older than what this member counts as applied.

use alloc::boxed::Box;

use base::{LogIndex, NodeId, Term};
use bytes::Bytes;

use crate::damage::Damage;
use crate::message::{Message, SnapshotMeta};
use crate::node::{FetchPurpose, RaftNode, Role};
use crate::output::{Event, Output};

/// A part of a snapshot, as a peer has sent it.
pub(crate) struct Part {
    pub(crate) meta: SnapshotMeta,
    /// How long the whole is.
    pub(crate) total_bytes: u64,
    /// Where the part begins.
    pub(crate) offset: u64,
    pub(crate) bytes: Bytes,
}

impl Part {
    /// Where it ends; `None` if no correct member sends it.
    fn end(&self) -> Option<u64> {
        let end = self.offset.checked_add(self.bytes.len() as u64)?;
        let is_sound = !self.bytes.is_empty() && self.meta.configuration.is_valid();
        (is_sound && end <= self.total_bytes).then_some(end)
    }
}

/// A snapshot that comes in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Receiving {
    index: LogIndex,
    term: Term,
    total: u64,
    /// The caller was given everything before.
    given: u64,
    /// The caller has stored everything before.
    ///
    /// Invariant: `stored <= given <= total`.
    stored: u64,
    /// A leader sends it of its own accord.
    is_pushed: bool,
}

impl Receiving {
    fn new(part: &Part, is_pushed: bool) -> Receiving {
        let (index, term, total) = (part.meta.index, part.meta.term, part.total_bytes);
        Receiving { index, term, total, given: 0, stored: 0, is_pushed }
    }

    fn is_of(&self, meta: &SnapshotMeta) -> bool {
        (self.index, self.term) == (meta.index, meta.term)
    }

    /// The caller has all of it, and verifies and installs it.
    fn is_complete(&self) -> bool {
        self.given == self.total
    }

    /// The caller has stored everything before.
    pub(crate) fn stored(&self) -> u64 {
        self.stored
    }

    /// A leader sends it of its own accord.
    pub(crate) fn is_pushed(&self) -> bool {
        self.is_pushed
    }

    pub(crate) fn check_invariants(&self) {
        assert!(self.stored <= self.given && self.given <= self.total);
    }
}

impl RaftNode {
    /// The snapshot that the caller is installing ends here.
    pub(crate) fn installing(&self) -> Option<LogIndex> {
        let receiving = self.receiving.as_ref().filter(|receiving| receiving.is_complete());
        receiving.map(|receiving| receiving.index)
    }

    /// A part of a snapshot has come from the leader.
    pub(crate) fn handle_snapshot(&mut self, from: NodeId, part: Part) {
        if self.installing().is_some() {
            return;
        }
        let snapshot = (part.meta.index, part.meta.term);
        if snapshot.0 <= self.commit && !self.is_cured_by(snapshot.0) {
            // It is of no use any more: all of it is here already (pitfall 28).
            self.receiving = None;
            self.answer_snapshot(from, snapshot, part.total_bytes);
            return;
        }
        if !self.take_part(part, true)
            && let Some(stored) = self.receiving.as_ref().map(|receiving| receiving.stored)
        {
            self.answer_snapshot(from, snapshot, stored);
        }
    }

    /// A part of a snapshot goes to the caller; false if it does not fit behind what the caller has.
    pub(crate) fn take_part(&mut self, part: Part, is_pushed: bool) -> bool {
        let Some(end) = part.end() else {
            self.counters.malformed += 1;
            return true;
        };
        let is_known =
            |known: &Receiving| known.is_of(&part.meta) && known.total == part.total_bytes;
        if !self.receiving.as_ref().is_some_and(is_known) {
            self.receiving = Some(Receiving::new(&part, is_pushed));
        }
        let Some(receiving) = &mut self.receiving else { return false };
        let fits = part.offset == receiving.given;
        if fits {
            receiving.given = end;
            self.counters.snapshot_parts_stored += 1;
            let Part { meta, total_bytes, offset, bytes } = part;
            let meta = Box::new(meta);
            self.outputs.push_back(Output::StoreSnapshot { meta, total_bytes, offset, bytes });
        }
        fits
    }

    /// Whether a snapshot that ends here stands for an entry that is damaged, and not applied yet, or for a
    /// state that is lost. All of it may be committed: nobody else may have the entry any more but in a
    /// snapshot.
    fn is_cured_by(&self, index: LogIndex) -> bool {
        if let Some(recall) = &self.recall {
            return index >= recall.index;
        }
        let is_missing = self.damage.first().is_some_and(|damaged| damaged <= index);
        is_missing && index > self.applying.applied()
    }

    fn answer_snapshot(&mut self, to: NodeId, (index, term): (LogIndex, Term), next_offset: u64) {
        let reply = Message::SnapshotAccepted {
            term: self.hard_state.term,
            index,
            snapshot_term: term,
            next_offset,
        };
        self.persistence.withhold(to, reply, &self.log);
    }

    /// Tells the leader, if there is one, how far this snapshot has come.
    fn tell_leader_of_snapshot(&mut self, meta: &SnapshotMeta, next_offset: u64) {
        if let Role::Follower { leader: Some(leader) } = self.role {
            self.answer_snapshot(leader, (meta.index, meta.term), next_offset);
        }
    }

    /// The caller has stored the part that ends at `offset_end`, and all before it, durably. After the last
    /// part it verifies and installs the whole, after all writes that it was asked for before, and says what
    /// came of that.
    pub fn handle_snapshot_stored(&mut self, meta: &SnapshotMeta, offset_end: u64) {
        let Some(receiving) = self.receiving.as_mut().filter(|receiving| receiving.is_of(meta))
        else {
            return;
        };
        if offset_end <= receiving.stored || offset_end > receiving.given {
            return;
        }
        receiving.stored = offset_end;
        if let Some(recall) = &mut self.recall {
            recall.go_on(true, self.now);
        }
        if offset_end < receiving.total {
            self.tell_leader_of_snapshot(meta, offset_end);
        }
    }

    /// The caller's disk holds the snapshot in place of the log up to its end. If the log had that very
    /// entry, what lies behind it stays; otherwise nothing of it does (pitfalls 27 and 28).
    pub fn handle_snapshot_installed(&mut self, meta: &SnapshotMeta) {
        let Some(receiving) = self.receiving.take_if(|receiving| receiving.is_of(meta)) else {
            return;
        };
        let keeps_rest = self.log.term_at(meta.index) == Some(meta.term);
        if keeps_rest {
            self.log.compact(meta.index);
        } else {
            self.log.reset(meta.index, meta.term);
        }
        self.persistence.note_snapshot(meta.index, keeps_rest);
        self.membership.restore(meta.index, meta.configuration.clone(), keeps_rest);
        self.commit = self.commit.max(meta.index);
        self.end_recall();
        self.applying.restore(meta.index);
        self.fetches.retain(|_, purpose| *purpose != FetchPurpose::Apply);
        if keeps_rest {
            self.damage.forget_up_to(meta.index);
        } else {
            self.damage = Damage::default();
            (self.matched, self.acknowledged) = (meta.index, LogIndex(0));
        }
        self.counters.snapshots_installed += 1;
        self.outputs.push_back(Output::RestoreState { meta: Box::new(meta.clone()) });
        self.note(Event::SnapshotInstalled { index: meta.index });
        self.tell_leader_of_snapshot(meta, receiving.total);
    }

    /// The snapshot is not what its checksum says: it is asked for again from the start.
    pub fn handle_snapshot_refused(&mut self, meta: &SnapshotMeta) {
        if self.receiving.take_if(|receiving| receiving.is_of(meta)).is_some() {
            self.counters.snapshots_refused += 1;
            if let Some(recall) = &mut self.recall {
                recall.go_on(false, self.now);
            }
            self.note(Event::SnapshotRefused { index: meta.index });
            self.tell_leader_of_snapshot(meta, 0);
        }
    }
}
