//! A group in memory: messages take a while, writes take a while, and a crash forgets what was not written.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use base::{Duration, Instant, LogIndex, NodeId, Prng, Term};
use bytes::Bytes;
use raft::{
    Change, ChangeError, Config, LogEntry, Message, Output, Payload, Persist, RaftNode,
    SnapshotMeta,
};

use crate::disk::Disk;

pub fn node(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

enum Event {
    Deliver {
        to: NodeId,
        from: NodeId,
        message: Message,
    },
    /// The oldest write of a member's is done.
    Written {
        node: NodeId,
        life: u64,
    },
    Wake {
        node: NodeId,
    },
}

enum Write {
    Persist(Persist),
    Part { meta: SnapshotMeta, total: u64, offset: u64, bytes: Bytes },
    Repair(LogEntry),
}

#[derive(Default)]
pub struct Member {
    pub raft: Option<RaftNode>,
    pub disk: Disk,
    pub applied: Vec<LogEntry>,
    pub reads: Vec<(u64, Option<LogIndex>)>,
    /// Writes that are not done, in order.
    writes: VecDeque<Write>,
    life: u64,
}

pub struct Cluster {
    pub now: Instant,
    pub members: BTreeMap<NodeId, Member>,
    /// The voters that the group began with.
    pub founders: Vec<NodeId>,
    pub prng: Prng,
    /// Chances per mille.
    pub loss: u64,
    pub duplication: u64,
    pub delay_max: Duration,
    pub write_max: Duration,
    pub blocked: BTreeSet<(NodeId, NodeId)>,
    /// Members whose disks finish nothing.
    pub hung: BTreeSet<NodeId>,
    /// The chance per mille that a write damages a part of a snapshot.
    pub rot: u64,
    /// How much later messages to and from these arrive.
    pub slow: BTreeMap<NodeId, Duration>,
    /// For each read that was asked, how many entries were applied somewhere by then: all of these it must
    /// see.
    asked: BTreeMap<u64, u64>,
    /// Every event of every member.
    pub events: Vec<(NodeId, raft::Event)>,
    /// Messages and bytes sent to each member.
    pub traffic: BTreeMap<NodeId, (u64, u64)>,
    /// The most entries that a member wanted from its disk at once.
    pub fetched_max: u64,
    pub adjust: fn(&mut Config),
    queue: BTreeMap<(Instant, u64), Event>,
    next_event: u64,
    /// What was ever applied anywhere: all must agree.
    pub truth: Vec<LogEntry>,
    /// For each of these, a term in which it was known to be committed.
    committed_in: Vec<Term>,
    leaders: BTreeMap<Term, NodeId>,
}

impl Cluster {
    pub fn new(size: u16, seed: u64) -> Cluster {
        Cluster::with(size, seed, |_| {})
    }

    pub fn with(size: u16, seed: u64, adjust: fn(&mut Config)) -> Cluster {
        let mut cluster = Cluster {
            now: Instant::ORIGIN,
            members: BTreeMap::new(),
            founders: (1..=size).map(node).collect(),
            prng: Prng::new(seed),
            loss: 0,
            duplication: 0,
            delay_max: Duration::from_millis(2),
            write_max: Duration::from_millis(2),
            blocked: BTreeSet::new(),
            hung: BTreeSet::new(),
            rot: 0,
            slow: BTreeMap::new(),
            asked: BTreeMap::new(),
            events: Vec::new(),
            traffic: BTreeMap::new(),
            fetched_max: 0,
            adjust,
            queue: BTreeMap::new(),
            next_event: 0,
            truth: Vec::new(),
            committed_in: Vec::new(),
            leaders: BTreeMap::new(),
        };
        for number in 1..=size {
            cluster.members.insert(node(number), Member::default());
        }
        for number in 1..=size {
            cluster.start(node(number));
        }
        cluster
    }

    /// Switches on a node that knows of no group.
    pub fn join(&mut self, id: NodeId) {
        self.members.insert(id, Member::default());
        self.start(id);
    }

    pub fn start(&mut self, id: NodeId) {
        let is_founder = self.founders.contains(&id);
        let voters = if is_founder { self.founders.clone() } else { Vec::new() };
        let mut config = Config::new(id, voters);
        (self.adjust)(&mut config);
        let seed = self.prng.next_u64();
        let member = self.members.get_mut(&id).unwrap();
        let readable = member.disk.snapshot.as_ref().filter(|_| !member.disk.is_snapshot_lost);
        let restored = readable.map_or(0, |(meta, _)| meta.index.0);
        member.applied = self.truth[..restored as usize].to_vec();
        let raft = RaftNode::new(config, seed, member.disk.restored(), self.now).unwrap();
        member.raft = Some(raft);
        self.drain(id);
    }

    pub fn crash(&mut self, id: NodeId) {
        let member = self.members.get_mut(&id).unwrap();
        member.raft = None;
        member.writes.clear();
        member.disk.crash();
        member.life += 1;
    }

    pub fn raft(&mut self, id: NodeId) -> &mut RaftNode {
        self.members.get_mut(&id).unwrap().raft.as_mut().expect("it runs")
    }

    pub fn status(&self, id: NodeId) -> raft::Status {
        self.members[&id].raft.as_ref().expect("it runs").status(self.now)
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        self.queue.insert((at, self.next_event), event);
        self.next_event += 1;
    }

    /// Carries out what a member wants.
    pub fn drain(&mut self, id: NodeId) {
        let mut fetches = VecDeque::new();
        loop {
            let Some(raft) = self.members.get_mut(&id).and_then(|m| m.raft.as_mut()) else {
                return;
            };
            let Some(output) = raft.poll_output() else { break };
            match output {
                Output::Send { to, message } => self.transmit(id, to, message),
                Output::Persist(persist) => self.write(id, Write::Persist(persist)),
                Output::StoreSnapshot { meta, total_bytes: total, offset, bytes } => {
                    self.write(id, Write::Part { meta: *meta, total, offset, bytes });
                }
                Output::FetchSnapshot { id: fetch, offset, max_bytes, .. } => {
                    let (meta, total, bytes) = self.members[&id].disk.part(offset, max_bytes);
                    self.raft(id).handle_snapshot_part(fetch, &meta, offset, total, bytes);
                }
                Output::RestoreState { meta } => {
                    let state = self.truth[..meta.index.0 as usize].to_vec();
                    self.members.get_mut(&id).unwrap().applied = state;
                }
                Output::Apply(entries) => self.apply(id, entries),
                Output::Repair(entry) => self.write(id, Write::Repair(entry)),
                Output::Fetch(request) => {
                    self.fetched_max = self.fetched_max.max(request.to.0 - request.from.0 + 1);
                    let (now, disk) = (self.now, &self.members[&id].disk);
                    let mut entries = disk.read(request.from, request.to);
                    entries.truncate(5);
                    let end = LogIndex(request.from.0 + entries.len() as u64);
                    if let Some((index, term)) = disk.damage(end, end) {
                        self.raft(id).handle_damaged(index, term, now);
                    }
                    fetches.push_back((request.id, entries));
                }
                Output::ReadReady { context, index } => {
                    assert!(
                        index.0 >= self.asked[&context],
                        "node {id} answers read {context} stale"
                    );
                    self.members.get_mut(&id).unwrap().reads.push((context, Some(index)));
                }
                Output::ReadFailed { context } => {
                    self.members.get_mut(&id).unwrap().reads.push((context, None));
                }
                Output::Event(event) => self.events.push((id, event)),
            }
            if let Some((fetch, entries)) = fetches.pop_front() {
                self.raft(id).handle_fetched(fetch, entries);
            }
        }
        self.check(id);
        self.take_wanted_snapshot(id);
        if let Some(at) = self.raft(id).poll_timeout() {
            self.schedule(at, Event::Wake { node: id });
        }
    }

    /// A member is asked for a snapshot that is newer than its own.
    fn take_wanted_snapshot(&mut self, id: NodeId) {
        let member = &self.members[&id];
        let Some(raft) = &member.raft else { return };
        let newest = member.disk.snapshot.as_ref().map_or(LogIndex(0), |(meta, _)| meta.index);
        let wanted = raft.snapshot_wanted();
        let is_durable = raft.last_applied() <= raft.persisted_index();
        if newest < wanted && wanted <= raft.last_applied() && is_durable {
            self.snapshot(id, false);
        }
    }

    fn write(&mut self, id: NodeId, write: Write) {
        let at = self.now + self.prng.duration_between(Duration::ZERO, self.write_max);
        let member = self.members.get_mut(&id).unwrap();
        member.writes.push_back(write);
        let life = member.life;
        self.schedule(at, Event::Written { node: id, life });
    }

    fn finish_write(&mut self, id: NodeId) {
        let (now, is_rotten) = (self.now, self.prng.chance(self.rot, 1000));
        let member = self.members.get_mut(&id).unwrap();
        let (raft, disk) = (member.raft.as_mut().expect("it runs"), &mut member.disk);
        match member.writes.pop_front().expect("one is done") {
            Write::Persist(persist) => {
                disk.write(&persist);
                raft.handle_persisted(persist.ticket, now);
            }
            Write::Repair(entry) => {
                if disk.repair(&entry) {
                    raft.handle_repaired(entry.index);
                } else {
                    raft.handle_repair_failed(entry.index, now);
                }
            }
            Write::Part { meta, total, offset, bytes } => {
                let end = offset + bytes.len() as u64;
                disk.store_part(offset, &bytes, is_rotten);
                raft.handle_snapshot_stored(&meta, end);
                if end < total {
                    return;
                }
                if disk.install(&meta) {
                    raft.handle_snapshot_installed(&meta);
                } else {
                    raft.handle_snapshot_refused(&meta);
                }
            }
        }
    }

    /// A member takes a snapshot of what it has applied and gives up the log: all of it, or what no follower
    /// in reach needs.
    pub fn snapshot(&mut self, id: NodeId, insists: bool) {
        let now = self.now;
        let member = self.members.get_mut(&id).unwrap();
        let Some(raft) = &mut member.raft else { return };
        let applied = raft.last_applied();
        if applied == LogIndex(0) {
            return;
        }
        let durable = raft.status(now).persisted_index;
        let limit = if insists { applied } else { raft.compaction_limit(now) };
        let up_to = limit.min(applied).min(durable);
        member.disk.take_snapshot(raft);
        member.disk.give_up(up_to);
        raft.compact(up_to);
        self.drain(id);
    }

    fn transmit(&mut self, from: NodeId, to: NodeId, message: Message) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let traffic = self.traffic.entry(to).or_default();
        *traffic = (traffic.0 + 1, traffic.1 + bytes.len() as u64);
        assert_eq!(Message::decode(&bytes.into()).as_ref(), Ok(&message));
        if self.blocked.contains(&(from, to)) || self.prng.chance(self.loss, 1000) {
            return;
        }
        let copies = 1 + u64::from(self.prng.chance(self.duplication, 1000));
        for _ in 0..copies {
            let delay = self.prng.duration_between(Duration::from_micros(50), self.delay_max);
            let extra = [from, to].map(|id| self.slow.get(&id).copied().unwrap_or_default());
            let delay = delay + extra[0] + extra[1];
            let event = Event::Deliver { to, from, message: message.clone() };
            self.schedule(self.now + delay, event);
        }
    }

    fn apply(&mut self, id: NodeId, entries: Vec<LogEntry>) {
        for entry in entries {
            let position = entry.index.0 as usize - 1;
            match self.truth.get(position) {
                Some(known) => assert_eq!(*known, entry, "state machine safety at node {id}"),
                None => {
                    assert_eq!(position, self.truth.len());
                    self.truth.push(entry.clone());
                    let term = self.raft(id).term();
                    self.committed_in.push(term);
                }
            }
            let member = self.members.get_mut(&id).unwrap();
            assert_eq!(position, member.applied.len(), "applied in order, once");
            member.applied.push(entry);
        }
        let last = self.members[&id].applied.last().unwrap().index;
        self.raft(id).handle_applied(last);
    }

    fn check(&mut self, id: NodeId) {
        let raft = self.members[&id].raft.as_ref().expect("it runs");
        raft.check_invariants();
        if raft.is_leader() {
            let term = raft.term();
            let given_up = raft.first_index().0 as usize - 1;
            let known = self.truth.iter().zip(&self.committed_in).skip(given_up);
            for (entry, committed_in) in known {
                let is_there = raft.term_at(entry.index) == Some(entry.term);
                assert!(is_there || *committed_in >= term, "leader completeness");
            }
            let known = *self.leaders.entry(term).or_insert(id);
            assert_eq!(known, id, "election safety in term {term}");
        }
    }

    /// Lets time pass.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(((at, number), _)) = self.queue.first_key_value() {
            let key = (*at, *number);
            if key.0 > end {
                break;
            }
            let event = self.queue.remove(&key).unwrap();
            self.now = key.0;
            self.handle(event);
        }
        self.now = end;
    }

    fn handle(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Deliver { to, from, message } => {
                let is_on = self.members.get(&to).is_some_and(|member| member.raft.is_some());
                if self.blocked.contains(&(from, to)) || !is_on {
                    return;
                }
                self.raft(to).handle_message(from, message, now);
                self.drain(to);
            }
            Event::Written { node, life } => {
                if self.members[&node].life != life {
                    return;
                }
                if self.hung.contains(&node) {
                    let later = now + Duration::from_millis(10);
                    self.schedule(later, Event::Written { node, life });
                    return;
                }
                self.finish_write(node);
                self.drain(node);
            }
            Event::Wake { node } => {
                if self.members[&node].raft.is_none() {
                    return;
                }
                if self.raft(node).poll_timeout().is_some_and(|at| at <= now) {
                    self.raft(node).handle_timeout(now);
                    self.drain(node);
                }
            }
        }
    }

    pub fn leader(&self) -> Option<NodeId> {
        let leads = |m: &Member| m.raft.as_ref().filter(|r| r.is_leader()).map(RaftNode::term);
        let leaders = self.members.iter().filter_map(|(id, m)| leads(m).map(|term| (term, *id)));
        leaders.max().map(|(_, id)| id)
    }

    pub fn propose(&mut self, id: NodeId, command: &[u8]) -> bool {
        let accepted = self.raft(id).propose(command.to_vec().into()).is_ok();
        self.drain(id);
        accepted
    }

    pub fn change(&mut self, changes: &[Change]) -> Result<LogIndex, ChangeError> {
        let leader = self.leader().expect("somebody leads");
        let answer = self.raft(leader).change_membership(changes);
        self.drain(leader);
        answer
    }

    pub fn read(&mut self, id: NodeId, context: u64) -> Result<(), raft::ReadError> {
        let now = self.now;
        self.asked.insert(context, self.truth.len() as u64);
        let answer = self.raft(id).read_index(context, now);
        self.drain(id);
        answer
    }

    pub fn isolate(&mut self, id: NodeId) {
        let others: Vec<NodeId> = self.members.keys().copied().collect();
        for other in others {
            self.blocked.insert((id, other));
            self.blocked.insert((other, id));
        }
    }

    /// All members but one.
    pub fn others(&self, than: NodeId) -> Vec<NodeId> {
        self.members.keys().copied().filter(|id| *id != than).collect()
    }

    pub fn heal(&mut self) {
        self.blocked.clear();
    }

    pub fn commands(&self) -> usize {
        self.truth.iter().filter(|e| matches!(e.payload, Payload::Command(_))).count()
    }
}
