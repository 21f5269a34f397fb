//! Writing: what waits becomes a batch, a batch becomes durable, and what is given up becomes free.

mod giving_up;

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use base::{Duration, Instant, LogIndex};
use block::BlockCompletion;

use self::giving_up::{Front, GivenUp};
use crate::batch::{Anchor, Gathered, Job, Tail};
use crate::error::{Failure, PersistError};
use crate::finding::{Finding, Name, Span};
use crate::hard_state::{HardState, Mark};
use crate::header::Header;
use crate::layout::{Layout, RESERVE_RECORDS};
use crate::output::{Record, Status};
use crate::reading::header_damage;
use crate::scan::Ends;
use crate::transfer::{Io, Transfer};
use crate::usage::Usage;

/// The marker is brought up to date when nothing was written for this long.
const MARKER_DELAY: Duration = Duration::from_millis(200);

/// What the disk is doing.
#[derive(Debug)]
enum Activity {
    Idle,
    /// The headers on both sides of a new front are being read: the log is compacted to there.
    ReadingFront {
        first: LogIndex,
        finding: Finding,
    },
    /// The headers before index `first` are being read: the log is cut there, or was just recovered.
    ReadingTail {
        first: LogIndex,
        finding: Finding,
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

/// The end of the log.
#[derive(Clone, Copy, Debug)]
struct End {
    last: LogIndex,
    anchor: Anchor,
}

/// What is true when it is durable.
#[derive(Clone, Copy, Debug)]
struct Batch {
    ticket: Option<u64>,
    /// The first record that it writes, or would write.
    from: LogIndex,
    end: End,
    given_up: GivenUp,
    /// Its mark already says all that.
    is_marked: bool,
}

/// The writing half of a store that is ready.
#[derive(Debug)]
pub(crate) struct Writer {
    layout: Layout,
    /// What was written last: hard state, epoch, and what was durable before that.
    mark: Mark,
    /// The end of the log on the disk.
    durable: End,
    /// What is in use with what is being written.
    usage: Usage,
    /// What is in use when everything that waits is written: at the most.
    planned: Usage,
    /// No record before this one will ever be written: it is given up, or is about to be.
    floor: LogIndex,
    /// The last batch number that was used.
    batch: u64,
    tail: Option<Tail>,
    jobs: VecDeque<Job>,
    /// The log is to begin here.
    compaction: Option<LogIndex>,
    /// It is known what it begins with then; the next mark says so.
    front: Option<Front>,
    activity: Activity,
    persisted: VecDeque<u64>,
    marker_due: Option<Instant>,
    counts: Counts,
}

/// What has happened since the start.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    batches: u64,
    records: u64,
    flushes: u64,
}

impl Writer {
    /// The writer of a log with these ends.
    pub(crate) fn new(layout: Layout, mark: Mark, ends: Ends) -> Writer {
        let usage = Usage::new(layout, &mark, ends.first);
        let anchor = Anchor {
            checksum: mark.last_checksum,
            position: mark.last_position,
            term: ends.last.map_or(mark.front_term, |header| header.term),
        };
        Writer {
            layout,
            mark,
            durable: End { last: mark.durable_last, anchor },
            usage,
            planned: usage,
            floor: mark.first,
            batch: mark.durable_batch,
            tail: None,
            jobs: VecDeque::new(),
            compaction: None,
            front: None,
            activity: Activity::Idle,
            persisted: VecDeque::new(),
            marker_due: None,
            counts: Counts::default(),
        }
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// The first record that can be read.
    pub(crate) fn first(&self) -> LogIndex {
        self.usage.first
    }

    pub(crate) fn durable_last(&self) -> LogIndex {
        self.durable.last
    }

    /// The log as far as it is durable.
    pub(crate) fn span(&self) -> Span {
        let Anchor { checksum, position, .. } = self.durable.anchor;
        let last_name = Name { checksum, position };
        Span { first: self.usage.first, last: self.durable.last, last_name }
    }

    /// Whether what others may read is being given up or replaced, or is about to be.
    pub(crate) fn excludes_readers(&self) -> bool {
        let is_cutting = match &self.activity {
            Activity::ReadingFront { .. } => true,
            Activity::ReadingTail { first, .. } => *first <= self.durable.last,
            Activity::Writing { batch, .. } | Activity::Flushing { batch, .. } => {
                batch.from <= self.durable.last || !matches!(batch.given_up, GivenUp::Nothing)
            }
            Activity::Idle => false,
        };
        is_cutting || self.compaction.is_some() || self.front.is_some()
    }

    /// Whether a batch is being written, or what it needs is being read: others do not begin anything now.
    pub(crate) fn is_writing(&self) -> bool {
        match &self.activity {
            Activity::Idle | Activity::Flushing { .. } => false,
            Activity::ReadingFront { .. }
            | Activity::ReadingTail { .. }
            | Activity::Writing { .. } => true,
        }
    }

    pub(crate) fn room(&self) -> (u64, u64) {
        self.planned.room(self.layout, RESERVE_RECORDS).unwrap_or((0, 0))
    }

    pub(crate) fn status(&self) -> Status {
        Status {
            first_index: self.usage.first,
            durable_last: self.durable.last,
            slots: self.layout.slots(),
            slots_used: self.planned.slots(),
            body_bytes: self.layout.bodies().bytes(),
            body_bytes_used: self.planned.body_bytes,
            batches: self.counts.batches,
            records: self.counts.records,
            flushes: self.counts.flushes,
            epoch: self.mark.epoch,
            ..Status::default()
        }
    }

    /// Notes a job, if there is room for it.
    pub(crate) fn enqueue(
        &mut self,
        ticket: u64,
        hard_state: Option<HardState>,
        records: Vec<Record>,
    ) -> Result<(), PersistError> {
        if let Some(first) = records.first() {
            assert!(first.index >= self.floor, "what is given up is not written again");
            assert!(first.index <= self.planned.last.next(), "there is no gap");
            let is_next = |pair: &[Record]| pair[0].index.next() == pair[1].index;
            assert!(records.windows(2).all(is_next), "records are consecutive");
            self.planned = self.planned.with(self.layout, &records)?;
        }
        self.jobs.push_back(Job::Write { ticket, hard_state, records });
        Ok(())
    }

    /// Does what can be done now. Nothing is given up or replaced while somebody reads.
    pub(crate) fn pump(&mut self, io: &mut Io, is_read: bool) {
        if matches!(self.activity, Activity::Idle) {
            self.begin(is_read);
        }
        match &mut self.activity {
            Activity::Idle => {}
            Activity::ReadingFront { finding, .. } | Activity::ReadingTail { finding, .. } => {
                finding.pump(io);
            }
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

    /// Starts a batch if there is anything to write, or the reading that must come before it.
    fn begin(&mut self, is_read: bool) {
        if !is_read && let Some(first) = self.compaction.take() {
            self.begin_compaction(first);
            if matches!(self.activity, Activity::ReadingFront { .. }) {
                return;
            }
        }
        match self.jobs.front() {
            Some(Job::Write { .. }) => self.begin_batch(is_read),
            Some(Job::Reset { .. }) if is_read => {}
            Some(Job::Reset { index, term }) => {
                let (index, term) = (*index, *term);
                self.jobs.pop_front();
                self.write_reset(index, term);
            }
            None if self.front.is_some() => self.write_batch(),
            None => {}
        }
    }

    /// Starts a batch, or the reading of the tail that it needs.
    fn begin_batch(&mut self, is_read: bool) {
        let writes = self.jobs.iter().take_while(|job| matches!(job, Job::Write { .. }));
        let first = writes.flat_map(Job::records).map(|record| record.index).next();
        if let Some(first) = first {
            let is_cut = first <= self.durable.last;
            if is_cut && is_read {
                return;
            }
            if is_cut {
                self.tail = None;
            }
            if first == self.mark.first {
                let (checksum, term) = (self.mark.front_checksum, self.mark.front_term);
                self.tail = Some(Tail::of_empty(Anchor { checksum, position: 0, term }));
            }
            if self.tail.is_none() {
                let from = Tail::first_needed(self.mark.first, first);
                let last = LogIndex(first.0 - 1);
                let finding = Finding::new(self.layout, self.span(), from, last);
                self.activity = Activity::ReadingTail { first, finding };
                return;
            }
        }
        self.write_batch();
    }

    /// Makes a batch of what waits, and writes it.
    fn write_batch(&mut self) {
        let Gathered { hard_state, ticket, records } = Gathered::take(&mut self.jobs);
        self.mark.hard_state = hard_state.unwrap_or(self.mark.hard_state);
        self.next_mark();
        let mut given_up = GivenUp::Nothing;
        if let Some(front) = self.front.take() {
            self.mark.first = front.first;
            (self.mark.front_checksum, self.mark.front_term) = (front.checksum, front.term);
            given_up = GivenUp::Before(front);
        }
        let mut transfers = Vec::from(self.mark.write(self.layout));
        let from = records.first().map_or(self.durable.last.next(), |record| record.index);
        let mut end = self.durable;
        if let Some(last) = records.last() {
            self.batch += 1;
            let tail = self.tail.as_mut().expect("the tail is known before a batch of records");
            let body_start = self.usage.body_end(self.layout);
            transfers.extend(tail.write(self.layout, self.batch, body_start, &records));
            self.usage.append(&records);
            end = End { last: last.index, anchor: tail.anchor };
            self.counts.records += records.len() as u64;
        }
        self.counts.batches += 1;
        let batch = Batch { ticket, from, end, given_up, is_marked: records.is_empty() };
        self.activity = Activity::Writing { batch, transfers };
    }

    /// The mark that is written next says what is durable now.
    fn next_mark(&mut self) {
        self.mark.sequence += 1;
        self.mark.durable_batch = self.batch;
        self.mark.durable_last = self.durable.last;
        self.mark.last_position = self.durable.anchor.position;
        self.mark.last_checksum = self.durable.anchor.checksum;
        self.mark.body_end = self.usage.body_end(self.layout);
    }

    /// Takes in a completion, if it belongs here.
    pub(crate) fn handle_completion(
        &mut self,
        completion: &BlockCompletion,
        now: Instant,
    ) -> Option<Result<(), Failure>> {
        match &mut self.activity {
            Activity::Idle => return None,
            Activity::ReadingFront { finding, .. } | Activity::ReadingTail { finding, .. } => {
                finding.take(completion)?;
            }
            Activity::Writing { transfers, .. } => {
                transfers.iter_mut().find_map(|transfer| transfer.take(completion))?;
            }
            Activity::Flushing { tag, .. } if *tag == completion.tag => {}
            Activity::Flushing { .. } => return None,
        }
        Some(self.proceed(now))
    }

    /// Goes to the next activity if this one is done.
    fn proceed(&mut self, now: Instant) -> Result<(), Failure> {
        match core::mem::replace(&mut self.activity, Activity::Idle) {
            Activity::Idle => {}
            Activity::ReadingFront { first, mut finding } => match self.found(&mut finding)? {
                Some(headers) => self.take_front(first, &headers),
                None => self.activity = Activity::ReadingFront { first, finding },
            },
            Activity::ReadingTail { first, mut finding } => match self.found(&mut finding)? {
                Some(headers) => {
                    self.tail = Some(Tail::of_headers(&headers));
                    self.write_batch();
                }
                None => self.activity = Activity::ReadingTail { first, finding },
            },
            Activity::Writing { batch, transfers } if transfers.iter().all(Transfer::is_done) => {
                // Tag 0 is none: the flush is asked for when there is room for it.
                self.activity = Activity::Flushing { batch, tag: 0 };
            }
            Activity::Flushing { batch, .. } => self.settle(batch, now),
            activity @ Activity::Writing { .. } => self.activity = activity,
        }
        Ok(())
    }

    /// The headers that were looked for, if all are there. What is not in its slot is left to the reader.
    fn found(&self, finding: &mut Finding) -> Result<Option<Vec<Header>>, Failure> {
        let found = finding.proceed().transpose();
        let damage = |index| Failure::Damaged(header_damage(self.layout, index));
        found.map(|found| found.map(|found| found.headers)).map_err(damage)
    }

    /// A batch is durable. Only now what it gives up may be written over.
    fn settle(&mut self, batch: Batch, now: Instant) {
        self.counts.flushes += 1;
        self.durable = batch.end;
        match batch.given_up {
            GivenUp::Nothing => {}
            GivenUp::Before(front) => self.usage.release(self.layout, front.first, front.freed),
            GivenUp::Everything => self.usage.reset(self.layout, batch.end.last),
        }
        self.planned = self.usage;
        for job in &self.jobs {
            match job {
                Job::Write { records, .. } => self.planned.append(records),
                Job::Reset { index, .. } => self.planned.reset(self.layout, *index),
            }
        }
        self.persisted.extend(batch.ticket);
        self.marker_due = (!batch.is_marked).then(|| now + MARKER_DELAY);
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
        self.usage.check_invariants(self.layout);
        self.planned.check_invariants(self.layout);
        assert!(self.floor >= self.usage.first);
    }
}
