//! Three members of the crate `raft` 0.7, driven as its documentation says.

use raft_rs::eraftpb::{ConfState, EntryType, Message};
use raft_rs::storage::MemStorage;
use raft_rs::{Config, RawNode, StateRole};

use crate::{COMMAND_BYTES, Group};

/// As in our configuration.
const MESSAGE_MAX_BYTES: u64 = base::limits::APPEND_BATCH_MAX_BYTES as u64;

struct Member {
    raft: RawNode<MemStorage>,
    applied: u64,
    /// How many commands it has applied.
    commands: usize,
}

/// See the module.
pub struct Theirs {
    members: Vec<Member>,
    messages: Vec<Message>,
}

impl Group for Theirs {
    fn new() -> Theirs {
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let member = |id| {
            let config = Config {
                id,
                election_tick: 10,
                heartbeat_tick: 3,
                max_size_per_msg: MESSAGE_MAX_BYTES,
                max_inflight_msgs: base::limits::APPEND_IN_FLIGHT_MAX,
                check_quorum: true,
                pre_vote: true,
                ..Config::default()
            };
            let voters = ConfState::from((vec![1, 2, 3], vec![]));
            let storage = MemStorage::new_with_conf_state(voters);
            let raft = RawNode::new(&config, storage, &logger).expect("the configuration is sound");
            Member { raft, applied: 0, commands: 0 }
        };
        let mut group = Theirs { members: (1..=3).map(member).collect(), messages: Vec::new() };
        group.members[0].raft.campaign().expect("it may stand");
        group.settle();
        assert_eq!(group.members[0].raft.raft.state, StateRole::Leader);
        group
    }

    fn commit(&mut self, count: usize) {
        let wanted = self.members[0].commands + count;
        for _ in 0..count {
            let proposed = self.members[0].raft.propose(vec![], vec![7; COMMAND_BYTES]);
            proposed.expect("it leads");
        }
        self.settle();
        assert!(self.members.iter().all(|member| member.commands == wanted), "all have applied it");
    }
}

impl Theirs {
    fn settle(&mut self) {
        loop {
            for member in &mut self.members {
                while member.raft.has_ready() {
                    member.work(&mut self.messages);
                }
            }
            if self.messages.is_empty() {
                return;
            }
            for message in std::mem::take(&mut self.messages) {
                let member = &mut self.members[message.to as usize - 1];
                // What it does not want it ignores.
                let _ = member.raft.step(message);
            }
        }
    }
}

impl Member {
    /// Ready, in the order that the crate's documentation gives.
    fn work(&mut self, messages: &mut Vec<Message>) {
        let mut ready = self.raft.ready();
        messages.append(&mut ready.take_messages());
        self.apply(ready.take_committed_entries());
        let store = self.raft.raft.raft_log.store.clone();
        if !ready.entries().is_empty() {
            store.wl().append(ready.entries()).expect("a vector takes them");
        }
        if let Some(state) = ready.hs() {
            store.wl().set_hardstate(state.clone());
        }
        messages.append(&mut ready.take_persisted_messages());
        let mut light = self.raft.advance(ready);
        if let Some(commit) = light.commit_index() {
            store.wl().mut_hard_state().set_commit(commit);
        }
        messages.append(&mut light.take_messages());
        self.apply(light.take_committed_entries());
        self.raft.advance_apply();
    }

    fn apply(&mut self, entries: Vec<raft_rs::eraftpb::Entry>) {
        for entry in entries {
            self.applied = entry.index;
            let is_command =
                entry.get_entry_type() == EntryType::EntryNormal && !entry.data.is_empty();
            self.commands += usize::from(is_command);
        }
    }
}
