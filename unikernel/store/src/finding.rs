//! Headers of a store that is ready: from their slots or, where a slot does not hold what it should, from the
//! copies in front of the bodies.
//!
//! As when the disk is read first (`scan`), every header is named by the one behind it, and the last by the
//! writer. A slot that holds anything but what is named there is not believed, and neither is the header that
//! nobody has named yet: a slot whose last write was lost may name what was there before. So more slots are
//! read, until it is named itself.
//!
//! What a slot should hold is written to it again, with its whole sector. The last sector is left alone: the
//! next batch writes it.

use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;

use base::LogIndex;
use block::{BlockCompletion, SECTOR_BYTES};

use crate::bodies::Bodies;
use crate::header::{HEADER_BYTES, Header};
use crate::layout::{HEADERS_PER_SECTOR, Layout, header_offset};
use crate::transfer::{Io, Transfer};

/// What is known of a header before it is read: its checksum, and where its copy is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Name {
    pub(crate) checksum: u32,
    pub(crate) position: u64,
}

/// The ends of the log: the first header that is kept, and the last one and its name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Span {
    pub(crate) first: LogIndex,
    pub(crate) last: LogIndex,
    pub(crate) last_name: Name,
}

#[derive(Debug)]
enum Step {
    /// Slots are being read, behind those that are.
    Slots(Transfer),
    /// The copy of a header is being read.
    Copy(LogIndex, Name, Transfer),
}

/// What is to be done next.
enum Next {
    Done,
    More,
    Copy(LogIndex, Name),
}

/// A search under way.
#[derive(Debug)]
pub(crate) struct Finding {
    layout: Layout,
    log: Span,
    from: LogIndex,
    to: LogIndex,
    /// The first slot that is read: the first of its sector that is kept.
    start: LogIndex,
    /// What is in the slots from there on, as far as it can be read and is what is named.
    headers: Vec<Option<Header>>,
    /// Those of them that come from copies.
    copied: BTreeSet<LogIndex>,
    step: Step,
    /// Something could not be found: all is read once more, for a disk may err once.
    is_second_look: bool,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Found {
    /// All that was wanted.
    pub(crate) headers: Vec<Header>,
    /// Sectors to be written again.
    pub(crate) mends: Vec<Transfer>,
}

impl Finding {
    /// Looks for the headers from `from` to `to`, all of which are kept.
    pub(crate) fn new(layout: Layout, log: Span, from: LogIndex, to: LogIndex) -> Finding {
        debug_assert!(log.first <= from && from <= to && to <= log.last);
        let of_sector = LogIndex(layout.header_place(from) * HEADERS_PER_SECTOR + 1);
        let start = of_sector.max(log.first);
        Finding {
            layout,
            log,
            from,
            to,
            start,
            headers: Vec::new(),
            copied: BTreeSet::new(),
            step: Step::Slots(slots(layout, start, to)),
            is_second_look: false,
        }
    }

    pub(crate) fn pump(&mut self, io: &mut Io) {
        match &mut self.step {
            Step::Slots(transfer) | Step::Copy(_, _, transfer) => transfer.pump(io),
        }
    }

    /// Takes in a completion, if it belongs here.
    pub(crate) fn take(&mut self, completion: &BlockCompletion) -> Option<()> {
        match &mut self.step {
            Step::Slots(transfer) | Step::Copy(_, _, transfer) => transfer.take(completion),
        }
    }

    /// Goes on as far as can be without reading more; the end, if that is reached. An error names a header
    /// that is lost with its copy.
    pub(crate) fn proceed(&mut self) -> Option<Result<Found, LogIndex>> {
        let lost = match &self.step {
            Step::Slots(transfer) | Step::Copy(_, _, transfer) if !transfer.is_done() => {
                return None;
            }
            Step::Slots(transfer) => {
                let end = self.layout.header_place(self.start) + self.sectors() + {
                    (transfer.bytes().len() / SECTOR_BYTES) as u64
                };
                let read: Vec<Option<Header>> = self.decode(transfer, end);
                self.headers.extend(read);
                None
            }
            Step::Copy(index, name, transfer) => {
                let copy = Bodies::of(self.layout, transfer).header(name.position);
                let is_it = |copy: &Header| copy.index == *index && copy.checksum == name.checksum;
                let (index, copy) = (*index, copy.filter(is_it));
                if copy.is_some() {
                    self.put(index, copy);
                    self.copied.insert(index);
                }
                copy.is_none().then_some(index)
            }
        };
        match lost {
            Some(index) => self.lose(index),
            None => self.go_on(),
        }
    }

    /// How many sectors of slots are read.
    fn sectors(&self) -> u64 {
        match self.headers.len() as u64 {
            0 => 0,
            count => {
                let last = LogIndex(self.start.0 + count - 1);
                self.layout.header_place(last) + 1 - self.layout.header_place(self.start)
            }
        }
    }

    /// What is in the slots behind those that are read, before the sector `end`.
    fn decode(&self, transfer: &Transfer, end: u64) -> Vec<Option<Header>> {
        let first = LogIndex(self.start.0 + self.headers.len() as u64);
        let last = LogIndex(end * HEADERS_PER_SECTOR).min(self.log.last);
        let slots = transfer.bytes().chunks_exact(HEADER_BYTES);
        let slots = slots.skip(header_offset(first) / HEADER_BYTES);
        let header = |(index, slot): (u64, &[u8])| {
            Header::decode(slot).ok().filter(|header| header.index == LogIndex(index))
        };
        (first.0..=last.0).zip(slots).map(header).collect()
    }

    fn put(&mut self, index: LogIndex, header: Option<Header>) {
        self.headers[(index.0 - self.start.0) as usize] = header;
    }

    fn go_on(&mut self) -> Option<Result<Found, LogIndex>> {
        match self.judge() {
            Next::Done => return Some(Ok(self.finish())),
            Next::More => {
                let next = LogIndex(self.start.0 + self.headers.len() as u64);
                self.step = Step::Slots(slots(self.layout, next, next));
            }
            Next::Copy(index, name) => match copy_at(self.layout, name.position) {
                Some(transfer) => self.step = Step::Copy(index, name, transfer),
                None => return self.lose(index),
            },
        }
        None
    }

    /// Holds the slots against what is named, from the last to the first.
    fn judge(&mut self) -> Next {
        let reach = LogIndex(self.start.0 + self.headers.len() as u64 - 1);
        // By whom the next is named: by one that is named itself, or by one that is not.
        let mut named = (reach == self.log.last).then_some((self.log.last_name, true));
        for index in (self.start.0..=reach.0).rev().map(LogIndex) {
            let header = self.headers[(index.0 - self.start.0) as usize];
            let is_it =
                |header: &Header| named.is_none_or(|(name, _)| name.checksum == header.checksum);
            if let Some(header) = header.filter(is_it) {
                let (checksum, position) = (header.previous_checksum, header.previous_position);
                named = Some((Name { checksum, position }, named.is_some()));
                continue;
            }
            match named {
                Some((name, true)) => return Next::Copy(index, name),
                Some((_, false)) => return Next::More,
                None if index <= self.to => return Next::More,
                None => {}
            }
        }
        Next::Done
    }

    /// It is nowhere; unless the disk has erred.
    fn lose(&mut self, index: LogIndex) -> Option<Result<Found, LogIndex>> {
        if self.is_second_look {
            return Some(Err(index));
        }
        *self = Finding {
            is_second_look: true,
            ..Finding::new(self.layout, self.log, self.from, self.to)
        };
        None
    }

    fn finish(&mut self) -> Found {
        let mends = self.mends();
        let skip = (self.from.0 - self.start.0) as usize;
        let count = (self.to.0 - self.from.0 + 1) as usize;
        let headers = self.headers.iter().skip(skip).take(count).flatten().copied().collect();
        Found { headers, mends }
    }

    /// The sectors in which a slot does not hold what it should, whole, but for the last one of the log.
    fn mends(&self) -> Vec<Transfer> {
        let places: BTreeSet<u64> =
            self.copied.iter().map(|index| self.layout.header_place(*index)).collect();
        places.into_iter().filter_map(|place| self.mend(place)).collect()
    }

    fn mend(&self, place: u64) -> Option<Transfer> {
        let mut bytes = vec![0; SECTOR_BYTES];
        let first = LogIndex(place * HEADERS_PER_SECTOR + 1);
        let last = LogIndex((place + 1) * HEADERS_PER_SECTOR);
        if last > self.log.last {
            return None;
        }
        // What is before the first that is kept is nobody's.
        for index in (first.max(self.log.first).0..=last.0).map(LogIndex) {
            let place = index.0.checked_sub(self.start.0)?;
            let mut header = (*self.headers.get(place as usize)?)?;
            let offset = header_offset(index);
            bytes[offset..offset + HEADER_BYTES].copy_from_slice(&header.encode());
        }
        Some(Transfer::write(self.layout.headers(), place, bytes))
    }
}

/// Reads the slots from `first` to `last`, in whole sectors.
fn slots(layout: Layout, first: LogIndex, last: LogIndex) -> Transfer {
    let place = layout.header_place(first);
    Transfer::read(layout.headers(), place, layout.header_place(last) + 1 - place)
}

/// Reads the header that lies at a position among the bodies, if that is a place for one.
pub(crate) fn copy_at(layout: Layout, position: u64) -> Option<Transfer> {
    if position >= layout.bodies().bytes() {
        return None;
    }
    let first = position / SECTOR_BYTES as u64;
    let end = (position + HEADER_BYTES as u64).div_ceil(SECTOR_BYTES as u64);
    Some(Transfer::read(layout.bodies(), first, end - first))
}
