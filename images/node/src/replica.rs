//! This node's share of the replicated log: Raft, the disk under it, and the links to the other nodes.

mod loading;
mod members;
mod neighbours;
mod repairing;
mod same_number;
mod snapshots;
mod tracing;

use alloc::collections::{BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use base::{ClusterId, Instant, LogIndex, NodeId};
use block::{BlockCompletion, BlockRequest};
use bytes::Bytes;
use kv::KvMachine;
use net::links::{self, Disposition, Links, Urgency};
use pool::{Frame, Pool};
use raft::{
    Encoder, FetchId, LogEntry, Payload, ProposeError, RaftNode, ReadError, Ticket, TransferError,
};
use store::{Record, Store};
use wire::{Lane, Refusal, ServiceId, TraceContext};

use crate::budget::Budget;
use crate::journal::Level;
use crate::members::{Members, RemovalError};
use crate::settings::Beginning;
use loading::Loading;
use repairing::Scrubber;
use same_number::SameNumber;
pub use snapshots::SnapshotCounts;
use snapshots::Snapshots;
use tracing::Tracing;

/// With less room than this the log on disk counts as full: as much as peers may have on its way to us.
const ROOM_MIN_BYTES: u64 = 4 * 1024 * 1024;
/// And with room for fewer records than this.
const ROOM_MIN_RECORDS: u64 = 4096;
/// On a small disk a smaller share must do: one in so many.
const ROOM_MIN_SHARE: u64 = 16;

/// What a record takes on the disk beside its payload, about.
const RECORD_BYTES: usize = 64;

/// The longest packet on the cluster network.
const MTU: usize = 1500;

/// What the replica is told when it starts.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) raft: raft::Config,
    pub(crate) beginning: Beginning,
    pub(crate) cluster: ClusterId,
    pub(crate) seed: u64,
    /// What peers tell this start of the node by, not 0.
    pub(crate) nonce: u32,
    /// A snapshot is taken after so many entries, or earlier if room is scarce.
    pub(crate) snapshot_entries: u64,
}

/// What the replica wants done, or tells.
#[derive(Debug)]
pub(crate) enum ReplicaOutput {
    /// Hand this to the disk.
    Disk(BlockRequest),
    /// The disk is read.
    Ready {
        /// How often it has started.
        epoch: u64,
        /// The state that it goes on from, if not from the first entry.
        machine: Option<KvMachine>,
    },
    /// This state takes the place of what was applied.
    Restore(KvMachine),
    /// The snapshot that is being taken is not wanted any more.
    SnapshotAbandoned,
    /// These entries are committed; call [`Replica::applied`] then.
    Apply(Vec<LogEntry>),
    /// A read may be answered after applying `index`.
    ReadReady { context: u64, index: LogIndex },
    /// A read must be asked again.
    ReadFailed { context: u64 },
    /// The leader is another than before, or none.
    LeaderChanged,
    /// With whom this node has to do from now on.
    Contacts(BTreeSet<NodeId>),
    /// A peer's key-value service says something.
    Message { from: NodeId, content: Bytes },
    /// A peer's notary says something.
    NotaryMessage { from: NodeId, content: Bytes },
    /// The switch says that this node is gone: its notary may want to know.
    Unreachable(NodeId),
    /// An operator would want to know.
    Note(Level, &'static str, String),
    /// A line of the trace.
    Trace(String),
    /// A removal that was asked for has happened, or has not.
    RemovalEnded(NodeId, Result<(), RemovalError>),
    /// The disk cannot be trusted; nothing more comes.
    Failed(String),
    /// This node can never be a member; nothing more comes.
    Refused(String),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Replica {
    config: Config,
    packets: Pool,
    store: Store,
    /// The disk is read, and what it holds is being loaded.
    loading: Option<Loading>,
    /// Present when that is done.
    member: Option<Member>,
    snapshots: Snapshots,
    scrubber: Scrubber,
    started: Instant,
    /// The state of a snapshot that Raft is about to ask for.
    restoring: Option<KvMachine>,
    outputs: VecDeque<ReplicaOutput>,
    messages_refused: u64,
    tracing: Tracing,
    same_number: SameNumber,
}

/// What exists only when the disk is read.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) raft: RaftNode,
    pub(crate) links: Links,
    pub(crate) members: Members,
    /// For which contacts, of Raft's and of those who let this node in, the links were set up.
    linked: Option<((u64, LogIndex, usize), u64)>,
    encoder: Encoder,
    leader: Option<NodeId>,
}

impl Replica {
    pub(crate) fn new(config: Config, store: Store, packets: Pool, started: Instant) -> Replica {
        let outputs = VecDeque::new();
        Replica {
            config,
            packets,
            store,
            loading: None,
            member: None,
            snapshots: Snapshots::default(),
            scrubber: Scrubber::new(started),
            started,
            restoring: None,
            outputs,
            messages_refused: 0,
            tracing: Tracing::default(),
            same_number: SameNumber::default(),
        }
    }

    pub(crate) fn member(&self) -> Option<&Member> {
        self.member.as_ref()
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Messages of peers that were whole and made no sense.
    pub(crate) fn messages_refused(&self) -> u64 {
        self.messages_refused
    }

    /// A frame has arrived; it comes back if it is not one of a link.
    pub(crate) fn handle_frame(&mut self, frame: Frame, now: Instant) -> Option<Frame> {
        let Some(member) = &mut self.member else { return Some(frame) };
        match member.links.handle_frame(frame, now) {
            Disposition::Foreign(frame) => Some(frame),
            Disposition::Refused(Refusal::Superseded) => {
                self.note_superseded();
                None
            }
            Disposition::Refused(Refusal::Twin) => {
                self.note_twins(now);
                None
            }
            Disposition::Unreachable(peer) => {
                member.raft.handle_peer_unreachable(peer, now);
                self.outputs.push_back(ReplicaOutput::Unreachable(peer));
                None
            }
            Disposition::Taken | Disposition::Refused(_) => None,
        }
    }

    pub(crate) fn handle_completion(&mut self, completion: BlockCompletion, now: Instant) {
        self.store.handle_completion(completion, now);
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.store.handle_timeout(now);
        self.scrub(now);
        self.give_up_damaged(now);
        if let Some(member) = &mut self.member {
            member.links.handle_timeout(now);
            if member.raft.poll_timeout().is_some_and(|at| at <= now) {
                member.raft.handle_timeout(now);
            }
            if member.members.poll_timeout(&member.raft).is_some_and(|at| at <= now) {
                member.members.handle_timeout(&mut member.raft, now);
            }
        }
    }

    /// This machine has stood still, or its clock has leapt. False if it does not matter: the disk is not
    /// read.
    pub(crate) fn handle_time_jump(&mut self, now: Instant) -> bool {
        if let Some(member) = &mut self.member {
            member.raft.handle_time_jump(now);
        }
        self.member.is_some()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let member = self.member.as_ref();
        let raft = member.and_then(|member| member.raft.poll_timeout());
        let links = member.and_then(|member| member.links.poll_timeout());
        let members = member.and_then(|member| member.members.poll_timeout(&member.raft));
        let scrub = member.and_then(|_| self.scrubber.poll_timeout());
        Instant::earliest([raft, links, members, self.store.poll_timeout(), scrub])
    }

    pub(crate) fn propose(&mut self, command: Bytes) -> Result<(), ProposeError> {
        match &mut self.member {
            Some(member) => member.raft.propose(command).map(|_| ()),
            None => Err(ProposeError::NotLeader { leader: None }),
        }
    }

    pub(crate) fn read_index(&mut self, context: u64, now: Instant) -> Result<(), ReadError> {
        match &mut self.member {
            Some(member) => member.raft.read_index(context, now),
            None => Err(ReadError::NoLeader),
        }
    }

    /// Hands leadership over, to `to` or to the best follower, and answers to whom.
    pub(crate) fn hand_over(
        &mut self,
        to: Option<NodeId>,
        now: Instant,
    ) -> Result<NodeId, TransferError> {
        match &mut self.member {
            Some(member) => member.raft.transfer_leadership(to, now),
            None => Err(TransferError::NotLeader { leader: None }),
        }
    }

    /// Everything up to `index` is applied.
    pub(crate) fn applied(&mut self, index: LogIndex) {
        if let Some(member) = &mut self.member {
            member.raft.handle_applied(index);
        }
    }

    /// The next frame to send; no bulk, if there is no room for it.
    pub(crate) fn poll_transmit(
        &mut self,
        has_room_for_bulk: bool,
        now: Instant,
    ) -> Option<(Urgency, Frame)> {
        let links = &mut self.member.as_mut()?.links;
        if has_room_for_bulk { links.poll_transmit(now) } else { links.poll_urgent(now) }
    }

    /// Whether a frame waits for a buffer or for room; asked after [`Replica::poll_transmit`] has given none.
    pub(crate) fn is_starved(&self) -> bool {
        self.member.as_ref().is_some_and(|member| member.links.is_starved())
    }

    /// The next thing to do. Within the replica, everything that follows from it is done already.
    pub(crate) fn poll_output(&mut self, now: Instant) -> Option<ReplicaOutput> {
        let mut budget = Budget::new();
        loop {
            budget.spend();
            self.trace_step(now);
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            if let Some(output) = self.store.poll_output() {
                self.take_from_store(output, now);
                continue;
            }
            let member = self.member.as_mut()?;
            if let Some(message) = member.links.poll_message() {
                self.take_message(message, now);
            } else if let Some(output) = member.raft.poll_output() {
                self.take_from_raft(output, now);
            } else if !self.advance_members(now) {
                self.take_trace();
                return self.outputs.pop_front();
            }
        }
    }

    fn take_from_store(&mut self, output: store::Output, now: Instant) {
        match output {
            store::Output::Request(request) => self.outputs.push_back(ReplicaOutput::Disk(request)),
            store::Output::Recovered(recovered) => self.load(recovered, now),
            store::Output::Persisted(ticket) => {
                self.snapshots.ticket_durable = ticket;
                if let Some(member) = &mut self.member {
                    member.raft.handle_persisted(Ticket(ticket), now);
                }
                self.go_on_installing(now);
            }
            store::Output::Read(id, records) => {
                if !self.load_record(id, &records, now) {
                    self.take_records(id, records);
                }
            }
            store::Output::Damaged(damage) => self.take_damage(damage, now),
            store::Output::Repaired(index) => self.note_repaired(index),
            store::Output::NotRepaired(index) => self.note_not_repaired(index, now),
            store::Output::Scrubbed(next) => self.scrubber.note_done(next),
            store::Output::SnapshotStored { meta, offset } => {
                self.snapshot_stored(&meta, offset, now);
            }
            store::Output::SnapshotDurable(meta) => self.snapshot_durable(&meta, now),
            store::Output::SnapshotRead { id, meta, offset, total_bytes, bytes } => {
                self.snapshot_read(id, &meta, offset, total_bytes, bytes, now);
            }
            store::Output::SnapshotDamaged { id, meta, offset } => {
                self.snapshot_damaged(id, &meta, offset, now);
            }
            store::Output::Failed(failure) => self.fail(alloc::format!("{failure}")),
        }
    }

    fn fail(&mut self, reason: String) {
        self.member = None;
        self.outputs.push_back(ReplicaOutput::Failed(reason));
    }

    /// Tells Raft whether the disk has room.
    fn note_room(&mut self) {
        let (records, bytes) = self.store.room();
        let status = self.store.status();
        let records_min = ROOM_MIN_RECORDS.min(status.slots / ROOM_MIN_SHARE);
        let bytes_min = ROOM_MIN_BYTES.min(status.body_bytes / ROOM_MIN_SHARE);
        if let Some(member) = &mut self.member {
            member.raft.set_log_full(records < records_min || bytes < bytes_min);
        }
    }

    fn take_records(&mut self, id: u64, records: Vec<Record>) {
        let entry = |record: Record| {
            let payload = Payload::from_parts(record.kind, record.payload).ok()?;
            Some(LogEntry { index: record.index, term: record.term, payload })
        };
        let entries: Option<Vec<LogEntry>> = records.into_iter().map(entry).collect();
        match (entries, &mut self.member) {
            (Some(entries), Some(member)) => member.raft.handle_fetched(FetchId(id), entries),
            (Some(_), None) => {}
            (None, _) => self.fail("an entry on the disk is of no known kind".into()),
        }
    }

    fn take_message(&mut self, message: links::Message, now: Instant) {
        let links::Message { from, service, content, .. } = message;
        match service {
            ServiceId::Kv => self.outputs.push_back(ReplicaOutput::Message { from, content }),
            ServiceId::Bft => {
                self.outputs.push_back(ReplicaOutput::NotaryMessage { from, content });
            }
            ServiceId::Members => self.take_word_of_members(from, &content, now),
            ServiceId::Raft => match (raft::Message::decode(&content), &mut self.member) {
                (Ok(_), Some(member)) if member.raft.is_stranger(from) => {
                    member.raft.note_stranger();
                    member.members.tell_removed(from);
                }
                (Ok(message), Some(member)) => {
                    if let Tracing::On(transitions) = &mut self.tracing {
                        transitions.received(from, &message, now);
                    }
                    member.raft.handle_message(from, message, now);
                }
                (Ok(_), None) => {}
                (Err(_), _) => self.messages_refused += 1,
            },
        }
    }

    fn take_from_raft(&mut self, output: raft::Output, now: Instant) {
        // Whoever has just become a member can be sent to.
        self.follow_configuration(now);
        match output {
            raft::Output::Send { to, message } => self.send(to, &message, now),
            raft::Output::Persist(persist) => self.persist(persist),
            raft::Output::Apply(entries) => self.outputs.push_back(ReplicaOutput::Apply(entries)),
            raft::Output::Fetch(request) => {
                let (from, to) = (request.from, request.to);
                let asked = self.store.read(request.id.0, from, to, request.max_bytes);
                if let (Err(_), Some(member)) = (asked, &mut self.member) {
                    member.raft.handle_fetched(request.id, Vec::new());
                }
            }
            raft::Output::Repair(entry) => self.repair(entry, now),
            raft::Output::FetchSnapshot { id, peer: _, offset, max_bytes } => {
                self.fetch_snapshot(id, offset, max_bytes);
            }
            raft::Output::StoreSnapshot { meta, total_bytes, offset, bytes } => {
                self.take_part(*meta, total_bytes, offset, bytes, now);
            }
            raft::Output::RestoreState { meta } => {
                match self.restoring.take().filter(|machine| machine.applied() == meta.index) {
                    Some(machine) => self.outputs.push_back(ReplicaOutput::Restore(machine)),
                    None => self.fail("the state of an installed snapshot is not at hand".into()),
                }
            }
            raft::Output::ReadReady { context, index } => {
                self.outputs.push_back(ReplicaOutput::ReadReady { context, index });
            }
            raft::Output::ReadFailed { context } => {
                self.outputs.push_back(ReplicaOutput::ReadFailed { context });
            }
            raft::Output::Event(event) => {
                let text = alloc::format!("{event}");
                self.outputs.push_back(ReplicaOutput::Note(Level::Info, "raft", text));
            }
        }
        self.watch_leader();
    }

    fn watch_leader(&mut self) {
        if let Some(member) = &mut self.member
            && member.leader != member.raft.leader()
        {
            member.leader = member.raft.leader();
            self.outputs.push_back(ReplicaOutput::LeaderChanged);
        }
    }

    fn send(&mut self, to: NodeId, message: &raft::Message, now: Instant) {
        let Some(member) = &mut self.member else { return };
        if let Tracing::On(transitions) = &mut self.tracing {
            transitions.sent(to, message, now);
        }
        let (trace, bytes) = (TraceContext::default(), member.encoder.encode(message));
        // What cannot be sent is lost, which Raft survives.
        let _ = match message {
            // The next one comes soon, and says all that this one would have said.
            raft::Message::Heartbeat { .. } | raft::Message::HeartbeatReply { .. } => {
                member.links.send_datagram(to, ServiceId::Raft, trace, bytes)
            }
            message => {
                let lane = if message.is_urgent() { Lane::Urgent } else { Lane::Bulk };
                member.links.send(to, ServiceId::Raft, lane, trace, bytes, now)
            }
        };
    }

    fn persist(&mut self, persist: raft::Persist) {
        let hard_state =
            persist.hard_state.map(|state| store::HardState { term: state.term, vote: state.vote });
        let records: Vec<Record> = persist.entries.into_iter().map(record_of).collect();
        let bytes: usize = records.iter().map(|record| record.payload.len() + RECORD_BYTES).sum();
        self.snapshots.note_written(bytes as u64);
        self.snapshots.ticket_issued = persist.ticket.0;
        match self.store.persist(persist.ticket.0, hard_state, records) {
            Ok(()) => self.note_room(),
            Err(_) => {
                self.fail("the log on disk has no room left, not even for the reserve".into())
            }
        }
    }

    pub(crate) fn check_invariants(&self) {
        self.store.check_invariants();
        if let Some(member) = &self.member {
            member.raft.check_invariants();
            member.links.check_invariants();
        }
    }
}

/// Raft's word for an entry, as the store's.
fn record_of(entry: LogEntry) -> Record {
    Record {
        index: entry.index,
        term: entry.term,
        kind: entry.payload.kind(),
        payload: entry.payload.bytes(),
    }
}
