//! What is read means this: it is decided, and written, before anything else happens.

use alloc::vec::Vec;

use base::{LogIndex, Term};

use super::{Phase, Recovery};
use crate::error::{Damage, Failure, Where};
use crate::header::HEADER_BYTES;
use crate::layout::{Config, header_offset};
use crate::scan::Scan;
use crate::snapshot::{Installed, SnapshotWriter};
use crate::transfer::Transfer;
use crate::writing::Writer;

/// So many batches may have been begun behind what a mark vouches for.
const UNSETTLED_BATCHES_MAX: u64 = 2;

impl Recovery {
    /// There is no further batch that counts. A batch that was begun is dropped; but if the one after it was
    /// begun too, it was durable, and is lost.
    pub(super) fn settle(&mut self) -> Result<(), Failure> {
        if self.scan.batch_max > self.vouched_batch + UNSETTLED_BATCHES_MAX {
            // The third was begun when a later mark was durable: that is lost, and what it promised.
            return Err(Failure::HardStateLost);
        }
        if self.scan.batch_max > self.mark.durable_batch + 1 {
            return Err(self.lost(self.mark.durable_last.next()));
        }
        self.recovered.terms = self.scan.terms();
        self.recovered.wanted = self.scan.found();
        self.recovered.repaired = self.scan.repaired.len();
        self.mark.durable_batch = self.scan.batch_max.max(self.mark.durable_batch + 1);
        self.check_snapshot()?;
        self.mend_next();
        Ok(())
    }

    /// The log must reach back to the snapshot, or to its own beginning if there is none.
    fn check_snapshot(&mut self) -> Result<(), Failure> {
        if !self.layout.has_snapshots() {
            return Ok(());
        }
        let installed = self.installed.as_ref();
        let index = installed.map_or(LogIndex(0), |installed| installed.head.meta.index);
        if self.mark.first > index.next() {
            let place = installed.map_or(0, |installed| 1 - installed.place);
            let sector = self.layout.snapshots()[place].start;
            let index = LogIndex(self.mark.first.0 - 1);
            let (term, what) = (Some(self.mark.front_term), Where::Snapshot);
            return Err(Failure::Damaged(Damage { index, term, what, sector }));
        }
        self.recovered.snapshot = installed.map(Installed::stored);
        if let Some(Installed { head, .. }) = installed {
            let (index, term) = (head.meta.index, head.meta.term);
            if index > self.mark.durable_last || self.term_at(index) != term {
                self.install(index, term);
            }
        }
        Ok(())
    }

    /// The term of a record that is kept, or of the one before.
    fn term_at(&self, index: LogIndex) -> Term {
        let terms = &self.recovered.terms;
        let behind = terms.partition_point(|(first, _)| *first <= index);
        behind.checked_sub(1).map_or(self.mark.front_term, |run| terms[run].1)
    }

    /// A header is lost with its copy. If the newest snapshot stands for it, and the log holds the snapshot's
    /// record, the log begins behind that, as if it had been given up to there.
    pub(super) fn begin_behind_snapshot(
        &mut self,
        lost: LogIndex,
        config: &Config,
    ) -> Result<(), Failure> {
        let failure = self.lost(lost);
        if !self.is_second_look {
            return Err(failure);
        }
        let Some(Installed { head, .. }) = &self.installed else { return Err(failure) };
        let (index, term) = (head.meta.index, head.meta.term);
        let is_its = index <= self.mark.durable_last && index >= lost;
        let front = self.scan.behind(index).filter(|(_, known)| known.is_none_or(|t| t == term));
        let Some((checksum, _)) = front.filter(|_| is_its) else { return Err(failure) };
        (self.mark.first, self.mark.front_term) = (index.next(), term);
        self.mark.front_checksum = checksum;
        self.rescan(config)
    }

    /// The snapshot is of another log than this one, or beyond its end: it takes its place.
    fn install(&mut self, index: LogIndex, term: Term) {
        self.mark.reset(index, term);
        self.scan = Scan::new(self.mark, self.scan.batch_max, &[]);
        self.recovered.terms.clear();
        self.recovered.wanted.clear();
    }

    /// Headers that were taken from their copies are written to their slots again, sector by sector, so that
    /// the next start finds them there. Then the decision is sealed.
    pub(super) fn mend_next(&mut self) {
        match self.scan.repaired.first_key_value() {
            Some((index, _)) => {
                let place = self.layout.header_place(*index);
                self.phase = Phase::Mend(Transfer::read(self.layout.headers(), place, 1));
            }
            None => self.seal(),
        }
    }

    /// A sector of headers is read, to be written with those that were lost. The others must be what they
    /// were when the log was read, or none is written: the next start finds the copies again.
    pub(super) fn mend(&mut self, place: u64, bytes: Vec<u8>) {
        let is_sound = self.scan.agrees(self.layout, place, &bytes);
        if is_sound || self.is_mend_sure {
            self.take_repaired(place, bytes, is_sound);
            self.is_mend_sure = false;
        } else {
            self.is_mend_sure = true;
        }
        self.mend_next();
    }

    fn take_repaired(&mut self, place: u64, mut bytes: Vec<u8>, is_sound: bool) {
        while let Some(entry) = self.scan.repaired.first_entry()
            && self.layout.header_place(*entry.key()) == place
        {
            let (index, mut header) = entry.remove_entry();
            let offset = header_offset(index);
            bytes[offset..offset + HEADER_BYTES].copy_from_slice(&header.encode());
        }
        if is_sound {
            self.mended.push(Transfer::write(self.layout.headers(), place, bytes));
        }
    }

    /// Writes the decision: the end of the log, and that the node has started once more.
    pub(super) fn seal(&mut self) {
        self.mark.sequence += 1;
        self.mark.epoch += 1;
        let mut transfers = core::mem::take(&mut self.mended);
        transfers.extend(self.mark.write(self.layout));
        self.phase = Phase::Seal(transfers);
    }

    pub(super) fn finish(&mut self) {
        let mut recovered = self.recovered.clone();
        recovered.epoch = self.mark.epoch;
        recovered.hard_state = self.mark.hard_state;
        recovered.first_index = self.mark.first;
        recovered.front_term = self.mark.front_term;
        recovered.last_index = self.mark.durable_last;
        let writer = Writer::new(self.layout, self.mark, self.scan.ends());
        let (installed, older) = (self.installed.take(), self.older.take());
        let snapshots = SnapshotWriter::new(self.layout, installed, older);
        self.result = Some((recovered, writer, snapshots));
    }
}
