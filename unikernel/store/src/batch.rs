//! From records to sectors: what waits, and how a batch of it looks on the disk.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use base::checksum::crc32c;
use base::{LogIndex, Term, limits};
use block::SECTOR_BYTES;

use crate::hard_state::HardState;
use crate::header::{HEADER_BYTES, Header, body_bytes};
use crate::layout::{Layout, align_to_sector, header_offset};
use crate::output::Record;
use crate::transfer::Transfer;

/// How many records one batch has at most: what a crash can leave half-written is bounded.
pub(crate) const RECORDS_MAX: usize = 1024;

/// How many payload bytes go into one batch at most, if they come in more than one piece.
const BATCH_MAX_BYTES: u64 = limits::ENTRY_PAYLOAD_MAX_BYTES as u64;

/// Something that waits to be written.
#[derive(Debug)]
pub(crate) enum Job {
    Write {
        ticket: u64,
        hard_state: Option<HardState>,
        records: Vec<Record>,
    },
    /// The log becomes empty, and ends here.
    Reset {
        index: LogIndex,
        term: Term,
    },
}

impl Job {
    /// The records that it writes.
    pub(crate) fn records(&self) -> &[Record] {
        match self {
            Job::Write { records, .. } => records,
            Job::Reset { .. } => &[],
        }
    }
}

/// What one batch writes.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) hard_state: Option<HardState>,
    /// The last job that ends with this batch.
    pub(crate) ticket: Option<u64>,
    pub(crate) records: Vec<Record>,
}

impl Gathered {
    /// Takes as many jobs as one batch may have. A job stays in one piece unless it has more records than
    /// that.
    pub(crate) fn take(jobs: &mut VecDeque<Job>) -> Gathered {
        let mut gathered = Gathered::default();
        let mut bytes = 0;
        while let Some(Job::Write { ticket, hard_state, records }) = jobs.front_mut() {
            // A job that cuts the log begins a batch of its own: a batch is one run of indices.
            let continues = match (gathered.records.last(), records.first()) {
                (Some(last), Some(first)) => last.index.next() == first.index,
                (None, _) | (_, None) => true,
            };
            let more = bodies_bytes(records);
            let is_full = bytes > 0 && bytes + more > BATCH_MAX_BYTES;
            let room = RECORDS_MAX - gathered.records.len();
            let is_long = records.len() > room;
            if !continues || is_full || (is_long && room < RECORDS_MAX) {
                break;
            }
            gathered.hard_state = hard_state.take().or(gathered.hard_state);
            if is_long {
                gathered.records.extend(records.drain(..room));
                break;
            }
            bytes += more;
            gathered.ticket = Some(*ticket);
            gathered.records.append(records);
            jobs.pop_front();
        }
        gathered
    }
}

/// How many bytes the bodies of these records take, the last one's padding included.
fn bodies_bytes(records: &[Record]) -> u64 {
    records.iter().map(|record| body_bytes(record.payload.len())).sum()
}

/// How many bytes of the ring these records take at the most: what is written together is packed together.
pub(crate) fn ring_bytes(records: &[Record]) -> u64 {
    records.chunks(RECORDS_MAX).map(|chunk| align_to_sector(bodies_bytes(chunk))).sum()
}

/// A header, as the one behind it needs it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Anchor {
    pub(crate) checksum: u32,
    /// Where its copy is.
    pub(crate) position: u64,
    pub(crate) term: Term,
}

/// The end of the log, as the next batch needs it.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    /// The sector that the next header goes to, with the headers before it.
    sector: [u8; SECTOR_BYTES],
    pub(crate) anchor: Anchor,
}

impl Tail {
    /// The end of a log that keeps nothing before it.
    pub(crate) fn of_empty(anchor: Anchor) -> Tail {
        Tail { sector: [0; SECTOR_BYTES], anchor }
    }

    /// The first header that [`Tail::of_headers`] needs for an end before `end`: of those in its sector that
    /// are kept, and the one before it at the least.
    pub(crate) fn first_needed(first: LogIndex, end: LogIndex) -> LogIndex {
        let in_sector = (header_offset(end) / HEADER_BYTES) as u64;
        LogIndex(end.0 - in_sector.max(1)).max(first)
    }

    /// The end behind these headers.
    pub(crate) fn of_headers(headers: &[Header]) -> Tail {
        let last = headers.last().expect("the one before the end is there");
        let Header { checksum, position, term, .. } = *last;
        let mut tail = Tail::of_empty(Anchor { checksum, position, term });
        let next = header_offset(last.index.next());
        for header in headers.iter().filter(|_| next > 0) {
            let offset = header_offset(header.index);
            tail.sector[offset..offset + HEADER_BYTES].copy_from_slice(&{ *header }.encode());
        }
        tail
    }

    /// The bodies and headers of a batch, whose bodies go to `body_start`, as two runs of sectors.
    pub(crate) fn write(
        &mut self,
        layout: Layout,
        batch: u64,
        body_start: u64,
        records: &[Record],
    ) -> [Transfer; 2] {
        let first = records[0].index;
        let mut bodies = Vec::with_capacity(align_to_sector(bodies_bytes(records)) as usize);
        let mut headers = self.sector[..header_offset(first)].to_vec();
        let batch_bytes = u32::try_from(bodies_bytes(records)).expect("batches are bounded");
        for (place, record) in records.iter().enumerate() {
            let mut header = Header {
                kind: record.kind,
                length: u32::try_from(record.payload.len()).expect("payloads are bounded"),
                index: record.index,
                term: record.term,
                batch,
                before: place as u16,
                behind: (records.len() - 1 - place) as u16,
                position: layout.bodies().advance(body_start, bodies.len() as u64),
                payload_checksum: crc32c(&record.payload),
                previous_checksum: self.anchor.checksum,
                previous_position: self.anchor.position,
                batch_bytes,
                checksum: 0,
            };
            let bytes = header.encode();
            let Header { checksum, position, term, .. } = header;
            self.anchor = Anchor { checksum, position, term };
            headers.extend_from_slice(&bytes);
            let end = bodies.len() + header.body_bytes() as usize;
            bodies.extend_from_slice(&bytes);
            bodies.extend_from_slice(&record.payload);
            bodies.resize(end, 0);
        }
        bodies.resize(bodies.len().next_multiple_of(SECTOR_BYTES), 0);
        self.keep_last_sector(&mut headers);
        let place = body_start / SECTOR_BYTES as u64;
        let bodies = Transfer::write(layout.bodies(), place, bodies);
        [bodies, Transfer::write(layout.headers(), layout.header_place(first), headers)]
    }

    /// Fills up the last sector of headers; the next batch writes it once more if there is room in it.
    fn keep_last_sector(&mut self, headers: &mut Vec<u8>) {
        let used = headers.len() % SECTOR_BYTES;
        headers.resize(headers.len().next_multiple_of(SECTOR_BYTES), 0);
        self.sector.fill(0);
        if used > 0 {
            let last_sector = headers.len() - SECTOR_BYTES;
            self.sector[..used].copy_from_slice(&headers[last_sector..last_sector + used]);
        }
    }
}
