//! A group in memory: messages take a while, writes take a while, and a crash forgets what was not written.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use base::{Duration, Instant, LogIndex, NodeId, Prng, Term};
use raft::{
    Change, ChangeError, Config, Configuration, HardState, LogEntry, Message, Output, Payload,
    Persist, RaftNode, Restored, TermRuns,
};

pub fn node(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

/// What a member's disk holds.
#[derive(Clone, Default)]
pub struct Disk {
    pub hard_state: HardState,
    pub entries: Vec<LogEntry>,
}

impl Disk {
    pub fn write(&mut self, persist: &Persist) {
        if let Some(hard_state) = persist.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(first) = persist.entries.first() {
            self.entries.truncate(first.index.0 as usize - 1);
            self.entries.extend(persist.entries.iter().cloned());
        }
    }

    pub fn restored(&self) -> Restored {
        let mut runs: Vec<(LogIndex, Term)> = Vec::new();
        for entry in &self.entries {
            if runs.last().is_none_or(|(_, term)| *term < entry.term) {
                runs.push((entry.index, entry.term));
            }
        }
        let recent = self.entries[self.entries.len().saturating_sub(3)..].to_vec();
        let last_index = LogIndex(self.entries.len() as u64);
        let terms = TermRuns::new(runs).expect("terms ascend");
        let configurations = self.configurations();
        Restored { hard_state: self.hard_state, terms, last_index, configurations, recent }
    }

    fn configurations(&self) -> Vec<(LogIndex, Configuration)> {
        let configuration = |entry: &LogEntry| match &entry.payload {
            Payload::Configuration(configuration) => Some((entry.index, configuration.clone())),
            Payload::Noop | Payload::Command(_) => None,
        };
        self.entries.iter().filter_map(configuration).collect()
    }
}

enum Event {
    Deliver { to: NodeId, from: NodeId, message: Message },
    Written { node: NodeId, life: u64, persist: Persist },
    Wake { node: NodeId },
}

#[derive(Default)]
pub struct Member {
    pub raft: Option<RaftNode>,
    pub disk: Disk,
    pub applied: Vec<LogEntry>,
    pub reads: Vec<(u64, Option<LogIndex>)>,
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
    /// How much later messages to and from these arrive.
    pub slow: BTreeMap<NodeId, Duration>,
    /// Every event of every member.
    pub events: Vec<(NodeId, raft::Event)>,
    /// Messages and bytes sent to each member.
    pub traffic: BTreeMap<NodeId, (u64, u64)>,
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
            slow: BTreeMap::new(),
            events: Vec::new(),
            traffic: BTreeMap::new(),
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
        member.applied.clear();
        let raft = RaftNode::new(config, seed, member.disk.restored(), self.now).unwrap();
        member.raft = Some(raft);
        self.drain(id);
    }

    pub fn crash(&mut self, id: NodeId) {
        let member = self.members.get_mut(&id).unwrap();
        member.raft = None;
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
                Output::Persist(persist) => {
                    let delay = self.prng.duration_between(Duration::ZERO, self.write_max);
                    let life = self.members[&id].life;
                    // Writes are done in order.
                    let written =
                        |e: &Event| matches!(e, Event::Written { node, .. } if *node == id);
                    let last =
                        self.queue.iter().rev().find(|(_, e)| written(e)).map(|((at, _), _)| *at);
                    let at = (self.now + delay).max(last.unwrap_or(self.now));
                    self.schedule(at, Event::Written { node: id, life, persist });
                }
                Output::Apply(entries) => self.apply(id, entries),
                Output::Fetch(request) => {
                    let entries = &self.members[&id].disk.entries;
                    let from = request.from.0 as usize - 1;
                    let to = (request.to.0 as usize).min(entries.len());
                    fetches.push_back((request.id, entries[from..to.min(from + 5)].to_vec()));
                }
                Output::ReadReady { context, index } => {
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
        if let Some(at) = self.raft(id).poll_timeout() {
            self.schedule(at, Event::Wake { node: id });
        }
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
            for (entry, committed_in) in self.truth.iter().zip(&self.committed_in) {
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
            Event::Written { node, life, persist } => {
                if self.members[&node].life != life {
                    return;
                }
                if self.hung.contains(&node) {
                    let later = now + Duration::from_millis(10);
                    self.schedule(later, Event::Written { node, life, persist });
                    return;
                }
                self.members.get_mut(&node).unwrap().disk.write(&persist);
                self.raft(node).handle_persisted(persist.ticket, now);
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
