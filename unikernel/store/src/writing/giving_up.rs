//! Giving up the beginning of the log, or all of it.

use base::{LogIndex, Term};

use super::{Activity, Batch, End, Writer};
use crate::batch::{Anchor, Job};
use crate::error::CompactError;
use crate::finding::Finding;
use crate::header::Header;

/// What the log begins with from now on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Front {
    pub(super) first: LogIndex,
    /// The checksum and term of the header before it.
    pub(super) checksum: u32,
    pub(super) term: Term,
    /// How many bytes of bodies are free then.
    pub(super) freed: u64,
}

/// What is given up when a batch is durable.
#[derive(Clone, Copy, Debug)]
pub(super) enum GivenUp {
    Nothing,
    Before(Front),
    Everything,
}

impl Writer {
    /// Gives up what is before `first`, if nothing that is still to be written reaches back to there.
    pub(crate) fn compact(&mut self, first: LogIndex) -> Result<(), CompactError> {
        if first <= self.floor {
            return Ok(());
        }
        let under_way = match &self.activity {
            Activity::Writing { batch, .. } | Activity::Flushing { batch, .. } => Some(batch.from),
            Activity::Idle | Activity::ReadingFront { .. } | Activity::ReadingTail { .. } => None,
        };
        let waiting = self.jobs.iter().filter_map(|job| match job {
            Job::Write { records, .. } => records.first().map(|record| record.index),
            // Nothing of today's log is settled when all of it goes.
            Job::Reset { .. } => Some(LogIndex(0)),
        });
        let settled_end = waiting.chain(under_way).fold(self.durable.last.next(), LogIndex::min);
        if first > settled_end {
            return Err(CompactError::NotSettled);
        }
        self.floor = first;
        self.compaction = Some(first);
        Ok(())
    }

    /// Notes that the log is to become empty and to end at `index`.
    pub(crate) fn reset(&mut self, index: LogIndex, term: Term) {
        debug_assert!(index.next() >= self.floor, "no snapshot is older than what is given up");
        self.floor = index.next();
        self.planned.reset(self.layout, index);
        self.jobs.push_back(Job::Reset { index, term });
    }

    /// Finds out what the log begins with when `first` is the first that is kept.
    pub(super) fn begin_compaction(&mut self, first: LogIndex) {
        if first > self.durable.last {
            let Anchor { checksum, term, .. } = self.durable.anchor;
            self.front = Some(Front { first, checksum, term, freed: self.usage.body_bytes });
            return;
        }
        let finding = Finding::new(self.layout, self.span(), LogIndex(first.0 - 1), first);
        self.activity = Activity::ReadingFront { first, finding };
    }

    /// The headers on both sides of the new front are there.
    pub(super) fn take_front(&mut self, first: LogIndex, headers: &[Header]) {
        let [before, behind] = headers else { unreachable!("two were wanted") };
        let freed = self.usage.bytes_before(self.layout, behind.position);
        let (checksum, term) = (before.checksum, before.term);
        self.front = Some(Front { first, checksum, term, freed });
    }

    /// Writes that the log is empty: a mark that is not about the state before, for nothing else is written.
    pub(super) fn write_reset(&mut self, index: LogIndex, term: Term) {
        self.front = None;
        self.next_mark();
        self.mark.reset(index, term);
        let anchor = Anchor { checksum: self.mark.front_checksum, position: 0, term };
        let batch = Batch {
            ticket: None,
            from: LogIndex(0),
            end: End { last: index, anchor },
            given_up: GivenUp::Everything,
            is_marked: true,
        };
        self.counts.batches += 1;
        let transfers = self.mark.write(self.layout).into();
        self.activity = Activity::Writing { batch, transfers };
    }
}
