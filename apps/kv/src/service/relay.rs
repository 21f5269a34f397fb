//! What a leader remembers of the writes that other nodes have forwarded to it.
//!
//! Only to keep the log short: the machine would refuse a repeated or early write too, but after it
//! has been written to every disk. So this may forget everything at any time, and does at each new
//! term.

use alloc::collections::{BTreeMap, BTreeSet};

use base::NodeId;

use crate::machine::{KvMachine, Request, RequestId};

/// What to do with a forwarded request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Advice {
    /// Propose it.
    Propose,
    /// Nothing: it is in this leader's log already, or settled.
    Ignore,
    /// Send it back: the write before it is not in the log.
    OutOfOrder,
}

/// The forwarded writes in this leader's log, by origin.
#[derive(Debug, Default)]
pub struct Relay {
    origins: BTreeMap<NodeId, Origin>,
}

#[derive(Debug, Default)]
struct Origin {
    epoch: u64,
    /// The sequences proposed in this term. Invariant: within the window of the origin.
    proposed: BTreeSet<u64>,
}

impl Relay {
    /// What to do with `request`. After [`Advice::Propose`] it counts as proposed.
    pub fn admit(&mut self, request: &Request, machine: &KvMachine) -> Advice {
        let id = request.id;
        let origin = self.origins.entry(id.origin).or_default();
        if id.epoch > origin.epoch {
            *origin = Origin { epoch: id.epoch, proposed: BTreeSet::new() };
        }
        if id.epoch < origin.epoch || machine.is_settled(id) {
            return Advice::Ignore;
        }
        origin.proposed = origin.proposed.split_off(&request.low_water);
        let before = RequestId { sequence: request.after, ..id };
        let in_order = request.after < request.low_water
            || origin.proposed.contains(&request.after)
            || machine.is_settled(before);
        if !in_order {
            return Advice::OutOfOrder;
        }
        if origin.proposed.insert(id.sequence) { Advice::Propose } else { Advice::Ignore }
    }

    /// A request is not in the log after all, or it had no effect there: it may be proposed again.
    pub fn forget(&mut self, id: RequestId) {
        if let Some(origin) = self.origins.get_mut(&id.origin)
            && origin.epoch == id.epoch
        {
            origin.proposed.remove(&id.sequence);
        }
    }

    /// Another term: what was proposed may be gone.
    pub fn clear(&mut self) {
        self.origins.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Write;

    fn request(sequence: u64, after: u64, low_water: u64) -> Request {
        let id = RequestId { origin: NodeId::new(2).unwrap(), epoch: 1, sequence };
        Request { id, after, low_water, write: Write::Flush }
    }

    #[test]
    fn a_request_is_proposed_once_a_term_and_in_order() {
        let machine = KvMachine::new();
        let mut relay = Relay::default();
        assert_eq!(relay.admit(&request(2, 1, 1), &machine), Advice::OutOfOrder);
        assert_eq!(relay.admit(&request(1, 0, 1), &machine), Advice::Propose);
        assert_eq!(relay.admit(&request(1, 0, 1), &machine), Advice::Ignore);
        assert_eq!(relay.admit(&request(2, 1, 1), &machine), Advice::Propose);
        relay.forget(request(2, 1, 1).id);
        assert_eq!(relay.admit(&request(2, 1, 1), &machine), Advice::Propose);
        relay.clear();
        assert_eq!(relay.admit(&request(2, 1, 2), &machine), Advice::Propose);
    }
}
