//! SipHash-1-3: a hash that nobody can make collide without its key.
//!
//! Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012), with one round per word and three at the
//! end, as the tables of Rust's and Python's standard libraries use it.

/// The secret; random for every boot.
pub(super) type Key = [u64; 2];

/// The hash of `words`, as of their bytes in little-endian order.
pub(super) fn siphash(key: Key, words: &[u64]) -> u64 {
    let mut state = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    // The last word is the length in bytes, modulo 256, in its highest byte.
    let last = (words.len() as u64 * 8) << 56;
    for &word in words.iter().chain([&last]) {
        state[3] ^= word;
        round(&mut state);
        state[0] ^= word;
    }
    state[2] ^= 0xff;
    for _ in 0..3 {
        round(&mut state);
    }
    state[0] ^ state[1] ^ state[2] ^ state[3]
}

fn round(state: &mut [u64; 4]) {
    let [mut v0, mut v1, mut v2, mut v3] = *state;
    v0 = v0.wrapping_add(v1);
    v1 = v1.rotate_left(13) ^ v0;
    v0 = v0.rotate_left(32);
    v2 = v2.wrapping_add(v3);
    v3 = v3.rotate_left(16) ^ v2;
    v0 = v0.wrapping_add(v3);
    v3 = v3.rotate_left(21) ^ v0;
    v2 = v2.wrapping_add(v1);
    v1 = v1.rotate_left(17) ^ v2;
    v2 = v2.rotate_left(32);
    *state = [v0, v1, v2, v3];
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hasher};
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_reference_implementations_vectors_come_out() {
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        assert_eq!(siphash(key, &[]), 0xabac_0158_050f_c4dc);
    }

    proptest! {
        /// The standard library's hasher is SipHash-1-3 with a key of zeroes.
        #[test]
        fn the_standard_librarys_hash_comes_out(words in proptest::collection::vec(any::<u64>(), 0..9)) {
            let mut standard = DefaultHasher::new();
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            standard.write(&bytes);
            prop_assert_eq!(siphash([0, 0], &words), standard.finish());
        }
    }
}
