//! What a member is told when it starts.

use alloc::vec::Vec;
use core::fmt;

use base::{Duration, NodeId, limits};

/// The configuration of one member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// This member.
    pub id: NodeId,
    /// Who votes in the group when it begins, in ascending order, this member included. It matters only until
    /// a configuration is found on the disk, or comes with the log. Nobody: this node waits until a leader
    /// makes it a member.
    pub voters: Vec<NodeId>,
    /// A leader speaks to every follower at least this often.
    pub heartbeat: Duration,
    /// A follower that hears nothing for a random span of at least this stands for election. A member that
    /// heard a leader more recently than this votes for nobody.
    pub election_timeout_min: Duration,
    /// The upper end of that span. A leader that hears from no majority for this long steps down.
    pub election_timeout_max: Duration,
    /// A leader answers reads without asking as long as it has a lease (see `lease`). Needs a clock that goes
    /// on while the machine stands still.
    pub lease_reads: bool,
    /// How far the clocks of two members may drift apart within the shortest election timeout.
    pub lease_drift_max: Duration,
    /// A leader that is silent for longer than it usually is is suspected to be gone (see `heartbeats`),
    /// before the election timeout.
    pub suspects_silence: bool,
    /// A leader whose disk has not finished a write for this long steps down, and nobody with such a disk
    /// stands.
    pub persist_stall_max: Duration,
    /// How many bytes of entries an append message carries; a single larger entry travels alone.
    pub append_batch_max_bytes: usize,
    /// How many entries an append message carries.
    pub append_batch_max_entries: usize,
    /// How many append messages may be on their way to a follower.
    pub append_in_flight_max: usize,
    /// How many bytes of entries may be on their way to a follower; a single larger message travels alone.
    pub append_in_flight_max_bytes: usize,
    /// How many bytes of entries a leader's log may hold beyond the commit index.
    pub uncommitted_max_bytes: usize,
    /// How many bytes of entries are kept in memory.
    pub entry_cache_max_bytes: usize,
    /// A bug put in on purpose, for tests that must find it.
    #[cfg(feature = "mutants")]
    pub mutant: Option<Mutant>,
}

/// A bug that a checker must find. Without the feature `mutants` no member has one.
///
/// Two are not among them, because they do no harm here. A member that forgets its vote when it steps down: a
/// candidate that steps down never leads in that term, a leader does so only after every other candidate of
/// the term has given up, and PreVote lets nobody stand in a term in which a majority has voted
/// ([`Mutant::VoteTwice`] is the one that matters). A follower that believes the commit index of an append
/// beyond its last entry: what an append carries first is what would conflict, so nothing is left behind it
/// that could ([`Mutant::CommitBeyondMatch`] is).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    /// Votes leave before they are on the disk (section 5.2: "persistent state").
    NoPersistBeforeVote,
    /// Followers acknowledge entries before they are on the disk.
    AppendAckBeforePersist,
    /// A leader counts copies of entries of earlier terms (figure 8).
    CommitOldTermByCount,
    /// A leader answers reads without asking whether it still leads.
    ReadWithoutQuorum,
    /// A leader answers reads before it has committed an entry of its own term (thesis, section 6.4).
    ReadBeforeOwnCommit,
    /// A follower keeps entries that conflict with the leader's.
    NoTruncateOnConflict,
    /// A follower cuts its log behind every message, and loses what a newer one had brought (pitfall 26).
    TruncateAlways,
    /// A leader tells followers how far it has committed, and not only as far as their logs are its own.
    CommitBeyondMatch,
    /// A member votes for whoever asks, again and again.
    VoteTwice,
    /// A member votes for candidates whose logs are behind its own (section 5.4.1).
    VoteForStaleLog,
    /// What the disk confirms counts for entries that have replaced those that were written (pitfall 15).
    LateConfirmationVouches,
    /// A member whose entry is damaged takes its log to end before it, and elects whoever has as much.
    DamagedIsAbsent,
    /// A member acknowledges entries that it knows to be damaged on its disk.
    AcknowledgesDamaged,
    /// A member lets go of a damaged entry when anybody denies it, in whatever term.
    LetsGoOnOneDenial,
    /// A leader's lease is as long as the followers' promise, by its own clock.
    LeaseWithoutDriftMargin,
    /// A leader's lease begins when the answers of a majority come, though it stood still in between.
    LeaseKeptAcrossPause,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Mutant; 16] = [
        Mutant::NoPersistBeforeVote,
        Mutant::AppendAckBeforePersist,
        Mutant::CommitOldTermByCount,
        Mutant::ReadWithoutQuorum,
        Mutant::ReadBeforeOwnCommit,
        Mutant::NoTruncateOnConflict,
        Mutant::TruncateAlways,
        Mutant::CommitBeyondMatch,
        Mutant::VoteTwice,
        Mutant::VoteForStaleLog,
        Mutant::LateConfirmationVouches,
        Mutant::DamagedIsAbsent,
        Mutant::AcknowledgesDamaged,
        Mutant::LetsGoOnOneDenial,
        Mutant::LeaseWithoutDriftMargin,
        Mutant::LeaseKeptAcrossPause,
    ];
}

/// Why a configuration cannot work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigError {
    /// The voters are not in strictly ascending order.
    VotersNotAscending,
    /// This member is not a voter.
    NotAVoter(NodeId),
    /// There are more voters than a cluster may have.
    TooManyVoters(usize),
    /// The times are not heartbeat x 2 < shortest timeout < longest timeout < longest write, or clocks may
    /// drift by as much as the shortest timeout.
    Timing,
    /// A limit is zero.
    ZeroLimit,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::VotersNotAscending => f.write_str("the voters are not in ascending order"),
            ConfigError::NotAVoter(id) => write!(f, "node {id} is not among the voters"),
            ConfigError::TooManyVoters(count) => {
                write!(f, "{count} voters, but at most {} are supported", limits::CLUSTER_NODES_MAX)
            }
            ConfigError::Timing => f.write_str(
                "two heartbeats must fit into the shortest election timeout, which must be shorter \
                 than the longest, which must be shorter than the longest write",
            ),
            ConfigError::ZeroLimit => f.write_str("a limit on batches, windows or memory is zero"),
        }
    }
}

impl core::error::Error for ConfigError {}

impl Config {
    /// The usual configuration of member `id` of a group of `voters`.
    pub fn new(id: NodeId, mut voters: Vec<NodeId>) -> Config {
        voters.sort_unstable();
        Config {
            id,
            voters,
            heartbeat: Duration::from_millis(limits::HEARTBEAT_MS),
            election_timeout_min: Duration::from_millis(limits::ELECTION_TIMEOUT_MIN_MS),
            election_timeout_max: Duration::from_millis(limits::ELECTION_TIMEOUT_MAX_MS),
            lease_reads: false,
            lease_drift_max: Duration::from_millis(limits::LEASE_DRIFT_MAX_MS),
            suspects_silence: true,
            persist_stall_max: Duration::from_millis(limits::PERSIST_STALL_MAX_MS),
            append_batch_max_bytes: limits::APPEND_BATCH_MAX_BYTES,
            append_batch_max_entries: limits::APPEND_BATCH_MAX_ENTRIES,
            append_in_flight_max: limits::APPEND_IN_FLIGHT_MAX,
            append_in_flight_max_bytes: limits::APPEND_IN_FLIGHT_MAX_BYTES,
            uncommitted_max_bytes: limits::UNCOMMITTED_MAX_BYTES,
            entry_cache_max_bytes: limits::ENTRY_CACHE_MAX_BYTES,
            #[cfg(feature = "mutants")]
            mutant: None,
        }
    }

    /// Checks that the configuration can work.
    ///
    /// # Errors
    /// The first reason why it cannot.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !self.voters.is_sorted_by(|a, b| a < b) {
            return Err(ConfigError::VotersNotAscending);
        }
        if !self.voters.is_empty() && !self.voters.contains(&self.id) {
            return Err(ConfigError::NotAVoter(self.id));
        }
        if self.voters.len() > limits::CLUSTER_NODES_MAX {
            return Err(ConfigError::TooManyVoters(self.voters.len()));
        }
        let two_heartbeats = self.heartbeat.times(2);
        if two_heartbeats >= self.election_timeout_min
            || self.election_timeout_min >= self.election_timeout_max
            || self.heartbeat == Duration::ZERO
            || self.persist_stall_max <= self.election_timeout_max
            || self.lease_drift_max >= self.election_timeout_min
        {
            return Err(ConfigError::Timing);
        }
        let limits = [
            self.append_batch_max_bytes,
            self.append_batch_max_entries,
            self.append_in_flight_max,
            self.append_in_flight_max_bytes,
            self.uncommitted_max_bytes,
            self.entry_cache_max_bytes,
        ];
        if limits.contains(&0) { Err(ConfigError::ZeroLimit) } else { Ok(()) }
    }

    #[cfg(feature = "mutants")]
    pub(crate) fn has_bug(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    #[cfg(not(feature = "mutants"))]
    pub(crate) const fn has_bug(&self, _mutant: Mutant) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u16) -> NodeId {
        NodeId::new(number).unwrap()
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        let good = Config::new(node(1), vec![node(3), node(1), node(2)]);
        assert_eq!(good.validate(), Ok(()));
        let stranger = Config { id: node(4), ..good.clone() };
        assert_eq!(stranger.validate(), Err(ConfigError::NotAVoter(node(4))));
        assert_eq!(Config::new(node(4), Vec::new()).validate(), Ok(()), "it joins later");
        let twice = Config { voters: vec![node(1), node(1)], ..good.clone() };
        assert_eq!(twice.validate(), Err(ConfigError::VotersNotAscending));
        let hasty = Config { election_timeout_min: good.heartbeat, ..good.clone() };
        assert_eq!(hasty.validate(), Err(ConfigError::Timing));
        let mute = Config { append_in_flight_max: 0, ..good };
        assert_eq!(mute.validate(), Err(ConfigError::ZeroLimit));
    }

    #[test]
    fn a_group_has_a_largest_size() {
        let voters = |count: u16| (1..=count).map(node).collect::<Vec<_>>();
        assert_eq!(Config::new(node(1), voters(64)).validate(), Ok(()));
        let above = Config::new(node(1), voters(65)).validate();
        assert_eq!(above, Err(ConfigError::TooManyVoters(65)));
        assert!(Config::new(node(1), voters(254)).validate().is_err());
    }
}
