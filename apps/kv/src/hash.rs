//! SipHash-2-4 (Aumasson and Bernstein, 2012): places keys in scan order and fingerprints items.
//!
//! The key of the hash is fixed and published, because every node must agree on it for ever. That
//! gives an enemy no cheap way to pile up keys at one place: SipHash must still be searched by
//! force.

use siphasher::sip::SipHasher24;

/// The 64-bit SipHash-2-4 of `bytes` under the 128-bit key `(k0, k1)`.
pub fn siphash(k0: u64, k1: u64, bytes: &[u8]) -> u64 {
    SipHasher24::new_with_keys(k0, k1).hash(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of the SipHash paper: key 00 01 … 0f, inputs of the first n bytes 00 01 ….
    #[test]
    fn published_vectors() {
        let (k0, k1) = (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        let input: Vec<u8> = (0..15).collect();
        assert_eq!(siphash(k0, k1, &[]), 0x726f_db47_dd0e_0e31);
        assert_eq!(siphash(k0, k1, &input[..8]), 0x93f5_f579_9a93_2462);
        assert_eq!(siphash(k0, k1, &input), 0xa129_ca61_49be_45e5);
    }
}
