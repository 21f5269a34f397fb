//! A state machine for tests: a chain of the requests that it has executed, each once.

use std::collections::BTreeSet;

use base::codec::{Reader, Writer};
use bft::{Batch, Sequence};
use bytes::Bytes;
use crypto::Digest;

/// What a client sends: a number, and something that only clients know how to make, like a signature.
pub fn request(number: u64) -> Bytes {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.extend_from_slice(&seal(number));
    bytes.into()
}

fn seal(number: u64) -> [u8; 8] {
    let digest =
        Digest::of(&[b"what only clients know".as_slice(), &number.to_le_bytes()].concat());
    digest.0[..8].try_into().unwrap()
}

/// The number of a request that a client made; none of one that a liar made up.
pub fn number(request: &[u8]) -> Option<u64> {
    let (number, rest) = request.split_first_chunk::<8>()?;
    let number = u64::from_le_bytes(*number);
    (rest == seal(number)).then_some(number)
}

/// What the requests make of the state.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Machine {
    /// The last number that was applied.
    pub applied: Sequence,
    /// The numbers of the requests that were executed.
    pub executed: BTreeSet<u64>,
    /// A digest of them in their order.
    pub chain: Digest,
}

impl Machine {
    /// Executes a batch: requests of clients, each once, all others not at all.
    pub fn apply(&mut self, sequence: Sequence, batch: &Batch) {
        self.applied = sequence;
        for number in batch.requests().iter().filter_map(|request| number(request)) {
            if self.executed.insert(number) {
                self.chain = Digest::of(&[self.chain.0.as_slice(), &number.to_le_bytes()].concat());
            }
        }
    }

    /// All of it, as bytes.
    pub fn snapshot(&self) -> Bytes {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        writer.u64(self.applied.0).u64(self.executed.len() as u64);
        self.chain.encode(&mut writer);
        self.executed.iter().for_each(|number| {
            writer.u64(*number);
        });
        bytes.into()
    }

    /// The machine that these bytes are a snapshot of.
    pub fn restore(bytes: &[u8]) -> Option<Machine> {
        let mut reader = Reader::new(bytes);
        let (applied, count) = (Sequence(reader.u64().ok()?), reader.u64().ok()?);
        let chain = Digest::decode(&mut reader).ok()?;
        let executed = (0..count).map(|_| reader.u64().ok()).collect::<Option<_>>()?;
        reader.finish().ok()?;
        Some(Machine { applied, executed, chain })
    }
}
