//! A group that does nothing unless it is told to: messages wait until they are delivered, deadlines until
//! they are announced. What it can be told:
//!
//! | command | effect |
//! |---|---|
//! | `start 3` | members 1 to 3 with empty disks |
//! | `start 3 2:1,1,4 3:1` | the same, with entries of these terms on the disks of 2 and 3 |
//! | `batches 1` | members that start from now on send so many entries at once |
//! | `leases` | members that start from now on read by lease |
//! | `timeout 2` | the next deadline of 2 comes |
//! | `pass 200` | so many milliseconds pass, and nobody is told |
//! | `settle`, `settle quietly` | messages are delivered until there are none; the second hides them |
//! | `deliver 1>2` | all messages from 1 to 2 that are on their way |
//! | `drop 1>2` | those are lost |
//! | `cut 1`, `cut 1>2`, `heal` | messages are lost from now on; or no longer |
//! | `hang 1`, `unhang 1` | the disk of 1 finishes nothing; or everything |
//! | `crash 1`, `restart 1` | 1 forgets what is not on its disk |
//! | `propose 1 x` | a client of 1 proposes |
//! | `read 1` | a client of 1 reads |
//! | `transfer 1`, `transfer 1 2` | 1 is to hand over, to 2 |
//! | `join 4` | a node that knows of no group is switched on |
//! | `change 1 learn 4 promote 4 demote 2 remove 3` | 1 is to change the members, all at once |
//! | `snapshot 1` | 1 takes a snapshot of what it has applied and gives up the log |
//! | `store 3`, `install 3`, `refuse 3` | the disk of 3 stores what came; has the whole; finds it damaged |
//! | `rot 2 3` | entry 3 is damaged on the disk of 2, which notices when it reads it |
//! | `unreachable 2 1` | 2 learns that 1 is out of reach |
//! | `status`, `logs` | what the members are; what is in their logs |

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;

use base::{Duration, Instant, LogIndex, NodeId, Term};
use bytes::Bytes;
use raft::{
    Change, Config, LogEntry, Message, Output, Payload, Persist, RaftNode, RaftState, SnapshotMeta,
};

use crate::cluster::node;
use crate::disk::Disk;
use crate::words::{entries_in_words, show};

struct Actor {
    raft: Option<RaftNode>,
    disk: Disk,
    /// Writes that a hung disk has not done.
    hung: Option<Vec<Persist>>,
    /// Parts of snapshots that are not stored yet: what of, and where they begin.
    parts: VecDeque<(SnapshotMeta, u64, Bytes)>,
    /// The snapshot of which a part was stored last.
    stored: Option<SnapshotMeta>,
}

impl Actor {
    fn off() -> Actor {
        Actor {
            raft: None,
            disk: Disk::default(),
            hung: None,
            parts: VecDeque::new(),
            stored: None,
        }
    }
}

#[derive(Default)]
pub struct Stage {
    now: Instant,
    actors: BTreeMap<NodeId, Actor>,
    network: VecDeque<(NodeId, NodeId, Message)>,
    cut: BTreeSet<(NodeId, NodeId)>,
    contexts: u64,
    founders: u16,
    has_leases: bool,
    batch_max_entries: Option<usize>,
    is_quiet: bool,
    told: String,
}

fn id(word: &str) -> NodeId {
    node(word.parse().unwrap_or_else(|_| panic!("{word} is no number of a member")))
}

fn pair(word: &str) -> (NodeId, NodeId) {
    let (from, to) = word.split_once('>').unwrap_or_else(|| panic!("{word} is no way"));
    (id(from), id(to))
}

impl Stage {
    /// What was told since the last call.
    pub fn take_told(&mut self) -> String {
        if self.told.is_empty() { "nothing\n".into() } else { std::mem::take(&mut self.told) }
    }

    fn tell(&mut self, text: &str) {
        writeln!(self.told, "{text}").unwrap();
    }

    pub fn perform(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["start", count, ref logs @ ..] => self.start(count.parse().unwrap(), logs),
            ["batches", count] => self.batch_max_entries = count.parse().ok(),
            ["leases"] => self.has_leases = true,
            ["timeout", who] => self.timeout(id(who)),
            ["pass", millis] => self.now += Duration::from_millis(millis.parse().unwrap()),
            ["settle"] => self.settle(),
            ["settle", "quietly"] => {
                self.is_quiet = true;
                self.settle();
                self.is_quiet = false;
            }
            ["deliver", way] => self.deliver(pair(way)),
            ["drop", way] => self.network.retain(|(from, to, _)| (*from, *to) != pair(way)),
            ["cut", way] if way.contains('>') => {
                self.cut.insert(pair(way));
            }
            ["cut", who] => self.isolate(id(who)),
            ["heal"] => self.cut.clear(),
            ["hang", who] => self.actor(id(who)).hung = Some(Vec::new()),
            ["unhang", who] => self.unhang(id(who)),
            ["crash", who] => self.crash(id(who)),
            ["restart", who] => self.restart(id(who)),
            ["propose", who, word] => self.propose(id(who), word),
            ["read", who] => self.read(id(who)),
            ["transfer", who] => self.transfer(id(who), None),
            ["transfer", who, to] => self.transfer(id(who), Some(id(to))),
            ["rot", who, index] => {
                self.actor(id(who)).disk.damaged.insert(LogIndex(index.parse().unwrap()));
            }
            ["unreachable", who, peer] => {
                let now = self.now;
                self.raft(id(who)).handle_peer_unreachable(id(peer), now);
                self.drain(id(who));
            }
            ["join", who] => {
                self.actors.insert(id(who), Actor::off());
                self.restart(id(who));
            }
            ["change", who, ref steps @ ..] => self.change(id(who), steps),
            ["snapshot", who] => self.snapshot(id(who)),
            ["store", who] => self.store(id(who)),
            ["install", who] => self.install(id(who)),
            ["refuse", who] => self.refuse(id(who)),
            ["status"] => self.status(),
            ["logs"] => self.logs(),
            _ => panic!("what is {line:?}?"),
        }
    }

    fn actor(&mut self, id: NodeId) -> &mut Actor {
        self.actors.get_mut(&id).unwrap_or_else(|| panic!("there is no member {id}"))
    }

    fn raft(&mut self, id: NodeId) -> &mut RaftNode {
        self.actor(id).raft.as_mut().expect("it runs")
    }

    fn start(&mut self, count: u16, logs: &[&str]) {
        self.founders = count;
        self.actors.clear();
        self.network.clear();
        self.cut.clear();
        for number in 1..=count {
            self.actors.insert(node(number), Actor::off());
        }
        for log in logs {
            let (who, terms) = log.split_once(':').expect("a member and its terms");
            let disk = &mut self.actor(id(who)).disk;
            for (index, term) in (1..).zip(terms.split(',')) {
                let (index, term) = (LogIndex(index), Term(term.parse().unwrap()));
                disk.entries.push(LogEntry { index, term, payload: Payload::Noop });
            }
        }
        // Nobody stands again in a term that somebody has led.
        let entries = self.actors.values().flat_map(|actor| &actor.disk.entries);
        let term = entries.map(|entry| entry.term).max().unwrap_or_default();
        self.actors.values_mut().for_each(|actor| actor.disk.hard_state.term = term);
        (1..=count).for_each(|number| self.restart(node(number)));
    }

    fn restart(&mut self, id: NodeId) {
        let is_founder = id.get() <= self.founders;
        let founders = (1..=self.founders).map(node).filter(|_| is_founder).collect();
        let mut config = Config::new(id, founders);
        config.lease_reads = self.has_leases;
        if let Some(count) = self.batch_max_entries {
            config.append_batch_max_entries = count;
        }
        let now = self.now;
        let actor = self.actor(id);
        let restored = actor.disk.restored();
        actor.raft = Some(RaftNode::new(config, u64::from(id.get()), restored, now).unwrap());
        self.drain(id);
    }

    fn crash(&mut self, id: NodeId) {
        let actor = self.actor(id);
        (actor.raft, actor.hung) = (None, None);
        actor.parts.clear();
        actor.disk.crash();
    }

    fn timeout(&mut self, id: NodeId) {
        self.now = self.now.max(self.raft(id).poll_timeout().expect("it waits for something"));
        let now = self.now;
        self.raft(id).handle_timeout(now);
        self.drain(id);
    }

    fn settle(&mut self) {
        while let Some((from, to, message)) = self.network.pop_front() {
            self.hand_over(from, to, message);
        }
    }

    fn deliver(&mut self, way: (NodeId, NodeId)) {
        let network = std::mem::take(&mut self.network);
        let (due, rest): (Vec<_>, Vec<_>) =
            network.into_iter().partition(|(from, to, _)| (*from, *to) == way);
        self.network = rest.into();
        for (from, to, message) in due {
            self.hand_over(from, to, message);
        }
    }

    fn hand_over(&mut self, from: NodeId, to: NodeId, message: Message) {
        if self.cut.contains(&(from, to)) || self.actor(to).raft.is_none() {
            return;
        }
        if !self.is_quiet {
            self.tell(&format!("{from}>{to} {}", show(&message)));
        }
        let now = self.now;
        self.raft(to).handle_message(from, message, now);
        self.drain(to);
    }

    fn isolate(&mut self, id: NodeId) {
        for other in self.actors.keys() {
            self.cut.insert((id, *other));
            self.cut.insert((*other, id));
        }
    }

    fn unhang(&mut self, id: NodeId) {
        for persist in self.actor(id).hung.take().expect("it hangs") {
            self.write(id, persist);
            self.drain(id);
        }
    }

    fn write(&mut self, id: NodeId, persist: Persist) {
        let now = self.now;
        self.actor(id).disk.write(&persist);
        self.raft(id).handle_persisted(persist.ticket, now);
    }

    fn propose(&mut self, id: NodeId, word: &str) {
        if let Err(error) = self.raft(id).propose(word.as_bytes().to_vec().into()) {
            self.tell(&format!("{id} refuses: {error}"));
        }
        self.drain(id);
    }

    fn read(&mut self, id: NodeId) {
        self.contexts += 1;
        let (context, now) = (self.contexts, self.now);
        if let Err(error) = self.raft(id).read_index(context, now) {
            self.tell(&format!("{id} refuses: {error}"));
        }
        self.drain(id);
    }

    fn change(&mut self, who: NodeId, steps: &[&str]) {
        let step = |pair: &[&str]| match pair {
            ["learn", who] => Change::AddLearner(id(who)),
            ["promote", who] => Change::Promote(id(who)),
            ["demote", who] => Change::Demote(id(who)),
            ["remove", who] => Change::Remove(id(who)),
            _ => panic!("what is {pair:?}?"),
        };
        let changes: Vec<Change> = steps.chunks(2).map(step).collect();
        if let Err(error) = self.raft(who).change_membership(&changes) {
            self.tell(&format!("{who} refuses: {error}"));
        }
        self.drain(who);
    }

    fn snapshot(&mut self, id: NodeId) {
        let actor = self.actor(id);
        let raft = actor.raft.as_mut().expect("it runs");
        actor.disk.take_snapshot(raft);
        actor.disk.give_up(raft.last_applied());
        raft.compact(raft.last_applied());
        self.drain(id);
    }

    fn store(&mut self, id: NodeId) {
        while let Some((meta, offset, bytes)) = self.actor(id).parts.pop_front() {
            let actor = self.actor(id);
            actor.disk.store_part(offset, &bytes, false);
            actor.stored = Some(meta.clone());
            let end = offset + bytes.len() as u64;
            self.raft(id).handle_snapshot_stored(&meta, end);
            self.drain(id);
        }
    }

    fn install(&mut self, id: NodeId) {
        let meta = self.actor(id).stored.take().expect("something was stored");
        assert!(self.actor(id).disk.install(&meta), "it is whole");
        self.raft(id).handle_snapshot_installed(&meta);
        self.drain(id);
    }

    fn refuse(&mut self, id: NodeId) {
        let meta = self.actor(id).stored.take().expect("something was stored");
        self.raft(id).handle_snapshot_refused(&meta);
        self.drain(id);
    }

    fn transfer(&mut self, id: NodeId, to: Option<NodeId>) {
        let now = self.now;
        if let Err(error) = self.raft(id).transfer_leadership(to, now) {
            self.tell(&format!("{id} refuses: {error}"));
        }
        self.drain(id);
    }

    /// Does what a member wants.
    fn drain(&mut self, id: NodeId) {
        while let Some(output) = self.raft(id).poll_output() {
            match output {
                Output::Send { to, message } => self.network.push_back((id, to, message)),
                Output::Persist(persist) => match &mut self.actor(id).hung {
                    Some(hung) => hung.push(persist),
                    None => self.write(id, persist),
                },
                Output::Apply(entries) => {
                    let last = entries.last().expect("never empty").index;
                    self.tell(&format!("{id} applies {}", entries_in_words(&entries)));
                    self.raft(id).handle_applied(last);
                }
                Output::Repair(entry) => {
                    self.tell(&format!("{id} writes {}/{} again", entry.index, entry.term));
                    assert!(self.actor(id).disk.repair(&entry), "it is what was there");
                    self.raft(id).handle_repaired(entry.index);
                }
                Output::Fetch(request) => {
                    let (now, disk) = (self.now, &self.actor(id).disk);
                    let entries = disk.read(request.from, request.to);
                    let end = LogIndex(request.from.0 + entries.len() as u64);
                    if let Some((index, term)) = disk.damage(end, end) {
                        self.raft(id).handle_damaged(index, term, now);
                    }
                    self.raft(id).handle_fetched(request.id, entries);
                }
                Output::FetchSnapshot { id: fetch, offset, max_bytes, .. } => {
                    let (meta, total, bytes) = self.actor(id).disk.part(offset, max_bytes);
                    self.raft(id).handle_snapshot_part(fetch, &meta, offset, total, bytes);
                }
                Output::StoreSnapshot { meta, offset, bytes, .. } => {
                    let index = meta.index;
                    self.tell(&format!(
                        "{id} is to store the snapshot up to {index} from {offset} on"
                    ));
                    self.actor(id).parts.push_back((*meta, offset, bytes));
                }
                Output::RestoreState { meta } => {
                    self.tell(&format!(
                        "{id} restores the state after {}/{}",
                        meta.index, meta.term
                    ));
                }
                Output::ReadReady { context, index } => {
                    self.tell(&format!("{id} may answer read {context} after entry {index}"));
                }
                Output::ReadFailed { context } => {
                    self.tell(&format!("{id} cannot answer read {context}"));
                }
                Output::Event(event) => self.tell(&format!("{id}: {event}")),
            }
        }
        self.raft(id).check_invariants();
    }

    fn status(&mut self) {
        let mut lines = Vec::new();
        for (id, actor) in &self.actors {
            let Some(raft) = &actor.raft else {
                lines.push(format!("{id} is off"));
                continue;
            };
            let status = raft.status(self.now);
            let state = match status.state {
                RaftState::Follower if status.pre_vote => "asks",
                RaftState::Follower => "follows",
                RaftState::Candidate => "stands",
                RaftState::Leader => "leads",
            };
            let (term, last, commit) = (status.term, status.last_index, status.commit_index.0);
            let mut line =
                format!("{id} {state} in term {term}: log to {last}, committed to {commit}");
            for peer in status.peers {
                let (id, state, matched) = (peer.id, peer.state, peer.match_index);
                write!(line, "; {id} {state:?} {matched}").unwrap();
            }
            lines.push(line);
        }
        lines.iter().for_each(|line| self.tell(line));
    }

    fn logs(&mut self) {
        let mut lines = Vec::new();
        for (id, actor) in &self.actors {
            let Some(raft) = &actor.raft else { continue };
            let terms = (1..=raft.last_index().0).map(|index| raft.term_at(LogIndex(index)));
            let terms: Vec<String> =
                terms.map(|term| term.map_or("-".into(), |term| term.to_string())).collect();
            lines.push(format!("{id}: {}", terms.join(" ")));
        }
        lines.iter().for_each(|line| self.tell(line));
    }
}
