//! A member of a group of three whose peers send it anything that can be read.

use base::{Duration, Instant, LogIndex, NodeId};
use bytes::Bytes;
use raft::{Config, LogEntry, Message, Output, RaftNode, Restored, TermRuns};

use crate::input::Input;

const STEPS_MAX: usize = 200;
/// More than a member puts out for anything.
const OUTPUTS_MAX: usize = 100_000;

struct World {
    raft: RaftNode,
    now: Instant,
    /// What is on the disk.
    entries: Vec<LogEntry>,
    applied: LogIndex,
}

fn node(number: u16) -> NodeId {
    NodeId::new(number).expect("small numbers but 0 are numbers of nodes")
}

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let config = Config::new(node(1), vec![node(1), node(2), node(3)]);
    let restored = Restored {
        hard_state: raft::HardState::default(),
        terms: TermRuns::default(),
        last_index: LogIndex(0),
        recent: Vec::new(),
        ..Restored::default()
    };
    let now = Instant::from_millis(1);
    let raft = RaftNode::new(config, 1, restored, now).expect("the configuration works");
    let mut world = World { raft, now, entries: Vec::new(), applied: LogIndex(0) };
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
        world.drain();
    }
}

impl World {
    fn step(&mut self, input: &mut Input<'_>) {
        let choice = input.u8();
        match choice % 5 {
            0 => {
                self.now += Duration::from_millis(u64::from(input.u8()));
                self.raft.handle_timeout(self.now);
            }
            // The disk finds one of its entries damaged.
            2 => {
                if let Some(entry) = self.entries.get(usize::from(input.u8())) {
                    self.raft.handle_damaged(entry.index, entry.term, self.now);
                }
            }
            // Only a leader takes it.
            1 => drop(self.raft.propose(Bytes::from_static(b"command"))),
            _ => {
                let length = usize::from(input.u8());
                let bytes = Bytes::copy_from_slice(input.take(length));
                if let Ok(message) = Message::decode(&bytes) {
                    self.raft.handle_message(node(2 + u16::from(choice >> 7)), message, self.now);
                }
            }
        }
    }

    fn drain(&mut self) {
        for _ in 0..OUTPUTS_MAX {
            let Some(output) = self.raft.poll_output() else {
                return self.raft.check_invariants();
            };
            match output {
                Output::Send { to, .. } => assert_ne!(to, node(1), "nobody talks to himself"),
                Output::Persist(persist) => {
                    if let Some(first) = persist.entries.first() {
                        let kept = usize::try_from(first.index.0 - 1).expect("there are few");
                        assert!(kept <= self.entries.len(), "without gaps");
                        self.entries.truncate(kept);
                        self.entries.extend(persist.entries);
                    }
                    self.raft.handle_persisted(persist.ticket, self.now);
                }
                Output::Apply(entries) => {
                    for entry in &entries {
                        self.applied = self.applied.next();
                        assert_eq!(entry.index, self.applied, "in order, once");
                    }
                    self.raft.handle_applied(self.applied);
                }
                Output::Fetch(request) => {
                    let from = usize::try_from(request.from.0 - 1).expect("there are few");
                    let to = usize::try_from(request.to.0).expect("there are few");
                    let entries = self.entries[from..to.min(from + 5)].to_vec();
                    self.raft.handle_fetched(request.id, entries);
                }
                Output::StoreSnapshot { meta, total_bytes, offset, bytes } => {
                    let end = offset + bytes.len() as u64;
                    assert!(end <= total_bytes, "no part reaches beyond the end");
                    self.raft.handle_snapshot_stored(&meta, end);
                    // No checksum holds for what such peers send.
                    if end == total_bytes {
                        self.raft.handle_snapshot_refused(&meta);
                    }
                }
                Output::Repair(entry) => self.raft.handle_repaired(entry.index),
                Output::FetchSnapshot { .. } | Output::RestoreState { .. } => {
                    unreachable!("nothing was compacted, and nothing installed")
                }
                Output::ReadReady { .. } | Output::ReadFailed { .. } | Output::Event(_) => {}
            }
        }
        panic!("a member never rests");
    }
}
