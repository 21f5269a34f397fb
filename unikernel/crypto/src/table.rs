//! Verification with multiples of the signer's key at hand: half the work, the same answer.
//!
//! A group verifies signatures of the same few keys for ever. With a table of multiples of a key, as there is
//! one of the base point, [k]A takes 64 additions, and none of the 250 doublings that dominate otherwise.
//!
//! The answer is that of `ed25519_dalek`'s `verify_strict` for every key that is admitted, which is in the
//! subgroup of prime order. Then so is R' = [s]B - [k]A, and R is good if it is the encoding of R', which is
//! the canonical one, and not that of the only point of small order in the subgroup, the identity. R need not
//! be decompressed for that.

use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsBasepointTable, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{BasepointTable as _, Identity as _};
use sha2::{Digest as _, Sha512};

use crate::key::{Signature, SignatureError, VerifyingKey};

/// Multiples of an admitted key: 30 KiB.
pub(crate) struct KeyTable {
    key: [u8; 32],
    multiples: EdwardsBasepointTable,
}

impl KeyTable {
    /// The table of a key. It takes as long as verifying some thirty signatures.
    pub(crate) fn new(key: &VerifyingKey) -> KeyTable {
        KeyTable { key: key.to_bytes(), multiples: EdwardsBasepointTable::create(&key.to_point()) }
    }

    /// Checks that whoever has the secret half signed these bytes (RFC 8032, section 5.1.7, without the
    /// cofactor).
    pub(crate) fn verify(
        &self,
        message: &[u8],
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        let (r, s) = signature.0.split_at(32);
        let s = s.try_into().ok().and_then(|s| Scalar::from_canonical_bytes(s).into_option());
        let s = s.ok_or(SignatureError)?;
        let hash = Sha512::new().chain_update(r).chain_update(self.key).chain_update(message);
        let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
        let expected = EdwardsPoint::mul_base(&s) - self.multiples.mul_base(&k);
        let expected = expected.compress();
        let is_good = expected.as_bytes() == r && expected != CompressedEdwardsY::identity();
        if is_good { Ok(()) } else { Err(SignatureError) }
    }
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::EIGHT_TORSION;
    use proptest::prelude::*;

    use super::*;
    use crate::key::SigningKey;

    /// The answer of the table, which is dalek's.
    fn verifies(key: &VerifyingKey, message: &[u8], signature: &Signature) -> bool {
        let answer = KeyTable::new(key).verify(message, signature).is_ok();
        let dalek = ed25519_dalek::VerifyingKey::from_bytes(&key.to_bytes()).unwrap();
        let strict =
            dalek.verify_strict(message, &ed25519_dalek::Signature::from_bytes(&signature.0));
        assert_eq!(answer, strict.is_ok(), "{signature:?}");
        answer
    }

    /// A signature of whoever has the secret scalar, with an `R` of their choice, for which the equation
    /// holds up to what `R` has of small order.
    fn forge(seed: [u8; 32], nonce: Scalar, torsion: EdwardsPoint, message: &[u8]) -> Signature {
        let secret = ed25519_dalek::SigningKey::from_bytes(&seed);
        let r = (EdwardsPoint::mul_base(&nonce) + torsion).compress();
        let key = secret.verifying_key().to_bytes();
        let hash = Sha512::new().chain_update(r.as_bytes()).chain_update(key).chain_update(message);
        let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
        let s = nonce + k * secret.to_scalar();
        let mut signature = Signature([0; 64]);
        signature.0[..32].copy_from_slice(r.as_bytes());
        signature.0[32..].copy_from_slice(s.as_bytes());
        signature
    }

    /// The order of the subgroup, in little-endian bytes (RFC 8032, section 5.1).
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];

    /// The same `s`, out of range.
    fn out_of_range(mut signature: Signature) -> Signature {
        let mut carry = 0;
        for (byte, more) in signature.0[32..].iter_mut().zip(ORDER) {
            let sum = u16::from(*byte) + u16::from(more) + carry;
            (*byte, carry) = (sum as u8, sum >> 8);
        }
        signature
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_table_answers_what_dalek_does(
            seed in any::<[u8; 32]>(),
            wide in any::<[[u8; 32]; 2]>(),
            message in proptest::collection::vec(any::<u8>(), 0..100),
            bit in 0_usize..512,
        ) {
            let key = SigningKey::take(&mut { seed }).verifying_key();
            let nonce = Scalar::from_bytes_mod_order(wide[0]);
            for (place, torsion) in EIGHT_TORSION.into_iter().enumerate() {
                let signature = forge(seed, nonce, torsion, &message);
                prop_assert_eq!(verifies(&key, &message, &signature), place == 0);
                // Its R is of small order, and nothing but that.
                let signature = forge(seed, Scalar::ZERO, torsion, &message);
                prop_assert!(!verifies(&key, &message, &signature));
            }
            let good = forge(seed, nonce, EIGHT_TORSION[0], &message);
            prop_assert!(!verifies(&key, &message, &out_of_range(good)));
            let mut damaged = good;
            damaged.0[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!verifies(&key, &message, &damaged));
            let other = SigningKey::take(&mut { wide[1] }).verifying_key();
            prop_assert_eq!(verifies(&other, &message, &good), wide[1] == seed);
        }
    }

    /// Encodings of R that are not canonical, and those of points of small order that are.
    #[test]
    fn an_r_of_small_order_is_refused_however_it_is_written() {
        let key = SigningKey::take(&mut [7; 32]).verifying_key();
        for low in [0_u8, 1, 2, 3, 0xec, 0xed, 0xee, 0xef, 0xff] {
            for high in [0_u8, 0x7f, 0x80, 0xff] {
                let mut signature = Signature([0; 64]);
                let middle = if low > 3 { 0xff } else { 0 };
                signature.0[..32].fill(middle);
                (signature.0[0], signature.0[31]) = (low, high);
                assert!(!verifies(&key, b"anything", &signature));
            }
        }
    }
}
