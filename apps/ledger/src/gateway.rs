//! A node's own clients: their entries on the way into the ledger, and what became of them.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::fmt;

use base::{NodeId, limits};
use bytes::Bytes;
use crypto::{Digest, Keyring, SigningKey};

use crate::machine::Executed;
use crate::request::Request;
use crate::serials::SERIALS_TOLD_APART;

// All that are under way are told apart, with those that an earlier start has left behind.
const _: () = assert!(limits::LEDGER_REQUESTS_IN_FLIGHT_MAX as u64 <= SERIALS_TOLD_APART / 2);

/// Why an entry is not taken. Nothing has changed then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AppendError {
    /// It is longer than an entry may be.
    TooLarge,
    /// Too many wait: try again later.
    Busy,
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AppendError::TooLarge => {
                write!(f, "an entry has at most {} bytes", limits::LEDGER_ENTRY_MAX_BYTES)
            }
            AppendError::Busy => f.write_str("too many entries wait to be appended"),
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
}

impl<T> Gateway<T> {
    /// The gateway of a node that has started `epoch` times: more often than ever before, and less often than
    /// 2^32 times.
    pub fn new(id: NodeId, epoch: u64) -> Gateway<T> {
        let next_serial = (epoch << 32) + 1;
        Gateway { id, next_serial, waiting: VecDeque::new(), in_flight: BTreeMap::new() }
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
        Some(Request { gateway: self.id, serial, entries }.seal(key, keyring))
    }

    /// The request was not taken: it is made anew later.
    pub fn give_back(&mut self, request: &Bytes) {
        let Ok(Request { serial, entries, .. }) = Request::read(request) else { return };
        let clients = self.in_flight.remove(&serial).unwrap_or_default();
        clients.into_iter().zip(entries).rev().for_each(|pair| self.waiting.push_front(pair));
    }

    /// A request was executed: what the clients behind it are told, if it was one of this node's.
    pub fn handle_executed(&mut self, executed: &Executed) -> Vec<Receipt<T>> {
        if executed.gateway != self.id {
            return Vec::new(); // Its serials are its own.
        }
        let clients = self.in_flight.remove(&executed.serial);
        let positions = executed.first..;
        let receipts = clients.unwrap_or_default().into_iter().zip(positions).zip(&executed.heads);
        receipts
            .map(|((client, position), head)| Receipt { client, position, head: *head })
            .collect()
    }

    /// The state of another replica has taken the place of this one's: what became of the requests that are
    /// under way is not known here. Their clients, who will not be told.
    pub fn forget_in_flight(&mut self) -> impl Iterator<Item = T> {
        core::mem::take(&mut self.in_flight).into_values().flatten()
    }

    /// What waits is not appended. Their clients, who are to be told.
    pub fn forget_waiting(&mut self) -> impl Iterator<Item = T> {
        core::mem::take(&mut self.waiting).into_iter().map(|(client, _)| client)
    }

    /// Neither what waits nor what is under way will be heard of here any more. Their clients.
    pub fn forget_all(&mut self) -> impl Iterator<Item = T> {
        let in_flight = core::mem::take(&mut self.in_flight).into_values().flatten();
        in_flight.chain(core::mem::take(&mut self.waiting).into_iter().map(|(client, _)| client))
    }

    /// How many entries wait, and how many are under way.
    pub fn depth(&self) -> (usize, usize) {
        (self.waiting.len(), self.in_flight.values().map(Vec::len).sum())
    }
}

#[cfg(test)]
mod tests {
    use bft::{Batch, Sequence};

    use super::*;
    use crate::machine::Ledger;
    use crate::request::tests::{id, key, keyring};

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
                (executed.gateway.get(), executed.first)
            );
        }
    }
}
