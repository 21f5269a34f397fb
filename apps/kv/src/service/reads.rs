//! The reads of this node's clients that wait to be confirmed.
//!
//! A read may be answered from the local state once that state includes everything that was
//! committed when the read came. Consensus tells how far that is, for a context of our choice. One
//! round is under way at a time: the reads that come meanwhile share the next. A round that fails
//! is repeated under a new context, because a late answer to an old one proves nothing about the
//! new reads.

use alloc::collections::{BTreeSet, VecDeque};

use base::{Duration, Instant, LogIndex, limits};

use super::ClientId;

/// A read: whose, and which of its commands. In this order the reads of one client are answered.
pub type Ticket = (ClientId, u64);

/// How many contexts one epoch has; the bits above hold the epoch.
const CONTEXT_BITS: u32 = 40;

/// The rounds of confirmation.
#[derive(Debug)]
pub struct Reads {
    /// The context of the next round. Never used before, not even by an earlier start of this node.
    next_context: u64,
    /// The reads for the next round.
    collecting: BTreeSet<Ticket>,
    /// When the next round may begin.
    begin_at: Instant,
    /// The round under way.
    round: Option<Round>,
    /// The rounds that are confirmed up to a position, which is not applied yet; in their order.
    confirmed: VecDeque<(LogIndex, BTreeSet<Ticket>)>,
}

#[derive(Debug)]
struct Round {
    context: u64,
    tickets: BTreeSet<Ticket>,
    /// When it is taken for lost.
    end_at: Instant,
}

impl Reads {
    /// No reads. `epoch` counts the starts of this node.
    pub fn new(epoch: u64) -> Reads {
        Reads {
            next_context: epoch << CONTEXT_BITS,
            collecting: BTreeSet::new(),
            begin_at: Instant::ORIGIN,
            round: None,
            confirmed: VecDeque::new(),
        }
    }

    /// How many reads wait.
    pub fn len(&self) -> usize {
        let flying = self.round.as_ref().map_or(0, |round| round.tickets.len());
        let confirmed: usize = self.confirmed.iter().map(|(_, tickets)| tickets.len()).sum();
        self.collecting.len() + flying + confirmed
    }

    /// A read waits for the next round.
    pub fn add(&mut self, ticket: Ticket) {
        self.collecting.insert(ticket);
    }

    /// A read is not waited for any more.
    pub fn cancel(&mut self, ticket: Ticket) {
        self.collecting.remove(&ticket);
        if let Some(round) = &mut self.round {
            round.tickets.remove(&ticket);
        }
        for (_, tickets) in &mut self.confirmed {
            tickets.remove(&ticket);
        }
    }

    /// Begins the next round, if there are reads for it and its time has come. Answers its context.
    pub fn begin(&mut self, now: Instant) -> Option<u64> {
        if self.round.is_some() || self.collecting.is_empty() || now < self.begin_at {
            return None;
        }
        let context = self.next_context;
        self.next_context += 1;
        let tickets = core::mem::take(&mut self.collecting);
        let end_at = now + Duration::from_millis(limits::KV_RETRY_AFTER_MS);
        self.round = Some(Round { context, tickets, end_at });
        Some(context)
    }

    /// The round of this context is confirmed: its reads may be answered once `index` is applied.
    pub fn confirm(&mut self, context: u64, index: LogIndex) {
        if let Some(round) = self.round.take_if(|round| round.context == context) {
            self.confirmed.push_back((index, round.tickets));
        }
    }

    /// The round of this context failed: its reads wait for the next.
    pub fn fail(&mut self, context: u64, now: Instant) {
        if self.round.as_ref().is_some_and(|round| round.context == context) {
            self.restart(now + Duration::from_millis(limits::KV_REFUSED_RETRY_AFTER_MS));
        }
    }

    /// Gives up the round under way, if any: its reads wait for the next, which may begin at
    /// `begin_at`.
    pub fn restart(&mut self, begin_at: Instant) {
        self.begin_at = begin_at;
        if let Some(mut round) = self.round.take() {
            self.collecting.append(&mut round.tickets);
        }
    }

    /// Gives up the round under way if it has taken too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.round.as_ref().is_some_and(|round| round.end_at <= now) {
            self.restart(now);
        }
    }

    /// When something is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.round {
            Some(round) => Some(round.end_at),
            None if self.collecting.is_empty() => None,
            None => Some(self.begin_at),
        }
    }

    /// The next reads that may be answered when everything up to `applied` is applied. A round
    /// never overtakes an earlier one, so that a client never sees its time run backwards.
    pub fn take_answerable(&mut self, applied: LogIndex) -> Option<BTreeSet<Ticket>> {
        let (_, tickets) = self.confirmed.pop_front_if(|(index, _)| *index <= applied)?;
        Some(tickets)
    }

    /// Checks what must always hold.
    ///
    /// # Panics
    /// If it does not.
    pub fn check_invariants(&self) {
        if let Some(round) = &self.round {
            assert!(round.context < self.next_context, "a context is never used again");
            assert!(round.tickets.is_disjoint(&self.collecting), "a read waits in one place");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(slot: u64) -> Ticket {
        (ClientId(1), slot)
    }

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn reads_that_come_during_a_round_share_the_next() {
        let mut reads = Reads::new(1);
        reads.add(ticket(0));
        let first = reads.begin(at(0)).unwrap();
        reads.add(ticket(1));
        reads.add(ticket(2));
        assert_eq!(reads.begin(at(0)), None);
        reads.confirm(first, LogIndex(5));
        assert_eq!(reads.take_answerable(LogIndex(4)), None);
        assert_eq!(reads.take_answerable(LogIndex(5)), Some([ticket(0)].into()));
        let second = reads.begin(at(1)).unwrap();
        reads.confirm(second, LogIndex(5));
        assert_eq!(reads.take_answerable(LogIndex(5)), Some([ticket(1), ticket(2)].into()));
    }

    /// Consensus pitfall 24: a late answer to an old try must not confirm a new one.
    #[test]
    fn a_repeated_round_has_a_context_of_its_own() {
        let mut reads = Reads::new(1);
        reads.add(ticket(0));
        let first = reads.begin(at(0)).unwrap();
        reads.handle_timeout(at(limits::KV_RETRY_AFTER_MS));
        let second = reads.begin(at(limits::KV_RETRY_AFTER_MS)).unwrap();
        assert_ne!(first, second);
        reads.confirm(first, LogIndex(1));
        assert_eq!(reads.take_answerable(LogIndex(1)), None);
        reads.confirm(second, LogIndex(1));
        assert_eq!(reads.take_answerable(LogIndex(1)), Some([ticket(0)].into()));
        assert!(Reads::new(2).next_context > reads.next_context);
    }

    #[test]
    fn a_failed_round_waits_a_little_and_a_cancelled_read_is_gone() {
        let mut reads = Reads::new(1);
        reads.add(ticket(0));
        reads.add(ticket(1));
        let first = reads.begin(at(0)).unwrap();
        reads.fail(first, at(1));
        assert_eq!(reads.begin(at(1)), None);
        reads.cancel(ticket(0));
        let later = reads.poll_timeout().unwrap();
        let second = reads.begin(later).unwrap();
        reads.confirm(second, LogIndex(0));
        assert_eq!(reads.take_answerable(LogIndex(0)), Some([ticket(1)].into()));
        assert_eq!((reads.len(), reads.poll_timeout()), (0, None));
    }
}
