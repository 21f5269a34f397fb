//! What consensus must not forget, as far as it still matters: what a restart would read, and what is written
//! again when the log in front of it is given up.
//!
//! A stable checkpoint settles what was said of the numbers up to it (OSDI '99, section 4.3), a view that has
//! begun what was said of those before, and a later word on a number an earlier one. The rest is little: the
//! window, a certificate and a view. When half of the log is in use it is appended once more, behind a record
//! that says so, in one write; when that is durable, everything before it is given up.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bft::{Record, Sequence};
use bytes::Bytes;

use super::kind;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Signing {
    /// In the order in which they were written, each with its length.
    records: VecDeque<(Record, usize)>,
    bytes: usize,
    /// The latest word on the view is that it was left: the claims of that must be proven as they were, and
    /// nothing is settled.
    is_changing: bool,
}

impl Signing {
    /// Takes a record that has this length, and lets go of what it settles.
    pub(super) fn note(&mut self, record: Record, length: usize) {
        match &record {
            Record::Stable(proof) if !self.is_changing => {
                let low = proof.sequence;
                self.retain(|old| is_view(old) || number(old).is_some_and(|at| at > low));
            }
            Record::Left(_) | Record::Entered(_) => {
                // What was prepared before is in the records of the numbers.
                self.retain(|old| !is_view(old));
                self.is_changing = matches!(record, Record::Left(_));
            }
            Record::Stable(_)
            | Record::Accepted { .. }
            | Record::Prepared(_)
            | Record::Committed(_)
            | Record::Checkpoint { .. } => self.retain(|old| !replaces(&record, old)),
        }
        self.bytes += length;
        self.records.push_back((record, length));
    }

    fn retain(&mut self, keeps: impl Fn(&Record) -> bool) {
        self.records.retain(|(record, _)| keeps(record));
        self.bytes = self.records.iter().map(|(_, length)| length).sum();
    }

    /// How many there are, and how many bytes they have.
    pub(super) fn size(&self) -> (u64, u64) {
        (self.records.len() as u64, self.bytes as u64)
    }

    /// All of them, for the end of the log.
    pub(super) fn encode(&self) -> Vec<(u8, Bytes)> {
        let again = (kind::AGAIN, Bytes::new());
        core::iter::once(again)
            .chain(self.records.iter().map(|(record, _)| encode(record)))
            .collect()
    }

    /// All of them, in the order in which they were written.
    pub(super) fn records(&self) -> Vec<Record> {
        self.records.iter().map(|(record, _)| record.clone()).collect()
    }
}

/// A record for the log.
pub(super) fn encode(record: &Record) -> (u8, Bytes) {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    (kind::SIGNED, bytes.into())
}

fn is_view(record: &Record) -> bool {
    matches!(record, Record::Left(_) | Record::Entered(_))
}

/// Whether a restart that reads `new` needs nothing of `old`, which is before it: a proposal of the same
/// batch for the same number, or a later certificate of the same number.
fn replaces(new: &Record, old: &Record) -> bool {
    match (new, old) {
        (
            Record::Accepted { sequence, batch, .. },
            Record::Accepted { sequence: at, batch: before, .. },
        ) => sequence == at && batch.digest() == before.digest(),
        (Record::Prepared(new), Record::Prepared(old)) => new.sequence == old.sequence,
        _ => false,
    }
}

/// Which number a record is about.
fn number(record: &Record) -> Option<Sequence> {
    match record {
        Record::Accepted { sequence, .. } | Record::Checkpoint { sequence, .. } => Some(*sequence),
        Record::Prepared(proof) | Record::Committed(proof) | Record::Stable(proof) => {
            Some(proof.sequence)
        }
        Record::Left(_) | Record::Entered(_) => None,
    }
}
