//! Entries that this node does not hold: it was away when they were appended, and has taken a state in their
//! place. Other nodes are asked, and believed when f + 1 of them answer the same, of whom one is honest.
//!
//! ```text
//! question   0x80   number (u64)   position (u64)   with its proof (u8)
//! answer     0x81   number (u64)   whether there is one (u8)   what the client is told
//! ```
//! Numbers are little-endian. What consensus says begins with smaller bytes.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use base::codec::{DecodeError, Reader, Writer};
use base::{Duration, Instant, NodeId, limits};
use bft::{Quorums, VoterSet};
use bytes::Bytes;
use kv::Reply;
use kv::service::Question;

use super::answers::{Asker, NOT_HERE};
use super::{Notary, NotaryOutput};

const ASK: u8 = 0x80;
const TELL: u8 = 0x81;

/// What notaries say to each other of entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Word {
    Ask { number: u64, position: u64, with_proof: bool },
    Tell { number: u64, text: Option<Bytes> },
}

impl Word {
    /// Whether a message is one, rather than one of consensus.
    pub(super) fn is_one(content: &[u8]) -> bool {
        content.first().is_some_and(|first| [ASK, TELL].contains(first))
    }

    pub(super) fn decode(content: &Bytes) -> Result<Word, DecodeError> {
        let mut reader = Reader::new(content);
        let word = match (reader.u8()?, reader.u64()?) {
            (ASK, number) => {
                Word::Ask { number, position: reader.u64()?, with_proof: reader.bool()? }
            }
            (TELL, number) => {
                let has_text = reader.bool()?;
                let text = content.slice_ref(reader.rest());
                Word::Tell { number, text: has_text.then_some(text) }
            }
            _ => return Err(DecodeError),
        };
        reader.finish().map(|()| word)
    }

    fn encode(&self) -> Bytes {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        match self {
            Word::Ask { number, position, with_proof } => {
                writer.u8(ASK).u64(*number).u64(*position).bool(*with_proof);
            }
            Word::Tell { number, text } => {
                writer.u8(TELL).u64(*number).bool(text.is_some());
                writer.bytes(text.as_deref().unwrap_or_default());
            }
        }
        bytes.into()
    }
}

/// Entries that clients of this node wait for.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    next: u64,
    sought: BTreeMap<u64, Sought>,
}

#[derive(Debug)]
struct Sought {
    question: Question,
    ask: Bytes,
    /// The slot from which on nobody was asked yet, and how many more there are.
    next: usize,
    left: usize,
    /// Who has not answered.
    asked: VoterSet,
    told: Vec<Bytes>,
    /// When those who have not answered are given up.
    deadline: Instant,
}

impl Sought {
    /// How many of the answers are this one.
    fn agreeing(&self, text: &Bytes) -> usize {
        self.told.iter().filter(|told| *told == text).count()
    }

    /// The next of the others to be asked, if one more is needed.
    fn next_asked(&mut self, quorums: Quorums) -> Option<usize> {
        let most = self.told.iter().map(|text| self.agreeing(text)).max().unwrap_or(0);
        if self.left == 0 || most + self.asked.len() >= quorums.weak() {
            return None;
        }
        let slot = self.next;
        self.next = (slot + 1) % quorums.replicas();
        self.left -= 1;
        self.asked.insert(slot);
        Some(slot)
    }
}

impl Elsewhere {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.sought.values().map(|sought| sought.deadline).min()
    }
}

impl Notary {
    /// Asks others for an entry; answers at once only if too many are sought.
    pub(super) fn seek(
        &mut self,
        question: Question,
        (position, with_proof): (u64, bool),
        now: Instant,
    ) -> Option<Reply> {
        if self.elsewhere.sought.len() >= limits::LEDGER_SOUGHT_MAX {
            return Some(NOT_HERE);
        }
        self.elsewhere.next += 1;
        let number = self.elsewhere.next;
        let own = self.keyring.slot(self.id).unwrap_or_default();
        let sought = Sought {
            question,
            ask: Word::Ask { number, position, with_proof }.encode(),
            next: (own + 1) % self.keyring.size(),
            left: self.keyring.size() - 1,
            asked: VoterSet::default(),
            told: Vec::new(),
            deadline: now,
        };
        self.elsewhere.sought.insert(number, sought);
        self.ask_more(number, now);
        None
    }

    /// Asks as many as are needed for f + 1 answers that are the same; if there are not so many, the client
    /// is told that the entry is not here.
    fn ask_more(&mut self, number: u64, now: Instant) {
        let Some(sought) = self.elsewhere.sought.get_mut(&number) else { return };
        while let Some(slot) = sought.next_asked(self.quorums) {
            sought.deadline = now + Duration::from_millis(limits::BFT_FETCH_WITHIN_MS);
            if let Some(to) = self.keyring.member(slot) {
                let content = sought.ask.clone();
                self.outputs.push_back(NotaryOutput::Send { to, content });
            }
        }
        if sought.asked.is_empty() {
            self.end(number, NOT_HERE);
        }
    }

    fn end(&mut self, number: u64, reply: Reply) {
        if let Some(sought) = self.elsewhere.sought.remove(&number) {
            self.outputs.push_back(NotaryOutput::Reply(sought.question, reply));
        }
    }

    /// Another notary asks or answers.
    pub(super) fn take_word(&mut self, from: NodeId, word: Word, now: Instant) {
        match word {
            Word::Ask { number, position, with_proof } => {
                self.look_up_for(from, number, position, with_proof);
            }
            Word::Tell { number, text } => self.take_told(from, number, text, now),
        }
    }

    fn look_up_for(&mut self, from: NodeId, number: u64, position: u64, with_proof: bool) {
        let Some(replica) = &mut self.replica else { return };
        if !replica.bft.may_answer(from) {
            return;
        }
        // What is nowhere yet, and what was lost here, are the same to the one who asks.
        let asker = Asker::Notary(from, number);
        let reply = match replica.history.find(position) {
            Some(run) => self.look_in(asker, (position, with_proof), run),
            None => Some(NOT_HERE),
        };
        if let Some(reply) = reply {
            self.tell(asker, reply);
        }
    }

    /// Gives an answer to whoever has asked.
    pub(super) fn tell(&mut self, asker: Asker, reply: Reply) {
        self.outputs.push_back(match (asker, reply) {
            (Asker::Client(question), reply) => NotaryOutput::Reply(question, reply),
            (Asker::Notary(to, number), Reply::Bulk(text)) => {
                let content = Word::Tell { number, text: Some(text) }.encode();
                NotaryOutput::Send { to, content }
            }
            (Asker::Notary(to, number), _) => {
                NotaryOutput::Send { to, content: Word::Tell { number, text: None }.encode() }
            }
        });
    }

    fn take_told(&mut self, from: NodeId, number: u64, text: Option<Bytes>, now: Instant) {
        let weak = self.quorums.weak();
        let Some(slot) = self.keyring.slot(from) else { return };
        let sought = self.elsewhere.sought.get_mut(&number);
        let Some(sought) = sought.filter(|sought| sought.asked.contains(slot)) else { return };
        sought.asked.remove(slot);
        if let Some(text) = text {
            sought.told.push(text.clone());
            if sought.agreeing(&text) >= weak {
                return self.end(number, Reply::Bulk(text));
            }
        }
        self.ask_more(number, now);
    }

    /// Others are asked in the place of those that have not answered.
    pub(super) fn seek_on(&mut self, now: Instant) {
        let is_late = |sought: &Sought| sought.deadline <= now;
        let late = self.elsewhere.sought.iter().filter(|(_, sought)| is_late(sought));
        for number in late.map(|(number, _)| *number).collect::<Vec<_>>() {
            if let Some(sought) = self.elsewhere.sought.get_mut(&number) {
                sought.asked = VoterSet::default();
            }
            self.ask_more(number, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_through() {
        let words = [
            Word::Ask { number: 7, position: 1 << 40, with_proof: true },
            Word::Tell { number: 7, text: None },
            Word::Tell { number: 8, text: Some(Bytes::from_static(b"an entry")) },
            Word::Tell { number: 9, text: Some(Bytes::new()) },
        ];
        for word in words {
            let bytes = word.encode();
            assert!(Word::is_one(&bytes) && bft::Message::decode(&bytes).is_err());
            assert_eq!(Word::decode(&bytes), Ok(word));
            assert_eq!(Word::decode(&bytes.slice(..9)), Err(DecodeError));
        }
    }
}
