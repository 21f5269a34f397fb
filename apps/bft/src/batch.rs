//! Requests that are ordered together.

use alloc::sync::Arc;
use alloc::vec::Vec;

use base::codec::{DecodeError, Reader, Writer};
use base::limits;
use bytes::Bytes;
use crypto::{Digest, Hasher};

/// The requests of one sequence number, in the order in which they are executed, and their digest. Without
/// requests it is the *null request* of a new view, which does nothing (OSDI '99, section 4.4).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    requests: Arc<Vec<Bytes>>,
    digests: Arc<Vec<Digest>>,
    digest: Digest,
}

impl Batch {
    /// A batch of these requests.
    pub fn new(requests: Vec<Bytes>) -> Batch {
        let digests: Vec<Digest> = requests.iter().map(|request| Digest::of(request)).collect();
        let digest = Batch::digest_of(&digests);
        Batch { requests: Arc::new(requests), digests: Arc::new(digests), digest }
    }

    /// The digest of a batch whose requests have these digests: whoever has one request and these can check
    /// that it is in the batch, without all the others.
    pub fn digest_of(requests: &[Digest]) -> Digest {
        let mut hasher = Hasher::new();
        hasher.update(b"coterie batch\0\0\x02").update(&(requests.len() as u64).to_le_bytes());
        for request in requests {
            hasher.update(&request.0);
        }
        hasher.finish()
    }

    /// The null request.
    pub fn null() -> Batch {
        Batch::new(Vec::new())
    }

    /// Whether it does nothing.
    pub fn is_null(&self) -> bool {
        self.requests.is_empty()
    }

    /// The requests.
    pub fn requests(&self) -> &[Bytes] {
        &self.requests
    }

    /// The digest of each of them.
    pub fn digests(&self) -> &[Digest] {
        &self.digests
    }

    /// What replicas vote on.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// How many bytes of requests there are.
    pub fn length(&self) -> usize {
        self.requests.iter().map(Bytes::len).sum()
    }

    pub(crate) fn encode(&self, writer: &mut Writer<'_>) {
        writer.u16(u16::try_from(self.requests.len()).expect("the limit is below 2^16"));
        for request in self.requests.iter() {
            writer.length_prefixed(request);
        }
    }

    /// Reads a batch within the limits; requests are slices of `bytes`.
    pub(crate) fn decode(reader: &mut Reader<'_>, bytes: &Bytes) -> Result<Batch, DecodeError> {
        let count = usize::from(reader.u16()?);
        if count > limits::BFT_BATCH_MAX_REQUESTS {
            return Err(DecodeError);
        }
        let mut requests = Vec::with_capacity(count);
        let mut room = limits::BFT_BATCH_MAX_BYTES;
        for _ in 0..count {
            let request = reader.length_prefixed(limits::BFT_REQUEST_MAX_BYTES)?;
            room = room.checked_sub(request.len()).ok_or(DecodeError)?;
            requests.push(bytes.slice_ref(request));
        }
        Ok(Batch::new(requests))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where one request ends and the next begins is part of what is voted on.
    #[test]
    fn other_requests_have_another_digest() {
        let batch = |requests: &[&'static str]| {
            let requests = requests.iter().map(|request| Bytes::from_static(request.as_bytes()));
            Batch::new(requests.collect()).digest()
        };
        let all =
            [batch(&[]), batch(&[""]), batch(&["ab"]), batch(&["a", "b"]), batch(&["b", "a"])];
        assert!(all.iter().enumerate().all(|(at, one)| !all[..at].contains(one)));
        assert!(Batch::null().is_null() && Batch::null().digest() == batch(&[]));
    }
}
