//! This node's replica of the ledger: Byzantine consensus, the ledger, and the part of the disk under both.
//!
//! On the disk are two logs. One holds what consensus must not forget ([`bft::Record`]); what a stable
//! checkpoint has settled is given up, and its room used again (`signing`). The other holds every decision
//! with its proof, certificates of checkpoints, and states that were fetched from others
//! ([`ledger::Archived`]). It is never cut: an entry that was appended is for ever. A start reads both; the
//! ledger and the index of its entries follow from the decisions.
//!
//! A checkpoint is voted on when the entries up to it are on this disk. So whatever a stable one makes
//! everybody forget is on the disks of a quorum.
//!
//! When there is no more room for entries, no more are taken, and what is there can be read. A node keeps
//! enough of it free for all that honest nodes may have under way. If liars have used that up, or the record
//! of what was signed does not fit, the node takes part no more, and serves what it has.
//!
//! What is wrong with the ledger's part of the disk ends the ledger on this node and nothing else: the others
//! go on without it, and `bft status` says why.

mod answers;
mod deciding;
mod elsewhere;
mod history;
mod identity;
mod inbox;
mod loading;
mod log;
#[cfg(feature = "adversary")]
mod lying;
mod region;
mod signing;
#[cfg(test)]
mod tests;
mod verifying;
mod views;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use base::{ClusterId, Instant, LogIndex, NodeId, limits};
use bft::{BftNode, FaultBound, Message, Quorums, Sequence};
use block::{BlockCompletion, BlockRequest};
use bytes::Bytes;
use crypto::{Digest, Keyring, SigningKey};
use kv::Reply;
use kv::service::Question;
use ledger::{Author, Gateway, Ledger, Request};
use pool::Pool;

use crate::journal::Level;
use answers::Asked;
use elsewhere::{Elsewhere, Word};
use history::History;
pub use identity::{Identity, IdentityError};
use inbox::Inbox;
use loading::Loading;
use log::Log;
pub use region::{Part, Region};
use signing::Signing;
use verifying::Verification;

/// What a record of the log of what was signed holds.
mod kind {
    /// Something that consensus must not forget.
    pub(super) const SIGNED: u8 = 1;
    /// Nothing: all that still matters comes behind it.
    pub(super) const AGAIN: u8 = 2;
}

/// What a node may have under way: each request as a decision of its own, with its certificate. While there
/// is less room than that for each member, nothing is taken: what is under way must still be recorded.
const ROOM_PER_MEMBER_BYTES: u64 =
    (limits::LEDGER_REQUESTS_IN_FLIGHT_MAX * (limits::BFT_REQUEST_MAX_BYTES + 4096)
        + limits::LEDGER_SIGNED_IN_FLIGHT_MAX * (limits::LEDGER_ENTRY_MAX_BYTES + 4096)) as u64;
/// On a small disk a smaller share must do: one in so many.
const ROOM_MIN_SHARE: u64 = 8;

/// What the notary wants done, or tells.
#[derive(Debug)]
pub(crate) enum NotaryOutput {
    /// Hand this to the disk.
    Disk(BlockRequest),
    /// Bring this to the notary of another node. It may be lost.
    Send { to: NodeId, content: Bytes },
    /// The same at once, whether the other node keeps up or not.
    #[cfg(feature = "adversary")]
    SendUnbidden { to: NodeId, content: Bytes },
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
    /// What was signed, and the entries.
    signed: Log,
    entries: Log,
    seed: u64,
    /// Until the disk is read.
    keys: Option<[SigningKey; 2]>,
    loading: Option<Loading>,
    replica: Option<Replica>,
    /// Why there is no ledger on this node.
    reason: Option<String>,
    messages_refused: u64,
    inbox: Inbox,
    elsewhere: Elsewhere,
    /// The last message that was sent, as bytes.
    encoded: Option<(Message, Bytes)>,
    #[cfg(feature = "adversary")]
    lying: lying::Lying,
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
    verification: Option<Verification>,
    /// What a restart must know of what was signed.
    signing: Signing,
    /// The write that holds all of it once more, and the record that it begins with.
    renewal: Option<(u64, LogIndex)>,
    damage: Damage,
    /// Consensus is told of its tickets when these writes of what was signed are durable …
    tickets: VecDeque<(u64, bft::Ticket)>,
    /// … and of what came of a checkpoint when these writes of entries are.
    checkpoints: VecDeque<(u64, Sequence, Digest)>,
    /// Something did not fit the disk: this replica takes part no more, and serves what it has.
    full: Option<&'static str>,
    /// The last equivocation that was told of: once is enough.
    equivocated: Option<(NodeId, Sequence)>,
}

impl Replica {
    /// A request that another node brings, its own or one that it passes on; false if it is none. What no
    /// node has signed is not ordered: a decision takes room on every disk, for ever.
    fn take_request(
        &mut self,
        from: NodeId,
        request: Bytes,
        keyring: &Keyring,
        now: Instant,
    ) -> bool {
        // What comes again need not be verified again.
        if self.bft.knows_request(&request) {
            return true;
        }
        let asker = match Request::read(&request).map(|request| request.author) {
            Ok(Author::Gateway(gateway)) => gateway,
            Ok(Author::Client(_)) => from,
            Err(_) => {
                self.bft.note_verified(from, false);
                return false;
            }
        };
        // Nor need what finds no room.
        if !self.bft.has_room_for(asker) {
            return false;
        }
        let is_good = Request::open(&request, keyring).is_some();
        self.bft.note_verified(from, is_good);
        if is_good {
            self.bft.handle_request_of(asker, from, request, now);
        }
        is_good
    }
}

/// Whether the record of what was signed is whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Damage {
    /// It is.
    None,
    /// Something of it was lost: it is never written anew, for that would look whole.
    Abstaining,
    /// What was lost is settled: it can be given up.
    Settled,
}

impl Notary {
    /// A replica that begins to read its part of the disk. `blocks` are for its requests alone.
    ///
    /// # Errors
    /// If it cannot work: the reason.
    pub(crate) fn new(
        (id, cluster): (NodeId, ClusterId),
        identity: Identity,
        (region, [blocks, entry_blocks], may_format): (Region, [Pool; 2], bool),
        seed: u64,
    ) -> Result<Notary, String> {
        #[cfg(feature = "adversary")]
        let lying = lying::Lying::new((id, &identity.keyring), identity.liar_key, seed);
        let Identity { keys, keyring, .. } = identity;
        let quorums = Quorums::of(keyring.size(), FaultBound::Quarter);
        let quorums = quorums.map_err(|error| format!("{error}"))?;
        let [signed, entries] = region.parts();
        let signed = Log::new((id, cluster), signed, blocks, may_format)?;
        let entries = Log::new((id, cluster), entries, entry_blocks, may_format)?;
        Ok(Notary {
            id,
            keyring,
            quorums,
            signed,
            entries,
            seed,
            keys: Some(keys),
            loading: None,
            replica: None,
            reason: None,
            messages_refused: 0,
            inbox: Inbox::default(),
            elsewhere: Elsewhere::default(),
            encoded: None,
            #[cfg(feature = "adversary")]
            lying,
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

    /// Messages that were lost because too many of their sender waited.
    pub(crate) fn messages_dropped(&self) -> u64 {
        self.inbox.dropped()
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
        let rest = self.signed.handle_completion(completion, now);
        rest.or_else(|completion| self.entries.handle_completion(completion, now))
    }

    /// A notary of another node says something. It waits until there is time for it.
    pub(crate) fn handle_message(&mut self, from: NodeId, content: Bytes) {
        let Some(replica) = self.replica.as_ref().filter(|replica| replica.full.is_none()) else {
            return;
        };
        if replica.bft.is_muted(from) {
            return; // So is whoever is no member.
        }
        #[cfg(feature = "adversary")]
        self.lying.hear(&content);
        self.inbox.push(from, content);
    }

    /// Looks at the next message that waits, if a signature more may be verified in this turn; false if not,
    /// or if there is none.
    fn look_at_next(&mut self, now: Instant) -> bool {
        let Some(replica) = self.replica.as_mut().filter(|replica| replica.full.is_none()) else {
            return false;
        };
        if replica.bft.is_busy() || replica.bft.is_spent() {
            return false;
        }
        let Some((from, content)) = self.inbox.pop() else { return false };
        if Word::is_one(&content) {
            match Word::decode(&content) {
                Ok(word) => self.take_word(from, word, now),
                Err(_) => self.messages_refused += 1,
            }
            return true;
        }
        match Message::decode(&content) {
            Ok(Message::Request(request)) => {
                let is_taken = replica.take_request(from, request, &self.keyring, now);
                self.messages_refused += u64::from(!is_taken);
            }
            Ok(message) => replica.bft.handle_message(from, message, now),
            Err(_) => self.messages_refused += 1,
        }
        true
    }

    /// The switch says that a node is gone. It may be wrong, or lying.
    pub(crate) fn handle_peer_unreachable(&mut self, peer: NodeId, now: Instant) {
        if let Some(replica) = self.replica.as_mut().filter(|replica| replica.full.is_none()) {
            replica.bft.handle_peer_unreachable(peer, now);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.signed.store.handle_timeout(now);
        self.entries.store.handle_timeout(now);
        #[cfg(feature = "adversary")]
        self.lie_on(now);
        self.verify_on(now);
        self.seek_on(now);
        if let Some(replica) = &mut self.replica
            && replica.full.is_none()
            && replica.bft.poll_timeout().is_some_and(|at| at <= now)
        {
            replica.bft.handle_timeout(now);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let replica = self.replica.as_ref().filter(|replica| replica.full.is_none());
        let bft = replica.and_then(|replica| replica.bft.poll_timeout());
        #[cfg(feature = "adversary")]
        let bft = Instant::earliest([bft, self.lying.deadline()]);
        let stores = [&self.signed, &self.entries].map(|log| log.store.poll_timeout());
        let others = [self.verification_due(), self.elsewhere.deadline()];
        Instant::earliest([Instant::earliest(stores), bft, Instant::earliest(others)])
    }

    /// The next thing to do. Within the notary, everything that follows from it is done already.
    pub(crate) fn poll_output(&mut self, now: Instant) -> Option<NotaryOutput> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            if let Some(output) = self.signed.store.poll_output() {
                self.take_from_signed(output, now);
                continue;
            }
            if let Some(output) = self.entries.store.poll_output() {
                self.take_from_entries(output, now);
                continue;
            }
            let replica = self.replica.as_mut().filter(|replica| replica.full.is_none())?;
            if let Some(output) = replica.bft.poll_output() {
                self.take_from_bft(output, now);
            } else if !self.look_at_next(now) && !self.propose(now) {
                return self.outputs.pop_front();
            }
        }
    }

    fn take_from_signed(&mut self, output: store::Output, now: Instant) {
        match output {
            store::Output::Request(request) => {
                self.outputs.push_back(NotaryOutput::Disk(self.signed.outward(request)));
            }
            store::Output::Recovered(found) => {
                self.signed.note_found(found);
                self.load(now);
            }
            store::Output::Persisted(ticket) => self.note_signed_durable(ticket, now),
            store::Output::Read(_, records) => self.load_records(records, now),
            other => self.take_trouble(other),
        }
    }

    fn take_from_entries(&mut self, output: store::Output, now: Instant) {
        match output {
            store::Output::Request(request) => {
                self.outputs.push_back(NotaryOutput::Disk(self.entries.outward(request)));
            }
            store::Output::Recovered(found) => {
                self.entries.note_found(found);
                self.load(now);
            }
            store::Output::Persisted(ticket) => self.note_entries_durable(ticket),
            store::Output::Read(_, records) if self.loading.is_some() => {
                self.load_records(records, now);
            }
            store::Output::Read(verifying::QUESTION, records) => self.take_verified(records, now),
            store::Output::Read(id, records) => self.answer_from(id, records),
            other => self.take_trouble(other),
        }
    }

    fn take_trouble(&mut self, output: store::Output) {
        match output {
            store::Output::Damaged(damage) => self.note(Level::Error, format!("{damage}")),
            store::Output::Failed(failure) => self.stop(format!("{failure}")),
            // There are no snapshots, and nothing is repaired.
            store::Output::Request(_)
            | store::Output::Recovered(_)
            | store::Output::Persisted(_)
            | store::Output::Read(..)
            | store::Output::Repaired(_)
            | store::Output::NotRepaired(_)
            | store::Output::Scrubbed(_)
            | store::Output::SnapshotStored { .. }
            | store::Output::SnapshotDurable(_)
            | store::Output::SnapshotRead { .. }
            | store::Output::SnapshotDamaged { .. } => {}
        }
    }

    fn note_signed_durable(&mut self, ticket: u64, now: Instant) {
        self.signed.note_durable(ticket);
        let Some(replica) = &mut self.replica else { return };
        while let Some((_, ticket)) = replica.tickets.pop_front_if(|(at, _)| *at <= ticket) {
            replica.bft.handle_persisted(ticket, now);
        }
        if let Some((_, first)) = replica.renewal.take_if(|(at, _)| *at <= ticket)
            && let Err(error) = self.signed.store.compact(first)
        {
            // Nothing is lost: it is tried again when there is more to be given up.
            self.note(
                Level::Warn,
                format!("the log of what was signed is not shortened: {error:?}"),
            );
        }
    }

    fn note_entries_durable(&mut self, ticket: u64) {
        self.entries.note_durable(ticket);
        let last = self.entries.store.status().durable_last;
        let Some(replica) = &mut self.replica else { return };
        replica.history.note_durable(last);
        while let Some((_, sequence, digest)) =
            replica.checkpoints.pop_front_if(|(at, ..)| *at <= ticket)
        {
            replica.bft.handle_checkpoint(sequence, digest);
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
        self.signed.check_invariants();
        self.entries.check_invariants();
        self.inbox.check_invariants();
        if let Some(replica) = &self.replica {
            replica.bft.check_invariants();
            assert!(replica.ledger.applied() <= replica.bft.executed());
        }
    }
}
