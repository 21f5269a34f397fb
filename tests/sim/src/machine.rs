//! One machine: a disk that stays, and a node that comes and goes.

use base::{ClusterId, Instant, NodeId, Prng};
use node::{Beginning, Hardware, Node, Reads, Settings};
use pool::{PAGE_BYTES, Pool, PoolStatistics};

use crate::bug::Bug;
use crate::counts::{Counts, Kind};
use crate::disk::SimDisk;
use crate::local_clock::LocalClock;
use crate::plan::{Plan, Tuning, node};

/// The size of each disk.
pub const DISK_SECTORS: u64 = 128 * 1024;
/// A real machine has more buffers. Here all that is sent is on its way at once, so that few are held.
const PACKET_BUFFERS: usize = 64;
const BLOCK_BUFFERS: usize = 8;
const BLOCK_BUFFER_BYTES: usize = 32 * 1024;

/// How long a disk finishes nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hang {
    /// Until then.
    Until(Instant),
    /// Until the machine loses power.
    UntilPowerCut,
}

/// A machine of the simulated cluster.
#[derive(Debug)]
pub struct Machine {
    /// Its number.
    pub id: NodeId,
    /// Its disk.
    pub disk: SimDisk,
    /// Its node, while it is on.
    pub node: Option<Node>,
    /// Its packet buffers.
    pub packets: Pool,
    blocks: Pool,
    /// How often it was switched on: events of an earlier life are void.
    pub life: u64,
    /// When its node wants to be woken; other wake-ups are void.
    pub wake: Option<Instant>,
    /// It stands still until then.
    pub paused_until: Option<Instant>,
    /// Its disk finishes nothing.
    pub hang: Option<Hang>,
    /// The operations that its disk would have finished.
    pub stuck: Vec<u64>,
    /// Its node was told to stop, and will.
    pub is_stopping: bool,
    /// Its clock.
    pub clock: LocalClock,
    /// How far its calendar is ahead of the world's, in milliseconds.
    pub calendar_ahead_ms: i64,
    /// Its node has been seen to have read its disk, which is formatted since: it may not be again.
    is_formatted: bool,
    /// How its node comes to its group.
    pub beginning: Beginning,
    tuning: Tuning,
    bug: Option<Bug>,
    counts: Counts,
}

impl Machine {
    /// A machine that is off, with an empty disk. Its node is one of those who found the cluster.
    pub fn new(id: NodeId, plan: &Plan, bug: Option<Bug>, seed: u64) -> Machine {
        let founders = (1..=plan.nodes).map(node).collect();
        Machine::beginning(id, Beginning::Founds(founders), plan, bug, seed)
    }

    /// The same, of a node that comes to its group so.
    pub fn beginning(
        id: NodeId,
        beginning: Beginning,
        plan: &Plan,
        bug: Option<Bug>,
        seed: u64,
    ) -> Machine {
        let errors = (plan.tuning.clock_error_min_ppm, plan.tuning.clock_error_max_ppm);
        Machine {
            id,
            disk: SimDisk::new(DISK_SECTORS, plan.temper.clone(), seed),
            node: None,
            packets: Pool::on_heap(PACKET_BUFFERS, PAGE_BYTES),
            blocks: Pool::on_heap(BLOCK_BUFFERS, BLOCK_BUFFER_BYTES),
            life: 0,
            wake: None,
            paused_until: None,
            hang: None,
            stuck: Vec::new(),
            is_stopping: false,
            clock: LocalClock::draw(errors, &mut Prng::new(!seed)),
            calendar_ahead_ms: 0,
            is_formatted: false,
            beginning,
            tuning: plan.tuning,
            bug,
            counts: Counts::default(),
        }
    }

    /// Whether it is on.
    pub fn is_on(&self) -> bool {
        self.node.is_some()
    }

    /// Whether its node leads, as far as it knows.
    pub fn is_leader(&self) -> bool {
        self.node.as_ref().and_then(Node::raft).is_some_and(raft::RaftNode::is_leader)
    }

    /// The time by its own clock.
    pub fn local(&self, now: Instant) -> Instant {
        self.clock.at(now)
    }

    /// Switches it on. Both times are the world's.
    pub fn start(&mut self, seed: u64, wall_ms: u64, now: Instant) {
        assert!(self.node.is_none(), "it is off");
        self.life += 1;
        if self.calendar_ahead_ms != 0 {
            self.counts.note(Kind::CalendarsSet);
        }
        if self.life > 1 {
            self.counts.note(Kind::Restarts);
        }
        let settings = Settings {
            id: self.id,
            cluster: ClusterId(1),
            beginning: self.beginning.clone(),
            may_format: !self.is_formatted,
            outside: None,
            without_flush: false,
            reads: if self.tuning.lease_reads { Reads::Lease } else { Reads::Index },
            has_continuous_clock: false,
            ledger: Some(false),
            path: None,
            ring_size: base::limits::RING_SIZE,
            snapshot_entries: self.tuning.snapshot_entries,
            wall_ms: wall_ms.saturating_add_signed(self.calendar_ahead_ms),
        };
        let hardware = Hardware {
            packets: self.packets.clone(),
            blocks: self.blocks.clone(),
            disk_sectors: self.disk.capacity_sectors(),
            has_continuous_clock: self.tuning.lease_reads,
        };
        let now = self.local(now);
        let raft = self.raft_config(settings.consensus());
        let node = Node::new(settings, raft, hardware, seed, now);
        self.node = Some(self.with_bug(node.expect("the settings are good")));
    }

    fn raft_config(&self, usual: raft::Config) -> raft::Config {
        raft::Config {
            append_batch_max_entries: self.tuning.append_entries_max,
            append_in_flight_max: self.tuning.append_in_flight_max,
            entry_cache_max_bytes: self.tuning.entry_cache_max_bytes,
            suspects_silence: self.tuning.suspects_silence,
            #[cfg(feature = "mutants")]
            mutant: self.bug.and_then(Bug::of_raft),
            ..usual
        }
    }

    #[cfg(feature = "mutants")]
    fn with_bug(&self, mut node: Node) -> Node {
        node.put_in(self.bug.and_then(Bug::of_kv));
        node
    }

    #[cfg(not(feature = "mutants"))]
    fn with_bug(&self, node: Node) -> Node {
        assert!(self.bug.is_none(), "bugs are put in by the feature `mutants`");
        node
    }

    /// Switches it off without a warning.
    pub fn crash(&mut self) {
        self.counts.note(Kind::Crashes);
        self.count_node();
        (self.node, self.wake, self.paused_until, self.hang) = (None, None, None, None);
        self.stuck.clear();
        self.is_stopping = false;
        self.disk.crash();
        let held = [&self.packets, &self.blocks].map(|pool| pool.statistics());
        let is_free = |held: PoolStatistics| held.free == held.buffers;
        assert!(held.into_iter().all(is_free), "a node that is gone holds no buffers");
    }

    /// Takes over what its node has counted, which ends.
    fn count_node(&mut self) {
        if let Some(raft) = self.node.as_ref().and_then(Node::raft) {
            self.is_formatted = true;
            let counters = raft.counters();
            self.counts.add(Kind::Fetches, counters.fetches);
            self.counts.add(Kind::TimeJumps, counters.time_jumps);
            self.counts.add(Kind::Silences, counters.silences);
            self.counts.add(Kind::LeaseReads, counters.lease_reads);
            self.counts.add(Kind::DiskStalls, counters.disk_stalls);
            self.counts.add(Kind::HandOvers, counters.transfers - counters.transfers_failed);
            self.counts.add(Kind::EntriesDamaged, counters.entries_damaged);
            self.counts.add(Kind::EntriesRepaired, counters.entries_repaired);
            self.counts.add(Kind::EntriesVoid, counters.entries_void);
            self.counts.add(Kind::StatesRecalled, counters.states_recalled);
        }
        if let Some(snapshots) = self.node.as_ref().map(Node::snapshots) {
            self.counts.add(Kind::SnapshotsTaken, snapshots.taken);
            self.counts.add(Kind::SnapshotsInstalled, snapshots.installed);
        }
    }

    /// What happened to it and to its disk. To be asked for once, at the end.
    pub fn take_counts(&mut self) -> Counts {
        self.count_node();
        let mut counts = self.counts;
        counts += self.disk.counts();
        counts
    }
}
