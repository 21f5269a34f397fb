//! One step: something happens to a node, what the node wants is done, and the checkers look at it.

use std::collections::BTreeSet;

use base::{Duration, Instant, LogIndex, NodeId, Term};
use kv::KvService;
use net::addresses::node_of_mac;
use node::{Node, Output, Port};
use raft::{Configuration, RaftNode};

use super::queue::Event;
use super::{WALL_MS, World};
use crate::checkers::{Checkers, Look, News, Terms};
use crate::counts::Kind;
use crate::machine::Hang;
use crate::plan::Moment;
use crate::trace;

/// The invariants inside the services are checked after every so-manyth step: the services look through
/// all that they hold, which takes longer than a step.
const INVARIANTS_EVERY: u64 = 16;

/// So many steps at one instant mean that a node wakes itself without end.
const STEPS_AT_ONCE_MAX: u64 = 100_000;
/// So many outputs of a node at one instant mean that it never comes to an end.
const OUTPUTS_AT_ONCE_MAX: u64 = 100_000;

/// The kinds of event, for the fingerprint.
const ARRIVAL: u64 = 1;
const DISK_DONE: u64 = 2;
const WAKE: u64 = 3;
const CALL: u64 = 4;
const START: u64 = 5;
const CRASH: u64 = 6;

impl World {
    /// Does the next thing, if it is due before `end`.
    pub(super) fn step_until(&mut self, end: Instant) -> bool {
        let Some((at, event)) = self.queue.pop(end) else { return false };
        self.steps_now = if at > self.now { 0 } else { self.steps_now + 1 };
        assert!(self.steps_now < STEPS_AT_ONCE_MAX, "liveness: time stands still: {event:?}");
        self.now = at;
        self.handle(event);
        true
    }

    fn handle(&mut self, event: Event) {
        let concerned = match &event {
            Event::Arrival { to: id, .. } | Event::DiskDone { id, .. } | Event::Wake { id, .. } => {
                Some(*id)
            }
            Event::Client { .. }
            | Event::Trouble
            | Event::Act(_)
            | Event::Resume { .. }
            | Event::DiskGoesOn { .. }
            | Event::Power { .. } => None,
        };
        if let Some(id) = concerned
            && self.machine(id).paused_until.is_some()
        {
            return self.held.push((id, event));
        }
        match event {
            Event::Arrival { to, bytes } => {
                self.arrive(to, &bytes);
                self.network.take_back(bytes);
            }
            Event::DiskDone { id, life, operation } => self.finish(id, life, operation),
            Event::Wake { id, at } => self.wake(id, at),
            Event::Client { client } => self.call(client),
            Event::Trouble if self.is_troubled => self.make_next_trouble(),
            Event::Act(deed) if self.is_troubled => self.act(deed),
            Event::Trouble | Event::Act(_) => {}
            Event::Resume { id, until } => {
                if self.machine(id).paused_until == Some(until) {
                    self.resume(id);
                }
            }
            Event::DiskGoesOn { id, until } => {
                if self.machine(id).hang == Some(Hang::Until(until)) {
                    self.release_disk(id);
                }
            }
            Event::Power { id, life } => {
                let machine = self.machine(id);
                if machine.life == life && !machine.is_on() {
                    self.start(id);
                }
            }
        }
    }

    fn arrive(&mut self, to: NodeId, bytes: &[u8]) {
        let now = self.now;
        let machine = self.machine_mut(to);
        let local = machine.local(now);
        let frame = machine.packets.allocate_frame();
        let (Some(node), Some(mut frame)) = (&mut machine.node, frame) else { return };
        frame.append_copy(bytes);
        node.handle_frame(Port::Cluster, frame, local);
        self.trace.mix(now, ARRIVAL, to, bytes);
        self.trace.tell(now, || format!("node {to} hears {}", trace::describe(bytes)));
        self.drain(to);
    }

    fn finish(&mut self, id: NodeId, life: u64, operation: u64) {
        let now = self.now;
        let machine = self.machine_mut(id);
        if machine.life != life {
            return;
        }
        if machine.hang.is_some() {
            return machine.stuck.push(operation);
        }
        let local = machine.local(now);
        let completion = machine.disk.complete(operation);
        let (Some(node), Some(completion)) = (&mut machine.node, completion) else { return };
        let done = completion.operation;
        node.handle_completion(completion, local);
        self.trace.mix(now, DISK_DONE, id, &operation.to_le_bytes());
        self.trace.tell(now, || format!("node {id}'s disk has done {done:?}"));
        self.drain(id);
    }

    fn wake(&mut self, id: NodeId, at: Instant) {
        let now = self.now;
        let machine = self.machine_mut(id);
        if machine.wake != Some(at) {
            return;
        }
        machine.wake = None;
        let local = machine.local(now);
        let Some(node) = &mut machine.node else { return };
        node.handle_timeout(local);
        self.trace.mix(now, WAKE, id, &[]);
        self.drain(id);
    }

    /// A client asks the next thing, of some node that is on.
    fn call(&mut self, client: usize) {
        if !self.are_clients_busy || !self.clients.is_idle(client) {
            return;
        }
        let id = self.anyone();
        let now = self.now;
        let machine = self.machine(id);
        let is_ready = machine.node.as_ref().is_some_and(|node| node.kv().is_some());
        if !is_ready || machine.paused_until.is_some() {
            return self.wake_client(client);
        }
        let local = machine.local(now);
        let question = self.clients.next_question(client);
        if let Some(node) = self.node_mut(id) {
            let request = node.execute(question.words(), local);
            self.clients.note_call(client, id, request, question, now);
            self.trace.mix(now, CALL, id, &client.to_le_bytes());
            self.trace.tell(now, || format!("client {client} asks node {id}: {question:?}"));
            self.drain(id);
        }
    }

    /// The client asks the next thing soon.
    pub(super) fn wake_client(&mut self, client: usize) {
        let pause = self.prng.duration_between(Duration::from_millis(1), self.plan.think_max);
        self.queue.push(self.now + pause, Event::Client { client });
    }

    /// Switches a machine on.
    pub(super) fn start(&mut self, id: NodeId) {
        if self.gone.contains(&id) {
            return;
        }
        let (now, seed) = (self.now, self.prng.next_u64());
        self.machine_mut(id).start(seed, WALL_MS + now.as_millis(), now);
        self.trace.mix(now, START, id, &[]);
        self.trace.tell(now, || format!("node {id} starts"));
        if self.trace.keeps_transitions()
            && let Some(node) = self.node_mut(id)
        {
            node.set_trace(true, now);
        }
        self.drain(id);
    }

    /// Switches a machine off.
    pub(super) fn crash(&mut self, id: NodeId) {
        if !self.machine(id).is_on() {
            return;
        }
        self.machine_mut(id).crash();
        self.resume(id);
        self.trace.mix(self.now, CRASH, id, &[]);
        self.trace.tell(self.now, || format!("node {id} loses power"));
        let lost = self.clients.note_crash(id);
        lost.into_iter().for_each(|client| self.wake_client(client));
    }

    /// Carries out what a node wants, and looks at it.
    pub(super) fn drain(&mut self, id: NodeId) {
        let now = self.now;
        self.steps += 1;
        let local = self.machine(id).local(now);
        let (mut has_answered, mut stopped, mut outputs) = (false, None, 0);
        while let Some(output) = self.node_mut(id).and_then(|node| node.poll_output(local)) {
            outputs += 1;
            assert!(outputs < OUTPUTS_AT_ONCE_MAX, "liveness: node {id} never comes to an end");
            match output {
                Output::Transmit(_, frame) => self.transmit(id, &frame),
                Output::Disk(request) => {
                    let machine = self.machine_mut(id);
                    let (operation, delay) = machine.disk.submit(request);
                    let life = machine.life;
                    self.queue.push(now + delay, Event::DiskDone { id, life, operation });
                }
                Output::Console(text) => {
                    self.trace.take_console(&text);
                    if let Some((_, heard)) = self.heard.as_mut().filter(|(from, _)| *from == id) {
                        heard.extend_from_slice(&text);
                    }
                    self.trace.tell(now, || {
                        format!("node {id} says {}", String::from_utf8_lossy(&text).trim())
                    });
                }
                Output::Answer(request, reply) => {
                    self.take_answer(id, request, reply);
                    has_answered = true;
                }
                // Nobody needs its machine any more.
                Output::Stop(_) if self.is_retired(id) => return self.retire(id),
                Output::Stop(stop) => stopped = Some(stop),
            }
        }
        if let Some(stop) = stopped {
            return self.take_stop(id, stop);
        }
        if has_answered {
            self.react(Moment::Answered, id);
        }
        self.look(id);
        self.schedule_wake(id);
    }

    fn take_answer(&mut self, id: NodeId, request: node::RequestId, reply: kv::Reply) {
        self.trace.tell(self.now, || format!("node {id} answers {reply:?}"));
        if self.awaited == Some((id, request)) {
            self.awaited = None;
            self.found = Some(reply);
        } else if let Some(client) = self.clients.note_answer(id, request, &reply, self.now) {
            self.wake_client(client);
        }
    }

    fn transmit(&mut self, from: NodeId, bytes: &[u8]) {
        let mac = bytes.first_chunk::<6>().copied().unwrap_or_default();
        let to = node_of_mac(mac);
        for other in self.ids().filter(|id| to.is_none_or(|to| to == *id) && *id != from) {
            let queue = &mut self.queue;
            let arrive = |at, bytes| queue.push(at, Event::Arrival { to: other, bytes });
            self.network.send((from, other), bytes, self.now, arrive);
        }
    }

    /// One wake-up a machine is enough: the earliest.
    fn schedule_wake(&mut self, id: NodeId) {
        let now = self.now;
        let machine = self.machine_mut(id);
        let local = machine.local(now);
        let wanted = machine.node.as_ref().and_then(|node| node.poll_timeout(local));
        let Some(at) = wanted.map(|at| now + machine.clock.until(at, now)) else { return };
        if machine.wake.is_none_or(|known| at < known) {
            machine.wake = Some(at);
            self.queue.push(at, Event::Wake { id, at });
        }
    }

    fn look(&mut self, id: NodeId) {
        let machine = &self.machines[usize::from(id.get()) - 1];
        let Some(node) = &machine.node else { return };
        if self.steps.is_multiple_of(INVARIANTS_EVERY) {
            node.check_invariants();
        }
        let (Some(raft), Some(kv)) = (node.raft(), node.kv()) else { return };
        let terms = terms_of(raft, &self.checkers, &mut self.terms);
        let look = look_at(id, machine.life, terms, raft, kv);
        let content = |index: LogIndex| {
            let payload = &raft.entry_in_memory(index)?.payload;
            Some(trace::fingerprint(payload.kind(), &payload.bytes()))
        };
        let has_quorum = |holders: &BTreeSet<NodeId>| {
            let agree = |configuration| is_majority(configuration, holders);
            agree(raft.configuration()) || agree(raft.final_configuration())
        };
        let news = self.checkers.look(&look, content, || kv.machine().digest(), has_quorum);
        self.take_news(id, news);
    }

    fn take_news(&mut self, id: NodeId, news: News) {
        if news.was_cut {
            self.counts.note(Kind::Truncations);
            self.trace.tell(self.now, || format!("node {id} cuts its log"));
        }
        if let Some(candidate) = news.voted_for {
            self.trace.tell(self.now, || format!("node {id} votes for {candidate}"));
            self.react(Moment::Voted, id);
        }
        if news.was_elected {
            self.react(Moment::Elected, id);
        }
        if news.has_committed {
            self.react(Moment::Committed, id);
        }
        if news.is_first_commit {
            self.react(Moment::FirstCommitted, id);
        }
    }
}

/// The terms of a node's log, and of what a snapshot stands for: these are put into `whole`.
fn terms_of<'a>(
    raft: &'a RaftNode,
    checkers: &Checkers,
    whole: &'a mut Vec<(LogIndex, Term)>,
) -> &'a Terms {
    let base = base_of(raft);
    if base == LogIndex(0) {
        return raft.terms().as_slice();
    }
    let base_term = raft.term_at(base).expect("the log knows where it begins");
    checkers.whole_terms((base, base_term), raft.terms().as_slice(), whole);
    whole
}

fn base_of(raft: &RaftNode) -> LogIndex {
    raft.first_index().previous().unwrap_or(LogIndex(0))
}

/// Whether those who hold something are a majority of the voters, and of those before them if they are being
/// exchanged. Said here anew: what the nodes think of it is what is checked.
fn is_majority(configuration: &Configuration, holders: &BTreeSet<NodeId>) -> bool {
    let majority = |voters: &[NodeId]| {
        let count = voters.iter().filter(|voter| holders.contains(voter)).count();
        count > voters.len() / 2 || voters.is_empty()
    };
    !configuration.voters.is_empty()
        && majority(&configuration.voters)
        && majority(&configuration.voters_outgoing)
}

fn look_at<'a>(
    id: NodeId,
    life: u64,
    terms: &'a Terms,
    raft: &RaftNode,
    kv: &KvService,
) -> Look<'a> {
    Look {
        id,
        life,
        term: raft.term(),
        vote: raft.vote(),
        is_leader: raft.is_leader(),
        base: base_of(raft),
        terms,
        last: raft.last_index(),
        durable: raft.persisted_index(),
        commit: raft.commit_index(),
        applied: kv.applied(),
    }
}

/// Whether a node takes part: its disk is read.
pub(super) fn is_up(node: &Node) -> bool {
    node.raft().is_some()
}
