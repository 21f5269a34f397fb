//! What the disk holds when the node starts: first what was signed, then the entries, each read from front to
//! back.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::vec::Vec;

use base::{Instant, LogIndex};
use bft::{BftNode, Config, FaultBound, Restored, Sequence, SigningRecord};
use bytes::Bytes;
use crypto::Digest;
use ledger::{Archived, Decision, Gateway, Ledger};
use store::{Record, Recovered};

use super::answers::Asked;
use super::history::History;
use super::signing::Signing;
use super::{Damage, Notary, Replica, kind};
use crate::journal::Level;

/// The name of the question by which records are read; there is one at a time.
const QUESTION: u64 = 0;
/// How much of a log is read at once. The other services wait while it is taken in.
const READ_BYTES: usize = 64 * 1024;

/// What was read so far.
#[derive(Debug)]
pub(super) struct Loading {
    /// The entries are being read: what was signed is known.
    is_at_entries: bool,
    last: LogIndex,
    next: LogIndex,
    /// How often the node has started.
    epoch: u64,
    signing: Signing,
    /// A record of what was signed is lost, and with it what it said.
    is_damaged: bool,
    ledger: Ledger,
    /// The proofs of what was decided behind the last checkpoint.
    decided: Vec<bft::Record>,
    history: History,
    copies: BTreeMap<Sequence, Bytes>,
}

impl Notary {
    /// One of the logs is found: when both are, they are read.
    pub(super) fn load(&mut self, now: Instant) {
        let [Some(signed), Some(entries)] = [&self.signed.found, &self.entries.found] else {
            return;
        };
        let is_fresh = signed.is_fresh && entries.is_fresh;
        self.loading = Some(Loading {
            is_at_entries: false,
            last: signed.last_index,
            next: signed.first_index,
            epoch: signed.epoch,
            signing: Signing::default(),
            is_damaged: false,
            ledger: Ledger::new(self.keyring.clone()),
            decided: Vec::new(),
            history: History::default(),
            copies: BTreeMap::new(),
        });
        if is_fresh {
            self.note(Level::Info, "formatted an empty part of the disk".into());
        }
        self.read_on(now);
    }

    fn read_on(&mut self, now: Instant) {
        let Some(loading) = &mut self.loading else { return };
        if loading.next > loading.last {
            match self.entries.found.take() {
                Some(found) => loading.turn_to_entries(&found),
                None => return self.begin(now),
            }
        }
        let (next, last) = (loading.next, loading.last);
        if next > last {
            return self.read_on(now);
        }
        let log = if loading.is_at_entries { &mut self.entries } else { &mut self.signed };
        if let Err(error) = log.store.read(QUESTION, next, last, READ_BYTES) {
            self.stop(format!("record {next} cannot be read: {error}"));
        }
    }

    /// The next records; none if the next one is damaged.
    pub(super) fn load_records(&mut self, records: Vec<Record>, now: Instant) {
        let Some(loading) = &mut self.loading else { return };
        if records.is_empty() {
            loading.note_damage();
            loading.next = loading.next.next();
        }
        for record in records {
            loading.next = record.index.next();
            if loading.take(record).is_none() {
                loading.note_damage();
            }
        }
        self.read_on(now);
    }

    /// Everything is read: the replica begins where it was.
    fn begin(&mut self, now: Instant) {
        let (Some(loading), Some([signs, seals])) = (self.loading.take(), self.keys.take()) else {
            return;
        };
        let Loading { epoch, signing, is_damaged, ledger, decided, history, copies, .. } = loading;
        let record = match is_damaged {
            false => SigningRecord::Intact(signing.records().into_iter().chain(decided).collect()),
            true => SigningRecord::Damaged { view: None },
        };
        let applied = ledger.applied();
        let restored = Restored { applied, record };
        let config = Config::new(self.id, self.keyring.clone(), FaultBound::Quarter);
        let bft =
            config.and_then(|config| BftNode::restore(config, signs, restored, self.seed, now));
        let mut bft = match bft {
            Ok(bft) => bft,
            Err(error) => return self.stop(format!("{error}")),
        };
        // A crash may have come between the entries and the word on what came of them.
        for (sequence, copy) in &copies {
            bft.handle_checkpoint(*sequence, Digest::of(copy));
        }
        let view = bft.status().view;
        let text = format!("{} entries in {applied} batches, view {view}", ledger.length());
        self.note(Level::Info, text);
        self.replica = Some(Replica {
            bft,
            ledger,
            gateway: Gateway::new(self.id, epoch),
            key: seals,
            copies,
            incoming: Vec::new(),
            history,
            asked: Asked::default(),
            verification: None,
            signing,
            renewal: None,
            damage: if is_damaged { Damage::Abstaining } else { Damage::None },
            tickets: VecDeque::new(),
            checkpoints: VecDeque::new(),
            full: None,
            equivocated: None,
        });
    }
}

impl Loading {
    /// What was signed is read.
    fn turn_to_entries(&mut self, found: &Recovered) {
        self.is_at_entries = true;
        (self.next, self.last) = (found.first_index, found.last_index);
    }

    /// A record is lost. If it was one of the entries, it binds no vote, and others have it: this node goes
    /// on from before it.
    fn note_damage(&mut self) {
        self.is_damaged |= !self.is_at_entries;
    }

    /// Takes a record; `None` if it makes no sense.
    fn take(&mut self, record: Record) -> Option<()> {
        if self.is_at_entries {
            return self.take_archived(record);
        }
        match record.kind {
            kind::SIGNED => {
                let length = record.payload.len();
                self.signing.note(bft::Record::decode(&record.payload).ok()?, length);
            }
            // What was damaged before does not matter any more either.
            kind::AGAIN => (self.signing, self.is_damaged) = (Signing::default(), false),
            _ => return None,
        }
        Some(())
    }

    fn take_archived(&mut self, record: Record) -> Option<()> {
        match Archived::decode(record.kind, &record.payload).ok()? {
            Archived::Decision { decision, is_clean } => {
                self.take_decision(record.index, &decision, is_clean);
            }
            Archived::Checkpoint(proof) => {
                self.copies = self.copies.split_off(&proof.sequence);
                self.decided.retain(|one| is_behind(one, proof.sequence));
            }
            Archived::State { state, .. } => {
                let keyring = self.ledger.keyring().clone();
                self.ledger = Ledger::restore(&state, keyring).ok()?;
                self.copies.insert(self.ledger.applied(), state);
            }
        }
        Some(())
    }

    /// Executes a decision that this replica has executed before. Behind a gap there is nothing to execute:
    /// others have what is lost.
    fn take_decision(&mut self, record: LogIndex, decision: &Decision, is_clean: bool) {
        let number = decision.certificate.sequence;
        if number != self.ledger.applied().next() {
            return;
        }
        let executed = match is_clean {
            true => self.ledger.replay(number, &decision.batch),
            false => self.ledger.apply(number, &decision.batch),
        };
        for executed in executed {
            self.history.note(&executed, record);
        }
        if number.0.is_multiple_of(base::limits::BFT_CHECKPOINT_EVERY) {
            self.copies.insert(number, self.ledger.snapshot());
        }
        self.decided.push(bft::Record::Committed(decision.certificate.clone()));
    }
}

/// Whether it is the proof of a decision behind this number.
fn is_behind(record: &bft::Record, number: Sequence) -> bool {
    matches!(record, bft::Record::Committed(proof) if proof.sequence > number)
}
