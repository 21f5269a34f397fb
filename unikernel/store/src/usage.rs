//! How full the two rings are.

use base::LogIndex;

use crate::error::PersistError;
use crate::header::Header;
use crate::layout::{Layout, RESERVE_RECORDS};
use crate::output::Record;
use crate::{batch::ring_bytes, hard_state::Mark};
use block::SECTOR_BYTES;

/// What of the rings is in use. Bodies that were cut off count until the log is compacted beyond their place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// The first index that is kept.
    pub(crate) first: LogIndex,
    /// The end of the log.
    pub(crate) last: LogIndex,
    /// Where the bodies that are kept begin: the start of a sector.
    body_start: u64,
    /// How many bytes from there on are in use: whole sectors.
    pub(crate) body_bytes: u64,
}

impl Usage {
    /// That of a log whose first header is `front`, if it has any.
    pub(crate) fn new(layout: Layout, mark: &Mark, front: Option<Header>) -> Usage {
        let (first, last) = (mark.first, mark.durable_last);
        let Some(front) = front else {
            return Usage { first, last, body_start: mark.body_end, body_bytes: 0 };
        };
        let body_start = sector_of(front.position);
        let body_bytes = match layout.bodies().distance(body_start, mark.body_end) {
            // There is a record, so that the ring is full, not empty.
            0 => layout.bodies().bytes(),
            bytes => bytes,
        };
        Usage { first, last, body_start, body_bytes }
    }

    /// Where the next bodies go.
    pub(crate) fn body_end(&self, layout: Layout) -> u64 {
        layout.bodies().advance(self.body_start, self.body_bytes)
    }

    /// How many bytes are in use before the body at `position`: so many are free when it is the first.
    pub(crate) fn bytes_before(&self, layout: Layout, position: u64) -> u64 {
        layout.bodies().distance(self.body_start, sector_of(position))
    }

    /// Records are written behind the others, or in place of the last of them.
    pub(crate) fn append(&mut self, records: &[Record]) {
        if let Some(last) = records.last() {
            self.last = last.index;
            self.body_bytes += ring_bytes(records);
        }
    }

    /// Nothing before `first` is kept any more, which frees so many bytes.
    pub(crate) fn release(&mut self, layout: Layout, first: LogIndex, bytes: u64) {
        self.first = first;
        self.last = self.last.max(LogIndex(first.0 - 1));
        self.body_start = layout.bodies().advance(self.body_start, bytes);
        self.body_bytes -= bytes;
    }

    /// Nothing is kept, and the log ends at `last`.
    pub(crate) fn reset(&mut self, layout: Layout, last: LogIndex) {
        self.body_start = self.body_end(layout);
        (self.first, self.last, self.body_bytes) = (last.next(), last, 0);
    }

    /// What is in use with these records too, if there is room for them. A reserve is for records without
    /// payload.
    pub(crate) fn with(&self, layout: Layout, records: &[Record]) -> Result<Usage, PersistError> {
        let mut usage = *self;
        usage.append(records);
        let is_internal = records.iter().all(|record| record.payload.is_empty());
        let reserve = if is_internal { 0 } else { RESERVE_RECORDS };
        usage.room(layout, reserve).map(|_| usage).ok_or(PersistError::Full)
    }

    /// How many records and bytes are free besides a reserve for so many records; `None` if it is touched.
    pub(crate) fn room(&self, layout: Layout, reserve: u64) -> Option<(u64, u64)> {
        let slots = layout.last_with_slot(self.first).0.checked_sub(self.last.0 + reserve)?;
        let kept = self.body_bytes + reserve * SECTOR_BYTES as u64;
        Some((slots, layout.bodies().bytes().checked_sub(kept)?))
    }

    /// How many slots hold headers that are kept.
    pub(crate) fn slots(&self) -> u64 {
        self.last.0 + 1 - self.first.0
    }

    pub(crate) fn check_invariants(&self, layout: Layout) {
        assert!(self.body_start.is_multiple_of(SECTOR_BYTES as u64));
        assert!(self.body_bytes.is_multiple_of(SECTOR_BYTES as u64));
        assert!(self.body_bytes <= layout.bodies().bytes());
        assert!(self.first.0 >= 1 && self.first <= self.last.next());
        assert!(self.last <= layout.last_with_slot(self.first));
    }
}

fn sector_of(position: u64) -> u64 {
    position - position % SECTOR_BYTES as u64
}
