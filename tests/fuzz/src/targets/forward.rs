//! The key-value service of a node, with peers that send it anything.

use base::{Duration, Instant, LogIndex, NodeId, Term, limits};
use bytes::Bytes;
use kv::Command;
use kv::service::{ClientId, Config, KvService, Output, Refusal};

use crate::input::Input;

const CLIENT: ClientId = ClientId(1);
const STEPS_MAX: usize = 200;

struct World {
    service: KvService,
    now: Instant,
    index: LogIndex,
    /// What happens to proposals.
    is_full: bool,
}

fn node(number: u16) -> NodeId {
    NodeId::new(number).expect("small numbers but 0 are numbers of nodes")
}

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let now = Instant::from_millis(1);
    let mut service = KvService::new(Config { id: node(1), epoch: 2 }, 1_700_000_000_000, now);
    service.open_internal(CLIENT, now);
    let mut world = World { service, now, index: LogIndex(0), is_full: false };
    for term in 1..STEPS_MAX as u64 {
        if input.is_empty() {
            break;
        }
        world.step(term, &mut input);
        world.drain();
    }
    // Whatever the peers have said, time goes on.
    world.pass(Duration::from_secs(10));
}

impl World {
    fn step(&mut self, term: u64, input: &mut Input<'_>) {
        let choice = input.u8();
        match choice % 8 {
            0 => {
                let leader = [None, Some(node(1)), Some(node(2))][usize::from(input.below(3))];
                self.service.handle_leader(leader, Term(term), self.now);
            }
            1 => {
                let words = [&b"SET"[..], b"key", b"value"].map(Bytes::from_static);
                let command = Command::parse(&words).expect("it is a command");
                // It may have too much to do.
                let _ = self.service.submit(CLIENT, command, self.now);
            }
            2 => self.pass(Duration::from_millis(u64::from(input.u8()))),
            3 => self.is_full = !self.is_full,
            4 => {
                let length = usize::from(input.u8());
                self.apply(Bytes::copy_from_slice(input.take(length)));
            }
            _ => {
                let length = usize::from(input.u8());
                let message = Bytes::copy_from_slice(input.take(length));
                self.service.handle_forward(node(2 + u16::from(choice >> 7)), &message, self.now);
            }
        }
    }

    fn apply(&mut self, payload: Bytes) {
        self.index = self.index.next();
        self.service.handle_applied(self.index, &payload, self.now);
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        for _ in 0..100_000 {
            match self.service.poll_timeout().filter(|at| *at <= end) {
                Some(at) => self.now = self.now.max(at),
                None => {
                    self.now = end;
                    return;
                }
            }
            self.service.handle_timeout(self.now);
            self.drain();
        }
        panic!("a deadline never passes");
    }

    fn drain(&mut self) {
        while let Some(output) = self.service.poll_output() {
            match output {
                Output::Propose { proposal, .. } if self.is_full => {
                    self.service.handle_propose_failed(proposal, Refusal::LogFull, self.now);
                }
                Output::Propose { payload, .. } => {
                    assert!(payload.len() <= limits::ENTRY_PAYLOAD_MAX_BYTES);
                    self.apply(payload);
                }
                Output::Forward { to, bytes } => {
                    assert_ne!(to, node(1), "nobody talks to himself");
                    assert!((1..=limits::MESSAGE_MAX_BYTES).contains(&bytes.len()));
                }
                Output::ReadIndex { context } => self.service.handle_read_failed(context, self.now),
                Output::Reply { client, .. } => assert_eq!(client, CLIENT),
                Output::Ledger { .. } | Output::Close { .. } | Output::Abort { .. } => {
                    panic!("nobody wanted that")
                }
            }
        }
        self.service.check_invariants();
    }
}
