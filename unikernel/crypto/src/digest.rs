//! SHA-256 (FIPS 180-4): a name for bytes that nobody can give to other bytes.

use core::fmt;

use base::codec::{DecodeError, Reader, Writer};
use sha2::Digest as _;

use crate::hex;

/// How long a digest is.
pub const DIGEST_BYTES: usize = 32;

/// The SHA-256 of something.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest(pub [u8; DIGEST_BYTES]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        hasher.finish()
    }

    /// Reads a digest: any bytes are one.
    ///
    /// # Errors
    /// If there are too few.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Digest, DecodeError> {
        let bytes = reader.bytes(DIGEST_BYTES)?.try_into().map_err(|_| DecodeError)?;
        Ok(Digest(bytes))
    }

    /// Appends the digest.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        writer.bytes(&self.0);
    }
}

/// All of it, in hexadecimal.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(f, &self.0)
    }
}

/// The first eight digits: enough to tell digests apart in a test that failed.
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(f, &self.0[..4])
    }
}

/// A digest of bytes that come one after the other.
#[derive(Clone)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// Of no bytes yet.
    pub fn new() -> Hasher {
        Hasher(sha2::Sha256::new())
    }

    /// Goes on with `bytes`. Where they end leaves no trace: say so with a length where it matters.
    pub fn update(&mut self, bytes: &[u8]) -> &mut Hasher {
        self.0.update(bytes);
        self
    }

    /// The digest of all of them.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl Default for Hasher {
    fn default() -> Hasher {
        Hasher::new()
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples that NIST publishes for SHA-256.
    #[test]
    fn published_examples() {
        let examples = [
            ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            ),
        ];
        for (text, expected) in examples {
            assert_eq!(Digest::of(text.as_bytes()).to_string(), expected);
        }
    }

    #[test]
    fn parts_make_the_digest_of_the_whole() {
        let mut hasher = Hasher::new();
        hasher.update(b"a").update(b"").update(b"bc");
        assert_eq!(hasher.finish(), Digest::of(b"abc"));
    }
}
