//! A node's own clients: their entries on the way into the ledger, and what became of them.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::fmt;

use base::{NodeId, limits};
use bft::Batch;
use bytes::Bytes;
use crypto::{Digest, KeyError, Keyring, SigningKey};

use crate::clients::{Clients, SignedEntry};
use crate::machine::{Executed, Ledger, Unfit};
use crate::request::{Author, Request};
use crate::serials::{SERIALS_TOLD_APART, Stale};

// All that are under way are told apart, with those that an earlier start has left behind.
const _: () = assert!(limits::LEDGER_REQUESTS_IN_FLIGHT_MAX as u64 <= SERIALS_TOLD_APART / 2);

/// Why an entry is not taken. Nothing has changed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AppendError {
    /// It is longer than an entry may be.
    TooLarge,
    /// Too many wait: try again later.
    Busy,
    /// The client's key is none, or weak.
    Key(KeyError),
    /// The client has not signed this entry with this sequence for this group.
    Signature,
    /// It would do nothing.
    Unfit(Unfit),
    /// The same request of the client is on its way.
    UnderWay,
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AppendError::TooLarge => {
                write!(f, "an entry has at most {} bytes", limits::LEDGER_ENTRY_MAX_BYTES)
            }
            AppendError::Busy => f.write_str("too many entries wait to be appended"),
            AppendError::Key(error) => write!(f, "the client's key: {error}"),
            AppendError::Signature => f.write_str(
                "the signature is not one of this client for this sequence, entry and group",
            ),
            AppendError::Unfit(Unfit::Stale(Stale::Repeated)) => {
                f.write_str("an entry of this client with this sequence was appended before")
            }
            AppendError::Unfit(Unfit::Stale(Stale::Old)) => write!(
                f,
                "the sequence is 0, or {SERIALS_TOLD_APART} or more below the client's highest"
            ),
            AppendError::Unfit(Unfit::TooManyClients) => {
                write!(
                    f,
                    "{} other clients sign themselves: no more do",
                    limits::LEDGER_CLIENTS_MAX
                )
            }
            AppendError::UnderWay => {
                f.write_str("this request of the client is on its way already")
            }
        }
    }
}

impl core::error::Error for AppendError {}

/// An entry that was appended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt<T> {
    /// Whose it was.
    pub client: T,
    /// Its position.
    pub position: u64,
    /// The head there.
    pub head: Digest,
}

/// The entries of one node's clients; `T` names a client.
///
/// What waits goes into one request, under one signature. A few requests are under way at a time, so that
/// under load each of them has more entries.
#[derive(Debug)]
pub struct Gateway<T> {
    id: NodeId,
    next_serial: u64,
    waiting: VecDeque<(T, Bytes)>,
    in_flight: BTreeMap<u64, Vec<T>>,
    /// Those who sign themselves.
    clients: Clients<T>,
}

impl<T> Gateway<T> {
    /// The gateway of a node that has started `epoch` times: more often than ever before, and less often than
    /// 2^32 times.
    pub fn new(id: NodeId, epoch: u64) -> Gateway<T> {
        let next_serial = (epoch << 32) + 1;
        let (waiting, in_flight) = (VecDeque::new(), BTreeMap::new());
        Gateway { id, next_serial, waiting, in_flight, clients: Clients::new() }
    }

    /// Takes an entry that the client has signed itself.
    ///
    /// # Errors
    /// If it is refused; then nothing has changed.
    pub fn submit(
        &mut self,
        client: T,
        signed: SignedEntry,
        ledger: &Ledger,
    ) -> Result<(), AppendError> {
        self.clients.submit(client, signed, ledger)
    }

    /// Takes an entry.
    ///
    /// # Errors
    /// If it is refused; then nothing has changed.
    pub fn append(&mut self, client: T, entry: Bytes) -> Result<(), AppendError> {
        if entry.len() > limits::LEDGER_ENTRY_MAX_BYTES {
            return Err(AppendError::TooLarge);
        }
        if self.waiting.len() >= limits::LEDGER_WAITING_MAX {
            return Err(AppendError::Busy);
        }
        self.waiting.push_back((client, entry));
        Ok(())
    }

    /// The next request to be ordered, if anything waits and there is room for one more.
    pub fn poll_request(&mut self, key: &SigningKey, keyring: &Keyring) -> Option<Bytes> {
        if let Some(request) = self.clients.poll() {
            return Some(request);
        }
        if self.in_flight.len() >= limits::LEDGER_REQUESTS_IN_FLIGHT_MAX {
            return None;
        }
        let (mut clients, mut entries) = (Vec::new(), Vec::new());
        let mut room = limits::LEDGER_REQUEST_MAX_BYTES;
        while entries.len() < limits::LEDGER_REQUEST_MAX_ENTRIES
            && let Some((client, entry)) =
                self.waiting.pop_front_if(|(_, entry)| entry.len() <= room)
        {
            room -= entry.len();
            clients.push(client);
            entries.push(entry);
        }
        if entries.is_empty() {
            return None;
        }
        let serial = self.next_serial;
        self.next_serial += 1;
        self.in_flight.insert(serial, clients);
        Some(Request { author: Author::Gateway(self.id), serial, entries }.seal(key, keyring))
    }

    /// The request was not taken: it is made anew later.
    pub fn give_back(&mut self, request: &Bytes) {
        let Ok(Request { author, serial, entries }) = Request::read(request) else { return };
        if author != Author::Gateway(self.id) {
            return self.clients.give_back((author, serial), request.clone());
        }
        let clients = self.in_flight.remove(&serial).unwrap_or_default();
        clients.into_iter().zip(entries).rev().for_each(|pair| self.waiting.push_front(pair));
    }

    /// A request was executed: what the clients behind it are told, if it was one of this node's.
    pub fn handle_executed(&mut self, executed: &Executed) -> Vec<Receipt<T>> {
        let clients = match executed.author {
            Author::Gateway(id) if id == self.id => self.in_flight.remove(&executed.serial),
            Author::Gateway(_) => return Vec::new(), // Its serials are its own.
            Author::Client(_) => self.clients.handle_executed(executed).map(|one| Vec::from([one])),
        };
        let positions = executed.first..;
        let receipts = clients.unwrap_or_default().into_iter().zip(positions).zip(&executed.heads);
        receipts
            .map(|((client, position), head)| Receipt { client, position, head: *head })
            .collect()
    }

    /// A batch was executed, and its [`Executed`] are handled: clients who signed a request of it that was
    /// not executed, for it was before.
    pub fn handle_refused(&mut self, batch: &Batch) -> Vec<T> {
        self.clients.handle_refused(batch)
    }

    /// The state of another replica has taken the place of this one's: what became of the requests that are
    /// under way is not known here. Their clients, who will not be told.
    pub fn forget_in_flight(&mut self) -> impl Iterator<Item = T> {
        let in_flight = core::mem::take(&mut self.in_flight).into_values().flatten();
        in_flight.chain(self.clients.forget())
    }

    /// What waits is not appended. Their clients, who are to be told.
    pub fn forget_waiting(&mut self) -> impl Iterator<Item = T> {
        let waiting = core::mem::take(&mut self.waiting).into_iter().map(|(client, _)| client);
        waiting.chain(self.clients.forget_waiting())
    }

    /// Neither what waits nor what is under way will be heard of here any more. Their clients.
    pub fn forget_all(&mut self) -> impl Iterator<Item = T> {
        let waiting = core::mem::take(&mut self.waiting).into_iter().map(|(client, _)| client);
        let in_flight = core::mem::take(&mut self.in_flight).into_values().flatten();
        waiting.chain(in_flight).chain(self.clients.forget())
    }

    /// How many entries wait, and how many are under way.
    pub fn depth(&self) -> (usize, usize) {
        let (waiting, in_flight) = self.clients.depth();
        let entries: usize = self.in_flight.values().map(Vec::len).sum();
        (waiting + self.waiting.len(), in_flight + entries)
    }
}

#[cfg(test)]
mod tests {
    use bft::Sequence;

    use super::*;
    use crate::machine::Ledger;
    use crate::request::tests::{id, key, keyring, of_client};

    fn number(author: Author) -> u16 {
        let Author::Gateway(id) = author else { panic!("{author:?}") };
        id.get()
    }

    /// A client's own request goes as it is, once, and the client learns what became of it: also if another
    /// node was quicker, or the same was ordered twice.
    #[test]
    fn what_a_client_signs_is_ordered_as_it_is() {
        let (mut gateway, mut ledger) = (gateway(1), Ledger::new(keyring()));
        let request = |serial| of_client(70, serial, b"mine");
        let signed = |serial: u64| {
            let sealed = request(serial).seal(&key(70), &keyring());
            let signature = crypto::Signature(sealed[sealed.len() - 64..].try_into().unwrap());
            let client = key(70).verifying_key().to_bytes();
            let entry = Bytes::from_static(b"mine");
            SignedEntry { client, sequence: serial, entry, signature }
        };
        for (client, serial) in [(1, 1), (2, 2), (3, 3)] {
            gateway.submit(client, signed(serial), &ledger).unwrap();
        }
        assert_eq!(gateway.submit(9, signed(1), &ledger), Err(AppendError::UnderWay));
        let forged = SignedEntry { sequence: 4, ..signed(5) };
        assert_eq!(gateway.submit(9, forged, &ledger), Err(AppendError::Signature));
        let weak = SignedEntry { client: [0; 32], ..signed(5) };
        assert_eq!(gateway.submit(9, weak, &ledger), Err(AppendError::Key(KeyError::Weak)));
        let first = gateway.poll_request(&key(2), &keyring()).unwrap();
        assert_eq!(first, request(1).seal(&key(70), &keyring()));
        gateway.give_back(&first);
        let again = gateway.poll_request(&key(2), &keyring()).unwrap();
        assert_eq!((again, gateway.depth()), (first.clone(), (2, 1)));
        // The third comes by way of another node.
        let batch = Batch::new(vec![first.clone(), request(3).seal(&key(70), &keyring())]);
        let executed = ledger.apply(Sequence(1), &batch);
        let told = executed.iter().flat_map(|one| gateway.handle_executed(one));
        assert_eq!(
            told.map(|one| (one.client, one.position)).collect::<Vec<_>>(),
            [(1, 1), (3, 2)]
        );
        assert_eq!((gateway.handle_refused(&batch), gateway.depth()), (vec![], (1, 0)));
        let stale = AppendError::Unfit(Unfit::Stale(Stale::Repeated));
        assert_eq!(gateway.submit(9, signed(1), &ledger), Err(stale));
        // The second is ordered, by another node, and only then by this one.
        let second = gateway.poll_request(&key(2), &keyring()).unwrap();
        let mut other = ledger.clone();
        other.apply(Sequence(2), &Batch::new(vec![second.clone()]));
        let batch = Batch::new(vec![second]);
        assert!(other.apply(Sequence(3), &batch).is_empty());
        assert_eq!((gateway.handle_refused(&batch), gateway.depth()), (vec![2], (0, 0)));
    }

    fn gateway(epoch: u64) -> Gateway<usize> {
        Gateway::new(id(2), epoch)
    }

    /// All that wait go together; what comes meanwhile goes next, and everybody learns where it is.
    #[test]
    fn entries_that_wait_share_a_signature() {
        let (mut gateway, mut ledger) = (gateway(1), Ledger::new(keyring()));
        assert!(gateway.poll_request(&key(2), &keyring()).is_none(), "nothing waits");
        for client in 0..5 {
            gateway.append(client, Bytes::from(vec![client as u8])).unwrap();
        }
        let request = gateway.poll_request(&key(2), &keyring()).unwrap();
        assert_eq!((gateway.depth(), Request::read(&request).unwrap().entries.len()), ((0, 5), 5));
        let executed = ledger.apply(Sequence(1), &Batch::new(vec![request]));
        let receipts = gateway.handle_executed(&executed[0]);
        assert_eq!(receipts.iter().map(|one| one.client).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert_eq!((receipts[4].position, receipts[4].head), (5, ledger.head()));
        assert!(gateway.handle_executed(&executed[0]).is_empty(), "once");
    }

    #[test]
    fn few_requests_are_under_way_and_each_within_its_limits() {
        let mut gateway = gateway(1);
        let entry = Bytes::from(vec![0; limits::LEDGER_ENTRY_MAX_BYTES]);
        let mut requests = Vec::new();
        for client in 0..limits::LEDGER_WAITING_MAX {
            gateway.append(client, entry.clone()).unwrap();
        }
        assert_eq!(gateway.append(0, entry.clone()), Err(AppendError::Busy));
        assert_eq!(
            gateway.append(0, [&entry[..], b"x"].concat().into()),
            Err(AppendError::TooLarge)
        );
        while let Some(request) = gateway.poll_request(&key(2), &keyring()) {
            assert!(request.len() <= limits::BFT_REQUEST_MAX_BYTES);
            requests.push(request);
        }
        assert_eq!(requests.len(), limits::LEDGER_REQUESTS_IN_FLIGHT_MAX);
        let depth = gateway.depth();
        gateway.give_back(&requests[0]);
        assert_eq!(gateway.depth().0, depth.0 + Request::read(&requests[0]).unwrap().entries.len());
        let again = Request::read(&gateway.poll_request(&key(2), &keyring()).unwrap()).unwrap();
        assert!(again.serial > requests.len() as u64, "a serial is never used again");
    }

    /// What an earlier start of the node left behind is not taken for what this one has sent.
    #[test]
    fn starts_are_told_apart() {
        let (mut before, mut after) = (gateway(1), gateway(2));
        before.append(1, Bytes::from_static(b"old")).unwrap();
        after.append(2, Bytes::from_static(b"new")).unwrap();
        let requests =
            [&mut before, &mut after].map(|one| one.poll_request(&key(2), &keyring()).unwrap());
        let executed = Ledger::new(keyring()).apply(Sequence(1), &Batch::new(requests.to_vec()));
        assert!(after.handle_executed(&executed[0]).is_empty());
        assert_eq!(after.handle_executed(&executed[1])[0].client, 2);
    }

    /// Gateways count alike: what another has sent under the same serial is not this one's.
    #[test]
    fn gateways_are_told_apart() {
        let mut gateways = [Gateway::new(id(1), 1), Gateway::new(id(2), 1)];
        let mut ledger = Ledger::new(keyring());
        let requests: Vec<Bytes> = (0..2)
            .map(|at: u16| {
                let gateway = &mut gateways[usize::from(at)];
                gateway.append(at, Bytes::from(vec![at as u8])).unwrap();
                gateway.poll_request(&key(at + 1), &keyring()).unwrap()
            })
            .collect();
        for executed in ledger.apply(Sequence(1), &Batch::new(requests)) {
            let receipts: Vec<_> =
                gateways.iter_mut().flat_map(|one| one.handle_executed(&executed)).collect();
            assert_eq!(receipts.len(), 1);
            assert_eq!(
                (receipts[0].client + 1, receipts[0].position),
                (number(executed.author), executed.first)
            );
        }
    }
}
