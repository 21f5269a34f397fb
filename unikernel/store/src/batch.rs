//! Writing: what waits becomes a batch, a batch becomes durable.

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

use base::checksum::crc32c;
use base::{Duration, Instant, LogIndex};
use block::{BlockCompletion, SECTOR_BYTES};

use crate::hard_state::{HardState, Mark};
use crate::header::{HEADER_BYTES, Header};
use crate::layout::{Layout, RESERVE_RECORDS, align_to_sector, header_offset};
use crate::store::{BATCH_MAX_BYTES, Failure, PersistError, Record, Status};
use crate::transfer::{Io, Transfer};

/// The marker is brought up to date when nothing was written for this long.
const MARKER_DELAY: Duration = Duration::from_millis(200);

/// How many records one batch has at most: what a crash can leave half-written is bounded.
pub(crate) const RECORDS_MAX: usize = 1024;

/// Something to be written.
#[derive(Debug)]
struct Job {
    ticket: u64,
    hard_state: Option<HardState>,
    records: Vec<Record>,
}

/// The end of the log, as the next batch needs it.
#[derive(Clone, Debug)]
struct Tail {
    /// The sector that the next header goes to, with the headers before it.
    sector: [u8; SECTOR_BYTES],
    /// The checksum of the last header.
    checksum: u32,
    /// Where its copy is.
    position: u64,
}

/// What the disk is doing.
#[derive(Debug)]
enum Activity {
    Idle,
    /// The headers before index `first` are being read: the log is cut there, or was just recovered.
    ReadingTail {
        first: LogIndex,
        transfer: Transfer,
    },
    /// Bodies, headers and mark are being written.
    Writing {
        batch: Batch,
        transfers: Vec<Transfer>,
    },
    /// They are being made durable.
    Flushing {
        batch: Batch,
        tag: u64,
    },
}

/// What is true when it is durable.
#[derive(Clone, Copy, Debug)]
struct Batch {
    ticket: Option<u64>,
    mark: Mark,
    last: LogIndex,
    last_position: u64,
    last_checksum: u32,
    /// It replaces records that were durable.
    cuts: bool,
}

/// The writing half of a store that is ready.
#[derive(Debug)]
pub(crate) struct Writer {
    layout: Layout,
    /// What was written last: hard state, epoch, and what was durable before that.
    mark: Mark,
    /// The end of the log when everything that waits is written.
    planned_last: LogIndex,
    /// The end of the bodies then, at the most.
    planned_body_end: u64,
    /// The end of the log on the disk.
    durable_last: LogIndex,
    /// Where the copy of its last header is, and the header's checksum.
    durable_anchor: (u64, u32),
    /// The last batch number that was used.
    batch: u64,
    /// Where the next batch's bodies go: a multiple of a sector.
    body_end: u64,
    tail: Option<Tail>,
    jobs: VecDeque<Job>,
    activity: Activity,
    persisted: VecDeque<u64>,
    marker_due: Option<Instant>,
    status: Status,
}

impl Writer {
    /// The writer of a log that ends with `last`, if with any.
    pub(crate) fn new(layout: Layout, mark: Mark, last: Option<Header>) -> Writer {
        let body_end = last.map_or(0, |header| align_to_sector(header.end()));
        let status = Status {
            slots: layout.slots(),
            body_bytes: layout.bodies_bytes(),
            epoch: mark.epoch,
            ..Status::default()
        };
        Writer {
            layout,
            mark,
            planned_last: mark.durable_last,
            planned_body_end: body_end,
            durable_last: mark.durable_last,
            durable_anchor: (mark.last_position, mark.last_checksum),
            batch: mark.durable_batch,
            body_end,
            tail: None,
            jobs: VecDeque::new(),
            activity: Activity::Idle,
            persisted: VecDeque::new(),
            marker_due: None,
            status,
        }
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    pub(crate) fn durable_last(&self) -> LogIndex {
        self.durable_last
    }

    /// Whether headers that others may read are being replaced, or are about to be.
    pub(crate) fn is_cutting(&self) -> bool {
        match &self.activity {
            Activity::ReadingTail { first, .. } => *first <= self.durable_last,
            Activity::Writing { batch, .. } | Activity::Flushing { batch, .. } => batch.cuts,
            Activity::Idle => false,
        }
    }

    pub(crate) fn room(&self) -> (u64, u64) {
        let slots = self.layout.slots().saturating_sub(self.planned_last.0 + RESERVE_RECORDS);
        let reserve = RESERVE_RECORDS * SECTOR_BYTES as u64;
        let bytes = self.layout.bodies_bytes().saturating_sub(self.planned_body_end + reserve);
        (slots, bytes)
    }

    pub(crate) fn status(&self) -> Status {
        Status {
            durable_last: self.durable_last,
            body_bytes_used: self.planned_body_end,
            ..self.status
        }
    }

    /// Notes a job, if there is room for it.
    pub(crate) fn enqueue(
        &mut self,
        ticket: u64,
        hard_state: Option<HardState>,
        records: Vec<Record>,
    ) -> Result<(), PersistError> {
        if let (Some(first), Some(last)) = (records.first(), records.last()) {
            assert!(
                first.index.0 >= 1 && first.index <= self.planned_last.next(),
                "there is no gap"
            );
            let is_next = |pair: &[Record]| pair[0].index.next() == pair[1].index;
            assert!(records.windows(2).all(is_next), "records are consecutive");
            let body_end = self.planned_body_end + align_to_sector(bodies_bytes(&records));
            let is_internal = records.iter().all(|record| record.payload.is_empty());
            let reserve = if is_internal { 0 } else { RESERVE_RECORDS };
            let has_slot = last.index.0 + reserve <= self.layout.slots();
            let has_bytes = body_end + reserve * SECTOR_BYTES as u64 <= self.layout.bodies_bytes();
            if !has_slot || !has_bytes {
                return Err(PersistError::Full);
            }
            self.planned_last = last.index;
            self.planned_body_end = body_end;
        }
        self.jobs.push_back(Job { ticket, hard_state, records });
        Ok(())
    }

    /// Does what can be done now. A log is not cut while somebody reads it.
    pub(crate) fn pump(&mut self, io: &mut Io, is_read: bool) {
        if matches!(self.activity, Activity::Idle) && !self.jobs.is_empty() {
            self.begin(is_read);
        }
        match &mut self.activity {
            Activity::Idle => {}
            Activity::ReadingTail { transfer, .. } => transfer.pump(io),
            Activity::Writing { transfers, .. } => {
                transfers.iter_mut().for_each(|transfer| transfer.pump(io));
            }
            Activity::Flushing { tag, .. } => {
                if *tag == 0 {
                    *tag = io.flush();
                }
            }
        }
    }

    /// Starts a batch, or the reading that must come before it.
    fn begin(&mut self, is_read: bool) {
        let first = self.jobs.iter().flat_map(|job| &job.records).map(|record| record.index).next();
        if let Some(first) = first {
            let is_cut = first <= self.durable_last;
            if is_cut && is_read {
                return;
            }
            if is_cut {
                self.tail = None;
            }
            if self.tail.is_none() {
                let sector = self.layout.header_sector(LogIndex(first.0.saturating_sub(1).max(1)));
                let sectors = self.layout.header_sector(first) - sector + 1;
                let transfer = Transfer::read(sector, sectors as usize);
                self.activity = Activity::ReadingTail { first, transfer };
                return;
            }
        }
        self.write_batch();
    }

    /// Takes the headers before `first` from what was read.
    fn take_tail(&mut self, first: LogIndex, read: &Transfer) -> Result<(), Failure> {
        let base = read.sector();
        let slot = |index: LogIndex| {
            let sector = (self.layout.header_sector(index) - base) as usize;
            let start = sector * SECTOR_BYTES + header_offset(index);
            &read.bytes()[start..start + HEADER_BYTES]
        };
        let header =
            |index: LogIndex| Header::decode(slot(index)).ok().filter(|found| found.index == index);
        let mut tail = Tail { sector: [0; SECTOR_BYTES], checksum: 0, position: 0 };
        if let Some(before) = first.previous().filter(|before| before.0 > 0) {
            let damage = |index| Failure::Damaged(crate::reading::header_damage(index));
            let before = header(before).ok_or_else(|| damage(before))?;
            (tail.checksum, tail.position) = (before.checksum, before.position);
            let kept = (header_offset(first) / HEADER_BYTES) as u64;
            for index in (first.0 - kept..first.0).map(LogIndex) {
                let mut header = header(index).ok_or_else(|| damage(index))?;
                let offset = header_offset(index);
                tail.sector[offset..offset + HEADER_BYTES].copy_from_slice(&header.encode());
            }
        }
        self.tail = Some(tail);
        Ok(())
    }

    /// Makes a batch of what waits, and writes it.
    fn write_batch(&mut self) {
        let mut records: Vec<Record> = Vec::new();
        let mut ticket = None;
        let mut bytes = 0;
        while let Some(job) = self.jobs.front_mut() {
            // A job that cuts the log begins a batch of its own: a batch is one run of indices.
            let continues = match (records.last(), job.records.first()) {
                (Some(last), Some(first)) => last.index.next() == first.index,
                (None, _) | (_, None) => true,
            };
            let more = bodies_bytes(&job.records) as usize;
            let is_full = bytes + more > BATCH_MAX_BYTES && bytes > 0;
            let room = RECORDS_MAX - records.len();
            if !continues || is_full || room == 0 {
                break;
            }
            self.mark.hard_state = job.hard_state.take().unwrap_or(self.mark.hard_state);
            bytes += more;
            if job.records.len() > room {
                records.extend(job.records.drain(..room));
                break;
            }
            let job = self.jobs.pop_front().expect("it was looked at");
            ticket = Some(job.ticket);
            records.extend(job.records);
        }
        self.next_mark();
        let mut transfers = vec![Transfer::write(self.mark.sector(), self.mark.encode())];
        let mut batch = Batch {
            ticket,
            mark: self.mark,
            last: self.durable_last,
            last_position: self.mark.last_position,
            last_checksum: self.mark.last_checksum,
            cuts: records.first().is_some_and(|first| first.index <= self.durable_last),
        };
        if let Some(last) = records.last() {
            batch.last = last.index;
            transfers.extend(self.encode_batch(&records));
            let tail = self.tail.as_ref().expect("the batch has left one");
            (batch.last_position, batch.last_checksum) = (tail.position, tail.checksum);
            self.status.records += records.len() as u64;
        }
        self.status.batches += 1;
        self.activity = Activity::Writing { batch, transfers };
    }

    /// The mark that is written next says what is durable now.
    fn next_mark(&mut self) {
        self.mark.sequence += 1;
        self.mark.durable_batch = self.batch;
        self.mark.durable_last = self.durable_last;
        (self.mark.last_position, self.mark.last_checksum) = self.durable_anchor;
    }

    /// The bodies and headers of a batch, as two runs of sectors.
    fn encode_batch(&mut self, records: &[Record]) -> [Transfer; 2] {
        let tail = self.tail.as_mut().expect("the tail is known before a batch of records");
        self.batch += 1;
        let first = records[0].index;
        let mut bodies = Vec::with_capacity(align_to_sector(bodies_bytes(records)) as usize);
        let mut headers = tail.sector[..header_offset(first)].to_vec();
        let count = records.len();
        let batch_bytes = u32::try_from(bodies_bytes(records)).expect("batches are bounded");
        for (place, record) in records.iter().enumerate() {
            let mut header = Header {
                kind: record.kind,
                length: u32::try_from(record.payload.len()).expect("payloads are bounded"),
                index: record.index,
                term: record.term,
                batch: self.batch,
                before: place as u16,
                behind: (count - 1 - place) as u16,
                position: self.body_end + bodies.len() as u64,
                payload_checksum: crc32c(&record.payload),
                previous_checksum: tail.checksum,
                previous_position: tail.position,
                batch_bytes,
                checksum: 0,
            };
            let bytes = header.encode();
            (tail.checksum, tail.position) = (header.checksum, header.position);
            headers.extend_from_slice(&bytes);
            bodies.extend_from_slice(&bytes);
            bodies.extend_from_slice(&record.payload);
            bodies.resize((header.end() - self.body_end) as usize, 0);
        }
        bodies.resize(bodies.len().next_multiple_of(SECTOR_BYTES), 0);
        let used = headers.len() % SECTOR_BYTES;
        headers.resize(headers.len().next_multiple_of(SECTOR_BYTES), 0);
        tail.sector.fill(0);
        if used > 0 {
            let last_sector = headers.len() - SECTOR_BYTES;
            tail.sector[..used].copy_from_slice(&headers[last_sector..last_sector + used]);
        }
        let body_sector = self.layout.bodies_start() + self.body_end / SECTOR_BYTES as u64;
        self.body_end += bodies.len() as u64;
        let header_sector = self.layout.header_sector(first);
        [Transfer::write(body_sector, bodies), Transfer::write(header_sector, headers)]
    }

    /// Takes in a completion, if it belongs here.
    pub(crate) fn handle_completion(
        &mut self,
        completion: &BlockCompletion,
        now: Instant,
    ) -> Option<Result<(), Failure>> {
        let result = match &mut self.activity {
            Activity::Idle => return None,
            Activity::ReadingTail { transfer, .. } => transfer.take(completion)?,
            Activity::Writing { transfers, .. } => {
                transfers.iter_mut().find_map(|transfer| transfer.take(completion))?
            }
            Activity::Flushing { tag, .. } if *tag == completion.tag => completion.result,
            Activity::Flushing { .. } => return None,
        };
        Some(result.map_err(Failure::Io).and_then(|()| self.proceed(now)))
    }

    /// Goes to the next activity if this one is done.
    fn proceed(&mut self, now: Instant) -> Result<(), Failure> {
        match core::mem::replace(&mut self.activity, Activity::Idle) {
            Activity::Idle => {}
            Activity::ReadingTail { first, transfer } if transfer.is_done() => {
                self.take_tail(first, &transfer)?;
                self.write_batch();
            }
            Activity::Writing { batch, transfers } if transfers.iter().all(Transfer::is_done) => {
                // Tag 0 is none: the flush is asked for when there is room for it.
                self.activity = Activity::Flushing { batch, tag: 0 };
            }
            activity @ (Activity::ReadingTail { .. } | Activity::Writing { .. }) => {
                self.activity = activity;
            }
            Activity::Flushing { batch, .. } => {
                self.status.flushes += 1;
                self.durable_last = batch.last;
                self.durable_anchor = (batch.last_position, batch.last_checksum);
                self.plan_room();
                self.persisted.extend(batch.ticket);
                let is_marked =
                    batch.mark.durable_last == batch.last && batch.mark.durable_batch == self.batch;
                self.marker_due = (!is_marked).then(|| now + MARKER_DELAY);
            }
        }
        Ok(())
    }

    /// How much of the bodies is in use when everything that waits is written: at the most, for what is
    /// written together is packed together.
    fn plan_room(&mut self) {
        let waiting = self.jobs.iter().map(|job| align_to_sector(bodies_bytes(&job.records)));
        self.planned_body_end = self.body_end + waiting.sum::<u64>();
    }

    pub(crate) fn take_persisted(&mut self) -> Option<u64> {
        self.persisted.pop_front()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.marker_due
    }

    /// Brings the marker up to date if nothing else is being written.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.marker_due.is_none_or(|due| now < due) {
            return;
        }
        self.marker_due = None;
        if matches!(self.activity, Activity::Idle) && self.jobs.is_empty() {
            self.write_batch();
        }
    }

    pub(crate) fn check_invariants(&self) {
        assert!(self.body_end.is_multiple_of(SECTOR_BYTES as u64));
        assert!(self.body_end <= self.planned_body_end);
        assert!(self.planned_body_end <= self.layout.bodies_bytes());
        assert!(self.planned_last.0 <= self.layout.slots());
    }
}

/// How many bytes the bodies of these records take, the last one's padding included.
fn bodies_bytes(records: &[Record]) -> u64 {
    let body = |record: &Record| (HEADER_BYTES + record.payload.len()).next_multiple_of(8) as u64;
    records.iter().map(body).sum()
}
