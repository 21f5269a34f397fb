//! Understanding a log from its headers, slot by slot: the first rule of recovery as a pure computation.
//!
//! The marker vouches for the last header, and every header for the one before. So the chain is checked from
//! its end: where the header in a slot is not the one that its successor names, the copy that the successor
//! names takes its place, and so on towards the front, until a slot holds what is named again.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use base::{LogIndex, Term};

use crate::batch::RECORDS_MAX;
use crate::hard_state::Mark;
use crate::header::Header;

/// Two unfinished batches and a sector: more headers than that are not lost by a crash.
const LOST_MAX: usize = 2 * RECORDS_MAX + 8;

/// A copy that is wanted because the slot of `index` does not hold the header that is named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Wanted {
    pub(crate) index: LogIndex,
    pub(crate) position: u64,
    checksum: u32,
}

/// What of a slot is needed later; of an unreadable one nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    checksum: u32,
    previous_checksum: u32,
}

/// A scan under way.
#[derive(Debug)]
pub(crate) struct Scan {
    mark: Mark,
    /// The slots from index 1 on.
    slots: Vec<Slot>,
    /// Places where a slot's header does not follow from the one before: the index and the position of the
    /// copy of the header before, as the slot says.
    breaks: Vec<(LogIndex, u64)>,
    /// The term in the slots changes at these indices.
    changes: Vec<(LogIndex, Term)>,
    last: Option<Header>,
    /// The highest batch that any header tells of.
    pub(crate) batch_max: u64,
    pub(crate) repaired: BTreeMap<LogIndex, Header>,
}

impl Scan {
    pub(crate) fn new(mark: Mark) -> Scan {
        Scan {
            mark,
            slots: Vec::new(),
            breaks: Vec::new(),
            changes: Vec::new(),
            last: None,
            batch_max: mark.durable_batch,
            repaired: BTreeMap::new(),
        }
    }

    /// Looks at the slot of `index`; slots come in order, from 1 on, also behind the marker.
    pub(crate) fn slot(&mut self, index: LogIndex, bytes: &[u8]) {
        let header = Header::decode(bytes).ok().filter(|header| header.index == index);
        if let Some(header) = header {
            self.batch_max = self.batch_max.max(header.batch);
        }
        if index > self.mark.durable_last {
            return;
        }
        let before = self.slots.last().map_or(0, |slot| slot.checksum);
        match header {
            Some(header) => {
                if header.previous_checksum != before && index.0 > 1 {
                    self.breaks.push((index, header.previous_position));
                }
                if self.changes.last().is_none_or(|(_, term)| *term != header.term) {
                    self.changes.push((index, header.term));
                }
                let (checksum, previous_checksum) = (header.checksum, header.previous_checksum);
                self.slots.push(Slot { checksum, previous_checksum });
                self.last = Some(header);
            }
            None => {
                self.slots.push(Slot::default());
                self.last = None;
            }
        }
    }

    fn checksum_at(&self, index: LogIndex) -> u32 {
        let repaired = self.repaired.get(&index).map(|header| header.checksum);
        let slot = || self.slots.get((index.0 as usize).wrapping_sub(1)).map(|slot| slot.checksum);
        repaired.or_else(slot).unwrap_or(0)
    }

    /// The copy that is wanted next: the marker's, if the last slot does not hold it; else the one that a
    /// repaired header or the rightmost break names. `None` when the chain holds from the marker to the
    /// front.
    pub(crate) fn wanted(&mut self) -> Option<Wanted> {
        let mark = self.mark;
        if mark.durable_last.0 == 0 {
            return None;
        }
        if self.checksum_at(mark.durable_last) != mark.last_checksum {
            return Some(Wanted {
                index: mark.durable_last,
                position: mark.last_position,
                checksum: mark.last_checksum,
            });
        }
        // The front of the rightmost run of repaired headers, if its predecessor is not what it names.
        let broken = self.repaired.iter().rev().find(|(index, header)| {
            let before = LogIndex(index.0 - 1);
            before.0 > 0 && self.checksum_at(before) != header.previous_checksum
        });
        if let Some((index, header)) = broken {
            return Some(Wanted {
                index: LogIndex(index.0 - 1),
                position: header.previous_position,
                checksum: header.previous_checksum,
            });
        }
        while let Some((index, position)) = self.breaks.pop() {
            let before = LogIndex(index.0 - 1);
            // A slot that was repaired itself does not matter any more.
            let is_of_chain = !self.repaired.contains_key(&index);
            let checksum = self.slots[index.0 as usize - 1].previous_checksum;
            if is_of_chain && self.checksum_at(before) != checksum {
                return Some(Wanted { index: before, position, checksum });
            }
        }
        None
    }

    /// The copy that was wanted. It must be what was named.
    pub(crate) fn fill(&mut self, wanted: Wanted, copy: Option<Header>) -> Result<(), LogIndex> {
        let is_it =
            |header: &Header| header.index == wanted.index && header.checksum == wanted.checksum;
        let header = copy.filter(is_it).ok_or(wanted.index)?;
        if self.repaired.len() == LOST_MAX {
            return Err(wanted.index);
        }
        if header.index == self.mark.durable_last {
            self.last = Some(header);
        }
        self.repaired.insert(header.index, header);
        Ok(())
    }

    /// Whether the first header is one.
    pub(crate) fn begins_well(&self) -> bool {
        let repaired = self.repaired.get(&LogIndex(1)).map(|header| header.previous_checksum);
        let slot = || self.slots.first().map(|slot| slot.previous_checksum);
        repaired.or_else(slot).unwrap_or(0) == 0
    }

    /// The last header of the log.
    pub(crate) fn last_header(&self) -> Option<Header> {
        self.last
    }

    /// The terms of the log: for each run its first index.
    pub(crate) fn terms(&self) -> Vec<(LogIndex, Term)> {
        let mut places: Vec<LogIndex> = self.changes.iter().map(|(index, _)| *index).collect();
        places.extend(self.repaired.keys().flat_map(|index| [*index, index.next()]));
        places.retain(|index| *index <= self.mark.durable_last);
        places.sort_unstable();
        places.dedup();
        let mut terms: Vec<(LogIndex, Term)> = Vec::new();
        for index in places {
            let behind = self.changes.partition_point(|(first, _)| *first <= index);
            let slot = || behind.checked_sub(1).map(|place| self.changes[place].1);
            let repaired = self.repaired.get(&index).map(|header| header.term);
            let Some(term) = repaired.or_else(slot) else { continue };
            if terms.last().is_none_or(|(_, last)| *last != term) {
                terms.push((index, term));
            }
        }
        terms
    }
}
