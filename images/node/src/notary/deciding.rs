//! Consensus, and what follows from its decisions.

use alloc::format;
use alloc::vec::Vec;

use base::Instant;
use bft::{Batch, Event, Message, Output, Persist, QuorumCertificate, Record, Sequence};
use bytes::Bytes;
use crypto::Digest;
use kv::Reply;
use ledger::{Decision, Ledger};

use alloc::sync::Arc;

use super::{Notary, NotaryOutput, kind};
use crate::journal::Level;

/// To whoever appended something, when the state of another replica has taken the place of this one's.
const UNKNOWN_OUTCOME: Reply = Reply::error(
    "CLUSTERDOWN this node was left behind: the entry may or may not have been appended",
);

impl Notary {
    pub(super) fn take_from_bft(&mut self, output: Output, now: Instant) {
        match output {
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
                replica.bft.handle_checkpoint(sequence, digest);
            }
            Output::Stable { certificate } => {
                let Some(replica) = &mut self.replica else { return };
                replica.copies = replica.copies.split_off(&certificate.sequence);
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
                self.store_state(&certificate, offset, &bytes, is_last, now);
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
        let is_needed = |record: &&Record| !matches!(record, Record::Committed(_));
        let encoded = |record: &Record| {
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            (kind::SIGNED, Bytes::from(bytes))
        };
        let records: Vec<_> = persist.records.iter().filter(is_needed).map(encoded).collect();
        if !records.is_empty() {
            self.append(records);
        }
        let Some(replica) = &mut self.replica else { return };
        if replica.log.durable >= replica.log.issued {
            replica.bft.handle_persisted(persist.ticket, now);
        } else {
            replica.log.tickets.push_back((replica.log.issued, persist.ticket));
        }
    }

    fn execute(&mut self, sequence: Sequence, batch: Batch, certificate: Arc<QuorumCertificate>) {
        let view = certificate.view;
        let decision = Decision { batch, certificate };
        let record = self.append(Vec::from([(kind::DECIDED, decision.encode())]));
        let Some(replica) = &mut self.replica else { return };
        for executed in replica.ledger.apply(sequence, &decision.batch) {
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
        replica.history.keep(record, decision);
        replica.bft.handle_applied(sequence);
    }

    /// Hands what waits at the gateway to consensus; true if there was anything.
    pub(super) fn propose(&mut self, now: Instant) -> bool {
        let Some(replica) = &mut self.replica else { return false };
        let Some(request) = replica.gateway.poll_request(&replica.key, &self.keyring) else {
            return false;
        };
        let is_taken = replica.bft.propose(request.clone(), now).is_ok();
        if !is_taken {
            // Too much waits here for others: what is executed makes room, and then it is tried again.
            replica.gateway.give_back(&request);
        }
        is_taken
    }

    fn store_state(
        &mut self,
        certificate: &QuorumCertificate,
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
        self.append(Vec::from([(kind::STATE, state)]));
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
            Event::Diverged { .. } | Event::Forked { .. } | Event::Abstaining => Level::Error,
            Event::StateRefused { .. } => Level::Warn,
            Event::Leaving { .. }
            | Event::Entered { .. }
            | Event::StateInstalled { .. }
            | Event::SigningAgain { .. } => Level::Info,
        };
        self.note(level, format!("{event}"));
    }
}
