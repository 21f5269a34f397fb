//! What a member finds on its disk, and what it makes of it.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use base::{Instant, LogIndex, Prng, Term, limits};

use crate::commit::Applying;
use crate::config::{Config, ConfigError};
use crate::configuration::Configuration;
use crate::damage::Damage;
use crate::heartbeats::Heartbeats;
use crate::log::{Log, TermRuns};
use crate::membership::Membership;
use crate::message::{HardState, LogEntry, SnapshotMeta};
use crate::node::{RaftNode, Role};
use crate::persist::Persistence;
use crate::questions::PendingReads;
use crate::recall::Recall;
use crate::status::Counters;

/// What a member finds on its disk when it starts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Restored {
    /// The hard state; the default for a fresh disk.
    pub hard_state: HardState,
    /// The snapshot that the caller's state is restored from: the log begins behind it.
    pub snapshot: Option<SnapshotMeta>,
    /// The terms of all entries.
    pub terms: TermRuns,
    /// The last entry, or 0 if there is none.
    pub last_index: LogIndex,
    /// The configurations in the log, and where they are: all entries of that kind, in order.
    pub configurations: Vec<(LogIndex, Configuration)>,
    /// The end of the log, as much of it as is at hand: consecutive entries up to `last_index`.
    pub recent: Vec<LogEntry>,
    /// The snapshot is damaged: there is no state yet.
    pub lacks_state: bool,
}

impl RaftNode {
    /// A member as its disk remembers it. It starts as a follower, and applies everything behind the
    /// snapshot.
    ///
    /// # Errors
    /// If the configuration cannot work.
    ///
    /// # Panics
    /// If what was restored contradicts itself.
    pub fn new(
        config: Config,
        seed: u64,
        restored: Restored,
        now: Instant,
    ) -> Result<RaftNode, ConfigError> {
        config.validate()?;
        let (base, first) = match restored.snapshot {
            Some(meta) => ((meta.index, meta.term), meta.configuration),
            None => ((LogIndex(0), Term(0)), Configuration::of_voters(config.voters.clone())),
        };
        let recall = restored.lacks_state.then(|| Recall::new(base, now));
        let log = Log::new(base, restored.terms, restored.last_index, restored.recent);
        let last = log.last_index();
        let in_log = |(index, _): &(LogIndex, Configuration)| *index <= last;
        let configurations = restored.configurations.into_iter().filter(in_log).collect();
        let mut applying = Applying::default();
        applying.restore(base.0);
        let mut node = RaftNode {
            prng: Prng::new(seed),
            hard_state: restored.hard_state,
            role: Role::Follower { leader: None },
            log,
            membership: Membership::new((base.0, first), configurations),
            persistence: Persistence::new(last),
            commit: base.0,
            applying,
            damage: Damage::default(),
            matched: LogIndex(0),
            acknowledged: LogIndex(0),
            receiving: None,
            decide_after: now,
            recall,
            recalled: BTreeMap::new(),
            snapshot_wanted: LogIndex(0),
            reads: PendingReads::default(),
            election_timeout: config.election_timeout_max,
            election_deadline: now,
            leader_heard: None,
            heartbeats: Heartbeats::default(),
            suspicion: None,
            suspicion_refuted: None,
            gave_way: Term(0),
            fruitless: 0,
            put_off: None,
            started: now,
            now,
            outputs: VecDeque::new(),
            turn: Vec::new(),
            fetches: BTreeMap::new(),
            next_fetch: 0,
            is_log_full: false,
            counters: Counters::default(),
            elections: VecDeque::with_capacity(limits::ELECTIONS_REMEMBERED),
            config,
        };
        node.draw_election_deadline(now);
        if node.quorum().has(|id| id == node.config.id) {
            node.election_deadline = now;
        }
        Ok(node)
    }
}
