//! The trace of consensus for outside specifications: what each step of Raft started from, what it changed,
//! and what was said. One JSON object a line (NDJSON), with the names that etcd's raft gives to the same
//! things (`state_trace.go`), so that whoever can check its traces can read ours.
//!
//! ```text
//! {"event":{"conf":[["1","2","3"],[]],"log":19,
//!   "msg":{"commit":0,"entries":0,"from":"1","index":19,"logTerm":3,"reject":false,"rejectHint":0,
//!     "term":4,"to":"2","type":"MsgVote","vote":"0"},
//!   "name":"ReceiveRequestVoteRequest","nid":"2","role":"StateFollower",
//!   "state":{"commit":17,"term":3,"vote":"0"}},"ns":812004551,"tag":"trace"}
//! ```
//!
//! | field | meaning |
//! |---|---|
//! | `ns` | this node's clock, in nanoseconds since it started |
//! | `name` | what happened; see [`Name`] |
//! | `nid` | the node |
//! | `state` | its term, whom it voted for in it (`"0"`: nobody), how far it knows the log to be committed |
//! | `role` | `StateFollower`, `StatePreCandidate`, `StateCandidate` or `StateLeader` |
//! | `log` | the index of its last entry, durable or not |
//! | `conf` | who votes: the voters, and in a joint configuration also those before |
//! | `msg` | of a message: its kind, term, ends, and what it says; see [`describe`] |
//!
//! A `Receive…` line shows the state *before* the message was handled; every other line shows the state
//! *after* what it names. A `Send…` line stands where the message leaves the node: what it depends on is
//! durable by then. What changes within one step is told in the order role, log, commitment, configuration.

use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use base::{Instant, LogIndex, NodeId, Term};
use raft::{Configuration, Message, RaftNode, RaftState, RepairAnswer, Status};
use serde_json::{Value, json};

/// What a line is about. The names that etcd does not have are marked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Name {
    /// The trace begins: what this node has.
    InitState,
    /// It follows: in a later term, or another role than before.
    BecomeFollower,
    /// It asks whether it would be elected (not in etcd's traces).
    BecomePreCandidate,
    /// It stands.
    BecomeCandidate,
    /// It leads.
    BecomeLeader,
    /// A leader has appended an entry of its own: one line for each, of which `log` is the index.
    Replicate,
    /// A follower's log ends elsewhere than before: the leader's entries came (not in etcd's traces).
    AppendEntries,
    /// It has learnt that more is committed.
    Commit,
    /// Another configuration holds, from its entry on.
    ApplyConfChange,
    /// Its log begins anew behind a snapshot (not in etcd's traces).
    InstallSnapshot,
    /// So many lines were lost, because they came faster than they could be written (not in etcd's traces):
    /// what follows does not continue what came before.
    Lost,
}

impl Name {
    fn text(self) -> &'static str {
        match self {
            Name::InitState => "InitState",
            Name::BecomeFollower => "BecomeFollower",
            Name::BecomePreCandidate => "BecomePreCandidate",
            Name::BecomeCandidate => "BecomeCandidate",
            Name::BecomeLeader => "BecomeLeader",
            Name::Replicate => "Replicate",
            Name::AppendEntries => "AppendEntries",
            Name::Commit => "Commit",
            Name::ApplyConfChange => "ApplyConfChange",
            Name::InstallSnapshot => "InstallSnapshot",
            Name::Lost => "Lost",
        }
    }
}

/// What a member is, in etcd's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    Follower,
    PreCandidate,
    Candidate,
    Leader,
}

impl Role {
    fn text(self) -> &'static str {
        match self {
            Role::Follower => "StateFollower",
            Role::PreCandidate => "StatePreCandidate",
            Role::Candidate => "StateCandidate",
            Role::Leader => "StateLeader",
        }
    }
}

/// How many lines may wait to be written.
const LINES_MAX: usize = 1024;

/// What is traced of a member's state.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Seen {
    term: Term,
    vote: Option<NodeId>,
    commit: LogIndex,
    role: Role,
    first_index: LogIndex,
    last_index: LogIndex,
    configuration: Configuration,
}

impl Seen {
    fn of(raft: &RaftNode, now: Instant) -> Seen {
        let Status { term, vote, commit_index, state, pre_vote, configuration, .. } =
            raft.status(now);
        let role = match state {
            RaftState::Follower if pre_vote => Role::PreCandidate,
            RaftState::Follower => Role::Follower,
            RaftState::Candidate => Role::Candidate,
            RaftState::Leader => Role::Leader,
        };
        Seen {
            term,
            vote,
            commit: commit_index.0,
            role,
            first_index: raft.first_index(),
            last_index: raft.last_index(),
            configuration,
        }
    }

    fn line(&self, id: NodeId, name: &str, message: Option<Value>, now: Instant) -> String {
        let Configuration { voters, voters_outgoing, .. } = &self.configuration;
        let mut event = json!({
            "name": name,
            "nid": id.to_string(),
            "state": {
                "term": self.term.0,
                "vote": number(self.vote),
                "commit": self.commit.0,
            },
            "role": self.role.text(),
            "log": self.last_index.0,
            "conf": [numbers(voters), numbers(voters_outgoing)],
        });
        if let Some(message) = message {
            event["msg"] = message;
        }
        json!({ "tag": "trace", "ns": now.as_nanos(), "event": event }).to_string()
    }
}

/// The trace of one node, while it is switched on.
#[derive(Debug)]
pub(crate) struct Transitions {
    id: NodeId,
    seen: Seen,
    /// Invariant: at most `LINES_MAX`, and one more.
    lines: VecDeque<String>,
    /// Lines that found no room since the last that did.
    lost: u64,
}

impl Transitions {
    /// A trace that begins now.
    pub(crate) fn new(id: NodeId, raft: &RaftNode, now: Instant) -> Transitions {
        let seen = Seen::of(raft, now);
        let first = seen.line(id, Name::InitState.text(), None, now);
        Transitions { id, seen, lines: VecDeque::from([first]), lost: 0 }
    }

    /// Takes note of what has changed since the last call. To be called after every step, before what it has
    /// to say is sent.
    pub(crate) fn observe(&mut self, raft: &RaftNode, now: Instant) {
        let after = Seen::of(raft, now);
        if after == self.seen {
            return;
        }
        let before = core::mem::replace(&mut self.seen, after.clone());
        // What one step does to the role and to the log, one after the other: each line shows what came
        // before it too.
        let mut shown = Seen {
            term: after.term,
            vote: after.vote,
            role: after.role,
            first_index: after.first_index,
            ..before.clone()
        };
        if let Some(name) = role_change(&before, &after) {
            // A leader's first entry comes with the role, but is told of behind it.
            shown.last_index = before.last_index.min(after.last_index);
            self.push(&shown, name, now);
        }
        if after.first_index > before.first_index.max(before.last_index.next()) {
            shown.last_index = after.last_index;
            shown.commit = after.commit;
            shown.configuration = after.configuration.clone();
            self.push(&shown, Name::InstallSnapshot, now);
        }
        if after.role == Role::Leader {
            for index in shown.last_index.0 + 1..=after.last_index.0 {
                shown.last_index = LogIndex(index);
                self.push(&shown, Name::Replicate, now);
            }
        } else if after.last_index != shown.last_index {
            shown.last_index = after.last_index;
            self.push(&shown, Name::AppendEntries, now);
        }
        if after.commit > shown.commit {
            shown.commit = after.commit;
            self.push(&shown, Name::Commit, now);
        }
        if after.configuration != shown.configuration {
            self.push(&after, Name::ApplyConfChange, now);
        }
    }

    /// A message has come, and is about to be handled.
    pub(crate) fn received(&mut self, from: NodeId, message: &Message, now: Instant) {
        let (kind, content) = describe(message, from, self.id);
        let line = self.seen.line(self.id, &alloc::format!("Receive{kind}"), Some(content), now);
        self.keep(line, now);
    }

    /// A message leaves.
    pub(crate) fn sent(&mut self, to: NodeId, message: &Message, now: Instant) {
        let (kind, content) = describe(message, self.id, to);
        let line = self.seen.line(self.id, &alloc::format!("Send{kind}"), Some(content), now);
        self.keep(line, now);
    }

    /// The next line, without its end.
    pub(crate) fn poll_line(&mut self) -> Option<String> {
        self.lines.pop_front()
    }

    fn push(&mut self, shown: &Seen, name: Name, now: Instant) {
        let line = shown.line(self.id, name.text(), None, now);
        self.keep(line, now);
    }

    fn keep(&mut self, line: String, now: Instant) {
        if self.lines.len() >= LINES_MAX {
            self.lost += 1;
            return;
        }
        if self.lost > 0 {
            let lost = core::mem::take(&mut self.lost);
            let content = json!({ "lines": lost });
            self.lines.push_back(self.seen.line(self.id, Name::Lost.text(), Some(content), now));
        }
        self.lines.push_back(line);
    }
}

/// How to call what has become of the role, if it is worth a line.
fn role_change(before: &Seen, after: &Seen) -> Option<Name> {
    if (before.term, before.role) == (after.term, after.role) {
        return None;
    }
    Some(match after.role {
        Role::Leader => Name::BecomeLeader,
        Role::Candidate => Name::BecomeCandidate,
        Role::PreCandidate => Name::BecomePreCandidate,
        Role::Follower => Name::BecomeFollower,
    })
}

fn number(id: Option<NodeId>) -> String {
    id.map_or_else(|| String::from("0"), |id| id.to_string())
}

fn numbers(ids: &[NodeId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

/// What a message is for, behind `Send` or `Receive`, and its `msg`. Fields that a kind does not have are 0,
/// as in etcd's traces.
///
/// | kind | `index` | `logTerm` | `entries` | others |
/// |---|---|---|---|---|
/// | `MsgApp` | the entry before the first | its term | how many | `commit` |
/// | `MsgAppResp` | the last that agrees, durably | | | |
/// | … with `reject` | the one that did not fit | the term at `rejectHint` | | `rejectHint` |
/// | `MsgHeartbeat`, `MsgHeartbeatResp` | the number of the round | | | `commit` |
/// | `MsgCommit` | | | | `commit`: that much of what the follower has is committed |
/// | `MsgPreVote`, `MsgVote` | the last entry | its term | | |
/// | `MsgPreVoteResp`, `MsgVoteResp` | | | | `reject` |
/// | `MsgSnap` | where the part begins | | the last entry that is in the snapshot | `commit`: the same |
/// | `MsgSnapResp` | where the next part begins | the snapshot's term | the last entry that is in it | |
/// | `MsgTimeoutNow` | | | | |
/// | `MsgReadIndex` | | | | |
/// | `MsgReadIndexResp` | the index, 0 if there is none | | | `reject` |
/// | `MsgRepair` | the first entry that is damaged | its term | how many | |
/// | `MsgRepairResp` | the first entry that was asked for | its term | how many there are | `reject`: none |
/// | `MsgRecall` | the end of the snapshot that is lost | its term | the offset | |
/// | `MsgRecallResp` | the offset | 0 | the end of the snapshot | `commit`: the same |
fn describe(message: &Message, from: NodeId, to: NodeId) -> (&'static str, Value) {
    let mut fields = Fields::default();
    let (purpose, kind) = match message {
        Message::PreVote { last_index, last_term, .. } => {
            fields.end(*last_index, *last_term);
            ("PreVoteRequest", "MsgPreVote")
        }
        Message::PreVoteReply { granted, .. } => {
            fields.reject = !granted;
            ("PreVoteResponse", "MsgPreVoteResp")
        }
        Message::Vote { last_index, last_term, .. } => {
            fields.end(*last_index, *last_term);
            ("RequestVoteRequest", "MsgVote")
        }
        Message::VoteReply { granted, .. } => {
            fields.reject = !granted;
            ("RequestVoteResponse", "MsgVoteResp")
        }
        Message::Append { prev_index, prev_term, commit, entries, .. } => {
            fields.end(*prev_index, *prev_term);
            (fields.commit, fields.entries) = (commit.0, entries.len() as u64);
            ("AppendEntriesRequest", "MsgApp")
        }
        Message::AppendAccepted { match_index, .. } => {
            fields.index = match_index.0;
            ("AppendEntriesResponse", "MsgAppResp")
        }
        Message::AppendRejected { prev_index, hint_index, hint_term, .. } => {
            fields.end(*prev_index, *hint_term);
            (fields.reject, fields.reject_hint) = (true, hint_index.0);
            ("AppendEntriesResponse", "MsgAppResp")
        }
        Message::Heartbeat { commit, round, .. } => {
            (fields.commit, fields.index) = (commit.0, *round);
            ("AppendEntriesRequest", "MsgHeartbeat")
        }
        Message::HeartbeatReply { round, .. } => {
            fields.index = *round;
            ("AppendEntriesResponse", "MsgHeartbeatResp")
        }
        Message::Commit { commit, .. } => {
            fields.commit = commit.0;
            ("AppendEntriesRequest", "MsgCommit")
        }
        Message::TimeoutNow { .. } => ("TimeoutNow", "MsgTimeoutNow"),
        Message::Snapshot { meta, offset, .. } => {
            (fields.index, fields.entries, fields.commit) = (*offset, meta.index.0, meta.index.0);
            ("AppendEntriesRequest", "MsgSnap")
        }
        Message::SnapshotAccepted { index, snapshot_term, next_offset, .. } => {
            (fields.index, fields.entries) = (*next_offset, index.0);
            fields.log_term = snapshot_term.0;
            ("AppendEntriesResponse", "MsgSnapResp")
        }
        Message::ReadIndex { .. } => ("ReadIndexRequest", "MsgReadIndex"),
        Message::ReadIndexReply { index, .. } => {
            (fields.index, fields.reject) = (index.map_or(0, |index| index.0), index.is_none());
            ("ReadIndexResponse", "MsgReadIndexResp")
        }
        Message::Repair { term, from, to } => {
            fields.end(*from, *term);
            fields.entries = to.0 + 1 - from.0.min(to.0);
            ("RepairRequest", "MsgRepair")
        }
        Message::Repaired { term, from, answer } => {
            fields.end(*from, *term);
            match answer {
                RepairAnswer::Copies(entries) => fields.entries = entries.len() as u64,
                RepairAnswer::Absent { .. } | RepairAnswer::Damaged | RepairAnswer::Compacted => {
                    fields.reject = true;
                }
            }
            ("RepairResponse", "MsgRepairResp")
        }
        Message::Recall { term, index, offset } => {
            fields.end(*index, *term);
            fields.entries = *offset;
            ("RepairRequest", "MsgRecall")
        }
        Message::Recalled { meta, offset, .. } => {
            (fields.index, fields.entries, fields.commit) = (*offset, meta.index.0, meta.index.0);
            ("RepairResponse", "MsgRecallResp")
        }
    };
    (purpose, fields.to_json(kind, message.term(), from, to))
}

/// What a message says, beside its kind and its ends.
#[derive(Default)]
struct Fields {
    index: u64,
    log_term: u64,
    entries: u64,
    commit: u64,
    reject: bool,
    reject_hint: u64,
}

impl Fields {
    fn end(&mut self, index: LogIndex, term: Term) {
        (self.index, self.log_term) = (index.0, term.0);
    }

    fn to_json(&self, kind: &str, term: Term, from: NodeId, to: NodeId) -> Value {
        json!({
            "type": kind,
            "term": term.0,
            "from": from.to_string(),
            "to": to.to_string(),
            "entries": self.entries,
            "logTerm": self.log_term,
            "index": self.index,
            "commit": self.commit,
            "vote": "0",
            "reject": self.reject,
            "rejectHint": self.reject_hint,
        })
    }
}
