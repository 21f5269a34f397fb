//! The first thing a store does: read what is there, and decide what it means (see the crate).

use alloc::format;
use alloc::vec::Vec;

use base::LogIndex;
use base::checksum::crc32c;
use block::{BlockCompletion, SECTOR_BYTES};

use crate::batch::Writer;
use crate::hard_state::Mark;
use crate::header::{HEADER_BYTES, Header};
use crate::layout::{Config, HEADERS_START, Layout, align_to_sector, header_offset};
use crate::reading::header_damage;
use crate::scan::{Scan, Wanted};
use crate::store::{Failure, Recovered};
use crate::superblock::Superblock;
use crate::transfer::{Io, Transfer};

/// Sectors of headers read at once.
const CHUNK_SECTORS: u64 = 128;

/// What is being done.
#[derive(Debug)]
enum Phase {
    /// Superblock and hard state are being read.
    Front(Transfer),
    /// Headers are being read: the first of them has this index.
    Headers { first: LogIndex, transfer: Transfer },
    /// The copy of a lost header is being read.
    Copy { wanted: Wanted, transfer: Transfer },
    /// The place where the next batch would begin is being read.
    Next { position: u64, transfer: Transfer },
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
    scan: Scan,
    /// What is answered in the end.
    recovered: Recovered,
    /// Sectors of headers that are written again.
    mended: Vec<Transfer>,
    /// The superblock of a disk that becomes ours. It is written when everything else is durable: where one
    /// is found, the rest was there.
    superblock: Option<Transfer>,
    result: Option<(Recovered, Writer)>,
}

impl Recovery {
    pub(crate) fn start(layout: Layout, io: &mut Io) -> Recovery {
        let mut recovery = Recovery {
            layout,
            phase: Phase::Front(Transfer::read(0, HEADERS_START as usize + 1)),
            mark: Mark::default(),
            scan: Scan::new(Mark::default()),
            recovered: Recovered {
                epoch: 0,
                hard_state: Default::default(),
                last_index: LogIndex(0),
                terms: Vec::new(),
                torn: 0,
                repaired: 0,
                is_fresh: false,
            },
            mended: Vec::new(),
            superblock: None,
            result: None,
        };
        recovery.pump(io);
        recovery
    }

    pub(crate) fn pump(&mut self, io: &mut Io) {
        match &mut self.phase {
            Phase::Front(transfer)
            | Phase::Headers { transfer, .. }
            | Phase::Copy { transfer, .. }
            | Phase::Next { transfer, .. }
            | Phase::Mend(transfer)
            | Phase::Bodies { transfer, .. } => transfer.pump(io),
            Phase::Seal(transfers) => transfers.iter_mut().for_each(|transfer| transfer.pump(io)),
            Phase::Flush(tag) if *tag == 0 => *tag = io.flush(),
            Phase::Flush(_) => {}
        }
    }

    pub(crate) fn take_result(&mut self) -> Option<(Recovered, Writer)> {
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
            | Phase::Next { transfer, .. }
            | Phase::Mend(transfer)
            | Phase::Bodies { transfer, .. } => {
                transfer.take(completion);
            }
            Phase::Seal(transfers) => {
                transfers.iter_mut().find_map(|transfer| transfer.take(completion));
            }
            Phase::Flush(_) => {}
        }
        self.proceed(config, io)
    }

    /// Goes to the next phase if this one is done.
    fn proceed(&mut self, config: &Config, io: &mut Io) -> Result<(), Failure> {
        match core::mem::replace(&mut self.phase, Phase::Flush(0)) {
            Phase::Front(transfer) if transfer.is_done() => {
                self.read_front(&transfer.into_bytes(), config)
            }
            Phase::Headers { first, transfer } if transfer.is_done() => {
                self.scan_chunk(first, transfer.bytes())
            }
            Phase::Copy { wanted, transfer } if transfer.is_done() => {
                let copy = self.copy_at(&transfer, wanted.position);
                self.scan.fill(wanted, copy).map_err(lost)?;
                self.fill_holes()
            }
            Phase::Next { position, transfer } if transfer.is_done() => {
                let copy = self.copy_at(&transfer, position);
                self.meet_next_batch(copy)
            }
            Phase::Bodies { first, transfer } if transfer.is_done() => {
                self.check_batch(&first, &transfer)
            }
            Phase::Mend(transfer) if transfer.is_done() => {
                self.mend(transfer.sector(), transfer.into_bytes());
                self.mend_next();
                Ok(())
            }
            Phase::Seal(transfers) if transfers.iter().all(Transfer::is_done) => {
                self.phase = Phase::Flush(io.flush());
                Ok(())
            }
            Phase::Flush(_) => {
                match self.superblock.take() {
                    Some(superblock) => self.phase = Phase::Seal(Vec::from([superblock])),
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

    /// Superblock and hard state are there: whose disk is it, and where does the log end?
    fn read_front(&mut self, bytes: &[u8], config: &Config) -> Result<(), Failure> {
        let superblock =
            bytes.chunks_exact(SECTOR_BYTES).take(2).find_map(|s| Superblock::decode(s).ok());
        let Some(superblock) = superblock else {
            if !self.is_empty_or_begun(bytes, config) {
                return Err(Failure::NotOurs);
            }
            self.format(config);
            return Ok(());
        };
        if superblock.cluster != config.cluster || superblock.node != config.node {
            let owner = format!("node {} of cluster {}", superblock.node, superblock.cluster);
            return Err(Failure::WrongOwner(owner));
        }
        if superblock.layout != self.layout {
            return Err(Failure::Resized);
        }
        self.mark = Mark::newest(bytes).ok_or(Failure::HardStateLost)?;
        if self.mark.durable_last.0 > self.layout.slots() {
            return Err(Failure::HardStateLost);
        }
        self.rescan();
        Ok(())
    }

    /// Reads all headers up to the marker.
    fn rescan(&mut self) {
        self.scan = Scan::new(self.mark);
        self.read_headers(LogIndex(1));
    }

    /// Whether nothing is there but, perhaps, what is left of a format that a crash has interrupted: every
    /// byte is zero, or the one that a format would write there. A disk that was ever written to after its
    /// format holds a second mark.
    fn is_empty_or_begun(&self, bytes: &[u8], config: &Config) -> bool {
        let mut formatted = alloc::vec![0; bytes.len()];
        let mut place = |sector: u64, content: &[u8]| {
            let start = sector as usize * SECTOR_BYTES;
            formatted[start..start + content.len()].copy_from_slice(content);
        };
        place(0, &self.superblocks(config));
        let first = self.mark.next_start();
        place(first.sector(), &first.encode());
        bytes.iter().zip(&formatted).all(|(byte, format)| *byte == 0 || byte == format)
    }

    /// The two sectors that say whose the disk is.
    fn superblocks(&self, config: &Config) -> Vec<u8> {
        let superblock =
            Superblock { cluster: config.cluster, node: config.node, layout: self.layout };
        let mut sectors = Vec::with_capacity(2 * SECTOR_BYTES);
        superblock.encode(&mut sectors);
        sectors.resize(SECTOR_BYTES, 0);
        sectors.extend_from_within(..);
        sectors
    }

    /// Makes an empty disk ours.
    fn format(&mut self, config: &Config) {
        self.superblock = Some(Transfer::write(0, self.superblocks(config)));
        self.recovered.is_fresh = true;
        self.seal();
    }

    fn read_headers(&mut self, first: LogIndex) {
        let sector = self.layout.header_sector(first);
        let left = HEADERS_START + self.layout.header_sectors - sector;
        let transfer = Transfer::read(sector, left.min(CHUNK_SECTORS) as usize);
        self.phase = Phase::Headers { first, transfer };
    }

    /// Looks at the headers of a chunk. What lies behind the marker tells of later batches, and ends where a
    /// whole sector was never written.
    fn scan_chunk(&mut self, first: LogIndex, chunk: &[u8]) -> Result<(), Failure> {
        let mut index = first;
        for sector in chunk.chunks_exact(SECTOR_BYTES) {
            if index > self.mark.durable_last && sector.iter().all(|byte| *byte == 0) {
                return self.fill_holes();
            }
            for slot in sector.chunks_exact(HEADER_BYTES) {
                self.scan.slot(index, slot);
                index = index.next();
            }
        }
        if index.0 > self.layout.slots() {
            return self.fill_holes();
        }
        self.read_headers(index);
        Ok(())
    }

    /// Looks for the copy of the next lost header; when there is none, for the next batch.
    fn fill_holes(&mut self) -> Result<(), Failure> {
        if let Some(wanted) = self.scan.wanted() {
            let transfer = self.read_at(wanted.position).ok_or(lost(wanted.index))?;
            self.phase = Phase::Copy { wanted, transfer };
            return Ok(());
        }
        if !self.scan.begins_well() {
            return Err(lost(LogIndex(1)));
        }
        let position = self.scan.last_header().map_or(0, |last| align_to_sector(last.end()));
        match self.read_at(position) {
            Some(transfer) => {
                self.phase = Phase::Next { position, transfer };
                Ok(())
            }
            // The bodies are full.
            None => self.settle(),
        }
    }

    /// Reads the header that lies at a position among the bodies, if that is a place for one.
    fn read_at(&self, position: u64) -> Option<Transfer> {
        let end = position.checked_add(HEADER_BYTES as u64)?;
        if end > self.layout.bodies_bytes() {
            return None;
        }
        let first = position / SECTOR_BYTES as u64;
        let sectors = end.div_ceil(SECTOR_BYTES as u64) - first;
        Some(Transfer::read(self.layout.bodies_start() + first, sectors as usize))
    }

    /// The header at a position among the bodies, which the transfer covers.
    fn copy_at(&self, transfer: &Transfer, position: u64) -> Option<Header> {
        let base = (transfer.sector() - self.layout.bodies_start()) * SECTOR_BYTES as u64;
        let start = usize::try_from(position.checked_sub(base)?).ok()?;
        let header = Header::decode(transfer.bytes().get(start..start + HEADER_BYTES)?).ok()?;
        (header.position == position).then_some(header)
    }

    /// What lies behind the last body: the next batch, or anything else.
    fn meet_next_batch(&mut self, copy: Option<Header>) -> Result<(), Failure> {
        let is_next = |header: &Header| {
            header.batch == self.mark.durable_batch + 1
                && header.before == 0
                && header.index <= self.mark.durable_last.next()
                && header.batch_last().0 <= self.layout.slots()
                && u64::from(header.batch_bytes) <= self.layout.bodies_bytes() - header.position
        };
        let Some(first) = copy.filter(is_next) else { return self.settle() };
        let sectors = u64::from(first.batch_bytes).div_ceil(SECTOR_BYTES as u64);
        let sector = self.layout.bodies_start() + first.position / SECTOR_BYTES as u64;
        self.phase = Phase::Bodies { first, transfer: Transfer::read(sector, sectors as usize) };
        Ok(())
    }

    /// If the batch is whole it counts, and is the marker from now on.
    fn check_batch(&mut self, first: &Header, transfer: &Transfer) -> Result<(), Failure> {
        let Some(last) = last_of_whole_batch(first, transfer.bytes()) else {
            self.recovered.torn = u64::from(first.behind) + 1;
            return self.settle();
        };
        self.mark.durable_batch = last.batch;
        self.mark.durable_last = last.index;
        self.mark.last_position = last.position;
        self.mark.last_checksum = last.checksum;
        self.rescan();
        Ok(())
    }

    /// There is no further batch that counts. A batch that was begun is dropped; but if the one after it was
    /// begun too, it was durable, and is lost.
    fn settle(&mut self) -> Result<(), Failure> {
        if self.scan.batch_max > self.mark.durable_batch + 1 {
            return Err(lost(self.mark.durable_last.next()));
        }
        self.recovered.terms = self.scan.terms();
        self.recovered.repaired = self.scan.repaired.len();
        self.mark.durable_batch = self.scan.batch_max.max(self.mark.durable_batch + 1);
        self.mend_next();
        Ok(())
    }

    /// Headers that were taken from their copies are written to their slots again, sector by sector, so that
    /// the next start finds them there. Then the decision is sealed.
    fn mend_next(&mut self) {
        match self.scan.repaired.first_key_value() {
            Some((index, _)) => {
                let sector = self.layout.header_sector(*index);
                self.phase = Phase::Mend(Transfer::read(sector, 1));
            }
            None => self.seal(),
        }
    }

    fn mend(&mut self, sector: u64, mut bytes: Vec<u8>) {
        while let Some(entry) = self.scan.repaired.first_entry()
            && self.layout.header_sector(*entry.key()) == sector
        {
            let (index, mut header) = entry.remove_entry();
            let offset = header_offset(index);
            bytes[offset..offset + HEADER_BYTES].copy_from_slice(&header.encode());
        }
        self.mended.push(Transfer::write(sector, bytes));
    }

    /// Writes the decision: the end of the log, and that the node has started once more.
    fn seal(&mut self) {
        self.mark = self.mark.next_start();
        let mut transfers = core::mem::take(&mut self.mended);
        transfers.push(Transfer::write(self.mark.sector(), self.mark.encode()));
        self.phase = Phase::Seal(transfers);
    }

    fn finish(&mut self) {
        let mut recovered = self.recovered.clone();
        recovered.epoch = self.mark.epoch;
        recovered.hard_state = self.mark.hard_state;
        recovered.last_index = self.mark.durable_last;
        let writer = Writer::new(self.layout, self.mark, self.scan.last_header());
        self.result = Some((recovered, writer));
    }
}

/// The payload of a header within bodies that begin at `base`.
pub(crate) fn payload_of<'a>(header: &Header, base: u64, bodies: &'a [u8]) -> Option<&'a [u8]> {
    let start = usize::try_from(header.payload_position().checked_sub(base)?).ok()?;
    bodies.get(start..start.checked_add(header.length as usize)?)
}

/// The last header of a batch, if all of it is there: headers that chain, and payloads that verify.
fn last_of_whole_batch(first: &Header, bodies: &[u8]) -> Option<Header> {
    let base = first.position;
    let mut last: Option<Header> = None;
    let mut position = base;
    for index in first.index.0..=first.batch_last().0 {
        let start = usize::try_from(position - base).ok()?;
        let header = Header::decode(bodies.get(start..start + HEADER_BYTES)?).ok()?;
        let is_of_batch = header.index == LogIndex(index)
            && header.position == position
            && header.batch == first.batch
            && header.batch_last() == first.batch_last();
        let chains = last.is_none_or(|last| last.checksum == header.previous_checksum);
        let payload = payload_of(&header, base, bodies)?;
        if !is_of_batch || !chains || crc32c(payload) != header.payload_checksum {
            return None;
        }
        position = header.end();
        last = Some(header);
    }
    last
}

fn lost(index: LogIndex) -> Failure {
    Failure::Damaged(header_damage(index))
}
