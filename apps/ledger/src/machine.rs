//! The state machine: what decided batches do to the ledger.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use base::codec::{DecodeError, Reader, Writer};
use base::{NodeId, limits};
use bft::{Batch, Sequence};
use bytes::Bytes;
use crypto::{Digest, Hasher, KEY_BYTES, Keyring};

use crate::request::{Author, Request};
use crate::serials::{Serials, Stale};

/// The form of a snapshot.
const VERSION: u8 = 2;

/// The state of the ledger after some batches: where its chain ends, and what was executed of whom. The
/// entries are not part of it: the head stands for them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ledger {
    keyring: Keyring,
    applied: Sequence,
    length: u64,
    head: Digest,
    gateways: BTreeMap<NodeId, Serials>,
    clients: BTreeMap<[u8; KEY_BYTES], Serials>,
}

/// The head at a position: what the head before it becomes with this entry.
pub fn chain(before: Digest, position: u64, author: Author, entry: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.update(b"coterie ledger\0\x02").update(&before.0).update(&position.to_le_bytes());
    match author {
        Author::Gateway(id) => hasher.update(&id.get().to_le_bytes()),
        // 0 is the number of no node.
        Author::Client(key) => hasher.update(&[0; 2]).update(&key),
    };
    hasher.update(&(entry.len() as u64).to_le_bytes()).update(entry);
    hasher.finish()
}

/// Why a request would do nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unfit {
    /// It was executed, or is too old to know.
    Stale(Stale),
    /// It is of a client that is new, and there are as many as are remembered.
    TooManyClients,
}

/// A request that was executed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Executed {
    /// Whose it was.
    pub author: Author,
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
        let (gateways, clients) = (BTreeMap::new(), BTreeMap::new());
        Ledger { keyring, applied, length: 0, head, gateways, clients }
    }

    /// Whether a request of this author and serial would be executed now.
    ///
    /// # Errors
    /// Why not.
    pub fn judge(&self, author: Author, serial: u64) -> Result<(), Unfit> {
        let known = match author {
            Author::Gateway(id) => self.gateways.get(&id),
            Author::Client(key) => self.clients.get(&key),
        };
        match (known, author) {
            (None, Author::Client(_)) if self.clients.len() >= limits::LEDGER_CLIENTS_MAX => {
                Err(Unfit::TooManyClients)
            }
            (known, _) => known.copied().unwrap_or_default().judge(serial).map_err(Unfit::Stale),
        }
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
        let Request { author, serial, entries } = request;
        self.judge(author, serial).ok()?;
        let serials = match author {
            Author::Gateway(id) => self.gateways.entry(id).or_default(),
            Author::Client(key) => self.clients.entry(key).or_default(),
        };
        serials.admit(serial);
        let first = self.length + 1;
        let heads = entries.iter().map(|entry| self.append(author, entry)).collect();
        Some(Executed { author, serial, place, first, heads })
    }

    fn append(&mut self, author: Author, entry: &[u8]) -> Digest {
        self.length += 1;
        self.head = chain(self.head, self.length, author, entry);
        self.head
    }

    /// The whole state as bytes: the same at all replicas after the same batch. Its digest is what they vote
    /// on at a checkpoint.
    pub fn snapshot(&self) -> Bytes {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        writer.u8(VERSION).u64(self.applied.0).u64(self.length);
        self.head.encode(&mut writer);
        writer.u16(u16::try_from(self.gateways.len()).expect("there are at most 32 gateways"));
        for (gateway, serials) in &self.gateways {
            writer.node_id(*gateway).u64(serials.highest).u64(serials.executed);
        }
        writer.u16(u16::try_from(self.clients.len()).expect("the limit is below 2^16"));
        for (key, serials) in &self.clients {
            writer.bytes(key).u64(serials.highest).u64(serials.executed);
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
        let gateways = serials(&mut reader, limits::BFT_REPLICAS_MAX, |reader| {
            reader.node_id().and_then(|id| keyring.slot(id).map(|_| id).ok_or(DecodeError))
        })?;
        let clients = serials(&mut reader, limits::LEDGER_CLIENTS_MAX, |reader| {
            reader.bytes(KEY_BYTES)?.try_into().map_err(|_| DecodeError)
        })?;
        reader.finish()?;
        Ok(Ledger { keyring, applied, length, head, gateways, clients })
    }
}

/// The serials of authors, in ascending order.
fn serials<A: Ord>(
    reader: &mut Reader<'_>,
    count_max: usize,
    author: impl Fn(&mut Reader<'_>) -> Result<A, DecodeError>,
) -> Result<BTreeMap<A, Serials>, DecodeError> {
    let count = usize::from(reader.u16()?);
    let mut all = BTreeMap::new();
    for _ in 0..count {
        let author = author(reader)?;
        let (highest, executed) = (reader.u64()?, reader.u64()?);
        if all.last_key_value().is_some_and(|(last, _)| *last >= author) {
            return Err(DecodeError);
        }
        all.insert(author, Serials { highest, executed });
    }
    if count > count_max { Err(DecodeError) } else { Ok(all) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::request::tests::{key, keyring, of_client, request};

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

    /// Clients that sign for themselves are told apart, each sequence of each is executed once, in any order
    /// within the window, and only so many clients are remembered.
    #[test]
    fn each_sequence_of_a_client_once() {
        let mut ledger = Ledger::new(keyring());
        let of =
            |client: u16, serial| of_client(client, serial, b"x").seal(&key(client), &keyring());
        let batch =
            Batch::new(vec![of(70, 2), of(71, 2), of(70, 1), of(70, 2), of(70, 100), of(70, 3)]);
        let executed = ledger.apply(Sequence(1), &batch);
        assert_eq!(executed.iter().map(|one| one.place).collect::<Vec<_>>(), [0, 1, 2, 4]);
        let author = of_client(70, 1, b"").author;
        assert_eq!(ledger.judge(author, 100), Err(Unfit::Stale(Stale::Repeated)));
        assert_eq!(ledger.judge(author, 36), Err(Unfit::Stale(Stale::Old)));
        assert_eq!((ledger.judge(author, 37), ledger.judge(author, 101)), (Ok(()), Ok(())));
        assert_eq!(Ledger::restore(&ledger.snapshot(), keyring()).unwrap(), ledger);
        let mut number = 0_u16;
        while ledger.clients.len() < limits::LEDGER_CLIENTS_MAX {
            let mut key = [7; KEY_BYTES];
            key[..2].copy_from_slice(&number.to_le_bytes());
            ledger.clients.insert(key, Serials::default());
            number += 1;
        }
        assert_eq!(Ledger::restore(&ledger.snapshot(), keyring()).unwrap(), ledger);
        let executed = ledger.apply(Sequence(2), &Batch::new(vec![of(72, 1), of(70, 101)]));
        assert_eq!(executed.iter().map(|one| one.place).collect::<Vec<_>>(), [1]);
        let newcomer = of_client(72, 1, b"").author;
        assert_eq!(ledger.judge(newcomer, 1), Err(Unfit::TooManyClients));
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
