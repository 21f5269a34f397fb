//! Understanding a log from its headers, slot by slot: the first rule of recovery as a pure computation.
//!
//! The marker vouches for the last header, and every header for the one before. So the chain is checked from
//! its end: where the header in a slot is not the one that its successor names, the copy that the successor
//! names takes its place, and so on towards the front, until a slot holds what is named again. The first
//! header that is kept must name the front that the marker names.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use base::{LogIndex, Term, limits};

use crate::batch::RECORDS_MAX;
use crate::hard_state::Mark;
use crate::header::{HEADER_BYTES, Header};
use crate::layout::{HEADERS_PER_SECTOR, Layout};

/// Two unfinished batches and a sector: more headers than that are not lost by a crash.
const LOST_MAX: usize = 2 * RECORDS_MAX + 8;

/// A copy that is wanted because the slot of `index` does not hold the header that is named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Wanted {
    pub(crate) index: LogIndex,
    pub(crate) position: u64,
    checksum: u32,
}

/// The first and the last header of a log, if it has any.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ends {
    pub(crate) first: Option<Header>,
    pub(crate) last: Option<Header>,
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
    /// The kinds of records that are looked for.
    kinds: &'static [u8],
    /// The slots from the first index that is kept on.
    slots: Vec<Slot>,
    /// Places where a slot's header does not follow from the one before: the index and the position of the
    /// copy of the header before, as the slot says.
    breaks: Vec<(LogIndex, u64)>,
    /// The term in the slots changes at these indices.
    changes: Vec<(LogIndex, Term)>,
    /// The slots that hold records of the kinds that are looked for.
    found: Vec<LogIndex>,
    ends: Ends,
    /// The highest batch that any header tells of.
    pub(crate) batch_max: u64,
    pub(crate) repaired: BTreeMap<LogIndex, Header>,
}

impl Scan {
    /// A scan of the log that the marker speaks of. `batch_max` is the highest batch that was met before.
    pub(crate) fn new(mark: Mark, batch_max: u64, kinds: &'static [u8]) -> Scan {
        Scan {
            mark,
            kinds,
            slots: Vec::new(),
            breaks: Vec::new(),
            changes: Vec::new(),
            found: Vec::new(),
            ends: Ends::default(),
            batch_max: batch_max.max(mark.durable_batch),
            repaired: BTreeMap::new(),
        }
    }

    /// Looks at the slot of `index`; slots come in order, from the first that is kept on, also behind the
    /// marker. A slot that holds another index is one that an earlier lap left.
    pub(crate) fn slot(&mut self, index: LogIndex, bytes: &[u8]) {
        let header = Header::decode(bytes).ok().filter(|header| header.index == index);
        if let Some(header) = header {
            self.batch_max = self.batch_max.max(header.batch);
        }
        if index > self.mark.durable_last {
            return;
        }
        if index == self.mark.first {
            self.ends.first = header;
        }
        self.ends.last = header;
        let before = self.slots.last().map_or(0, |slot| slot.checksum);
        let Some(header) = header else { return self.slots.push(Slot::default()) };
        if header.previous_checksum != before && index > self.mark.first {
            self.breaks.push((index, header.previous_position));
        }
        if self.changes.last().is_none_or(|(_, term)| *term != header.term) {
            self.changes.push((index, header.term));
        }
        if self.kinds.contains(&header.kind) {
            self.found.push(index);
        }
        let (checksum, previous_checksum) = (header.checksum, header.previous_checksum);
        self.slots.push(Slot { checksum, previous_checksum });
    }

    fn slot_at(&self, index: LogIndex) -> Slot {
        let place = index.0.checked_sub(self.mark.first.0);
        place.and_then(|place| self.slots.get(place as usize)).copied().unwrap_or_default()
    }

    fn checksum_at(&self, index: LogIndex) -> u32 {
        let repaired = self.repaired.get(&index).map(|header| header.checksum);
        repaired.unwrap_or_else(|| self.slot_at(index).checksum)
    }

    /// The copy that is wanted next: the marker's, if the last slot does not hold it; else the one that a
    /// repaired header or the rightmost break names. `None` when the chain holds from the marker to the
    /// front.
    pub(crate) fn wanted(&mut self) -> Option<Wanted> {
        let mark = self.mark;
        if mark.is_empty() {
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
            before >= mark.first && self.checksum_at(before) != header.previous_checksum
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
            let checksum = self.slot_at(index).previous_checksum;
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
            self.ends.last = Some(header);
        }
        if header.index == self.mark.first {
            self.ends.first = Some(header);
        }
        self.repaired.insert(header.index, header);
        Ok(())
    }

    /// Whether the first header follows from the front that the marker names.
    pub(crate) fn begins_well(&self) -> bool {
        let front = self.mark.front_checksum;
        match self.ends.first {
            Some(header) => header.previous_checksum == front,
            None => self.mark.is_empty() && self.mark.last_checksum == front,
        }
    }

    /// The checksum of the header of `index`, and its term if the header itself is known, where all behind it
    /// is in order.
    pub(crate) fn behind(&self, index: LogIndex) -> Option<(u32, Option<Term>)> {
        let next = index.next();
        let repaired = self.repaired.get(&next).map(|header| header.previous_checksum);
        let checksum = match repaired {
            Some(checksum) => checksum,
            None if index == self.mark.durable_last => self.mark.last_checksum,
            None => self.slot_at(next).previous_checksum,
        };
        let is_known = self.checksum_at(index) == checksum;
        (checksum != 0).then(|| (checksum, is_known.then(|| self.term_at(index)).flatten()))
    }

    /// Whether the headers of the log in a sector are those that were read before, but for those that were
    /// lost.
    pub(crate) fn agrees(&self, layout: Layout, place: u64, sector: &[u8]) -> bool {
        let slots = (place * HEADERS_PER_SECTOR + 1..).zip(sector.chunks_exact(HEADER_BYTES));
        slots.map(|(index, slot)| (LogIndex(index), slot)).all(|(index, slot)| {
            let is_kept = (self.mark.first..=self.mark.durable_last).contains(&index);
            debug_assert!(layout.header_place(index) == place);
            !is_kept
                || self.repaired.contains_key(&index)
                || Header::decode(slot).is_ok_and(|header| {
                    header.index == index && header.checksum == self.checksum_at(index)
                })
        })
    }

    /// The first and the last header of the log.
    pub(crate) fn ends(&self) -> Ends {
        self.ends
    }

    fn term_at(&self, index: LogIndex) -> Option<Term> {
        let behind = self.changes.partition_point(|(first, _)| *first <= index);
        let slot = || behind.checked_sub(1).map(|place| self.changes[place].1);
        self.repaired.get(&index).map(|header| header.term).or_else(slot)
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
            let Some(term) = self.term_at(index) else { continue };
            if terms.last().is_none_or(|(_, last)| *last != term) {
                terms.push((index, term));
            }
        }
        terms
    }

    /// The records of the kinds that are looked for: the last ones, if there are too many.
    pub(crate) fn found(&self) -> Vec<LogIndex> {
        let in_slots = self.found.iter().filter(|index| !self.repaired.contains_key(index));
        let repaired = self.repaired.values().filter(|header| self.kinds.contains(&header.kind));
        let mut found: Vec<LogIndex> =
            in_slots.copied().chain(repaired.map(|header| header.index)).collect();
        found.sort_unstable();
        found.split_off(found.len().saturating_sub(limits::WANTED_RECORDS_MAX))
    }
}
