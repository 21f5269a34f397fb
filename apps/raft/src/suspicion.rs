//! What a member does when its caller knows that the leader is gone, because the link is lost at the switch,
//! or when the leader is silent for much longer than it usually is (`heartbeats`).
//!
//! It asks the others after a few milliseconds instead of a whole election timeout. Nothing else changes:
//! it needs a majority that would elect it, and whoever hears the leader and was told nothing refuses. So
//! one member that is wrong, even for ever, disturbs nobody but itself: its own word from the leader ends
//! the suspicion, and its caller is not believed again for one longest election timeout.

use base::{Instant, NodeId};

use crate::node::{RaftNode, Role};

/// The leader is said to be out of reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Suspicion {
    /// The others have been asked.
    has_asked: bool,
}

impl RaftNode {
    /// The caller has learned that `peer` is out of reach; it may say so as often as it likes. If that is
    /// the leader, this member may stand soon, and may vote for others who do.
    pub fn handle_peer_unreachable(&mut self, peer: NodeId, now: Instant) {
        self.note_time(now);
        match &mut self.role {
            Role::Leader(leadership) => {
                if let Some(progress) = leadership.followers.get_mut(peer) {
                    progress.note_unreachable();
                }
            }
            Role::Follower { leader: Some(leader) } if *leader == peer => {
                self.suspect_leader(now);
            }
            Role::Follower { .. } | Role::PreCandidate(_) | Role::Candidate(..) => {}
        }
    }

    pub(crate) fn suspect_leader(&mut self, now: Instant) {
        if self.suspicion.is_some() {
            return;
        }
        let hold_off = self.config.election_timeout_max;
        let was_wrong = self.suspicion_refuted.is_some_and(|refuted| now.since(refuted) < hold_off);
        // A leader with a lease relies on this member to wait, whatever it is told.
        if was_wrong || self.config.lease_reads {
            self.counters.suspicions_ignored += 1;
            return;
        }
        self.counters.suspicions += 1;
        self.suspicion = Some(Suspicion { has_asked: false });
        // Whoever does not vote waits for those who do.
        if self.may_stand() {
            self.hasten_election_deadline(now);
        }
    }

    /// The others are being asked whether they would elect this member.
    pub(crate) fn note_asking(&mut self) {
        if let Some(suspicion) = &mut self.suspicion {
            suspicion.has_asked = true;
        }
    }

    /// The leader has spoken.
    pub(crate) fn refute_suspicion(&mut self, now: Instant) {
        if self.suspicion.take().is_some_and(|suspicion| suspicion.has_asked) {
            self.counters.suspicions_refuted += 1;
            self.suspicion_refuted = Some(now);
        }
    }
}
