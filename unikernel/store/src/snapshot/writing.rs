//! Writing a snapshot, block by block, beside the log.

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

use base::checksum::crc32c;
use base::{LogIndex, limits};
use block::{BlockCompletion, SECTOR_BYTES};

use super::head::{HEAD_BYTES, Head};
use super::{Installed, SNAPSHOT_BLOCK_BYTES, SnapshotMeta, StoredSnapshot};
use crate::error::SnapshotError;
use crate::hard_state::INDEX_MAX;
use crate::layout::{Area, HEAD_COPIES, HEAD_SECTORS, Layout};
use crate::output::Output;
use crate::transfer::{Io, Transfer};

/// How many bytes may wait to be written; a single longer part is taken when nothing waits.
const WAITING_MAX_BYTES: usize = 4 * SNAPSHOT_BLOCK_BYTES;
/// How many blocks are written between two flushes.
const UNFLUSHED_BLOCKS_MAX: usize = 4;
const DATA_START: u64 = HEAD_COPIES * HEAD_SECTORS;

/// What is being done for the snapshot that is written.
#[derive(Debug)]
enum Phase {
    /// Nothing: the next block is not full yet, or has to wait.
    Waiting,
    /// The head that was in its area before is being wiped out.
    Wiping(Transfer),
    /// A block is being written.
    Block(Transfer),
    /// What was written is being made durable; tag 0 before the flush is asked for.
    Flushing(u64),
    /// The head is being written.
    Head(Transfer),
    /// And made durable, which is the installation.
    Installing(u64),
}

/// A snapshot that is being written.
#[derive(Debug)]
struct Draft {
    place: usize,
    /// Its head, as far as it is known.
    head: Head,
    /// Full blocks that wait.
    blocks: VecDeque<Vec<u8>>,
    /// The beginning of the next one.
    rest: Vec<u8>,
    /// How many bytes are written.
    written: u64,
    /// How many its sender knows of.
    reported: u64,
    unflushed_blocks: usize,
    /// Nothing more comes.
    is_ended: bool,
    phase: Phase,
}

/// The snapshot that counts, and the next one.
#[derive(Debug)]
pub(crate) struct SnapshotWriter {
    areas: [Area; 2],
    data_max_bytes: u64,
    installed: Option<Installed>,
    /// The snapshot before it, while nothing is written in its place.
    older: Option<Installed>,
    /// The one that counts is damaged, and there is none that could take its place.
    is_doubted: bool,
    draft: Option<Draft>,
    /// What of a draft that was abandoned is still on its way to the disk.
    abandoned: Option<Transfer>,
    outputs: VecDeque<Output>,
}

/// How much data an area has room for.
pub(super) fn data_max_bytes(layout: Layout) -> u64 {
    let room = layout.snapshot_sectors.saturating_sub(DATA_START) * SECTOR_BYTES as u64;
    room.min(limits::SNAPSHOT_MAX_BYTES as u64)
}

impl SnapshotWriter {
    pub(crate) fn new(
        layout: Layout,
        installed: Option<Installed>,
        older: Option<Installed>,
    ) -> SnapshotWriter {
        SnapshotWriter {
            areas: layout.snapshots(),
            data_max_bytes: data_max_bytes(layout),
            installed,
            older,
            is_doubted: false,
            draft: None,
            abandoned: None,
            outputs: VecDeque::new(),
        }
    }

    /// The snapshot that counts.
    pub(crate) fn installed(&self) -> Option<&Installed> {
        self.installed.as_ref()
    }

    /// The snapshot before the newest takes its place, if the log, whose first record is this, reaches back
    /// to it. Without any there must be all of the log.
    pub(crate) fn fall_back(
        &mut self,
        first: LogIndex,
    ) -> Result<Option<StoredSnapshot>, SnapshotError> {
        if self.draft.is_some() {
            return Err(SnapshotError::UnderWay);
        }
        let older = self.older.as_ref();
        let index = older.map_or(LogIndex(0), |older| older.head.meta.index);
        if first > index.next() {
            return Err(SnapshotError::NothingBefore);
        }
        self.installed = self.older.take();
        Ok(self.installed.as_ref().map(Installed::stored))
    }

    /// The snapshot that counts cannot be read: another of the same record may take its place.
    pub(crate) fn doubt(&mut self) {
        self.is_doubted = self.installed.is_some();
    }

    pub(crate) fn areas(&self) -> [Area; 2] {
        self.areas
    }

    /// How long a snapshot may be.
    pub(crate) fn data_max_bytes(&self) -> u64 {
        self.data_max_bytes
    }

    pub(crate) fn begin(&mut self, meta: SnapshotMeta) -> Result<(), SnapshotError> {
        if self.draft.is_some() {
            return Err(SnapshotError::UnderWay);
        }
        let is_too_long = meta.configuration.len() > limits::SNAPSHOT_CONFIGURATION_MAX_BYTES;
        if is_too_long || self.data_max_bytes == 0 {
            return Err(SnapshotError::TooLarge);
        }
        let installed = self.installed.as_ref();
        let index_before = installed.map_or(0, |installed| installed.head.meta.index.0);
        let is_as_new = self.is_doubted && meta.index.0 == index_before;
        if (meta.index.0 <= index_before && !is_as_new) || meta.index.0 > INDEX_MAX {
            return Err(SnapshotError::NotNewer);
        }
        let place = installed.map_or(0, |installed| 1 - installed.place);
        let sequence = installed.map_or(0, |installed| installed.head.sequence) + 1;
        self.older = None;
        let wiped = vec![0; HEAD_COPIES as usize * HEAD_BYTES];
        self.draft = Some(Draft {
            place,
            head: Head { sequence, meta, total_bytes: 0, checksums: Vec::new() },
            blocks: VecDeque::new(),
            rest: Vec::new(),
            written: 0,
            reported: 0,
            unflushed_blocks: 0,
            is_ended: false,
            phase: Phase::Wiping(Transfer::write(self.areas[place], 0, wiped)),
        });
        Ok(())
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let total_max = self.data_max_bytes();
        let draft = self.draft.as_mut().filter(|draft| !draft.is_ended);
        let draft = draft.ok_or(SnapshotError::NotBegun)?;
        if draft.head.total_bytes + bytes.len() as u64 > total_max {
            return Err(SnapshotError::TooLarge);
        }
        // What is less than a block does not hold up its sender: it waits for the rest of its block.
        let waiting = (draft.head.total_bytes - draft.written) as usize - draft.rest.len();
        if waiting > 0 && waiting + bytes.len() > WAITING_MAX_BYTES {
            return Err(SnapshotError::Busy);
        }
        draft.take(bytes);
        self.outputs.extend(draft.report());
        Ok(())
    }

    pub(crate) fn finish(&mut self) -> Result<(), SnapshotError> {
        let draft = self.draft.as_mut().filter(|draft| !draft.is_ended);
        draft.ok_or(SnapshotError::NotBegun)?.is_ended = true;
        Ok(())
    }

    pub(crate) fn abandon(&mut self) -> Result<(), SnapshotError> {
        let draft = self.draft.take().ok_or(SnapshotError::NotBegun)?;
        match draft.phase {
            Phase::Head(_) | Phase::Installing(_) => {
                self.draft = Some(draft);
                return Err(SnapshotError::TooLate);
            }
            // One that was abandoned before may still be on its way; then nothing of this one is.
            Phase::Wiping(transfer) | Phase::Block(transfer) if !transfer.is_quiet() => {
                self.abandoned = Some(transfer);
            }
            Phase::Waiting | Phase::Wiping(_) | Phase::Block(_) | Phase::Flushing(_) => {}
        }
        Ok(())
    }

    /// Does what can be done now. The area that is being read is left alone, and nothing is begun, nor
    /// flushed, while a batch of the log is being written.
    pub(crate) fn pump(&mut self, io: &mut Io, place_read: Option<usize>, is_log_writing: bool) {
        if self.abandoned.as_ref().is_some_and(Transfer::is_quiet) {
            self.abandoned = None;
        }
        let Some(draft) = &mut self.draft else { return };
        if self.abandoned.is_some() || place_read == Some(draft.place) {
            return;
        }
        if matches!(draft.phase, Phase::Waiting) && !is_log_writing {
            draft.begin_next(self.areas[draft.place]);
        }
        match &mut draft.phase {
            Phase::Waiting => {}
            Phase::Wiping(transfer) | Phase::Block(transfer) | Phase::Head(transfer) => {
                transfer.pump(io);
            }
            Phase::Flushing(tag) | Phase::Installing(tag) => {
                if *tag == 0 && !is_log_writing {
                    *tag = io.flush();
                }
            }
        }
    }

    /// Takes in a completion, if it belongs here.
    pub(crate) fn handle_completion(&mut self, completion: &BlockCompletion) -> Option<()> {
        if let Some(taken) = self.abandoned.as_mut().and_then(|rest| rest.take(completion)) {
            return Some(taken);
        }
        match &mut self.draft.as_mut()?.phase {
            Phase::Waiting => return None,
            Phase::Wiping(transfer) | Phase::Block(transfer) | Phase::Head(transfer) => {
                transfer.take(completion)?;
            }
            Phase::Flushing(tag) | Phase::Installing(tag) if *tag == completion.tag => {}
            Phase::Flushing(_) | Phase::Installing(_) => return None,
        }
        self.proceed();
        Some(())
    }

    /// Goes to the next phase if this one is done.
    fn proceed(&mut self) {
        let Some(mut draft) = self.draft.take() else { return };
        match core::mem::replace(&mut draft.phase, Phase::Waiting) {
            // Nothing is written over the data before the head is surely gone.
            Phase::Wiping(transfer) if transfer.is_done() => draft.phase = Phase::Flushing(0),
            Phase::Block(transfer) if transfer.is_done() => {
                draft.unflushed_blocks += 1;
                let block = draft.head.checksums.len() - 1;
                draft.written += draft.head.block_bytes(block) as u64;
                self.outputs.extend(draft.report());
            }
            Phase::Flushing(_) => draft.unflushed_blocks = 0,
            Phase::Head(transfer) if transfer.is_done() => draft.phase = Phase::Installing(0),
            Phase::Installing(_) => {
                self.outputs.push_back(Output::SnapshotDurable(draft.head.meta.clone()));
                let newest = Installed { place: draft.place, head: draft.head };
                self.older = self.installed.replace(newest).filter(|_| !self.is_doubted);
                self.is_doubted = false;
                return;
            }
            phase => draft.phase = phase,
        }
        self.draft = Some(draft);
    }

    pub(crate) fn take_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(crate) fn check_invariants(&self) {
        if let (Some(draft), Some(installed)) = (&self.draft, &self.installed) {
            assert!(draft.place != installed.place, "the newest one is not overwritten");
            let is_as_new = draft.head.meta.index == installed.head.meta.index;
            assert!(draft.head.meta.index > installed.head.meta.index || is_as_new);
            assert!(self.is_doubted || !is_as_new, "only a damaged one is replaced by its like");
        }
    }
}

impl Draft {
    /// Cuts what comes into blocks.
    fn take(&mut self, mut bytes: &[u8]) {
        self.head.total_bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = SNAPSHOT_BLOCK_BYTES - self.rest.len();
            let (part, later) = bytes.split_at(room.min(bytes.len()));
            self.rest.extend_from_slice(part);
            bytes = later;
            if self.rest.len() == SNAPSHOT_BLOCK_BYTES {
                self.blocks.push_back(core::mem::take(&mut self.rest));
            }
        }
    }

    /// How far it has come, if that is further than what its sender knows.
    fn report(&mut self) -> Option<Output> {
        let is_all = self.blocks.is_empty() && !matches!(self.phase, Phase::Block(_));
        let offset = if is_all { self.head.total_bytes } else { self.written };
        if offset <= self.reported {
            return None;
        }
        self.reported = offset;
        Some(Output::SnapshotStored { meta: self.head.meta.clone(), offset })
    }

    /// Begins what comes next, if anything can be done.
    fn begin_next(&mut self, area: Area) {
        if self.unflushed_blocks >= UNFLUSHED_BLOCKS_MAX {
            self.phase = Phase::Flushing(0);
        } else if let Some(block) = self.blocks.pop_front() {
            self.write_block(area, block);
        } else if self.is_ended {
            self.begin_ending(area);
        }
    }

    /// Begins what comes when there are no more full blocks, and will be none.
    fn begin_ending(&mut self, area: Area) {
        if !self.rest.is_empty() {
            let rest = core::mem::take(&mut self.rest);
            self.write_block(area, rest);
        } else if self.unflushed_blocks > 0 {
            self.phase = Phase::Flushing(0);
        } else {
            self.phase = Phase::Head(Transfer::write(area, 0, self.head.encode()));
        }
    }

    fn write_block(&mut self, area: Area, mut block: Vec<u8>) {
        let place = DATA_START + self.written / SECTOR_BYTES as u64;
        self.head.checksums.push(crc32c(&block));
        block.resize(block.len().next_multiple_of(SECTOR_BYTES), 0);
        self.phase = Phase::Block(Transfer::write(area, place, block));
    }
}
