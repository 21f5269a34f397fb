//! Reads without asking anybody, as an option (thesis, section 6.4.1): a leader that a majority has answered
//! cannot be replaced before those who answered may vote for another.
//!
//! That rests on clocks that run at nearly the same speed and go on while their machines stand still, and on
//! all of this (pitfall 25):
//! - Only those count who have the option too, and say so with every answer: nobody else keeps the promise.
//!   (A member that is started without it, in less than an election timeout after it was stopped with it,
//!   keeps none: the option is turned off while all are off.)
//! - The lease begins when the heartbeat was sent, not when it was answered, and is shorter than the
//!   followers' promise by what clocks may drift.
//! - A new leader has none. One that has told another to stand has none for the rest of its term: that word
//!   may arrive late, and whoever gets it is elected in spite of all promises.
//! - When the clock jumped, or nothing was heard of the caller for a while, what was sent before counts for
//!   nothing.
//! - A follower keeps its promise whatever term it is in, whatever it is told of the leader, and after a
//!   restart.

use alloc::collections::VecDeque;

use base::{Duration, Instant, limits};

use crate::config::Mutant;
use crate::node::{RaftNode, Role};

/// A leader's lease.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lease {
    /// Heartbeat rounds that no majority has answered, and when they were sent; ascending.
    rounds: VecDeque<(u64, Instant)>,
    /// The latest beginning that a majority has confirmed.
    began: Option<Instant>,
    /// It has told another to stand.
    is_given_up: bool,
}

impl Lease {
    /// A heartbeat of this round leaves now.
    pub(crate) fn note_sent(&mut self, round: u64, now: Instant) {
        if self.rounds.len() == limits::LEASE_ROUNDS_REMEMBERED {
            self.rounds.pop_front();
        }
        self.rounds.push_back((round, now));
    }

    /// A majority has answered this round, or a later one. Answers whether the lease begins later for it.
    pub(crate) fn note_answered(&mut self, round: u64) -> bool {
        let before = self.began;
        while let Some((_, sent)) = self.rounds.pop_front_if(|(number, _)| *number <= round) {
            self.began = Some(sent);
        }
        self.began != before
    }

    /// What was sent before counts for nothing.
    pub(crate) fn forget(&mut self) {
        self.rounds.clear();
        self.began = None;
    }

    /// There is no lease any more in this term.
    pub(crate) fn give_up(&mut self) {
        self.forget();
        self.is_given_up = true;
    }

    fn holds(&self, span: Duration, now: Instant) -> bool {
        !self.is_given_up && self.began.is_some_and(|began| now.since(began) < span)
    }
}

impl RaftNode {
    /// Whether this leader may answer reads without asking.
    pub(crate) fn has_lease(&self, now: Instant) -> bool {
        let Role::Leader(leadership) = &self.role else { return false };
        let is_reckless = self.config.has_bug(Mutant::LeaseWithoutDriftMargin);
        let margin = if is_reckless { Duration::ZERO } else { self.config.lease_drift_max };
        let span = self.config.election_timeout_min - margin;
        self.config.lease_reads
            && leadership.transfer.is_none()
            && self.commit >= leadership.first_own
            && leadership.lease.holds(span, now)
    }

    /// The followers' answers reach so far: perhaps a majority has confirmed the lease.
    pub(crate) fn extend_lease(&mut self) {
        if !self.config.lease_reads {
            return;
        }
        let own = self.config.id;
        let quorum = self.membership.current().quorum();
        let Role::Leader(leadership) = &mut self.role else { return };
        let answered = |id| match leadership.followers.get(id) {
            Some(progress) => progress.bound_round,
            None if id == own => leadership.round,
            None => 0,
        };
        let Some(round) = quorum.reached(answered) else { return };
        let is_longer = leadership.lease.note_answered(round);
        if is_longer && self.config.has_bug(Mutant::LeaseKeptAcrossPause) {
            leadership.lease.began = Some(self.now);
        }
    }

    /// The time is now. After a gap between two calls this machine may have stood still, and its clock with
    /// it or not: a leader must ask again.
    pub(crate) fn note_time(&mut self, now: Instant) {
        let gap = Duration::from_millis(limits::CALL_GAP_MAX_MS);
        if now.since(self.now) > gap {
            self.forget_lease();
        }
        self.now = now;
    }

    pub(crate) fn forget_lease(&mut self) {
        if self.config.has_bug(Mutant::LeaseKeptAcrossPause) {
            return;
        }
        if let Role::Leader(leadership) = &mut self.role {
            leadership.lease.forget();
        }
    }

    /// The caller has found that the clock jumped, or that this machine stood still: what is known of the
    /// last moments cannot be relied upon. A leader's lease ends. A follower's promise begins anew, and
    /// so does its election timeout. That does so once, until a leader is heard: a machine that is always
    /// late must stand some time.
    pub fn handle_time_jump(&mut self, now: Instant) {
        self.counters.time_jumps += 1;
        self.forget_lease();
        self.now = now;
        match self.role {
            Role::Leader(_) => return,
            Role::Follower { .. } | Role::PreCandidate(_) | Role::Candidate(..) => {}
        }
        self.started = now;
        self.heartbeats.wait_anew(now);
        let was_put_off = self.put_off.is_some_and(|at| self.leader_heard <= Some(at));
        if !was_put_off {
            self.put_off = Some(now);
            self.draw_election_deadline(now);
        }
    }

    /// Whether a leader may rely on a promise of this member's not to elect another, made now or before it
    /// last started.
    pub(crate) fn is_bound_by_lease(&self, now: Instant) -> bool {
        let is_recent = |at: Instant| now.since(at) < self.config.election_timeout_min;
        self.config.lease_reads
            && (is_recent(self.started) || self.leader_heard.is_some_and(is_recent))
    }
}
