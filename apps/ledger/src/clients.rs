//! Requests that a node's clients have signed themselves, on their way.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use base::limits;
use bft::Batch;
use bytes::Bytes;
use crypto::{KEY_BYTES, Keyring, Signature, VerifyingKey};

use crate::gateway::AppendError;
use crate::machine::{Executed, Ledger};
use crate::request::{Author, Request};

/// An entry that a client has signed, as it comes from the client: nothing of it is verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedEntry {
    /// The client's key.
    pub client: [u8; KEY_BYTES],
    /// The client's number for it: from 1 on, each for one entry.
    pub sequence: u64,
    /// The entry.
    pub entry: Bytes,
    /// The signature.
    pub signature: Signature,
}

/// Which request: whose, and its sequence.
type Name = (Author, u64);

/// See the module; `T` names who waits for an answer.
#[derive(Debug)]
pub(crate) struct Clients<T> {
    waiting: VecDeque<(Name, Bytes)>,
    in_flight: usize,
    /// Of those that wait and those that are under way.
    askers: BTreeMap<Name, T>,
}

impl<T> Clients<T> {
    pub(crate) fn new() -> Clients<T> {
        Clients { waiting: VecDeque::new(), in_flight: 0, askers: BTreeMap::new() }
    }

    pub(crate) fn submit(
        &mut self,
        asker: T,
        signed: SignedEntry,
        ledger: &Ledger,
    ) -> Result<(), AppendError> {
        if signed.entry.len() > limits::LEDGER_ENTRY_MAX_BYTES {
            return Err(AppendError::TooLarge);
        }
        if self.askers.len() >= limits::LEDGER_WAITING_MAX {
            return Err(AppendError::Busy);
        }
        let (author, serial) = (Author::Client(signed.client), signed.sequence);
        let sealed = seal(signed, ledger.keyring())?;
        ledger.judge(author, serial).map_err(AppendError::Unfit)?;
        if self.askers.contains_key(&(author, serial)) {
            return Err(AppendError::UnderWay);
        }
        self.askers.insert((author, serial), asker);
        self.waiting.push_back(((author, serial), sealed));
        Ok(())
    }

    /// The next one, if there is room for it among those that are under way.
    pub(crate) fn poll(&mut self) -> Option<Bytes> {
        if self.in_flight >= limits::LEDGER_SIGNED_IN_FLIGHT_MAX {
            return None;
        }
        let (_, sealed) = self.waiting.pop_front()?;
        self.in_flight += 1;
        Some(sealed)
    }

    pub(crate) fn give_back(&mut self, name: Name, sealed: Bytes) {
        self.in_flight -= 1;
        self.waiting.push_front((name, sealed));
    }

    pub(crate) fn handle_executed(&mut self, executed: &Executed) -> Option<T> {
        self.take((executed.author, executed.serial))
    }

    /// A batch was executed, and everybody told what of it was: who still waits for a request of it is not
    /// going to be.
    pub(crate) fn handle_refused(&mut self, batch: &Batch) -> Vec<T> {
        if self.askers.is_empty() {
            return Vec::new();
        }
        let requests = batch.requests().iter().filter_map(|bytes| Request::read(bytes).ok());
        requests.filter_map(|request| self.take((request.author, request.serial))).collect()
    }

    /// Another node may have had it ordered while it still waited here.
    fn take(&mut self, name: Name) -> Option<T> {
        let asker = self.askers.remove(&name)?;
        let waiting = self.waiting.len();
        self.waiting.retain(|(at, _)| *at != name);
        self.in_flight -= usize::from(self.waiting.len() == waiting);
        Some(asker)
    }

    pub(crate) fn forget(&mut self) -> impl Iterator<Item = T> + use<T> {
        let forgotten = core::mem::replace(self, Clients::new());
        forgotten.askers.into_values()
    }

    pub(crate) fn forget_waiting(&mut self) -> impl Iterator<Item = T> {
        let waiting = core::mem::take(&mut self.waiting);
        waiting.into_iter().filter_map(|(name, _)| self.askers.remove(&name))
    }

    /// How many wait, and how many are under way.
    pub(crate) fn depth(&self) -> (usize, usize) {
        (self.waiting.len(), self.in_flight)
    }
}

/// The request of a client, if it is one.
fn seal(signed: SignedEntry, keyring: &Keyring) -> Result<Bytes, AppendError> {
    let SignedEntry { client, sequence, entry, signature } = signed;
    VerifyingKey::from_bytes(&client).map_err(AppendError::Key)?;
    let entries = Vec::from([entry]);
    let request = Request { author: Author::Client(client), serial: sequence, entries };
    let sealed = request.with_signature(&signature);
    match Request::open(&sealed, keyring) {
        Some(_) => Ok(sealed),
        None => Err(AppendError::Signature),
    }
}
