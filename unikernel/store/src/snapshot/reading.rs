//! Reading the snapshot that counts, block by block: no byte is answered that does not verify.

use alloc::collections::VecDeque;

use base::checksum::crc32c;
use block::{BlockCompletion, SECTOR_BYTES};
use bytes::Bytes;

use super::{Installed, SNAPSHOT_BLOCK_BYTES, SnapshotWriter};
use crate::error::ReadError;
use crate::layout::{Area, HEAD_COPIES, HEAD_SECTORS};
use crate::output::Output;
use crate::transfer::{Io, Transfer};

/// How many questions may wait.
const WAITING_MAX: usize = 256;

#[derive(Debug)]
struct Question {
    id: u64,
    offset: u64,
    max_bytes: usize,
}

/// A block that is being read.
#[derive(Debug)]
struct Activity {
    question: Question,
    of: Installed,
    area: Area,
    block: usize,
    transfer: Transfer,
    /// It did not verify, and is read once more: a disk may err once.
    is_second_look: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct SnapshotReader {
    waiting: VecDeque<Question>,
    activity: Option<Activity>,
    outputs: VecDeque<Output>,
}

impl SnapshotReader {
    pub(crate) fn enqueue(
        &mut self,
        id: u64,
        offset: u64,
        max_bytes: usize,
        installed: Option<&Installed>,
    ) -> Result<(), ReadError> {
        let installed = installed.ok_or(ReadError::Absent)?;
        if offset > installed.head.total_bytes {
            return Err(ReadError::Absent);
        }
        if self.waiting.len() == WAITING_MAX {
            return Err(ReadError::Busy);
        }
        self.waiting.push_back(Question { id, offset, max_bytes });
        Ok(())
    }

    /// Which area is being read.
    pub(crate) fn place(&self) -> Option<usize> {
        self.activity.as_ref().map(|activity| activity.of.place)
    }

    pub(crate) fn take_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Does what can be done now. Nothing is begun while a batch of the log is being written.
    pub(crate) fn pump(&mut self, io: &mut Io, writer: &SnapshotWriter, is_log_writing: bool) {
        while self.activity.is_none() && !is_log_writing {
            let Some(question) = self.waiting.pop_front() else { return };
            let of = writer.installed().expect("questions are taken when there is one").clone();
            // At the end, or beyond that of a snapshot that is newer than the question, there is nothing.
            if question.offset >= of.head.total_bytes {
                self.answer(&question, &of, Bytes::new());
                continue;
            }
            let block = (question.offset / SNAPSHOT_BLOCK_BYTES as u64) as usize;
            let area = writer.areas()[of.place];
            let transfer = read_block(area, &of, block);
            self.activity =
                Some(Activity { question, of, area, block, transfer, is_second_look: false });
        }
        if let Some(activity) = &mut self.activity {
            activity.transfer.pump(io);
        }
    }

    /// Takes in a completion, if it belongs here.
    pub(crate) fn handle_completion(&mut self, completion: &BlockCompletion) -> Option<()> {
        self.activity.as_mut()?.transfer.take(completion)?;
        self.proceed();
        Some(())
    }

    /// Answers if the block is there.
    fn proceed(&mut self) {
        let Some(activity) = self.activity.take_if(|activity| activity.transfer.is_done()) else {
            return;
        };
        let Activity { question, of, area, block, transfer, is_second_look } = activity;
        let start = (block * SNAPSHOT_BLOCK_BYTES) as u64;
        let mut bytes = Bytes::from(transfer.into_bytes());
        bytes.truncate(of.head.block_bytes(block));
        let is_sound = crc32c(&bytes) == of.head.checksums[block];
        if !is_sound && !is_second_look {
            let transfer = read_block(area, &of, block);
            let again = Activity { question, of, area, block, transfer, is_second_look: true };
            self.activity = Some(again);
            return;
        }
        if !is_sound {
            let (id, meta) = (question.id, of.head.meta);
            self.outputs.push_back(Output::SnapshotDamaged { id, meta, offset: start });
            return;
        }
        let from = (question.offset - start) as usize;
        let to = bytes.len().min(from + question.max_bytes.max(1));
        self.answer(&question, &of, bytes.slice(from..to));
    }

    fn answer(&mut self, question: &Question, of: &Installed, bytes: Bytes) {
        self.outputs.push_back(Output::SnapshotRead {
            id: question.id,
            meta: of.head.meta.clone(),
            offset: question.offset,
            total_bytes: of.head.total_bytes,
            bytes,
        });
    }
}

/// Reads a block of a snapshot.
fn read_block(area: Area, of: &Installed, block: usize) -> Transfer {
    let start = (block * SNAPSHOT_BLOCK_BYTES / SECTOR_BYTES) as u64;
    let sectors = of.head.block_bytes(block).div_ceil(SECTOR_BYTES) as u64;
    Transfer::read(area, HEAD_COPIES * HEAD_SECTORS + start, sectors)
}
