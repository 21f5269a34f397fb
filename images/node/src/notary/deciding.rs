//! Consensus, and what follows from its decisions.

use alloc::format;
use alloc::vec::Vec;

use base::{Instant, LogIndex, limits};
use bft::{
    Batch, Event, Message, Output, Persist, ProposeError, QuorumCertificate, Record, Sequence,
};
use bytes::Bytes;
use crypto::Digest;
use kv::Reply;
use ledger::{Archived, Decision, Ledger};

use alloc::sync::Arc;

use super::answers::FULL;
use super::signing::encode;
use super::{Damage, Notary, NotaryOutput};
use crate::journal::Level;

/// To whoever appended something, when the state of another replica has taken the place of this one's.
const UNKNOWN_OUTCOME: Reply = Reply::error(
    "CLUSTERDOWN this node was left behind: the entry may or may not have been appended",
);

/// What a decision takes on the disk besides its requests, at the most: their lengths, and the certificate.
const DECISION_MORE_BYTES: usize =
    4 * limits::BFT_BATCH_MAX_REQUESTS + 64 * limits::BFT_REPLICAS_MAX + 1024;

/// To a client that has signed what was executed already.
const REPEATED: Reply =
    Reply::error("REPEATED an entry of this client with this sequence was appended before");

impl Notary {
    pub(super) fn take_from_bft(&mut self, output: Output, now: Instant) {
        match output {
            #[cfg(feature = "adversary")]
            Output::Send { to, message } if self.lying.is_on() => self.lie(to, &message, now),
            Output::Send { to, message } => {
                let content = self.encode(message);
                self.outputs.push_back(NotaryOutput::Send { to, content });
            }
            Output::Persist(persist) => self.persist(persist, now),
            Output::Apply { sequence, batch, certificate } => {
                self.execute(sequence, batch, certificate);
            }
            Output::TakeCheckpoint { sequence } => {
                let Some(replica) = &mut self.replica else { return };
                let copy = replica.ledger.snapshot();
                let digest = Digest::of(&copy);
                replica.copies.insert(sequence, copy);
                let issued = self.entries.issued();
                if self.entries.durable() >= issued {
                    replica.bft.handle_checkpoint(sequence, digest);
                } else {
                    replica.checkpoints.push_back((issued, sequence, digest));
                }
            }
            Output::Stable { certificate } => {
                let Some(replica) = &mut self.replica else { return };
                replica.copies = replica.copies.split_off(&certificate.sequence);
                self.archive(&Archived::Checkpoint(certificate));
            }
            Output::ReadState { peer, sequence, offset, max_bytes } => {
                let Some(replica) = &mut self.replica else { return };
                let Some(copy) = replica.copies.get(&sequence) else { return };
                let total = copy.len();
                let from = usize::try_from(offset).unwrap_or(usize::MAX).min(total);
                let part = copy.slice(from..total.min(from + max_bytes));
                if !part.is_empty() {
                    replica.bft.handle_state_part(peer, sequence, offset, total as u64, part);
                }
            }
            Output::StoreState { certificate, offset, bytes, is_last } => {
                self.store_state(certificate, offset, &bytes, is_last, now);
            }
            Output::Event(event) => self.note_event(event),
        }
    }

    /// The message as bytes. What goes to many, one after the other, is encoded once.
    fn encode(&mut self, message: Message) -> Bytes {
        if let Some((last, bytes)) = &self.encoded
            && *last == message
        {
            return bytes.clone();
        }
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let bytes = Bytes::from(bytes);
        self.encoded = Some((message, bytes.clone()));
        bytes
    }

    /// Writes what consensus must not forget. That something is decided it may forget: the decision itself is
    /// written when it is executed.
    fn persist(&mut self, persist: Persist, now: Instant) {
        let Some(replica) = &mut self.replica else { return };
        let is_needed = |record: &Record| !matches!(record, Record::Committed(_));
        let mut encoded = Vec::new();
        for record in persist.records.into_iter().filter(is_needed) {
            let (kind, bytes) = encode(&record);
            replica.signing.note(record, bytes.len());
            encoded.push((kind, bytes));
        }
        if !encoded.is_empty() && self.signed.append(encoded).is_err() {
            return self.fill_up("what it signed does not fit its part of the disk");
        }
        let issued = self.signed.issued();
        if self.signed.durable() >= issued {
            replica.bft.handle_persisted(persist.ticket, now);
        } else {
            replica.tickets.push_back((issued, persist.ticket));
        }
        self.renew();
    }

    /// Writes what still matters of what was signed once more, so that all before it can be given up: when
    /// half of the log is in use, and half of that for nothing; or when there is damage in it that is
    /// settled.
    fn renew(&mut self) {
        let Some(replica) = self.replica.as_mut().filter(|one| one.renewal.is_none()) else {
            return;
        };
        let status = self.signed.store.status();
        let is_worth = |used: u64, all: u64, live: u64| 2 * used > all && used > 2 * live;
        let (live_records, live_bytes) = replica.signing.size();
        let is_due = is_worth(status.body_bytes_used, status.body_bytes, live_bytes)
            || is_worth(status.slots_used, status.slots, live_records);
        match replica.damage {
            Damage::None if is_due => {}
            Damage::Settled => {}
            Damage::None | Damage::Abstaining => return,
        }
        // Without room for it, what is settled next makes it shorter.
        if let Ok(first) = self.signed.append(replica.signing.encode()) {
            replica.renewal = Some((self.signed.issued(), first));
            replica.damage = Damage::None;
        }
    }

    /// Keeps something of the ledger for ever. Answers the index of the record.
    fn archive(&mut self, archived: &Archived) -> Option<LogIndex> {
        let (kind, bytes) = archived.encode();
        let appended = self.entries.append(Vec::from([(kind, bytes)])).ok();
        if appended.is_none() {
            self.fill_up("the ledger has outgrown its part of the disk");
        }
        appended
    }

    /// There is no room for what must be written: the replica goes no further, and serves what it has.
    fn fill_up(&mut self, reason: &'static str) {
        let Some(replica) = &mut self.replica else { return };
        replica.full = Some(reason);
        let lost = replica.gateway.forget_all();
        let told = lost.map(|question| NotaryOutput::Reply(question, UNKNOWN_OUTCOME));
        self.outputs.extend(told);
        self.note(Level::Error, format!("{reason}: this node only serves what it has"));
    }

    fn execute(&mut self, sequence: Sequence, batch: Batch, certificate: Arc<QuorumCertificate>) {
        let view = certificate.view;
        let (requests, length) = (batch.requests().len(), batch.length());
        if self.entries.room() < (length + DECISION_MORE_BYTES) as u64 {
            return self.fill_up("the ledger has outgrown its part of the disk");
        }
        let Some(replica) = &mut self.replica else { return };
        let all_executed = replica.ledger.apply(sequence, &batch);
        let decision = Decision { batch, certificate };
        let is_clean = all_executed.len() == requests;
        let archived = Archived::Decision { decision: decision.clone(), is_clean };
        let Some(record) = self.archive(&archived) else { return };
        let Some(replica) = &mut self.replica else { return };
        for executed in all_executed {
            replica.history.note(&executed, record);
            for receipt in replica.gateway.handle_executed(&executed) {
                let reply = Reply::Array(Vec::from([
                    Reply::Integer(receipt.position.cast_signed()),
                    Reply::Bulk(format!("{}", receipt.head).into()),
                    Reply::Integer(view.0.cast_signed()),
                ]));
                self.outputs.push_back(NotaryOutput::Reply(receipt.client, reply));
            }
        }
        let refused = replica.gateway.handle_refused(&decision.batch).into_iter();
        self.outputs.extend(refused.map(|client| NotaryOutput::Reply(client, REPEATED)));
        replica.history.keep(record, decision);
        replica.bft.handle_applied(sequence);
    }

    /// Hands what waits at the gateway to consensus; true if there was anything.
    pub(super) fn propose(&mut self, now: Instant) -> bool {
        if self.lacks_room() {
            return self.refuse_waiting();
        }
        let Some(replica) = &mut self.replica else { return false };
        let Some(request) = replica.gateway.poll_request(&replica.key, &self.keyring) else {
            return false;
        };
        // What a client has signed may have come by way of another node, and is waited for then, too.
        let proposed = replica.bft.propose(request.clone(), now);
        let is_taken = matches!(proposed, Ok(_) | Err(ProposeError::Known));
        if !is_taken {
            // Too much waits here for others: what is executed makes room, and then it is tried again.
            replica.gateway.give_back(&request);
        }
        is_taken
    }

    /// What waits at the gateway is told that there is no room; true if anything did.
    fn refuse_waiting(&mut self) -> bool {
        let Some(replica) = &mut self.replica else { return false };
        let refused = replica.gateway.forget_waiting();
        let told = refused.map(|question| NotaryOutput::Reply(question, FULL));
        let before = self.outputs.len();
        self.outputs.extend(told);
        self.outputs.len() > before
    }

    fn store_state(
        &mut self,
        certificate: Arc<QuorumCertificate>,
        offset: u64,
        bytes: &Bytes,
        is_last: bool,
        now: Instant,
    ) {
        let sequence = certificate.sequence;
        let Some(replica) = &mut self.replica else { return };
        if offset == 0 {
            replica.incoming.clear();
        }
        replica.incoming.extend_from_slice(bytes);
        if !is_last {
            return;
        }
        let state = Bytes::from(core::mem::take(&mut replica.incoming));
        let is_it = Digest::of(&state) == certificate.digest;
        let ledger = Ledger::restore(&state, self.keyring.clone());
        let Ok(ledger) = ledger
            .and_then(|ledger| if is_it { Ok(ledger) } else { Err(base::codec::DecodeError) })
        else {
            return replica.bft.handle_state_refused(sequence, now);
        };
        replica.ledger = ledger;
        replica.copies.insert(sequence, state.clone());
        let lost: Vec<_> = replica.gateway.forget_in_flight().collect();
        replica.bft.handle_state_installed(sequence, now);
        for question in lost {
            self.outputs.push_back(NotaryOutput::Reply(question, UNKNOWN_OUTCOME));
        }
        // What is executed from here on comes behind it in the log.
        self.archive(&Archived::State { certificate, state });
    }

    fn note_event(&mut self, event: Event) {
        let level = match event {
            // Who sends bad signatures can send many: they are counted.
            Event::BadSignature { .. } => return,
            Event::Equivocation { primary, sequence } => {
                let Some(replica) = &mut self.replica else { return };
                if replica.equivocated.replace((primary, sequence)) == Some((primary, sequence)) {
                    return;
                }
                Level::Warn
            }
            Event::FalseVote { .. } => Level::Warn,
            Event::Diverged { .. } | Event::Forked { .. } | Event::Abstaining => Level::Error,
            Event::StateRefused { .. } => Level::Warn,
            Event::SigningAgain { .. } => {
                if let Some(replica) = &mut self.replica {
                    replica.damage = Damage::Settled;
                }
                Level::Info
            }
            Event::Leaving { .. } | Event::Entered { .. } | Event::StateInstalled { .. } => {
                Level::Info
            }
        };
        self.note(level, format!("{event}"));
    }
}
