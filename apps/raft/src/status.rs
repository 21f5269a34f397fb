//! What an operator sees: plain data, taken at one moment.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use base::{Duration, Instant, LogIndex, NodeId, Term};

use crate::configuration::Configuration;
use crate::log::TermRuns;
use crate::message::LogEntry;
use crate::node::{RaftNode, Role};
use crate::progress::{Progress, ProgressState};

/// How far the log is committed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct CommitIndex(pub LogIndex);

/// How far the state machine has applied the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct LastAppliedIndex(pub LogIndex);

/// What a member is (figure 4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RaftState {
    /// It follows a leader, or waits for one, or asks whether it would be elected.
    Follower,
    /// It stands for election.
    Candidate,
    /// It leads.
    Leader,
}

/// How an election ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ElectionOutcome {
    /// It has not.
    Open,
    /// The candidate leads.
    Won,
    /// The candidate does not lead.
    Lost,
}

/// An election that this member saw.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ElectionRecord {
    /// The term that it was about.
    pub term: Term,
    /// Who stood.
    pub candidate: NodeId,
    /// How it ended.
    pub outcome: ElectionOutcome,
    /// When this member stood, or heard of the winner.
    pub started: Instant,
    /// When it ended; only the candidate knows.
    pub ended: Option<Instant>,
    /// How many votes there were; only the candidate knows.
    pub votes: Option<usize>,
}

/// Counts since the member started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Commands taken as a leader.
    pub proposals: u64,
    /// Append messages sent.
    pub appends_sent: u64,
    /// Append messages that did not fit behind this member's log.
    pub appends_rejected: u64,
    /// Followers' rejections that moved this leader back.
    pub appends_corrected: u64,
    /// Followers that stopped answering appends, and were asked again.
    pub stalls: u64,
    /// Questions for old entries.
    pub fetches: u64,
    /// Times that this member asked whether it would be elected.
    pub pre_candidacies: u64,
    /// Times that this member stood.
    pub candidacies: u64,
    /// Times that this member did not stand because its disk does not answer.
    pub stands_withheld: u64,
    /// Times that it stepped down because its disk does not answer.
    pub disk_stalls: u64,
    /// Times that the leader was silent for suspiciously long.
    pub silences: u64,
    /// Times that the clock jumped, or this member stood still.
    pub time_jumps: u64,
    /// Times that the leader was silent, or its caller said that it cannot be reached, and that was believed.
    pub suspicions: u64,
    /// Of those: times that the leader spoke after the others had been asked.
    pub suspicions_refuted: u64,
    /// Times that its caller was not believed, so soon after it had been wrong.
    pub suspicions_ignored: u64,
    /// Times that this leader handed over, or tried.
    pub transfers: u64,
    /// Of those: times that it went on.
    pub transfers_failed: u64,
    /// Parts of snapshots sent.
    pub snapshot_parts_sent: u64,
    /// Parts of snapshots given to the caller to store.
    pub snapshot_parts_stored: u64,
    /// Snapshots that took the place of this member's log.
    pub snapshots_installed: u64,
    /// Snapshots that came in damaged.
    pub snapshots_refused: u64,
    /// Questions about reads that this leader answered by its lease.
    pub lease_reads: u64,
    /// Questions about reads that it answered after a majority had.
    pub index_reads: u64,
    /// Votes and questions ignored because a leader was heard.
    pub votes_ignored: u64,
    /// Entries refused because the disk is full.
    pub refused_full: u64,
    /// Messages of terms that had passed.
    pub stale: u64,
    /// Messages that no correct member sends.
    pub malformed: u64,
    /// Messages from nodes that were removed.
    pub strangers: u64,
    /// Entries that were found damaged on this member's disk.
    pub entries_damaged: u64,
    /// Of those: entries that were written again.
    pub entries_repaired: u64,
    /// Entries that were cut off because the first of them was damaged and proven not to be committed.
    pub entries_void: u64,
    /// States that were lost with a snapshot and have come from other members.
    pub states_recalled: u64,
    /// Questions to others for intact copies.
    pub repairs_asked: u64,
    /// Intact copies given to others.
    pub copies_given: u64,
}

/// What of a member's log is damaged on its disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DamageStatus {
    /// How many entries.
    pub entries: usize,
    /// The first of them: nothing from there on is acknowledged or applied.
    pub first: Option<LogIndex>,
    /// The first of which no other member has an intact copy, though all were asked.
    pub nowhere: Option<LogIndex>,
    /// The snapshot of this entry cannot be read: there is no state until another member gives its own.
    pub state: Option<LogIndex>,
}

/// A leader's view of a follower.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerStatus {
    /// Which.
    pub id: NodeId,
    /// Its log is the leader's, durably, up to here.
    pub match_index: LogIndex,
    /// The next entry that it is sent.
    pub next_index: LogIndex,
    /// How it is fed.
    pub state: ProgressState,
    /// How many messages are on their way to it.
    pub in_flight: usize,
    /// How many bytes of entries are in them.
    pub in_flight_bytes: usize,
    /// How long ago it said anything.
    pub silent: Option<Duration>,
}

/// The state of a member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// Which member.
    pub id: NodeId,
    /// What it is.
    pub state: RaftState,
    /// It asks whether it would be elected.
    pub pre_vote: bool,
    /// Its term.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<NodeId>,
    /// Who leads, if it knows.
    pub leader: Option<NodeId>,
    /// To whom it hands over, if it leads and does.
    pub transferring_to: Option<NodeId>,
    /// How long the oldest unfinished write to its disk has taken so far.
    pub disk_busy: Option<Duration>,
    /// See there.
    pub commit_index: CommitIndex,
    /// See there.
    pub last_applied: LastAppliedIndex,
    /// The first entry of its log.
    pub first_index: LogIndex,
    /// The last entry of its log.
    pub last_index: LogIndex,
    /// The last entry that is on its disk.
    pub persisted_index: LogIndex,
    /// All voters.
    pub voters: Vec<NodeId>,
    /// Who belongs to the group, as far as this member knows.
    pub configuration: Configuration,
    /// Where that is in the log.
    pub configuration_index: LogIndex,
    /// Its followers, if it leads.
    pub peers: Vec<PeerStatus>,
    /// Bytes of entries in memory.
    pub cached_bytes: usize,
    /// Bytes of its own entries that are not committed.
    pub uncommitted_bytes: usize,
    /// What of its log is damaged.
    pub damage: DamageStatus,
    /// Whether a leader answers reads by its lease, if it has one.
    pub lease_reads: bool,
    /// Counts.
    pub counters: Counters,
}

impl RaftNode {
    /// How this member is doing.
    pub fn status(&self, now: Instant) -> Status {
        let (state, pre_vote) = match &self.role {
            Role::Follower { .. } => (RaftState::Follower, false),
            Role::PreCandidate(_) => (RaftState::Follower, true),
            Role::Candidate(..) => (RaftState::Candidate, false),
            Role::Leader(_) => (RaftState::Leader, false),
        };
        Status {
            id: self.config.id,
            state,
            pre_vote,
            term: self.hard_state.term,
            vote: self.hard_state.vote,
            leader: self.leader(),
            transferring_to: match &self.role {
                Role::Leader(leadership) => leadership.transferring_to(),
                Role::Follower { .. } | Role::PreCandidate(_) | Role::Candidate(..) => None,
            },
            disk_busy: self.persistence.oldest_write().map(|issued| now.since(issued)),
            commit_index: CommitIndex(self.commit),
            last_applied: LastAppliedIndex(self.applying.applied()),
            first_index: self.log.first_index(),
            last_index: self.log.last_index(),
            persisted_index: self.persistence.durable_index(),
            voters: self.membership.current().voters.clone(),
            configuration: self.membership.current().clone(),
            configuration_index: self.membership.current_index(),
            peers: self.peer_status(now),
            cached_bytes: self.log.recent_bytes(),
            uncommitted_bytes: match &self.role {
                Role::Leader(leadership) => leadership.uncommitted_bytes(),
                Role::Follower { .. } | Role::PreCandidate(_) | Role::Candidate(..) => 0,
            },
            damage: self.damage_status(),
            lease_reads: self.config.lease_reads,
            counters: self.counters,
        }
    }

    /// What of the log is damaged on the disk.
    pub fn damage_status(&self) -> DamageStatus {
        DamageStatus {
            entries: self.damage.len(),
            first: self.damage.first(),
            nowhere: self.damage.nowhere(),
            state: self.recall.map(|recall| recall.index),
        }
    }

    fn peer_status(&self, now: Instant) -> Vec<PeerStatus> {
        let Role::Leader(leadership) = &self.role else { return Vec::new() };
        let peer = |(id, progress): (NodeId, &Progress)| PeerStatus {
            id,
            match_index: progress.match_index,
            next_index: progress.next_index,
            state: progress.state,
            in_flight: progress.in_flight(),
            in_flight_bytes: progress.in_flight_bytes(),
            silent: progress.last_heard.map(|heard| now.since(heard)),
        };
        leadership.followers.iter().map(peer).collect()
    }

    /// The elections that this member saw, the oldest first: the last few of them.
    pub fn elections(&self) -> impl Iterator<Item = &ElectionRecord> {
        self.elections.iter()
    }

    /// Counts since the member started.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The configuration that holds at `index`, which is the last applied or later: for a snapshot that ends
    /// there. `None` if it is forgotten, as a member may that finds very many in its log when it starts: then
    /// the snapshot has to wait until more is applied.
    pub fn configuration_at(&self, index: LogIndex) -> Option<&Configuration> {
        self.membership.exactly_at(index)
    }

    /// The configuration that holds, committed or not. Without voters: this member knows of no group.
    pub fn configuration(&self) -> &Configuration {
        self.membership.current()
    }

    /// The configuration of what is committed: it will not be undone.
    pub fn final_configuration(&self) -> &Configuration {
        self.membership.at(self.commit)
    }

    /// How far a follower's log is known to be this leader's.
    pub fn match_index(&self, id: NodeId) -> Option<LogIndex> {
        match &self.role {
            Role::Leader(leadership) => leadership.followers.get(id).map(|peer| peer.match_index),
            Role::Follower { .. } | Role::PreCandidate(_) | Role::Candidate(..) => None,
        }
    }

    /// Everybody that this member has to do with: all members of the configuration that holds and of the one
    /// that is committed, and those who are removed and still have to be told.
    pub fn contacts(&self) -> BTreeSet<NodeId> {
        let departing = match &self.role {
            Role::Leader(leadership) => Some(leadership.followers.ids()),
            Role::Follower { .. } | Role::PreCandidate(_) | Role::Candidate(..) => None,
        };
        let members = self.configuration().members().chain(self.final_configuration().members());
        let all = members.chain(departing.into_iter().flatten());
        all.filter(|id| *id != self.config.id).collect()
    }

    /// Something that is another than before when [`RaftNode::contacts`] may be: to ask for it is cheap.
    pub fn contacts_version(&self) -> (u64, LogIndex, usize) {
        let fed = match &self.role {
            Role::Leader(leadership) => leadership.followers.len(),
            Role::Follower { .. } | Role::PreCandidate(_) | Role::Candidate(..) => 0,
        };
        let is_final = self.membership.current_index().min(self.commit);
        (self.membership.changes(), is_final, fed)
    }

    /// The last entry that is applied.
    pub fn last_applied(&self) -> LogIndex {
        self.applying.applied()
    }

    /// The last entry that is known to be committed.
    pub fn commit_index(&self) -> LogIndex {
        self.commit
    }

    /// The first entry of the log: what comes before is in a snapshot.
    pub fn first_index(&self) -> LogIndex {
        self.log.first_index()
    }

    /// The last entry of the log.
    pub fn last_index(&self) -> LogIndex {
        self.log.last_index()
    }

    /// The last entry that is on the disk.
    pub fn persisted_index(&self) -> LogIndex {
        self.persistence.durable_index()
    }

    /// Whom this member voted for in the present term.
    pub fn vote(&self) -> Option<NodeId> {
        self.hard_state.vote
    }

    /// The terms of all entries.
    pub fn terms(&self) -> &TermRuns {
        self.log.terms()
    }

    /// An entry, if it is in memory.
    pub fn entry_in_memory(&self, index: LogIndex) -> Option<&LogEntry> {
        self.log.entry_in_memory(index)
    }
}
