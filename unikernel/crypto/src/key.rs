//! Keys and signatures: Ed25519 (RFC 8032), by the criteria that the crate's documentation gives.

use core::fmt;

use base::codec::{DecodeError, Reader, Writer};
use ed25519_dalek::{Signer as _, Verifier as _};
use zeroize::Zeroize;

use crate::hex;
use crate::small_order::SMALL_ORDER;
use crate::statement::Statement;

/// How long a verifying key is, and the seed of a signing key.
pub const KEY_BYTES: usize = 32;

/// How long a signature is.
pub const SIGNATURE_BYTES: usize = 64;

/// A signature, good or bad: that is seen when it is verified.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Signature(pub [u8; SIGNATURE_BYTES]);

impl Signature {
    /// Reads a signature: any bytes may be one.
    ///
    /// # Errors
    /// If there are too few.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Signature, DecodeError> {
        let bytes = reader.bytes(SIGNATURE_BYTES)?.try_into().map_err(|_| DecodeError)?;
        Ok(Signature(bytes))
    }

    /// Appends the signature.
    pub fn encode(&self, writer: &mut Writer<'_>) {
        writer.bytes(&self.0);
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(f, &self.0[..4])
    }
}

/// The signature is not one of this statement with this key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SignatureError;

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the signature does not verify")
    }
}

impl core::error::Error for SignatureError {}

/// Why bytes are not admitted as a verifying key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyError {
    /// They are no point of the curve, or one in other than its canonical form.
    Malformed,
    /// The point is of small order, or has a part that is: a signature could fit more than one statement,
    /// or verify here and not there.
    Weak,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyError::Malformed => "the bytes are no verifying key",
            KeyError::Weak => "the verifying key is weak: it is not in the subgroup of prime order",
        })
    }
}

impl core::error::Error for KeyError {}

/// The public half of a key pair.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct VerifyingKey(ed25519_dalek::VerifyingKey);

impl VerifyingKey {
    /// Admits a key. It takes about as long as verifying a signature.
    ///
    /// # Errors
    /// If it is none, or weak.
    pub fn from_bytes(bytes: &[u8; KEY_BYTES]) -> Result<VerifyingKey, KeyError> {
        let key =
            ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::Malformed)?;
        let point = key.to_edwards();
        if point.compress().as_bytes() != bytes {
            return Err(KeyError::Malformed);
        }
        if key.is_weak() || !point.is_torsion_free() {
            return Err(KeyError::Weak);
        }
        Ok(VerifyingKey(key))
    }

    /// The key as bytes.
    pub fn to_bytes(&self) -> [u8; KEY_BYTES] {
        self.0.to_bytes()
    }

    /// Checks that whoever has the secret half signed this statement.
    ///
    /// # Errors
    /// If not.
    pub fn verify(
        &self,
        statement: &Statement,
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        verify_bytes(&self.0, &statement.to_bytes(), signature)
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(f, &self.to_bytes()[..4])
    }
}

/// What `verify_strict` answers, for a key that was admitted, without the square root that it takes of `R`:
/// an equation that holds compares `R` with a point in its canonical form, so it is enough that it is none of
/// the canonical forms of points of small order.
fn verify_bytes(
    key: &ed25519_dalek::VerifyingKey,
    message: &[u8],
    signature: &Signature,
) -> Result<(), SignatureError> {
    if SMALL_ORDER.iter().any(|point| signature.0.starts_with(point)) {
        return Err(SignatureError);
    }
    let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
    key.verify(message, &signature).map_err(|_| SignatureError)
}

/// The secret half of a key pair. It is zeroised when it is dropped.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// Takes the key with this seed, 32 bytes of a source of secrets, and zeroises the seed: the key is the
    /// only copy that is left.
    pub fn take(seed: &mut [u8; KEY_BYTES]) -> SigningKey {
        let key = SigningKey(ed25519_dalek::SigningKey::from_bytes(seed));
        seed.zeroize();
        key
    }

    /// The half that everybody may have.
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey(self.0.verifying_key())
    }

    /// Signs a statement: always with the same signature.
    pub fn sign(&self, statement: &Statement) -> Signature {
        Signature(self.0.sign(&statement.to_bytes()).to_bytes())
    }
}

/// Only the public half is shown.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey of {:?}", self.verifying_key())
    }
}

#[cfg(test)]
mod tests;
