//! This node's replica of the ledger: Byzantine consensus, the ledger, and the part of the disk under both.
//!
//! What is on the disk is one log, to which records are only ever appended: what consensus must not forget
//! ([`bft::Record`]), every decision with its proof, and states that were fetched from others. A start reads
//! all of it; the ledger and the index of its entries follow from the decisions. The log is never cut: an
//! entry that was appended is for ever, and when there is no more room, no more is appended.
//!
//! What is wrong with the ledger's part of the disk ends the ledger on this node and nothing else: the others
//! go on without it, and `bft status` says why.

mod answers;
mod deciding;
mod history;
mod identity;
mod loading;
mod region;
#[cfg(test)]
mod tests;
mod views;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use base::{ClusterId, Instant, LogIndex, NodeId, Term};
use bft::{BftNode, FaultBound, Message, Quorums, Sequence};
use block::{BlockCompletion, BlockRequest};
use bytes::Bytes;
use crypto::{Keyring, SigningKey};
use kv::Reply;
use kv::service::Question;
use ledger::{Gateway, Ledger};
use pool::Pool;
use store::{Record, Store};

use crate::journal::Level;
use answers::Asked;
use history::History;
pub use identity::{Identity, IdentityError};
use loading::Loading;
pub use region::Region;

/// All records are of one term: nobody replaces any.
const TERM: Term = Term(1);
/// What a record holds.
mod kind {
    /// Something that consensus must not forget.
    pub(super) const SIGNED: u8 = 1;
    /// A decision, which was executed.
    pub(super) const DECIDED: u8 = 2;
    /// A state of the ledger, which took the place of the one before.
    pub(super) const STATE: u8 = 3;
}

/// With less room than this nothing is appended: what is under way must still be recorded.
const ROOM_MIN_BYTES: u64 = 4 * 1024 * 1024;
/// On a small disk a smaller share must do: one in so many.
const ROOM_MIN_SHARE: u64 = 8;

/// What the notary wants done, or tells.
#[derive(Debug)]
pub(crate) enum NotaryOutput {
    /// Hand this to the disk.
    Disk(BlockRequest),
    /// Bring this to the notary of another node. It may be lost.
    Send { to: NodeId, content: Bytes },
    /// The answer to a question.
    Reply(Question, Reply),
    /// An operator would want to know.
    Note(Level, String),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Notary {
    id: NodeId,
    keyring: Keyring,
    quorums: Quorums,
    region: Region,
    store: Store,
    seed: u64,
    /// Until the disk is read.
    keys: Option<[SigningKey; 2]>,
    loading: Option<Loading>,
    replica: Option<Replica>,
    /// Why there is no ledger on this node.
    reason: Option<String>,
    messages_refused: u64,
    /// The last message that was sent, as bytes.
    encoded: Option<(Message, Bytes)>,
    outputs: VecDeque<NotaryOutput>,
}

/// What exists when the disk is read.
#[derive(Debug)]
struct Replica {
    bft: BftNode,
    ledger: Ledger,
    gateway: Gateway<Question>,
    /// Of the gateway.
    key: SigningKey,
    /// Copies of the state at checkpoints.
    copies: BTreeMap<Sequence, Bytes>,
    /// A state that comes in.
    incoming: Vec<u8>,
    history: History,
    asked: Asked,
    log: Log,
    /// The last equivocation that was told of: once is enough.
    equivocated: Option<(NodeId, Sequence)>,
}

/// The end of the log, and who waits for it.
#[derive(Debug)]
struct Log {
    next: LogIndex,
    issued: u64,
    durable: u64,
    /// Consensus is told of its tickets when ours are durable.
    tickets: VecDeque<(u64, bft::Ticket)>,
}

impl Notary {
    /// A replica that begins to read its part of the disk. `blocks` is for its requests alone.
    ///
    /// # Errors
    /// If it cannot work: the reason.
    pub(crate) fn new(
        (id, cluster): (NodeId, ClusterId),
        identity: Identity,
        (region, blocks, may_format): (Region, Pool, bool),
        seed: u64,
    ) -> Result<Notary, String> {
        let Identity { keys, keyring } = identity;
        let quorums = Quorums::of(keyring.size(), FaultBound::Quarter);
        let quorums = quorums.map_err(|error| format!("{error}"))?;
        let config = store::Config {
            cluster,
            node: id,
            capacity_sectors: region.sectors(),
            wanted_kinds: &[],
            may_format,
        };
        let store = Store::new(config, blocks).map_err(|error| format!("{error}"))?;
        Ok(Notary {
            id,
            keyring,
            quorums,
            region,
            store,
            seed,
            keys: Some(keys),
            loading: None,
            replica: None,
            reason: None,
            messages_refused: 0,
            encoded: None,
            outputs: VecDeque::new(),
        })
    }

    pub(crate) fn bft(&self) -> Option<&BftNode> {
        self.replica.as_ref().map(|replica| &replica.bft)
    }

    pub(crate) fn ledger(&self) -> Option<&Ledger> {
        self.replica.as_ref().map(|replica| &replica.ledger)
    }

    pub(crate) fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    pub(crate) fn messages_refused(&self) -> u64 {
        self.messages_refused
    }

    /// How many entries of this node's clients wait, and how many are under way.
    pub(crate) fn depth(&self) -> (usize, usize) {
        self.replica.as_ref().map_or((0, 0), |replica| replica.gateway.depth())
    }

    /// A request of the disk has ended; it comes back if it is not one of the notary's.
    pub(crate) fn handle_completion(
        &mut self,
        completion: BlockCompletion,
        now: Instant,
    ) -> Result<(), BlockCompletion> {
        let completion = self.region.inward(completion)?;
        self.store.handle_completion(completion, now);
        Ok(())
    }

    /// A notary of another node says something.
    pub(crate) fn handle_message(&mut self, from: NodeId, content: &Bytes, now: Instant) {
        let Some(replica) = &mut self.replica else { return };
        match Message::decode(content) {
            Ok(message) => replica.bft.handle_message(from, message, now),
            Err(_) => self.messages_refused += 1,
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.store.handle_timeout(now);
        if let Some(replica) = &mut self.replica
            && replica.bft.poll_timeout().is_some_and(|at| at <= now)
        {
            replica.bft.handle_timeout(now);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let bft = self.replica.as_ref().and_then(|replica| replica.bft.poll_timeout());
        Instant::earliest([self.store.poll_timeout(), bft])
    }

    /// The next thing to do. Within the notary, everything that follows from it is done already.
    pub(crate) fn poll_output(&mut self, now: Instant) -> Option<NotaryOutput> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            if let Some(output) = self.store.poll_output() {
                self.take_from_store(output, now);
            } else if let Some(output) = self.replica.as_mut()?.bft.poll_output() {
                self.take_from_bft(output, now);
            } else if !self.propose(now) {
                return None;
            }
        }
    }

    fn take_from_store(&mut self, output: store::Output, now: Instant) {
        match output {
            store::Output::Request(request) => {
                self.outputs.push_back(NotaryOutput::Disk(self.region.outward(request)));
            }
            store::Output::Recovered(recovered) => self.load(&recovered, now),
            store::Output::Persisted(ticket) => self.note_durable(ticket, now),
            store::Output::Read(id, records) => {
                if self.loading.is_some() {
                    self.load_records(records, now);
                } else {
                    self.answer_from(id, records);
                }
            }
            store::Output::Damaged(damage) => self.note(Level::Error, format!("{damage}")),
            store::Output::Failed(failure) => self.stop(format!("{failure}")),
            // There are no snapshots, and nothing is repaired.
            store::Output::Repaired(_)
            | store::Output::NotRepaired(_)
            | store::Output::Scrubbed(_)
            | store::Output::SnapshotStored { .. }
            | store::Output::SnapshotDurable(_)
            | store::Output::SnapshotRead { .. }
            | store::Output::SnapshotDamaged { .. } => {}
        }
    }

    /// Appends records, in one write. Answers the index of the first.
    fn append(&mut self, records: Vec<(u8, Bytes)>) -> LogIndex {
        let Some(replica) = &mut self.replica else { return LogIndex(0) };
        let first = replica.log.next;
        replica.log.issued += 1;
        let ticket = replica.log.issued;
        let record = |(kind, payload)| {
            let index = replica.log.next;
            replica.log.next = index.next();
            Record { index, term: TERM, kind, payload }
        };
        let records = records.into_iter().map(record).collect();
        if self.store.persist(ticket, None, records).is_err() {
            self.stop("the ledger's part of the disk is full".into());
        }
        first
    }

    fn note_durable(&mut self, ticket: u64, now: Instant) {
        let last = self.store.status().durable_last;
        let Some(replica) = &mut self.replica else { return };
        replica.history.note_durable(last);
        replica.log.durable = ticket;
        while let Some((_, ticket)) = replica.log.tickets.pop_front_if(|(at, _)| *at <= ticket) {
            replica.bft.handle_persisted(ticket, now);
        }
    }

    /// There is no ledger on this node any more. Whoever waits is told when the time for an answer is over.
    fn stop(&mut self, reason: String) {
        self.note(Level::Error, format!("{reason}: this node takes no part in the ledger"));
        (self.replica, self.loading, self.keys) = (None, None, None);
        self.reason = Some(reason);
    }

    fn note(&mut self, level: Level, text: String) {
        self.outputs.push_back(NotaryOutput::Note(level, text));
    }

    pub(crate) fn check_invariants(&self) {
        self.store.check_invariants();
        if let Some(replica) = &self.replica {
            replica.bft.check_invariants();
            assert!(replica.ledger.applied() <= replica.bft.executed());
            assert!(replica.log.durable <= replica.log.issued);
        }
    }
}
