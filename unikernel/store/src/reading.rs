//! Reading records back: headers first, then their bodies, and nothing is believed that does not verify.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use base::LogIndex;
use block::{BlockCompletion, SECTOR_BYTES};
use bytes::Bytes;

use crate::bodies::Bodies;
use crate::error::{Damage, Failure, Where};
use crate::header::{HEADER_BYTES, Header};
use crate::layout::{Layout, header_offset};
use crate::output::Record;
use crate::transfer::{Io, Transfer};
use crate::writing::Writer;

/// How many records one answer has at most.
const RECORDS_MAX: u64 = 256;
/// How many bytes of the disk one answer may take, besides its payloads: what was cut off lies in between.
const GAPS_MAX_BYTES: u64 = 64 * 1024;

#[derive(Debug)]
struct Question {
    id: u64,
    from: LogIndex,
    to: LogIndex,
    max_bytes: usize,
}

#[derive(Debug)]
enum Activity {
    Headers(Question, Transfer),
    Bodies(Question, Vec<Header>, Transfer),
}

/// The reading half of a store that is ready.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    waiting: VecDeque<Question>,
    activity: Option<Activity>,
    answers: VecDeque<(u64, Vec<Record>)>,
}

impl Reader {
    pub(crate) fn enqueue(&mut self, id: u64, from: LogIndex, to: LogIndex, max_bytes: usize) {
        self.waiting.push_back(Question { id, from, to, max_bytes });
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.activity.is_some()
    }

    pub(crate) fn take_answer(&mut self) -> Option<(u64, Vec<Record>)> {
        self.answers.pop_front()
    }

    /// Does what can be done now. Nothing is read while the log is being cut or compacted.
    pub(crate) fn pump(&mut self, io: &mut Io, writer: &Writer) {
        while self.activity.is_none() && !writer.excludes_readers() {
            let Some(mut question) = self.waiting.pop_front() else { return };
            // The log may have been cut or compacted since.
            question.to = question.to.min(writer.durable_last());
            if question.from > question.to || question.from < writer.first() {
                self.answers.push_back((question.id, Vec::new()));
                continue;
            }
            let last = LogIndex(question.to.0.min(question.from.0 + RECORDS_MAX - 1));
            let layout = writer.layout();
            let place = layout.header_place(question.from);
            let sectors = layout.header_place(last) - place + 1;
            let transfer = Transfer::read(layout.headers(), place, sectors);
            self.activity = Some(Activity::Headers(question, transfer));
        }
        match &mut self.activity {
            Some(Activity::Headers(_, transfer) | Activity::Bodies(_, _, transfer)) => {
                transfer.pump(io);
            }
            None => {}
        }
    }

    pub(crate) fn handle_completion(
        &mut self,
        completion: &BlockCompletion,
        layout: Layout,
    ) -> Option<Result<(), Failure>> {
        match self.activity.as_mut()? {
            Activity::Headers(_, transfer) | Activity::Bodies(_, _, transfer) => {
                transfer.take(completion)?;
            }
        }
        Some(self.proceed(layout))
    }

    /// Goes to the next activity if this one is done.
    fn proceed(&mut self, layout: Layout) -> Result<(), Failure> {
        match self.activity.take() {
            Some(Activity::Headers(question, transfer)) if transfer.is_done() => {
                self.activity = Some(choose(question, &transfer, layout)?);
            }
            Some(Activity::Bodies(question, headers, transfer)) if transfer.is_done() => {
                let records = verify(&headers, &transfer, layout)?;
                self.answers.push_back((question.id, records));
            }
            activity => self.activity = activity,
        }
        Ok(())
    }
}

/// The headers are read: which bodies are wanted?
fn choose(question: Question, read: &Transfer, layout: Layout) -> Result<Activity, Failure> {
    let mut chosen: Vec<Header> = Vec::new();
    let (mut bytes, mut span) = (0, 0);
    for index in (question.from.0..=question.to.0).map(LogIndex) {
        let sector = (layout.header_place(index) - read.offset()) as usize;
        let start = sector * SECTOR_BYTES + header_offset(index);
        let Some(slot) = read.bytes().get(start..start + HEADER_BYTES) else { break };
        let header = Header::decode(slot)
            .ok()
            .filter(|found| found.index == index)
            .ok_or_else(|| Failure::Damaged(header_damage(layout, index)))?;
        bytes += header.length as usize;
        let first = chosen.first().unwrap_or(&header).position;
        let end = layout.bodies().distance(first, header.position) + header.body_bytes();
        let is_too_much = bytes > question.max_bytes || end > bytes as u64 + GAPS_MAX_BYTES;
        if is_too_much && !chosen.is_empty() {
            break;
        }
        span = end;
        chosen.push(header);
    }
    let damage = Failure::Damaged(header_damage(layout, question.from));
    let Some(first) = chosen.first() else { return Err(damage) };
    let place = first.position / SECTOR_BYTES as u64;
    let sectors = (first.position % SECTOR_BYTES as u64 + span).div_ceil(SECTOR_BYTES as u64);
    if place >= layout.bodies().sectors || sectors > layout.bodies().sectors {
        return Err(damage);
    }
    let transfer = Transfer::read(layout.bodies(), place, sectors);
    Ok(Activity::Bodies(question, chosen, transfer))
}

/// The bodies are read: are they what the headers say?
fn verify(headers: &[Header], read: &Transfer, layout: Layout) -> Result<Vec<Record>, Failure> {
    let bodies = Bodies::of(layout, read);
    let record = |header: &Header| {
        let payload = bodies.payload(header);
        let payload = payload.ok_or_else(|| Failure::Damaged(body_damage(layout, header)))?;
        // A copy, so that one small record does not keep its whole neighbourhood in memory.
        let payload = Bytes::copy_from_slice(payload);
        Ok(Record { index: header.index, term: header.term, kind: header.kind, payload })
    };
    headers.iter().map(record).collect()
}

fn body_damage(layout: Layout, header: &Header) -> Damage {
    let sector = layout.bodies().sector(header.position / SECTOR_BYTES as u64);
    Damage { index: header.index, what: Where::Body, sector }
}

/// The damage of a header whose copy is no help.
pub(crate) fn header_damage(layout: Layout, index: LogIndex) -> Damage {
    let sector = layout.headers().sector(layout.header_place(index));
    Damage { index, what: Where::Header, sector }
}
