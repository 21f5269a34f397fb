//! The first thing a store does: read what is there, and decide what it means (see the crate).

mod decision;
mod front;

use alloc::vec::Vec;

use base::LogIndex;
use block::{BlockCompletion, SECTOR_BYTES};

use crate::batch::RECORDS_MAX;
use crate::bodies::Bodies;
use crate::error::Failure;
use crate::finding::copy_at;
use crate::hard_state::Mark;
use crate::header::{HEADER_BYTES, Header};
use crate::layout::{Config, HEADERS_START, Layout, align_to_sector, header_offset};
use crate::output::Recovered;
use crate::reading::header_damage;
use crate::scan::{Scan, Wanted};
use crate::snapshot::{Installed, SnapshotWriter, newest};
use crate::superblock::SUPERBLOCK_SECTORS;
use crate::transfer::{Io, Transfer};
use crate::writing::Writer;

/// Sectors of headers read at once.
const CHUNK_SECTORS: u64 = 128;
/// How far behind the marker a header may be that a crash has left: two batches were not settled.
const UNSETTLED_MAX: u64 = 2 * RECORDS_MAX as u64;

/// What is being done.
#[derive(Debug)]
enum Phase {
    /// Superblock and hard state are being read.
    Front(Transfer),
    /// The heads of both snapshot areas are being read.
    Heads([Transfer; 2]),
    /// Headers are being read: the first of them has this index.
    Headers { first: LogIndex, transfer: Transfer },
    /// The copy of a lost header is being read.
    Copy { wanted: Wanted, transfer: Transfer },
    /// The place where the next batch would begin is being read.
    Next(Transfer),
    /// The bodies of the next batch are being read.
    Bodies { first: Header, transfer: Transfer },
    /// A sector of headers is being read, to be written again with those that were lost.
    Mend(Transfer),
    /// The decision is being written.
    Seal(Vec<Transfer>),
    /// And made durable; tag 0 before the flush is asked for.
    Flush(u64),
}

/// A recovery under way.
#[derive(Debug)]
pub(crate) struct Recovery {
    layout: Layout,
    phase: Phase,
    mark: Mark,
    /// The last batch that the mark vouched for when it was read.
    vouched_batch: u64,
    scan: Scan,
    /// Something was wrong, and everything is read once more: a disk may err once.
    is_second_look: bool,
    /// The end of the log was read once more, and nothing that counts lies behind it.
    is_end_sure: bool,
    /// The sector that is mended was read before.
    is_mend_sure: bool,
    /// How many slots behind the marker are looked at: only the first time, for that tells of all batches.
    unsettled: u64,
    /// What is answered in the end.
    recovered: Recovered,
    /// The superblock of a disk that is being formatted: it is written when all else is durable.
    superblock: Option<Vec<u8>>,
    /// Sectors that are written again with the decision.
    mended: Vec<Transfer>,
    /// The snapshot that counts.
    installed: Option<Installed>,
    /// The snapshot before it.
    older: Option<Installed>,
    result: Option<(Recovered, Writer, SnapshotWriter)>,
}

impl Recovery {
    pub(crate) fn start(layout: Layout, config: &Config, io: &mut Io) -> Recovery {
        let mut recovery = Recovery {
            layout,
            phase: Phase::Front(Transfer::read(layout.disk(), 0, HEADERS_START + 1)),
            mark: Mark::default(),
            vouched_batch: 0,
            scan: Scan::new(Mark::default(), 0, config.wanted_kinds),
            is_second_look: false,
            is_end_sure: false,
            is_mend_sure: false,
            unsettled: UNSETTLED_MAX,
            recovered: Recovered {
                epoch: 0,
                hard_state: Default::default(),
                first_index: LogIndex(1),
                front_term: Default::default(),
                last_index: LogIndex(0),
                terms: Vec::new(),
                wanted: Vec::new(),
                torn: 0,
                repaired: 0,
                is_fresh: false,
                snapshot: None,
            },
            superblock: None,
            mended: Vec::new(),
            installed: None,
            older: None,
            result: None,
        };
        recovery.pump(io);
        recovery
    }

    /// Everything is read once more, unless it was, or the disk itself has failed.
    fn look_again(
        &mut self,
        failure: Failure,
        config: &Config,
        io: &mut Io,
    ) -> Result<(), Failure> {
        let may_err = matches!(
            failure,
            Failure::NotOurs
                | Failure::HardStateLost
                | Failure::Damaged(_)
                | Failure::OtherVersion(_)
        );
        if self.is_second_look || !may_err {
            return Err(failure);
        }
        *self = Recovery { is_second_look: true, ..Recovery::start(self.layout, config, io) };
        Ok(())
    }

    pub(crate) fn pump(&mut self, io: &mut Io) {
        match &mut self.phase {
            Phase::Front(transfer)
            | Phase::Headers { transfer, .. }
            | Phase::Copy { transfer, .. }
            | Phase::Next(transfer)
            | Phase::Mend(transfer)
            | Phase::Bodies { transfer, .. } => transfer.pump(io),
            Phase::Heads(transfers) => transfers.iter_mut().for_each(|transfer| transfer.pump(io)),
            Phase::Seal(transfers) => transfers.iter_mut().for_each(|transfer| transfer.pump(io)),
            Phase::Flush(tag) if *tag == 0 => *tag = io.flush(),
            Phase::Flush(_) => {}
        }
    }

    pub(crate) fn take_result(&mut self) -> Option<(Recovered, Writer, SnapshotWriter)> {
        self.result.take()
    }

    pub(crate) fn handle_completion(
        &mut self,
        completion: &BlockCompletion,
        config: &Config,
        io: &mut Io,
    ) -> Result<(), Failure> {
        completion.result.map_err(Failure::Io)?;
        match &mut self.phase {
            Phase::Front(transfer)
            | Phase::Headers { transfer, .. }
            | Phase::Copy { transfer, .. }
            | Phase::Next(transfer)
            | Phase::Mend(transfer)
            | Phase::Bodies { transfer, .. } => {
                transfer.take(completion);
            }
            Phase::Heads(transfers) => {
                transfers.iter_mut().find_map(|transfer| transfer.take(completion));
            }
            Phase::Seal(transfers) => {
                transfers.iter_mut().find_map(|transfer| transfer.take(completion));
            }
            Phase::Flush(_) => {}
        }
        let result = self.proceed(config, io);
        result.or_else(|failure| self.look_again(failure, config, io))
    }

    /// Goes to the next phase if this one is done.
    fn proceed(&mut self, config: &Config, io: &mut Io) -> Result<(), Failure> {
        match core::mem::replace(&mut self.phase, Phase::Flush(0)) {
            Phase::Front(transfer) if transfer.is_done() => {
                self.read_front(&transfer.into_bytes(), config)
            }
            Phase::Heads(transfers) if transfers.iter().all(Transfer::is_done) => {
                [self.installed, self.older] = newest(self.layout, &transfers);
                self.mend_heads(&transfers);
                self.rescan(config)
            }
            Phase::Headers { first, transfer } if transfer.is_done() => {
                self.scan_chunk(first, transfer.bytes())
            }
            Phase::Copy { wanted, transfer } if transfer.is_done() => {
                let copy = Bodies::of(self.layout, &transfer).header(wanted.position);
                match self.scan.fill(wanted, copy) {
                    Ok(()) => self.fill_holes(),
                    Err(index) => self.begin_behind_snapshot(index, config),
                }
            }
            Phase::Next(transfer) if transfer.is_done() => {
                let copy = Bodies::of(self.layout, &transfer).header(self.mark.body_end);
                self.meet_next_batch(copy)
            }
            Phase::Bodies { first, transfer } if transfer.is_done() => {
                self.check_batch(&first, &transfer, config)
            }
            Phase::Mend(transfer) if transfer.is_done() => {
                self.mend(transfer.offset(), transfer.into_bytes());
                Ok(())
            }
            Phase::Seal(transfers) if transfers.iter().all(Transfer::is_done) => {
                self.phase = Phase::Flush(io.flush());
                Ok(())
            }
            Phase::Flush(_) => {
                match self.superblock.take() {
                    Some(sector) => {
                        let disk = self.layout.disk();
                        let write = |at| Transfer::write(disk, at, sector.clone());
                        self.phase = Phase::Seal(SUPERBLOCK_SECTORS.map(write).into());
                    }
                    None => self.finish(),
                }
                Ok(())
            }
            phase => {
                self.phase = phase;
                Ok(())
            }
        }
    }

    /// Reads all headers from the first that is kept to the marker, and what may have been written behind.
    fn rescan(&mut self, config: &Config) -> Result<(), Failure> {
        self.scan = Scan::new(self.mark, self.scan.batch_max, config.wanted_kinds);
        self.read_headers(self.mark.first)
    }

    /// The last slot that is looked at.
    fn scan_end(&self) -> LogIndex {
        let unsettled = LogIndex(self.mark.durable_last.0 + self.unsettled);
        unsettled.min(self.layout.last_with_slot(self.mark.first))
    }

    /// Reads the next slots, if there are more to be looked at.
    fn read_headers(&mut self, first: LogIndex) -> Result<(), Failure> {
        if first > self.scan_end() {
            return self.fill_holes();
        }
        let place = self.layout.header_place(first);
        let left = self.layout.header_place(self.scan_end()) + 1 - place;
        let transfer = Transfer::read(self.layout.headers(), place, left.min(CHUNK_SECTORS));
        self.phase = Phase::Headers { first, transfer };
        Ok(())
    }

    /// Looks at the headers of a chunk. What lies behind the marker tells of later batches.
    fn scan_chunk(&mut self, first: LogIndex, chunk: &[u8]) -> Result<(), Failure> {
        let slots = chunk.chunks_exact(HEADER_BYTES).skip(header_offset(first) / HEADER_BYTES);
        let mut index = first;
        for slot in slots {
            self.scan.slot(index, slot);
            index = index.next();
        }
        self.read_headers(index)
    }

    /// Looks for the copy of the next lost header; when there is none, for the next batch.
    fn fill_holes(&mut self) -> Result<(), Failure> {
        if let Some(wanted) = self.scan.wanted() {
            let transfer = copy_at(self.layout, wanted.position).ok_or(self.lost(wanted.index))?;
            self.phase = Phase::Copy { wanted, transfer };
            return Ok(());
        }
        if !self.scan.begins_well() {
            return Err(self.lost(self.mark.first));
        }
        self.read_next();
        Ok(())
    }

    /// Reads the place where the next batch would begin.
    fn read_next(&mut self) {
        let place = self.mark.body_end / SECTOR_BYTES as u64;
        self.phase = Phase::Next(Transfer::read(self.layout.bodies(), place, 1));
    }

    /// Nothing that counts lies behind the log: that is not believed before it was seen twice.
    fn settle_if_sure(&mut self) -> Result<(), Failure> {
        if self.is_end_sure {
            return self.settle();
        }
        self.is_end_sure = true;
        self.read_next();
        Ok(())
    }

    /// What lies behind the last body: the next batch, or anything else. Batch numbers only grow, so that
    /// what an earlier lap left there is not taken for it.
    fn meet_next_batch(&mut self, copy: Option<Header>) -> Result<(), Failure> {
        let is_next = |header: &Header| {
            header.batch == self.mark.durable_batch + 1
                && header.before == 0
                && header.index >= self.mark.first
                && header.index <= self.mark.durable_last.next()
                && header.batch_last() <= self.layout.last_with_slot(self.mark.first)
                && align_to_sector(u64::from(header.batch_bytes)) <= self.layout.bodies().bytes()
        };
        let Some(first) = copy.filter(is_next) else { return self.settle_if_sure() };
        let sectors = u64::from(first.batch_bytes).div_ceil(SECTOR_BYTES as u64);
        let place = first.position / SECTOR_BYTES as u64;
        let transfer = Transfer::read(self.layout.bodies(), place, sectors);
        self.phase = Phase::Bodies { first, transfer };
        Ok(())
    }

    /// If the batch is whole it counts, and is the marker from now on.
    fn check_batch(
        &mut self,
        first: &Header,
        transfer: &Transfer,
        config: &Config,
    ) -> Result<(), Failure> {
        let Some(last) = Bodies::of(self.layout, transfer).last_of_whole_batch(first) else {
            self.recovered.torn = u64::from(first.behind) + 1;
            return self.settle_if_sure();
        };
        self.mark.durable_batch = last.batch;
        self.mark.durable_last = last.index;
        self.mark.last_position = last.position;
        self.mark.last_checksum = last.checksum;
        let length = align_to_sector(u64::from(first.batch_bytes));
        self.mark.body_end = self.layout.bodies().advance(first.position, length);
        (self.unsettled, self.recovered.torn, self.is_end_sure) = (0, 0, false);
        self.rescan(config)
    }

    fn lost(&self, index: LogIndex) -> Failure {
        Failure::Damaged(header_damage(self.layout, index))
    }
}
