//! What will happen, and in which order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use base::{Instant, NodeId};

/// Something that will happen.
#[derive(Debug)]
pub(super) enum Event {
    /// A frame arrives.
    Arrival { to: NodeId, bytes: Vec<u8> },
    /// A disk has finished.
    DiskDone { id: NodeId, life: u64, operation: u64 },
    /// A node wants to be woken at this time, unless it has asked for another since.
    Wake { id: NodeId, at: Instant },
    /// A client asks the next thing.
    Client { client: usize },
    /// Trouble.
    Trouble,
    /// A reaction, decided at the worst moment.
    Act(super::faults::Deed),
    /// A node that stands still goes on, unless it has been told to stand still for longer since.
    Resume { id: NodeId, until: Instant },
    /// A disk that finishes nothing goes on, unless it hangs for longer by now.
    DiskGoesOn { id: NodeId, until: Instant },
    /// A machine gets power back.
    Power { id: NodeId, life: u64 },
}

/// An event and its place: by time, then in the order in which it was planned.
#[derive(Debug)]
struct Planned {
    at: Instant,
    number: u64,
    event: Event,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Planned) -> bool {
        self.number == other.number
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Planned) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Planned) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// All events to come.
#[derive(Debug, Default)]
pub(super) struct Queue {
    events: BinaryHeap<Reverse<Planned>>,
    next_number: u64,
}

impl Queue {
    /// Plans an event.
    pub(super) fn push(&mut self, at: Instant, event: Event) {
        self.events.push(Reverse(Planned { at, number: self.next_number, event }));
        self.next_number += 1;
    }

    /// The next event, if it is due by `end`.
    pub(super) fn pop(&mut self, end: Instant) -> Option<(Instant, Event)> {
        let Reverse(next) = self.events.peek()?;
        if next.at > end {
            return None;
        }
        self.events.pop().map(|Reverse(planned)| (planned.at, planned.event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_in_the_order_in_which_they_were_planned() {
        let mut queue = Queue::default();
        for (millis, client) in [(5, 0), (3, 1), (5, 2), (3, 3)] {
            queue.push(Instant::from_millis(millis), Event::Client { client });
        }
        let mut order = Vec::new();
        while let Some((_, Event::Client { client })) = queue.pop(Instant::from_millis(5)) {
            order.push(client);
        }
        assert_eq!(order, [1, 3, 0, 2]);
    }
}
