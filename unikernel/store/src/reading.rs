//! Reading records back: headers first, then their bodies, and nothing is believed that does not verify.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use base::LogIndex;
use base::checksum::crc32c;
use block::{BlockCompletion, SECTOR_BYTES};
use bytes::Bytes;

use crate::batch::Writer;
use crate::header::{HEADER_BYTES, Header};
use crate::layout::{HEADERS_PER_SECTOR, HEADERS_START, header_offset};
use crate::recovery::payload_of;
use crate::store::{Damage, Failure, Record, Where};
use crate::transfer::{Io, Transfer};

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

    /// Does what can be done now. Nothing is read while the log is being cut.
    pub(crate) fn pump(&mut self, io: &mut Io, writer: &Writer) {
        while self.activity.is_none() && !writer.is_cutting() {
            let Some(mut question) = self.waiting.pop_front() else { return };
            // The log may have been cut since.
            question.to = question.to.min(writer.durable_last());
            if question.from > question.to {
                self.answers.push_back((question.id, Vec::new()));
                continue;
            }
            let last = LogIndex(question.to.0.min(question.from.0 + RECORDS_MAX - 1));
            let sector = writer.layout().header_sector(question.from);
            let sectors = writer.layout().header_sector(last) - sector + 1;
            let transfer = Transfer::read(sector, sectors as usize);
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
        writer: &Writer,
    ) -> Result<(), Failure> {
        let taken = match &mut self.activity {
            Some(Activity::Headers(_, transfer) | Activity::Bodies(_, _, transfer)) => {
                transfer.take(completion)
            }
            None => None,
        };
        match taken {
            Some(result) => result.map_err(Failure::Io)?,
            None => return Ok(()),
        }
        match self.activity.take() {
            Some(Activity::Headers(question, transfer)) if transfer.is_done() => {
                self.activity = Some(choose(question, &transfer, writer)?);
            }
            Some(Activity::Bodies(question, headers, transfer)) if transfer.is_done() => {
                let records = verify(&headers, transfer, writer)?;
                self.answers.push_back((question.id, records));
            }
            activity => self.activity = activity,
        }
        Ok(())
    }
}

/// The headers are read: which bodies are wanted?
fn choose(question: Question, read: &Transfer, writer: &Writer) -> Result<Activity, Failure> {
    let mut chosen: Vec<Header> = Vec::new();
    let mut bytes = 0;
    for index in (question.from.0..=question.to.0).map(LogIndex) {
        let sector = (writer.layout().header_sector(index) - read.sector()) as usize;
        let start = sector * SECTOR_BYTES + header_offset(index);
        let Some(slot) = read.bytes().get(start..start + HEADER_BYTES) else { break };
        let header = Header::decode(slot)
            .ok()
            .filter(|found| found.index == index)
            .ok_or(Failure::Damaged(header_damage(index)))?;
        bytes += header.length as usize;
        let span = chosen.first().map_or(0, |first| header.end().saturating_sub(first.position));
        let is_too_much = bytes > question.max_bytes || span > bytes as u64 + GAPS_MAX_BYTES;
        if is_too_much && !chosen.is_empty() {
            break;
        }
        chosen.push(header);
    }
    let damage = Failure::Damaged(header_damage(question.from));
    let (Some(first), Some(last)) = (chosen.first(), chosen.last()) else { return Err(damage) };
    let start = first.position / SECTOR_BYTES as u64;
    let end = last.end().div_ceil(SECTOR_BYTES as u64);
    if start >= end || end * SECTOR_BYTES as u64 > writer.layout().bodies_bytes() {
        return Err(damage);
    }
    let transfer = Transfer::read(writer.layout().bodies_start() + start, (end - start) as usize);
    Ok(Activity::Bodies(question, chosen, transfer))
}

/// The bodies are read: are they what the headers say?
fn verify(headers: &[Header], read: Transfer, writer: &Writer) -> Result<Vec<Record>, Failure> {
    let base = (read.sector() - writer.layout().bodies_start()) * SECTOR_BYTES as u64;
    let bodies = Bytes::from(read.into_bytes());
    let record = |header: &Header| {
        let payload = payload_of(header, base, &bodies)
            .filter(|payload| crc32c(payload) == header.payload_checksum)
            .ok_or_else(|| Failure::Damaged(body_damage(header, writer)))?;
        // A copy, so that one small record does not keep its whole neighbourhood in memory.
        let payload = Bytes::copy_from_slice(payload);
        Ok(Record { index: header.index, term: header.term, kind: header.kind, payload })
    };
    headers.iter().map(record).collect()
}

fn body_damage(header: &Header, writer: &Writer) -> Damage {
    let sector = writer.layout().bodies_start() + header.position / SECTOR_BYTES as u64;
    Damage { index: header.index, what: Where::Body, sector }
}

/// The damage of a header whose copy is no help.
pub(crate) fn header_damage(index: LogIndex) -> Damage {
    let sector = HEADERS_START + (index.0 - 1) / HEADERS_PER_SECTOR;
    Damage { index, what: Where::Header, sector }
}
