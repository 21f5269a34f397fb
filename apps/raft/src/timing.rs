//! When a member stands for election (section 5.2).
//!
//! With 32 voters the earliest of so many random timeouts are often less than a message's way apart, and
//! the votes are split (pitfall 12). So the span is divided among the voters: each has a slot, by its rank,
//! and draws within the first half of it. Ranks move on with the term, so that nobody is always first and
//! a first one who cannot win does not hold up the next election.

use base::{Duration, Instant, NodeId, Term, limits};

use crate::configuration::Configuration;
use crate::node::{RaftNode, Role};

/// Which of `count` slots is this member's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Rank {
    slot: u64,
    count: u64,
}

impl Rank {
    /// The rank of `id` in `term`, by its place among so many voters; whoever does not vote has one slot of
    /// its own, the whole span.
    fn of(id: NodeId, configuration: &Configuration, term: Term) -> Rank {
        let (place, count) = configuration.place_of(id);
        place.map_or(Rank { slot: 0, count: 1 }, |place| Rank {
            slot: (place + term.0 % count) % count,
            count,
        })
    }

    /// The first half of this rank's share of `low..high`.
    fn share(self, low: Duration, high: Duration) -> (Duration, Duration) {
        let span = (high - low).as_nanos();
        let part = |numerator: u64| span / (2 * self.count) * numerator;
        let first = low + Duration::from_nanos(part(2 * self.slot));
        (first, first + Duration::from_nanos(part(1)))
    }
}

impl RaftNode {
    /// Draws another election timeout. After elections that nobody won it is longer: the network may be
    /// slower than it was taken to be.
    pub(crate) fn draw_election_timeout(&mut self) {
        let (low, high) = (self.config.election_timeout_min, self.config.election_timeout_max);
        let high = high + (high - low).times(self.fruitless);
        self.election_timeout = self.draw_by_rank(low, high);
    }

    /// Another election timeout starts.
    pub(crate) fn draw_election_deadline(&mut self, now: Instant) {
        self.draw_election_timeout();
        self.put_off_election(now);
    }

    /// The election timeout starts anew, as long as it was.
    pub(crate) fn put_off_election(&mut self, now: Instant) {
        self.election_deadline = now + self.election_timeout;
    }

    /// The short timeout of a member that knows that the leader is gone.
    pub(crate) fn hasten_election_deadline(&mut self, now: Instant) {
        let low = Duration::from_millis(limits::SUSPICION_DELAY_MIN_MS);
        let slot = Duration::from_millis(limits::SUSPICION_SLOT_MS);
        let high = low + slot.times(self.rank_of(self.config.id).count);
        let high = high.min(Duration::from_millis(limits::SUSPICION_DELAY_MAX_MS));
        let hastened = now + self.draw_by_rank(low, high);
        self.election_deadline = self.election_deadline.min(hastened);
    }

    fn draw_by_rank(&mut self, low: Duration, high: Duration) -> Duration {
        let (first, last) = self.rank_of(self.config.id).share(low, high);
        self.prng.duration_between(first, last)
    }

    fn rank_of(&self, id: NodeId) -> Rank {
        Rank::of(id, self.membership.current(), self.hard_state.term)
    }

    /// This member would elect `rival` in `term`, and lets it go first: whoever comes second would only
    /// split the votes, and with many voters all their questions would keep the answers waiting. Of two
    /// that ask at the same time the one with the lower rank goes on. Once a term, so that a rival that
    /// hears no answers holds up nobody for longer than one election timeout.
    pub(crate) fn give_way(&mut self, rival: NodeId, term: Term, now: Instant) {
        if term <= self.gave_way {
            return;
        }
        match self.role {
            Role::Follower { .. } => {}
            Role::PreCandidate(_)
                if self.rank_of(rival).slot < self.rank_of(self.config.id).slot =>
            {
                self.role = Role::Follower { leader: None };
            }
            Role::PreCandidate(_) | Role::Candidate(..) | Role::Leader(_) => return,
        }
        self.gave_way = term;
        self.draw_election_deadline(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rank_is_taken_once_and_moves_on_with_the_term() {
        let voters: Vec<NodeId> = (1..=5).filter_map(NodeId::new).collect();
        let of_voters = Configuration::of_voters(voters.clone());
        for term in 0..12 {
            let slot = |id: &NodeId| Rank::of(*id, &of_voters, Term(term)).slot;
            let mut slots: Vec<u64> = voters.iter().map(slot).collect();
            assert_eq!(slots[0], term % 5);
            slots.sort_unstable();
            assert_eq!(slots, [0, 1, 2, 3, 4]);
        }
    }

    #[test]
    fn in_a_joint_configuration_all_voters_have_a_rank_of_their_own() {
        let ids = |numbers: &[u16]| numbers.iter().copied().filter_map(NodeId::new).collect();
        let joint = Configuration {
            voters: ids(&[1, 4, 5]),
            voters_outgoing: ids(&[1, 2, 4]),
            ..Configuration::default()
        };
        let all = joint.all_voters();
        let slots: Vec<u64> = all.iter().map(|id| Rank::of(*id, &joint, Term(0)).slot).collect();
        assert_eq!(slots, [0, 1, 2, 3]);
        assert_eq!(joint.place_of(NodeId::new(3).unwrap()), (None, 4));
    }

    #[test]
    fn shares_do_not_touch_and_stay_within_the_span() {
        let (low, high) = (Duration::from_millis(150), Duration::from_millis(300));
        let mut end = low;
        for slot in 0..32 {
            let (first, last) = Rank { slot, count: 32 }.share(low, high);
            assert!(first >= end && last > first && last <= high);
            end = last + Duration::from_millis(2);
        }
        let stranger = Rank::of(NodeId::new(9).unwrap(), &Configuration::default(), Term(3));
        assert!(stranger.share(low, high).1 < high);
    }
}
