//! What is on the disk, and which messages wait for it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use base::limits;

use crate::message::Message;
use crate::numbers::VoterSet;
use crate::output::{Persist, Ticket};
use crate::record::Record;

/// Whom a message is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Recipient {
    /// The replica with this slot: perhaps this one, whose own votes count once they are durable.
    One(usize),
    /// Those of the others with these slots.
    Those(VoterSet),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Persistence {
    issued: Ticket,
    durable: Ticket,
    /// What the next write will hold.
    records: Vec<Record>,
    /// Messages and the write that they wait for, in order.
    withheld: VecDeque<(Ticket, Recipient, Message)>,
}

impl Persistence {
    /// Something must be written.
    pub(crate) fn note(&mut self, record: Record) {
        self.records.push(record);
    }

    /// Keeps a message back until everything that was noted before is durable. While a disk stands still
    /// there is no room for ever more of them: what is dropped is sent again like what is lost.
    pub(crate) fn withhold(&mut self, to: Recipient, message: Message) {
        if self.withheld.len() >= limits::BFT_WITHHELD_MAX {
            return;
        }
        let pending = u64::from(!self.records.is_empty());
        self.withheld.push_back((Ticket(self.issued.0 + pending), to, message));
    }

    /// The write of everything that was noted, if anything was.
    pub(crate) fn take_write(&mut self) -> Option<Persist> {
        if self.records.is_empty() {
            return None;
        }
        self.issued = Ticket(self.issued.0 + 1);
        Some(Persist { ticket: self.issued, records: core::mem::take(&mut self.records) })
    }

    /// The next message that need not wait any longer; with a bug that a checker must find, none waits.
    pub(crate) fn release(&mut self, is_impatient: bool) -> Option<(Recipient, Message)> {
        let durable = self.durable;
        self.withheld
            .pop_front_if(|(ticket, _, _)| *ticket <= durable || is_impatient)
            .map(|(_, to, message)| (to, message))
    }

    /// The disk has everything up to `ticket`.
    pub(crate) fn confirm(&mut self, ticket: Ticket) {
        if ticket <= self.issued {
            self.durable = self.durable.max(ticket);
        }
    }

    pub(crate) fn check_invariants(&self) {
        assert!(self.durable <= self.issued);
        assert!(self.withheld.len() <= limits::BFT_WITHHELD_MAX);
        assert!(
            self.withheld.iter().is_sorted_by_key(|(ticket, _, _)| *ticket),
            "they leave in order"
        );
    }
}

#[cfg(test)]
mod tests {
    use crypto::Digest;

    use super::*;
    use crate::numbers::Sequence;

    /// A vote is handed to the disk before it comes out, and comes out when the disk has it.
    #[test]
    fn messages_wait_for_what_was_noted_before_them() {
        let mut persistence = Persistence::default();
        let ask = |persistence: &mut Persistence| {
            persistence.withhold(Recipient::One(1), Message::AskPosition);
        };
        ask(&mut persistence);
        let record = Record::Checkpoint { sequence: Sequence(1), digest: Digest::default() };
        persistence.note(record);
        ask(&mut persistence);
        assert!(persistence.release(false).is_some(), "it depends on nothing");
        assert!(persistence.release(false).is_none());
        let write = persistence.take_write().expect("something was noted");
        ask(&mut persistence);
        assert!(persistence.release(false).is_none() && persistence.take_write().is_none());
        persistence.confirm(Ticket(7));
        assert!(persistence.release(false).is_none(), "no such write was asked for");
        persistence.confirm(write.ticket);
        assert!(persistence.release(false).is_some() && persistence.release(false).is_some());
        persistence.check_invariants();
    }
}
