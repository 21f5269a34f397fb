//! What the disk holds when the node starts, read from front to back.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;

use base::{Instant, LogIndex};
use bft::{BftNode, Config, FaultBound, Restored, Sequence, SigningRecord};
use bytes::Bytes;
use ledger::{Decision, Gateway, Ledger};
use store::{Record, Recovered};

use super::answers::Asked;
use super::history::History;
use super::{Log, Notary, Replica, kind};
use crate::journal::Level;

/// The name of the question by which records are read; there is one at a time.
const QUESTION: u64 = 0;
/// How much of the log is read at once.
const READ_BYTES: usize = 128 * 1024;

/// What was read so far.
#[derive(Debug)]
pub(super) struct Loading {
    last: LogIndex,
    next: LogIndex,
    epoch: u64,
    /// What consensus must know, without what stable checkpoints have settled.
    records: Vec<bft::Record>,
    /// The latest word on the view is that it was left: the claims of that must be proven as they were.
    is_changing: bool,
    /// A record is lost, and with it what it said.
    is_damaged: bool,
    ledger: Ledger,
    history: History,
    copies: BTreeMap<Sequence, Bytes>,
}

impl Notary {
    /// The disk is there.
    pub(super) fn load(&mut self, recovered: &Recovered, now: Instant) {
        self.loading = Some(Loading {
            last: recovered.last_index,
            next: recovered.first_index,
            epoch: recovered.epoch,
            records: Vec::new(),
            is_changing: false,
            is_damaged: false,
            ledger: Ledger::new(self.keyring.clone()),
            history: History::default(),
            copies: BTreeMap::new(),
        });
        if recovered.is_fresh {
            self.note(Level::Info, "formatted an empty part of the disk".into());
        }
        self.read_on(now);
    }

    fn read_on(&mut self, now: Instant) {
        let Some(loading) = &self.loading else { return };
        let (next, last) = (loading.next, loading.last);
        if next > last {
            return self.begin(now);
        }
        if let Err(error) = self.store.read(QUESTION, next, last, READ_BYTES) {
            self.stop(format!("record {next} cannot be read: {error}"));
        }
    }

    /// The next records; none if the next one is damaged.
    pub(super) fn load_records(&mut self, records: Vec<Record>, now: Instant) {
        let Some(loading) = &mut self.loading else { return };
        if records.is_empty() {
            loading.is_damaged = true;
            loading.next = loading.next.next();
        }
        for record in records {
            loading.next = record.index.next();
            if loading.take(record).is_none() {
                loading.is_damaged = true;
            }
        }
        self.read_on(now);
    }

    /// Everything is read: the replica begins where it was.
    fn begin(&mut self, now: Instant) {
        let (Some(loading), Some([signs, seals])) = (self.loading.take(), self.keys.take()) else {
            return;
        };
        let Loading { last, epoch, records, is_damaged, ledger, history, copies, .. } = loading;
        let record = match is_damaged {
            false => SigningRecord::Intact(records),
            true => SigningRecord::Damaged { view: None },
        };
        let applied = ledger.applied();
        let restored = Restored { applied, record };
        let config = Config::new(self.id, self.keyring.clone(), FaultBound::Quarter);
        let bft =
            config.and_then(|config| BftNode::restore(config, signs, restored, self.seed, now));
        let bft = match bft {
            Ok(bft) => bft,
            Err(error) => return self.stop(format!("{error}")),
        };
        let view = bft.status().view;
        let text = format!("{} entries in {applied} batches, view {view}", ledger.length());
        self.note(Level::Info, text);
        let log = Log { next: last.next(), issued: 0, durable: 0, tickets: Default::default() };
        self.replica = Some(Replica {
            bft,
            ledger,
            gateway: Gateway::new(self.id, epoch),
            key: seals,
            copies,
            incoming: Vec::new(),
            history,
            asked: Asked::default(),
            log,
            equivocated: None,
        });
    }
}

impl Loading {
    /// Takes a record; `None` if it makes no sense.
    fn take(&mut self, record: Record) -> Option<()> {
        match record.kind {
            kind::SIGNED => self.take_signed(bft::Record::decode(&record.payload).ok()?),
            kind::DECIDED => {
                self.take_decision(record.index, &Decision::decode(&record.payload).ok()?)
            }
            kind::STATE => {
                let keyring = self.ledger.keyring().clone();
                self.ledger = Ledger::restore(&record.payload, keyring).ok()?;
                self.copies.insert(self.ledger.applied(), record.payload);
            }
            _ => return None,
        }
        Some(())
    }

    /// Keeps what is said of numbers behind the stable checkpoint, and the latest word on the view.
    fn take_signed(&mut self, record: bft::Record) {
        let is_view =
            |record: &bft::Record| matches!(record, bft::Record::Left(_) | bft::Record::Entered(_));
        match &record {
            bft::Record::Stable(proof) => {
                let low = proof.sequence;
                let is_open = |old: &bft::Record| number(old).is_some_and(|at| at > low);
                if !self.is_changing {
                    self.records.retain(|old| is_view(old) || is_open(old));
                }
                self.copies = self.copies.split_off(&low);
            }
            bft::Record::Left(_) | bft::Record::Entered(_) => {
                // What was prepared before is in the records of the numbers.
                self.records.retain(|old| !is_view(old));
                self.is_changing = matches!(record, bft::Record::Left(_));
            }
            _ => {}
        }
        self.records.push(record);
    }

    /// Executes a decision that this replica has executed before. Behind a gap there is nothing to execute:
    /// others have what is lost.
    fn take_decision(&mut self, record: LogIndex, decision: &Decision) {
        let number = decision.certificate.sequence;
        if number != self.ledger.applied().next() {
            return;
        }
        for executed in self.ledger.apply(number, &decision.batch) {
            self.history.note(&executed, record);
        }
        if number.0.is_multiple_of(base::limits::BFT_CHECKPOINT_EVERY) {
            self.copies.insert(number, self.ledger.snapshot());
        }
        self.records.push(bft::Record::Committed(decision.certificate.clone()));
    }
}

/// Which number a record is about.
fn number(record: &bft::Record) -> Option<Sequence> {
    match record {
        bft::Record::Accepted { sequence, .. } | bft::Record::Checkpoint { sequence, .. } => {
            Some(*sequence)
        }
        bft::Record::Prepared(proof)
        | bft::Record::Committed(proof)
        | bft::Record::Stable(proof) => Some(proof.sequence),
        bft::Record::Left(_) | bft::Record::Entered(_) => None,
    }
}
