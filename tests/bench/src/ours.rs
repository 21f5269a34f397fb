//! Three members of ours.

use std::collections::VecDeque;

use base::{Instant, LogIndex, NodeId};
use bytes::Bytes;
use raft::{Config, LogEntry, Message, Output, RaftNode, Restored};

use crate::{COMMAND_BYTES, Group};

struct Member {
    id: NodeId,
    raft: RaftNode,
    /// Its disk.
    log: Vec<LogEntry>,
    applied: LogIndex,
}

/// See the module.
pub struct Ours {
    members: Vec<Member>,
    messages: VecDeque<(NodeId, NodeId, Message)>,
    now: Instant,
}

fn node(number: usize) -> NodeId {
    NodeId::new(number as u16).expect("node numbers are small")
}

impl Group for Ours {
    fn new() -> Ours {
        let now = Instant::from_millis(1_000);
        let member = |number| {
            let id = node(number);
            let config = Config::new(id, (1..=3).map(node).collect());
            let raft = RaftNode::new(config, number as u64, Restored::default(), now);
            let raft = raft.expect("the configuration is sound");
            Member { id, raft, log: Vec::new(), applied: LogIndex(0) }
        };
        let members = (1..=3).map(member).collect();
        let mut group = Ours { members, messages: VecDeque::new(), now };
        while !group.members[0].raft.is_leader() {
            let due = group.members[0].raft.poll_timeout().expect("a follower has a deadline");
            group.now = group.now.max(due);
            group.members[0].raft.handle_timeout(group.now);
            group.settle();
        }
        group
    }

    fn commit(&mut self, count: usize) {
        let mut last = LogIndex(0);
        for _ in 0..count {
            let command = Bytes::from_static(&[7; COMMAND_BYTES]);
            (last, _) = self.members[0].raft.propose(command).expect("it leads");
        }
        self.settle();
        assert!(self.members.iter().all(|member| member.applied >= last), "all have applied it");
    }
}

impl Ours {
    fn settle(&mut self) {
        loop {
            for member in &mut self.members {
                member.drain(&mut self.messages, self.now);
            }
            if self.messages.is_empty() {
                return;
            }
            for (from, to, message) in std::mem::take(&mut self.messages) {
                let member = &mut self.members[usize::from(to.get()) - 1];
                member.raft.handle_message(from, message, self.now);
            }
        }
    }
}

impl Member {
    fn drain(&mut self, messages: &mut VecDeque<(NodeId, NodeId, Message)>, now: Instant) {
        while let Some(output) = self.raft.poll_output() {
            match output {
                Output::Send { to, message } => messages.push_back((self.id, to, message)),
                Output::Persist(persist) => {
                    if let Some(first) = persist.entries.first() {
                        self.log.truncate(first.index.0 as usize - 1);
                    }
                    self.log.extend(persist.entries);
                    self.raft.handle_persisted(persist.ticket, now);
                }
                Output::Apply(entries) => {
                    self.applied = entries.last().map_or(self.applied, |entry| entry.index);
                    self.raft.handle_applied(self.applied);
                }
                Output::Event(_) => {}
                Output::Fetch(_) | Output::ReadReady { .. } | Output::ReadFailed { .. } => {
                    unreachable!("everything is in memory, and nobody reads")
                }
                Output::Repair(_) => unreachable!("nothing is damaged"),
                Output::FetchSnapshot { .. }
                | Output::StoreSnapshot { .. }
                | Output::RestoreState { .. } => unreachable!("nothing is compacted"),
            }
        }
    }
}
