//! What clients ask of the ledger.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;

use base::{Instant, NodeId};
use bytes::Bytes;
use crypto::{Digest, Signature};
use kv::Reply;
use kv::command::Ledger as Command;
use kv::service::Question;
use ledger::{
    AppendError, Archived, Author, Decision, Gateway, Ledger, Request, SignedEntry, Unfit, chain,
};
use serde_json::json;
use store::Record;

use super::history::Run;
use super::{Notary, NotaryOutput, ROOM_MIN_SHARE, ROOM_PER_MEMBER_BYTES};

const NOT_READY: Reply = Reply::error("CLUSTERDOWN this node is still reading its disk");
pub(super) const FULL: Reply =
    Reply::error("MISCONF LEDGER is full: the entry was not appended; those that were can be read");
const BUSY: Reply = Reply::error("TRYAGAIN too many entries wait: the entry was not appended");
pub(super) const NOT_HERE: Reply = Reply::error(
    "TRYAGAIN this node was away when that entry was appended, and too few others have answered",
);
const DAMAGED: Reply =
    Reply::error("TRYAGAIN that entry is damaged on this node's disk: ask another node");

/// Questions that wait for the disk.
#[derive(Debug, Default)]
pub(super) struct Asked {
    next: u64,
    waiting: BTreeMap<u64, (Asker, Wanted)>,
}

/// Who wants an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asker {
    Client(Question),
    /// The notary of another node, which has given the question this number.
    Notary(NodeId, u64),
}

/// What of which entry.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    position: u64,
    run: Run,
    with_proof: bool,
}

impl Notary {
    /// A client of this node asks something.
    pub(crate) fn handle_question(&mut self, question: Question, command: Command, now: Instant) {
        let reply = match command {
            _ if self.reason.is_some() => Some(self.refusal()),
            Command::Append(entry) => self.accept(|gateway, _| gateway.append(question, entry)),
            Command::AppendSigned(signed) => self
                .accept(|gateway, ledger| gateway.submit(question, signed_entry(*signed), ledger)),
            Command::Get(position) => self.look_up(question, position, false, now),
            Command::Proof(position) => self.look_up(question, position, true, now),
        };
        if let Some(reply) = reply {
            self.outputs.push_back(NotaryOutput::Reply(question, reply));
        }
    }

    fn refusal(&self) -> Reply {
        let reason = self.reason.as_deref().unwrap_or("unknown");
        Reply::Error(format!("ERR this node takes no part in the ledger: {reason}").into())
    }

    /// Gives an entry to the gateway; answers only if it is refused.
    fn accept(
        &mut self,
        give: impl FnOnce(&mut Gateway<Question>, &Ledger) -> Result<(), AppendError>,
    ) -> Option<Reply> {
        if self.replica.is_some() && self.lacks_room() {
            return Some(FULL);
        }
        let Some(replica) = &mut self.replica else { return Some(NOT_READY) };
        let error = give(&mut replica.gateway, &replica.ledger).err()?;
        let code = match error {
            AppendError::Busy => return Some(BUSY),
            AppendError::Unfit(Unfit::Stale(_)) => "REPEATED",
            AppendError::UnderWay => "TRYAGAIN",
            AppendError::TooLarge
            | AppendError::Key(_)
            | AppendError::Signature
            | AppendError::Unfit(Unfit::TooManyClients) => "ERR",
        };
        Some(Reply::Error(format!("{code} {error}").into()))
    }

    /// Whether entries are refused: what others have under way must still find room.
    pub(super) fn lacks_room(&self) -> bool {
        let Some(replica) = &self.replica else { return true };
        let share = self.entries.store.status().body_bytes / ROOM_MIN_SHARE;
        let room_min = share.min(self.keyring.size() as u64 * ROOM_PER_MEMBER_BYTES);
        replica.full.is_some() || self.entries.room() < room_min
    }

    fn look_up(
        &mut self,
        question: Question,
        position: u64,
        with_proof: bool,
        now: Instant,
    ) -> Option<Reply> {
        let Some(replica) = &self.replica else { return Some(NOT_READY) };
        if position == 0 || position > replica.ledger.length() {
            return Some(Reply::Nil);
        }
        match replica.history.find(position) {
            Some(run) => self.look_in(Asker::Client(question), (position, with_proof), run),
            None => self.seek(question, (position, with_proof), now),
        }
    }

    /// Looks an entry up where it is; answers at once if it need not be read.
    pub(super) fn look_in(
        &mut self,
        asker: Asker,
        (position, with_proof): (u64, bool),
        run: Run,
    ) -> Option<Reply> {
        let replica = self.replica.as_mut()?;
        let wanted = Wanted { position, run, with_proof };
        if let Some(decision) = replica.history.recent(run.record).cloned() {
            return Some(self.show(wanted, &decision).unwrap_or(DAMAGED));
        }
        let asked = &mut replica.asked;
        asked.next += 1;
        if self.entries.store.read(asked.next, run.record, run.record, 1).is_err() {
            return Some(DAMAGED);
        }
        asked.waiting.insert(asked.next, (asker, wanted));
        None
    }

    /// The record that somebody waits for; none if it is damaged.
    pub(super) fn answer_from(&mut self, id: u64, records: Vec<Record>) {
        let Some(replica) = &mut self.replica else { return };
        let Some((asker, wanted)) = replica.asked.waiting.remove(&id) else { return };
        let archived = records
            .into_iter()
            .find_map(|record| Archived::decode(record.kind, &record.payload).ok());
        let shown = match archived {
            Some(Archived::Decision { decision, .. }) => self.show(wanted, &decision),
            Some(Archived::Checkpoint(_) | Archived::State { .. }) | None => None,
        };
        self.tell(asker, shown.unwrap_or(DAMAGED));
    }

    fn show(&self, wanted: Wanted, decision: &Decision) -> Option<Reply> {
        let Wanted { position, run, with_proof } = wanted;
        let sealed = decision.batch.requests().get(run.place)?;
        let request = Request::read(sealed).ok()?;
        let at = usize::try_from(position - run.first).ok()?;
        let entry = request.entries.get(at)?.clone();
        if !with_proof {
            return Some(Reply::Bulk(entry));
        }
        let mut head = run.head;
        for (place, entry) in request.entries.iter().enumerate().take(at + 1).skip(1) {
            head = chain(head, run.first + place as u64, request.author, entry);
        }
        let text = self.proof(wanted, &entry, (&request, sealed), head, decision);
        Some(Reply::Bulk(text.into()))
    }

    /// An entry and all that is needed to check it, with the keys of the group: the entry is in the request,
    /// the request is the one of the batch with that digest, and a quorum has decided the batch.
    fn proof(
        &self,
        wanted: Wanted,
        entry: &Bytes,
        (request, sealed): (&Request, &Bytes),
        head: Digest,
        decision: &Decision,
    ) -> String {
        let certificate = &decision.certificate;
        let member = |slot: usize| self.keyring.member(slot).map(|id| id.get());
        let digests = decision.batch.digests().iter();
        let (gateway, client) = match request.author {
            Author::Gateway(id) => (Some(id), None),
            Author::Client(key) => (None, Some(key)),
        };
        json!({
            "seq": wanted.position,
            "digest": format!("{head}"),
            "view": certificate.view.0,
            "entry": core::str::from_utf8(entry).ok(),
            "entry_hex": hex(entry),
            "gateway": gateway.map(NodeId::get),
            "client": client.map(|key| hex(&key)),
            "serial": request.serial,
            "request": hex(sealed),
            "batch": {
                "number": certificate.sequence.0,
                "place": wanted.run.place,
                "requests": digests.map(|digest| format!("{digest}")).collect::<Vec<_>>(),
                "digest": format!("{}", decision.batch.digest()),
            },
            "certificate": {
                "phase": format!("{}", certificate.phase),
                "view": certificate.view.0,
                "number": certificate.sequence.0,
                "digest": format!("{}", certificate.digest),
                "signers": certificate.signers.iter().filter_map(member).collect::<Vec<_>>(),
                "signatures": certificate.signatures.iter().map(|one| hex(&one.0))
                    .collect::<Vec<_>>(),
            },
            "group": format!("{}", self.keyring.group()),
        })
        .to_string()
    }
}

fn signed_entry(signed: kv::command::SignedEntry) -> SignedEntry {
    let kv::command::SignedEntry { entry, client, sequence, signature } = signed;
    SignedEntry { client, sequence, entry, signature: Signature(signature) }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
