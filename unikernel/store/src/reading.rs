//! Reading records back: headers first, then their bodies, and nothing is believed that does not verify. What
//! does not verify is reported, and what an intact copy is brought of is written again in its place.
//!
//! A record that is written again has the header that has survived, and so the length and the place that it
//! had: its sectors are read, twice, its bytes are replaced, and they are written. What else is in these
//! sectors is written as it was, so that a crash in the middle harms nobody else: of what is torn, the old
//! bytes and the new ones are the same.
//!
//! A disk may err once, and give what is in another sector. So nothing is called damaged, and nothing is
//! written beside a record, because of one reading alone.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use base::LogIndex;
use base::checksum::crc32c;
use block::{BlockCompletion, SECTOR_BYTES};
use bytes::Bytes;

use crate::bodies::Bodies;
use crate::error::{Damage, Failure, Where};
use crate::finding::Finding;
use crate::header::{HEADER_BYTES, Header};
use crate::layout::Layout;
use crate::output::{Output, Record};
use crate::transfer::{Io, Transfer};
use crate::writing::Writer;

/// How many records one answer has at most.
const RECORDS_MAX: u64 = 256;
/// How many bytes of the disk one answer may take, besides its payloads: what was cut off lies in between.
const GAPS_MAX_BYTES: u64 = 64 * 1024;
/// How many repairs may wait.
pub(crate) const REPAIRS_MAX: usize = 64;

/// What records are looked at for.
#[derive(Debug)]
enum Purpose {
    /// Somebody wants them.
    Read { id: u64 },
    /// To see whether they are what was written.
    Scrub,
    /// To write this one again.
    Repair(Record),
}

#[derive(Debug)]
struct Question {
    purpose: Purpose,
    from: LogIndex,
    to: LogIndex,
    max_bytes: usize,
    /// Something did not verify: the disk is asked once more.
    is_second_look: bool,
}

impl Question {
    fn new(purpose: Purpose, from: LogIndex, to: LogIndex, max_bytes: usize) -> Question {
        Question { purpose, from, to, max_bytes, is_second_look: false }
    }
}

#[derive(Debug)]
enum Activity {
    Headers(Question, Finding),
    /// Sectors of headers are being written again, and made durable; tag 0 before the flush is asked for.
    Mending(Question, Vec<Header>, Vec<Transfer>, u64),
    Bodies(Question, Vec<Header>, Transfer),
    /// What is around a record that is written again is read once more: it was this the first time.
    Comparing(Record, Header, Transfer, Transfer),
    /// A record is being written again …
    Writing(LogIndex, Transfer),
    /// … and made durable; tag 0 before the flush is asked for.
    Flushing(LogIndex, u64),
}

/// The reading half of a store that is ready.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    waiting: VecDeque<Question>,
    activity: Option<Activity>,
    outputs: VecDeque<Output>,
    pub(crate) counts: Counts,
}

/// What has happened since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) damaged: u64,
    pub(crate) repaired: u64,
    pub(crate) scrubbed: u64,
}

impl Reader {
    pub(crate) fn read(&mut self, id: u64, from: LogIndex, to: LogIndex, max_bytes: usize) {
        self.waiting.push_back(Question::new(Purpose::Read { id }, from, to, max_bytes));
    }

    pub(crate) fn scrub(&mut self, from: LogIndex, to: LogIndex, max_bytes: usize) {
        self.waiting.push_back(Question::new(Purpose::Scrub, from, to, max_bytes));
    }

    /// Writes a record again, if there is room for one more that waits.
    pub(crate) fn repair(&mut self, record: Record) -> bool {
        let is_repair = |question: &&Question| matches!(question.purpose, Purpose::Repair(_));
        if self.waiting.iter().filter(is_repair).count() >= REPAIRS_MAX {
            return false;
        }
        let (from, to) = (record.index, record.index);
        let purpose = Purpose::Repair(record);
        self.waiting.push_back(Question::new(purpose, from, to, 0));
        true
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.activity.is_some()
    }

    pub(crate) fn take_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Does what can be done now. Nothing is read while the log is being cut or compacted.
    pub(crate) fn pump(&mut self, io: &mut Io, writer: &Writer) {
        while self.activity.is_none() && !writer.excludes_readers() {
            let Some(mut question) = self.waiting.pop_front() else { return };
            // The log may have been cut or compacted since.
            question.to = question.to.min(writer.durable_last());
            if question.from > question.to || question.from < writer.first() {
                self.outputs.push_back(in_vain(question));
                continue;
            }
            let last = LogIndex(question.to.0.min(question.from.0 + RECORDS_MAX - 1));
            let finding = Finding::new(writer.layout(), writer.span(), question.from, last);
            self.activity = Some(Activity::Headers(question, finding));
        }
        match &mut self.activity {
            Some(Activity::Headers(_, finding)) => finding.pump(io),
            Some(Activity::Mending(_, _, transfers, tag)) => {
                transfers.iter_mut().for_each(|transfer| transfer.pump(io));
                if *tag == 0 && transfers.iter().all(Transfer::is_done) {
                    *tag = io.flush();
                }
            }
            Some(
                Activity::Bodies(_, _, transfer)
                | Activity::Comparing(_, _, _, transfer)
                | Activity::Writing(_, transfer),
            ) => transfer.pump(io),
            Some(Activity::Flushing(_, tag)) if *tag == 0 => *tag = io.flush(),
            Some(Activity::Flushing(..)) | None => {}
        }
    }

    pub(crate) fn handle_completion(
        &mut self,
        completion: &BlockCompletion,
        layout: Layout,
    ) -> Option<Result<(), Failure>> {
        match self.activity.as_mut()? {
            Activity::Headers(_, finding) => finding.take(completion)?,
            Activity::Mending(_, _, _, tag) if *tag == completion.tag => {}
            Activity::Mending(_, _, transfers, _) => {
                transfers.iter_mut().find_map(|transfer| transfer.take(completion))?;
                return Some(Ok(()));
            }
            Activity::Bodies(_, _, transfer)
            | Activity::Comparing(_, _, _, transfer)
            | Activity::Writing(_, transfer) => transfer.take(completion)?,
            Activity::Flushing(_, tag) if *tag == completion.tag => {}
            Activity::Flushing(..) => return None,
        }
        Some(self.proceed(layout))
    }

    /// Goes to the next activity if this one is done.
    fn proceed(&mut self, layout: Layout) -> Result<(), Failure> {
        match self.activity.take() {
            Some(Activity::Headers(question, mut finding)) => match finding.proceed() {
                None => self.activity = Some(Activity::Headers(question, finding)),
                Some(Err(index)) => return Err(Failure::Damaged(header_damage(layout, index))),
                Some(Ok(found)) if found.mends.is_empty() => {
                    self.take_headers(question, found.headers, layout)?;
                }
                Some(Ok(found)) => {
                    self.counts.damaged += found.mends.len() as u64;
                    let mending = Activity::Mending(question, found.headers, found.mends, 0);
                    self.activity = Some(mending);
                }
            },
            Some(Activity::Mending(question, headers, transfers, _)) => {
                self.counts.repaired += transfers.len() as u64;
                self.take_headers(question, headers, layout)?;
            }
            Some(Activity::Bodies(question, headers, transfer)) if transfer.is_done() => {
                self.take_bodies(question, &headers, transfer, layout);
            }
            Some(Activity::Comparing(record, header, first, second)) if second.is_done() => {
                if first.bytes() == second.bytes() {
                    let rewritten = rewrite(&header, &record, second, layout);
                    self.activity = Some(Activity::Writing(record.index, rewritten));
                } else {
                    self.outputs.push_back(Output::NotRepaired(record.index));
                }
            }
            Some(Activity::Writing(index, transfer)) if transfer.is_done() => {
                self.activity = Some(Activity::Flushing(index, 0));
            }
            Some(Activity::Flushing(index, _)) => {
                self.counts.repaired += 1;
                self.outputs.push_back(Output::Repaired(index));
            }
            activity => self.activity = activity,
        }
        Ok(())
    }

    /// The headers are there: the bodies are read next.
    fn take_headers(
        &mut self,
        question: Question,
        headers: Vec<Header>,
        layout: Layout,
    ) -> Result<(), Failure> {
        let headers = choose(&question, headers, layout);
        let damage = || Failure::Damaged(header_damage(layout, question.from));
        let first = headers.first().ok_or_else(damage)?;
        if let Purpose::Repair(record) = &question.purpose
            && !is_of(record, first)
        {
            self.outputs.push_back(in_vain(question));
            return Ok(());
        }
        let transfer = bodies_of(&headers, layout).ok_or_else(damage)?;
        self.activity = Some(Activity::Bodies(question, headers, transfer));
        Ok(())
    }

    /// The bodies are there.
    fn take_bodies(
        &mut self,
        question: Question,
        headers: &[Header],
        read: Transfer,
        layout: Layout,
    ) {
        if !question.is_second_look && !are_sound(&question, headers, &read, layout) {
            return self.waiting.push_front(Question { is_second_look: true, ..question });
        }
        match question.purpose {
            Purpose::Read { id } => {
                let records = self.verify(headers, &read, layout);
                self.outputs.push_back(Output::Read(id, records));
            }
            Purpose::Scrub => self.scrub_bodies(headers, &read, layout),
            Purpose::Repair(record) => {
                if let (Some(header), Some(again)) = (headers.first(), bodies_of(headers, layout)) {
                    self.activity = Some(Activity::Comparing(record, *header, read, again));
                }
            }
        }
    }

    /// The bodies are read: are they what the headers say? Answers the records before the first that is not.
    fn verify(&mut self, headers: &[Header], read: &Transfer, layout: Layout) -> Vec<Record> {
        let bodies = Bodies::of(layout, read);
        let mut records = Vec::with_capacity(headers.len());
        for header in headers {
            let Some(payload) = bodies.payload(header) else {
                self.report(layout, header);
                break;
            };
            records.push(record(header, payload));
        }
        records
    }

    /// The same of all, and of the copies of the headers, too: a copy can be written again from what is
    /// there.
    fn scrub_bodies(&mut self, headers: &[Header], read: &Transfer, layout: Layout) {
        let bodies = Bodies::of(layout, read);
        for header in headers {
            let copy = bodies.header(header.position);
            match bodies.payload(header) {
                None => self.report(layout, header),
                Some(payload) if copy != Some(*header) => {
                    self.counts.damaged += 1;
                    self.repair(record(header, payload));
                }
                Some(_) => {}
            }
        }
        self.counts.scrubbed += headers.len() as u64;
        let next = headers.last().map_or(LogIndex(0), |header| header.index.next());
        self.outputs.push_back(Output::Scrubbed(next));
    }

    fn report(&mut self, layout: Layout, header: &Header) {
        self.counts.damaged += 1;
        self.outputs.push_back(Output::Damaged(body_damage(layout, header)));
    }
}

/// The answer to a question about a record that is not there any more, or is another one.
fn in_vain(question: Question) -> Output {
    match question.purpose {
        Purpose::Read { id } => Output::Read(id, Vec::new()),
        Purpose::Scrub => Output::Scrubbed(question.from),
        Purpose::Repair(record) => Output::NotRepaired(record.index),
    }
}

/// Whether this is the record that was written with this header.
fn is_of(record: &Record, header: &Header) -> bool {
    (record.index, record.term, record.kind) == (header.index, header.term, header.kind)
        && record.payload.len() == header.length as usize
        && crc32c(&record.payload) == header.payload_checksum
}

fn record(header: &Header, payload: &[u8]) -> Record {
    // A copy, so that one small record does not keep its whole neighbourhood in memory.
    let payload = Bytes::copy_from_slice(payload);
    Record { index: header.index, term: header.term, kind: header.kind, payload }
}

/// Whether everything that the question is about is what was written.
fn are_sound(question: &Question, headers: &[Header], read: &Transfer, layout: Layout) -> bool {
    let bodies = Bodies::of(layout, read);
    headers.iter().all(|header| match question.purpose {
        Purpose::Read { .. } => bodies.payload(header).is_some(),
        Purpose::Scrub => {
            bodies.payload(header).is_some() && bodies.header(header.position) == Some(*header)
        }
        Purpose::Repair(_) => true,
    })
}

/// The headers are read: the bodies of which are wanted?
fn choose(question: &Question, headers: Vec<Header>, layout: Layout) -> Vec<Header> {
    let mut chosen: Vec<Header> = Vec::new();
    let mut bytes = 0;
    for header in headers {
        bytes += header.length as usize;
        let first = chosen.first().unwrap_or(&header).position;
        let end = layout.bodies().distance(first, header.position) + header.body_bytes();
        let is_too_much = bytes > question.max_bytes || end > bytes as u64 + GAPS_MAX_BYTES;
        if is_too_much && !chosen.is_empty() {
            break;
        }
        chosen.push(header);
    }
    chosen
}

/// What must be read to have the bodies of these headers; `None` if they lie nowhere.
fn bodies_of(headers: &[Header], layout: Layout) -> Option<Transfer> {
    let (first, last) = (headers.first()?, headers.last()?);
    let span = layout.bodies().distance(first.position, last.position) + last.body_bytes();
    let place = first.position / SECTOR_BYTES as u64;
    let sectors = (first.position % SECTOR_BYTES as u64 + span).div_ceil(SECTOR_BYTES as u64);
    if place >= layout.bodies().sectors || sectors > layout.bodies().sectors {
        return None;
    }
    Some(Transfer::read(layout.bodies(), place, sectors))
}

/// The write of a record in its place: the sectors that were read, with its bytes as they should be.
fn rewrite(header: &Header, record: &Record, read: Transfer, layout: Layout) -> Transfer {
    let place = read.offset();
    let start = (header.position % SECTOR_BYTES as u64) as usize;
    let mut bytes = read.into_bytes();
    let (mut header, end) = (*header, start + header.body_bytes() as usize);
    let body = &mut bytes[start..end];
    body.fill(0);
    body[..HEADER_BYTES].copy_from_slice(&header.encode());
    body[HEADER_BYTES..HEADER_BYTES + record.payload.len()].copy_from_slice(&record.payload);
    Transfer::write(layout.bodies(), place, bytes)
}

fn body_damage(layout: Layout, header: &Header) -> Damage {
    let sector = layout.bodies().sector(header.position / SECTOR_BYTES as u64);
    Damage { index: header.index, term: Some(header.term), what: Where::Body, sector }
}

/// The damage of a header whose copy is no help.
pub(crate) fn header_damage(layout: Layout, index: LogIndex) -> Damage {
    let sector = layout.headers().sector(layout.header_place(index));
    Damage { index, term: None, what: Where::Header, sector }
}
