//! The state machine: what decided batches do to the ledger.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use base::NodeId;
use base::codec::{DecodeError, Reader, Writer};
use bft::{Batch, Sequence};
use bytes::Bytes;
use crypto::{Digest, Hasher, Keyring};

use crate::request::Request;
use crate::serials::Serials;

/// The form of a snapshot.
const VERSION: u8 = 1;

/// The state of the ledger after some batches: where its chain ends, and what was executed of whom. The
/// entries are not part of it: the head stands for them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ledger {
    keyring: Keyring,
    applied: Sequence,
    length: u64,
    head: Digest,
    serials: BTreeMap<NodeId, Serials>,
}

/// The head at a position: what the head before it becomes with this entry.
pub fn chain(before: Digest, position: u64, gateway: NodeId, entry: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(b"coterie ledger\0\x01").update(&before.0);
    hasher.update(&position.to_le_bytes()).update(&gateway.get().to_le_bytes());
    hasher.update(&(entry.len() as u64).to_le_bytes()).update(entry);
    hasher.finish()
}

/// A request that was executed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Executed {
    /// Whose it was.
    pub gateway: NodeId,
    /// Its number there.
    pub serial: u64,
    /// Its place in the batch.
    pub place: usize,
    /// The position of its first entry.
    pub first: u64,
    /// The head after each of its entries.
    pub heads: Vec<Digest>,
}

impl Ledger {
    /// The empty ledger of a group.
    pub fn new(keyring: Keyring) -> Ledger {
        let (applied, head) = (Sequence(0), Digest::default());
        Ledger { keyring, applied, length: 0, head, serials: BTreeMap::new() }
    }

    /// The group whose ledger it is.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The last batch that was executed.
    pub fn applied(&self) -> Sequence {
        self.applied
    }

    /// How many entries there are: the position of the last one.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The digest of all of them.
    pub fn head(&self) -> Digest {
        self.head
    }

    /// Executes the batch behind the last one. What no gateway of the group has signed does nothing, and so
    /// does what was executed before. It takes about as long as verifying a signature for each request.
    ///
    /// # Panics
    /// If it is not the next one.
    pub fn apply(&mut self, sequence: Sequence, batch: &Batch) -> Vec<Executed> {
        assert_eq!(sequence, self.applied.next(), "batches are executed in order");
        self.applied = sequence;
        let requests = batch.requests().iter().enumerate();
        requests
            .filter_map(|(place, bytes)| {
                let request = Request::open(bytes, &self.keyring)?;
                self.execute(place, request)
            })
            .collect()
    }

    /// The same for a batch all of whose requests were executed when it was decided: their signatures are not
    /// verified again.
    ///
    /// # Panics
    /// If it is not the next one.
    pub fn replay(&mut self, sequence: Sequence, batch: &Batch) -> Vec<Executed> {
        assert_eq!(sequence, self.applied.next(), "batches are executed in order");
        self.applied = sequence;
        let requests = batch.requests().iter().enumerate();
        requests
            .filter_map(|(place, bytes)| self.execute(place, Request::read(bytes).ok()?))
            .collect()
    }

    fn execute(&mut self, place: usize, request: Request) -> Option<Executed> {
        let Request { gateway, serial, entries } = request;
        if !self.serials.entry(gateway).or_default().admit(serial) {
            return None;
        }
        let first = self.length + 1;
        let heads = entries.iter().map(|entry| self.append(gateway, entry)).collect();
        Some(Executed { gateway, serial, place, first, heads })
    }

    fn append(&mut self, gateway: NodeId, entry: &[u8]) -> Digest {
        self.length += 1;
        self.head = chain(self.head, self.length, gateway, entry);
        self.head
    }

    /// The whole state as bytes: the same at all replicas after the same batch. Its digest is what they vote
    /// on at a checkpoint.
    pub fn snapshot(&self) -> Bytes {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        writer.u8(VERSION).u64(self.applied.0).u64(self.length);
        self.head.encode(&mut writer);
        writer.u16(u16::try_from(self.serials.len()).expect("there are at most 32 gateways"));
        for (gateway, serials) in &self.serials {
            writer.node_id(*gateway).u64(serials.highest).u64(serials.executed);
        }
        bytes.into()
    }

    /// The ledger whose snapshot this is.
    ///
    /// # Errors
    /// If it is none.
    pub fn restore(bytes: &[u8], keyring: Keyring) -> Result<Ledger, DecodeError> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != VERSION {
            return Err(DecodeError);
        }
        let (applied, length) = (Sequence(reader.u64()?), reader.u64()?);
        let head = Digest::decode(&mut reader)?;
        let mut serials = BTreeMap::new();
        for _ in 0..reader.u16()? {
            let gateway = reader.node_id()?;
            let (highest, executed) = (reader.u64()?, reader.u64()?);
            let is_next = serials.last_key_value().is_none_or(|(last, _)| *last < gateway);
            if !is_next || keyring.slot(gateway).is_none() {
                return Err(DecodeError);
            }
            serials.insert(gateway, Serials { highest, executed });
        }
        reader.finish()?;
        Ok(Ledger { keyring, applied, length, head, serials })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::request::tests::{key, keyring, request};

    fn sealed(gateway: u16, serial: u64, entries: &[&'static [u8]]) -> Bytes {
        request(gateway, serial, entries).seal(&key(gateway), &keyring())
    }

    #[test]
    fn entries_are_chained_and_each_request_is_executed_once() {
        let mut ledger = Ledger::new(keyring());
        let twice = sealed(1, 1, &[b"a", b"b"]);
        let batch = Batch::new(vec![twice.clone(), Bytes::from_static(b"nobody's"), twice.clone()]);
        let executed = ledger.apply(Sequence(1), &batch);
        assert_eq!(executed.len(), 1);
        assert_eq!((executed[0].first, executed[0].heads.len(), executed[0].place), (1, 2, 0));
        assert_eq!((ledger.length(), ledger.head()), (2, executed[0].heads[1]));
        // Again in a later batch, beside one that is new, and one with another's signature.
        let forged = request(2, 1, &[b"x"]).seal(&key(3), &keyring());
        let batch = Batch::new(vec![twice, forged, sealed(2, 1, &[b"a"])]);
        let executed = ledger.apply(Sequence(2), &batch);
        assert_eq!((executed.len(), executed[0].place, executed[0].first), (1, 2, 3));
        assert_eq!((ledger.applied(), ledger.length()), (Sequence(2), 3));
        assert!(ledger.apply(Sequence(3), &Batch::null()).is_empty());
    }

    /// The head tells the order, the gateway, and where one entry ends and the next begins.
    #[test]
    fn other_entries_have_another_head() {
        let head = |requests: Vec<Bytes>| {
            let mut ledger = Ledger::new(keyring());
            ledger.apply(Sequence(1), &Batch::new(requests));
            ledger.head()
        };
        let heads = [
            head(vec![]),
            head(vec![sealed(1, 1, &[b""])]),
            head(vec![sealed(1, 1, &[b"ab"])]),
            head(vec![sealed(1, 1, &[b"a", b"b"])]),
            head(vec![sealed(1, 1, &[b"b", b"a"])]),
            head(vec![sealed(2, 1, &[b"ab"])]),
        ];
        assert!(heads.iter().enumerate().all(|(at, one)| !heads[..at].contains(one)));
        // How entries are spread over requests and batches is not seen.
        let apart = head(vec![sealed(1, 1, &[b"a"]), sealed(1, 2, &[b"b"])]);
        assert_eq!(apart, heads[3]);
    }

    proptest! {
        /// A ledger that is restored goes on as the one that it was taken of; damage is refused or harmless.
        #[test]
        fn a_snapshot_is_the_whole_state(
            steps in proptest::collection::vec((1u16..=4, 1u64..8), 0..12),
            cut in 0usize..8,
            flip in any::<prop::sample::Index>(),
        ) {
            let (mut ledger, mut copy) = (Ledger::new(keyring()), Ledger::new(keyring()));
            for (at, (gateway, serial)) in steps.into_iter().enumerate() {
                if at == cut {
                    copy = Ledger::restore(&ledger.snapshot(), keyring()).unwrap();
                    prop_assert_eq!(&copy, &ledger);
                }
                let batch = Batch::new(vec![sealed(gateway, serial, &[b"entry"])]);
                let executed = ledger.apply(Sequence(at as u64 + 1), &batch);
                if at >= cut {
                    prop_assert_eq!(copy.apply(Sequence(at as u64 + 1), &batch), executed);
                }
            }
            let mut bytes = ledger.snapshot().to_vec();
            let at = flip.index(bytes.len());
            bytes[at] ^= 0x10;
            if let Ok(other) = Ledger::restore(&bytes, keyring()) {
                prop_assert_eq!(&other.snapshot()[..], &bytes[..]);
            }
        }
    }
}
