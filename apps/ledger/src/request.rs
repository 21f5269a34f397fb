//! What replicas order: entries of one gateway under its signature, or an entry of a client under its own.
//!
//! ```text
//! of a gateway  its number (u16)    serial (u64)    how many (u16)   entries, each behind its length (u32)
//! of a client   0 (u16)   its key (32)   sequence (u64)   1 (u16)    the entry behind its length (u32)
//! and behind both a signature (64); numbers are little-endian
//! ```
//!
//! What a client signs are 89 bytes, whatever program it uses: `cot-led` and a byte 1, the name of the group
//! (32, which `bft status` shows), a byte 2, eight bytes 0, the sequence (u64), and the SHA-256 of the entry.
//! A gateway signs the same with a byte 1 in the place of the 2, and the SHA-256 of the request in front of
//! the signature.

use alloc::vec::Vec;

use base::codec::{DecodeError, Reader, Writer};
use base::{NodeId, limits};
use bytes::Bytes;
use crypto::{
    Digest, KEY_BYTES, Keyring, SIGNATURE_BYTES, Signature, SigningKey, Statement, VerifyingKey,
};

/// This protocol and its version, in everything that is signed.
const PROTOCOL: [u8; 8] = *b"cot-led\x01";
/// The kinds of statements in it: of a gateway, and of a client.
const APPEND: u8 = 1;
const CLIENT: u8 = 2;

/// Who vouches for entries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Author {
    /// The node whose clients they are from.
    Gateway(NodeId),
    /// The client itself, by its key.
    Client([u8; KEY_BYTES]),
}

/// Entries to be appended, in this order. One signature is for all of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Who has signed it.
    pub author: Author,
    /// The request's number there: never used again, not even after a restart.
    pub serial: u64,
    /// The entries: at least one, and of a client one.
    pub entries: Vec<Bytes>,
}

impl Request {
    /// The request as bytes, with the author's signature behind it.
    ///
    /// # Panics
    /// If it has no entry.
    pub fn seal(&self, key: &SigningKey, keyring: &Keyring) -> Bytes {
        let unsigned = self.unsigned();
        self.sign_with(&key.sign(&self.statement(keyring, &unsigned)), unsigned)
    }

    /// The request as bytes, with this signature behind it: [`Request::open`] tells whether it is one.
    pub fn with_signature(&self, signature: &Signature) -> Bytes {
        self.sign_with(signature, self.unsigned())
    }

    fn sign_with(&self, signature: &Signature, mut bytes: Vec<u8>) -> Bytes {
        signature.encode(&mut Writer::new(&mut bytes));
        bytes.into()
    }

    fn unsigned(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        match self.author {
            Author::Gateway(id) => writer.node_id(id),
            Author::Client(key) => writer.u16(0).bytes(&key),
        };
        writer.u64(self.serial);
        writer.u16(u16::try_from(self.entries.len()).expect("the limit is below 2^16"));
        for entry in &self.entries {
            writer.length_prefixed(entry);
        }
        bytes
    }

    /// What the author signs; `unsigned` is the request in front of the signature.
    fn statement(&self, keyring: &Keyring, unsigned: &[u8]) -> Statement {
        let (phase, signed) = match self.author {
            Author::Gateway(_) => (APPEND, unsigned),
            Author::Client(_) => (CLIENT, &self.entries[0][..]),
        };
        Statement {
            protocol: PROTOCOL,
            group: keyring.group(),
            phase,
            view: 0,
            sequence: self.serial,
            digest: Digest::of(signed),
        }
    }

    /// Reads a request, and checks that the author that it names has signed it. Entries are slices of
    /// `bytes`. None if it is anything but one whole request within the limits, of a member of the group or
    /// under a key that is not weak.
    pub fn open(bytes: &Bytes, keyring: &Keyring) -> Option<Request> {
        let request = Request::read(bytes).ok()?;
        let (unsigned, signature) = bytes.split_at(bytes.len() - SIGNATURE_BYTES);
        let signature = Signature(signature.try_into().ok()?);
        let statement = request.statement(keyring, unsigned);
        let verified = match request.author {
            Author::Gateway(id) => keyring.verify(keyring.slot(id)?, &statement, &signature),
            Author::Client(key) => {
                VerifyingKey::from_bytes(&key).ok()?.verify(&statement, &signature)
            }
        };
        verified.is_ok().then_some(request)
    }

    /// Reads a request; its signature is not verified.
    ///
    /// # Errors
    /// If it is none, or not within the limits.
    pub fn read(bytes: &Bytes) -> Result<Request, DecodeError> {
        let mut reader = Reader::new(bytes);
        let author = match reader.optional_node_id()? {
            Some(id) => Author::Gateway(id),
            None => Author::Client(reader.bytes(KEY_BYTES)?.try_into().map_err(|_| DecodeError)?),
        };
        let (serial, count) = (reader.u64()?, usize::from(reader.u16()?));
        let count_max = match author {
            Author::Gateway(_) => limits::LEDGER_REQUEST_MAX_ENTRIES,
            Author::Client(_) => 1,
        };
        if count == 0 || count > count_max {
            return Err(DecodeError);
        }
        let entry = |reader: &mut Reader<'_>| {
            reader.length_prefixed(limits::LEDGER_ENTRY_MAX_BYTES).map(|one| bytes.slice_ref(one))
        };
        let entries = (0..count).map(|_| entry(&mut reader)).collect::<Result<_, _>>()?;
        Signature::decode(&mut reader)?;
        reader.finish()?;
        Ok(Request { author, serial, entries })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use base::ClusterId;
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn id(number: u16) -> NodeId {
        NodeId::new(number).unwrap()
    }

    pub(crate) fn key(number: u16) -> SigningKey {
        SigningKey::take(&mut [u8::try_from(number).unwrap(); 32])
    }

    pub(crate) fn keyring() -> Keyring {
        let members = (1..=4).map(|number| (id(number), key(number).verifying_key()));
        Keyring::new(ClusterId(7), 0, members.collect()).unwrap()
    }

    pub(crate) fn request(gateway: u16, serial: u64, entries: &[&'static [u8]]) -> Request {
        let entries = entries.iter().map(|entry| Bytes::from_static(entry)).collect();
        Request { author: Author::Gateway(id(gateway)), serial, entries }
    }

    /// A request of the client with this key.
    pub(crate) fn of_client(number: u16, serial: u64, entry: &'static [u8]) -> Request {
        let author = Author::Client(key(number).verifying_key().to_bytes());
        Request { author, serial, entries: Vec::from([Bytes::from_static(entry)]) }
    }

    /// Whatever is changed of a sealed request, it is none any more; nor is what somebody else has sealed.
    #[test]
    fn only_the_gateway_can_seal_and_nobody_can_change() {
        let (keyring, request) = (keyring(), request(2, 9, &[b"one", b"", b"two"]));
        let sealed = request.seal(&key(2), &keyring);
        assert_eq!(Request::open(&sealed, &keyring), Some(request.clone()));
        for at in 0..sealed.len() {
            let mut changed = sealed.to_vec();
            changed[at] ^= 1;
            assert_eq!(Request::open(&changed.into(), &keyring), None, "byte {at}");
        }
        for other in [1, 3, 5] {
            assert_eq!(Request::open(&request.seal(&key(other), &keyring), &keyring), None);
        }
        let stranger = Request { author: Author::Gateway(id(9)), ..request };
        assert_eq!(Request::open(&stranger.seal(&key(9), &keyring), &keyring), None);
    }

    /// The same for a client that signs for itself; and a client does not sign for another group, nor a
    /// gateway for a client.
    #[test]
    fn only_the_client_can_sign_for_itself() {
        let (keyring, request) = (keyring(), of_client(77, 9, b"mine"));
        let sealed = request.seal(&key(77), &keyring);
        assert_eq!(Request::open(&sealed, &keyring), Some(request.clone()));
        for at in 0..sealed.len() {
            let mut changed = sealed.to_vec();
            changed[at] ^= 1;
            assert_eq!(Request::open(&changed.into(), &keyring), None, "byte {at}");
        }
        assert_eq!(Request::open(&request.seal(&key(1), &keyring), &keyring), None);
        let members = (1..=3).map(|number| (id(number), key(number).verifying_key())).collect();
        let other = Keyring::new(ClusterId(7), 0, members).unwrap();
        assert_eq!(Request::open(&sealed, &other), None);
        let entries = Vec::from([Bytes::from_static(b"a"), Bytes::from_static(b"b")]);
        let two = Request { entries, ..request.clone() }.seal(&key(77), &keyring);
        assert!(Request::read(&two).is_err(), "one entry");
        // The identity is a weak key, under which anybody can sign.
        let mut identity = [0; 32];
        identity[0] = 1;
        let weak = Request { author: Author::Client(identity), ..request };
        let mut signature = [0; 64];
        signature[0] = 1;
        assert_eq!(Request::open(&weak.with_signature(&Signature(signature)), &keyring), None);
    }

    /// The bytes that the documentation promises to clients.
    #[test]
    fn what_a_client_signs() {
        let request = of_client(77, 0x0102, b"entry");
        let statement = request.statement(&keyring(), b"");
        let mut expected = b"cot-led\x01".to_vec();
        expected.extend(keyring().group().0);
        expected.push(2);
        expected.extend([0; 8]);
        expected.extend([2, 1, 0, 0, 0, 0, 0, 0]);
        expected.extend(Digest::of(b"entry").0);
        assert_eq!(statement.to_bytes()[..], expected);
        assert_eq!(expected.len(), 89);
    }

    #[test]
    fn a_request_without_entries_or_with_too_many_is_none() {
        let sealed = |count: usize| {
            let entries = alloc::vec![Bytes::from_static(b"x"); count];
            Request { author: Author::Gateway(id(1)), serial: 1, entries }.seal(&key(1), &keyring())
        };
        assert!(Request::read(&sealed(0)).is_err());
        assert!(Request::read(&sealed(limits::LEDGER_REQUEST_MAX_ENTRIES)).is_ok());
        assert!(Request::read(&sealed(limits::LEDGER_REQUEST_MAX_ENTRIES + 1)).is_err());
    }

    proptest! {
        /// What is read is what would be written; nothing makes the reader panic.
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let bytes = Bytes::from(bytes);
            let _ = Request::open(&bytes, &keyring());
            if let Ok(request) = Request::read(&bytes) {
                let sealed = request.seal(&key(1), &keyring());
                prop_assert_eq!(&sealed[..sealed.len() - 64], &bytes[..bytes.len() - 64]);
            }
        }
    }
}
