//! What replicas order: entries of one gateway, under its signature.

use alloc::vec::Vec;

use base::codec::{DecodeError, Reader, Writer};
use base::{NodeId, limits};
use bytes::Bytes;
use crypto::{Digest, Keyring, SIGNATURE_BYTES, Signature, SigningKey, Statement};

/// This protocol and its version, in everything that is signed.
const PROTOCOL: [u8; 8] = *b"cot-led\x01";
/// The only kind of statement in it.
const APPEND: u8 = 1;

/// Entries to be appended, in this order. One signature is for all of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// The node whose clients they are from.
    pub gateway: NodeId,
    /// The request's number there: never used again, not even after a restart.
    pub serial: u64,
    /// The entries: at least one.
    pub entries: Vec<Bytes>,
}

impl Request {
    /// The request as bytes, with the gateway's signature behind it.
    pub fn seal(&self, key: &SigningKey, keyring: &Keyring) -> Bytes {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        writer.node_id(self.gateway).u64(self.serial);
        writer.u16(u16::try_from(self.entries.len()).expect("the limit is below 2^16"));
        for entry in &self.entries {
            writer.length_prefixed(entry);
        }
        let signature = key.sign(&statement(keyring, self.serial, &bytes));
        signature.encode(&mut Writer::new(&mut bytes));
        bytes.into()
    }

    /// Reads a request, and checks that the gateway that it names has signed it. Entries are slices of
    /// `bytes`. None if it is anything but one whole request within the limits, of a member of the group.
    pub fn open(bytes: &Bytes, keyring: &Keyring) -> Option<Request> {
        let request = Request::read(bytes).ok()?;
        let (signed, signature) = bytes.split_at(bytes.len() - SIGNATURE_BYTES);
        let signature = Signature(signature.try_into().ok()?);
        let statement = statement(keyring, request.serial, signed);
        let slot = keyring.slot(request.gateway)?;
        keyring.verify(slot, &statement, &signature).is_ok().then_some(request)
    }

    /// Reads a request; its signature is not verified.
    ///
    /// # Errors
    /// If it is none, or not within the limits.
    pub fn read(bytes: &Bytes) -> Result<Request, DecodeError> {
        let mut reader = Reader::new(bytes);
        let (gateway, serial) = (reader.node_id()?, reader.u64()?);
        let count = usize::from(reader.u16()?);
        if count == 0 || count > limits::LEDGER_REQUEST_MAX_ENTRIES {
            return Err(DecodeError);
        }
        let entry = |reader: &mut Reader<'_>| {
            reader.length_prefixed(limits::LEDGER_ENTRY_MAX_BYTES).map(|one| bytes.slice_ref(one))
        };
        let entries = (0..count).map(|_| entry(&mut reader)).collect::<Result<_, _>>()?;
        Signature::decode(&mut reader)?;
        reader.finish()?;
        Ok(Request { gateway, serial, entries })
    }
}

fn statement(keyring: &Keyring, serial: u64, signed: &[u8]) -> Statement {
    Statement {
        protocol: PROTOCOL,
        group: keyring.group(),
        phase: APPEND,
        view: 0,
        sequence: serial,
        digest: Digest::of(signed),
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
        Request { gateway: id(gateway), serial, entries }
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
        let stranger = Request { gateway: id(9), ..request };
        assert_eq!(Request::open(&stranger.seal(&key(9), &keyring), &keyring), None);
    }

    #[test]
    fn a_request_without_entries_or_with_too_many_is_none() {
        let sealed = |count: usize| {
            let entries = alloc::vec![Bytes::from_static(b"x"); count];
            Request { gateway: id(1), serial: 1, entries }.seal(&key(1), &keyring())
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
