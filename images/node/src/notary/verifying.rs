//! `bft verify`: the whole chain on this node's disk is proven once more, one record at a time, while the
//! node works.

use alloc::string::ToString;
use alloc::vec::Vec;

use base::{Duration, Instant, LogIndex, limits};
use ledger::{Fault, Verifier};
use shell::{Record, Value};
use store::Record as Stored;

use super::Notary;

/// The name of the question by which records are read: no client's has it.
pub(super) const QUESTION: u64 = u64::MAX;

/// How far it has come.
#[derive(Debug)]
pub(super) struct Verification {
    verifier: Verifier,
    next: LogIndex,
    /// Where the log ended when it began.
    last: LogIndex,
    fault: Option<Fault>,
    /// When the next record is read; none while one is, and at the end.
    due: Option<Instant>,
}

impl Verification {
    fn is_over(&self) -> bool {
        self.fault.is_some() || self.next > self.last
    }
}

impl Notary {
    /// Begins to verify, unless that is under way; or if it is over, only if it `is_anew`.
    pub(crate) fn verify(&mut self, is_anew: bool, now: Instant) {
        let Some(replica) = &mut self.replica else { return };
        if replica.verification.as_ref().is_some_and(|one| !one.is_over() || !is_anew) {
            return;
        }
        let status = self.entries.store.status();
        replica.verification = Some(Verification {
            verifier: Verifier::new(self.keyring.clone(), self.quorums),
            next: status.first_index,
            last: status.durable_last,
            fault: None,
            due: Some(now),
        });
    }

    pub(super) fn verification_due(&self) -> Option<Instant> {
        self.replica.as_ref()?.verification.as_ref()?.due
    }

    /// Reads the next record, if it is time.
    pub(super) fn verify_on(&mut self, now: Instant) {
        let Some(replica) = &mut self.replica else { return };
        let Some(one) = replica.verification.as_mut().filter(|one| one.due <= Some(now)) else {
            return;
        };
        if one.due.take().is_none() || one.is_over() {
            return;
        }
        if self.entries.store.read(QUESTION, one.next, one.next, 1).is_err() {
            one.fault = Some(one.verifier.damaged());
        }
    }

    /// The record that was read; none if it is damaged.
    pub(super) fn take_verified(&mut self, records: Vec<Stored>, now: Instant) {
        let Some(one) = self.replica.as_mut().and_then(|replica| replica.verification.as_mut())
        else {
            return;
        };
        let verified = match records.first() {
            Some(record) => one.verifier.take(record.kind, &record.payload),
            None => Err(one.verifier.damaged()),
        };
        one.fault = verified.err();
        if one.fault.is_none() {
            one.next = one.next.next();
        }
        if !one.is_over() {
            one.due = Some(now + Duration::from_millis(limits::LEDGER_VERIFY_EVERY_MS));
        }
    }

    /// What `bft verify` shows.
    pub(crate) fn show_verification(&self) -> Option<Record> {
        let one = self.replica.as_ref()?.verification.as_ref()?;
        let state = match (one.fault, one.is_over()) {
            (Some(_), _) => "failed",
            (None, true) => "verified",
            (None, false) => "running",
        };
        let ledger = one.verifier.ledger();
        Some(
            Record::default()
                .with("state", state)
                .with("records", one.next.0 - 1)
                .with("of", one.last.0)
                .with("blocks", ledger.applied().0)
                .with("entries", ledger.length())
                .with("checkpoints", one.verifier.checkpoints())
                .with("absent", one.verifier.absent())
                .with("head", Value::text(ledger.head()))
                .with("fault", one.fault.map(|fault| Value::text(fault.to_string()))),
        )
    }
}
