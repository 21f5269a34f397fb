//! What is on the disk, and which messages wait for it.
//!
//! Entries and hard state are noted as they change, and leave as one write when the caller next asks for
//! outputs: that is the group commit. A message that would reveal them is kept back until the disk has
//! them; a message that reveals nothing new leaves at once.

use alloc::collections::VecDeque;

use base::{Instant, LogIndex, NodeId};

use crate::log::Log;
use crate::message::{HardState, Message};
use crate::output::{Persist, Ticket};

/// A write that the disk has not confirmed.
#[derive(Clone, Copy, Debug)]
struct Pending {
    ticket: Ticket,
    issued: Instant,
    /// The end of the log when this is durable: of the entries that are still in the log.
    last: LogIndex,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Persistence {
    /// The ticket of the latest write.
    issued: Ticket,
    /// The ticket of the latest write that the disk has confirmed.
    durable: Ticket,
    durable_index: LogIndex,
    pending: VecDeque<Pending>,
    hard_state_changed: bool,
    /// The first entry that no write has taken yet.
    unwritten: LogIndex,
    /// Messages and the write they wait for, in order.
    withheld: VecDeque<(Ticket, NodeId, Message)>,
}

impl Persistence {
    /// Everything up to `last` is on the disk.
    pub(crate) fn new(last: LogIndex) -> Persistence {
        Persistence {
            issued: Ticket(0),
            durable: Ticket(0),
            durable_index: last,
            pending: VecDeque::new(),
            hard_state_changed: false,
            unwritten: last.next(),
            withheld: VecDeque::new(),
        }
    }

    /// The hard state must be written.
    pub(crate) fn note_hard_state(&mut self) {
        self.hard_state_changed = true;
    }

    /// The log was cut at `index`, and other entries will follow. What earlier writes say about entries
    /// from there on is void (pitfall 15: a late confirmation must not vouch for what replaced them).
    /// With a bug that a checker must find, a late confirmation `vouches` all the same.
    pub(crate) fn note_truncation(&mut self, index: LogIndex, vouches: bool) {
        let kept = index.previous().expect("the log starts at 1");
        self.durable_index = self.durable_index.min(kept);
        self.unwritten = self.unwritten.min(index);
        for pending in self.pending.iter_mut().filter(|_| !vouches) {
            pending.last = pending.last.min(kept);
        }
    }

    /// A snapshot that ends at `index` is on the disk in place of the log up to there, and what was behind it
    /// is there still, or is not.
    pub(crate) fn note_snapshot(&mut self, index: LogIndex, keeps_rest: bool) {
        let clamp = |at: LogIndex| if keeps_rest { at.max(index) } else { index };
        self.durable_index = clamp(self.durable_index);
        self.unwritten = if keeps_rest { self.unwritten.max(index.next()) } else { index.next() };
        for pending in &mut self.pending {
            pending.last = clamp(pending.last);
        }
    }

    /// How far the log is on the disk.
    pub(crate) fn durable_index(&self) -> LogIndex {
        self.durable_index
    }

    /// When the oldest write that is not confirmed was asked for.
    pub(crate) fn oldest_write(&self) -> Option<Instant> {
        self.pending.front().map(|pending| pending.issued)
    }

    /// Whether something has changed that no write has taken yet.
    pub(crate) fn is_dirty(&self, log: &Log) -> bool {
        self.hard_state_changed || self.unwritten <= log.last_index()
    }

    /// The write after which everything that holds now is durable.
    pub(crate) fn ticket_for_now(&self, log: &Log) -> Ticket {
        if self.is_dirty(log) { Ticket(self.issued.0 + 1) } else { self.issued }
    }

    /// Whether that write is confirmed.
    pub(crate) fn is_durable(&self, ticket: Ticket) -> bool {
        ticket <= self.durable
    }

    /// Keeps a message back until everything that holds now is durable.
    pub(crate) fn withhold(&mut self, to: NodeId, message: Message, log: &Log) {
        self.withheld.push_back((self.ticket_for_now(log), to, message));
    }

    /// The next message that need not wait any longer.
    pub(crate) fn release(&mut self) -> Option<(NodeId, Message)> {
        let durable = self.durable;
        self.withheld.pop_front_if(|(ticket, _, _)| *ticket <= durable).map(|(_, to, m)| (to, m))
    }

    /// Forgets messages of an earlier term: they would be ignored.
    pub(crate) fn drop_withheld(&mut self) {
        self.withheld.clear();
    }

    /// The write of everything that has changed.
    pub(crate) fn take_write(&mut self, hard_state: HardState, log: &Log, now: Instant) -> Persist {
        self.issued = Ticket(self.issued.0 + 1);
        let entries = log.tail(self.unwritten).expect("what is not on the disk is in memory");
        let (ticket, last) = (self.issued, log.last_index());
        self.pending.push_back(Pending { ticket, issued: now, last });
        self.unwritten = log.last_index().next();
        let changed = core::mem::take(&mut self.hard_state_changed);
        Persist { ticket, hard_state: changed.then_some(hard_state), entries }
    }

    /// The disk has confirmed all writes up to `ticket`. Answers whether that is news.
    pub(crate) fn confirm(&mut self, ticket: Ticket) -> bool {
        if ticket <= self.durable || ticket > self.issued {
            return false;
        }
        self.durable = ticket;
        while let Some(pending) = self.pending.pop_front_if(|pending| pending.ticket <= ticket) {
            self.durable_index = pending.last;
        }
        true
    }

    pub(crate) fn check_invariants(&self, log: &Log) {
        assert!(self.durable <= self.issued);
        assert!(self.durable_index <= log.last_index(), "what is durable is in the log");
        assert!(self.unwritten > self.durable_index, "what is durable was written");
        assert!(self.withheld.iter().all(|(ticket, _, _)| *ticket > self.durable));
    }
}
