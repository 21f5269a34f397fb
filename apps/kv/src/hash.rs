//! SipHash-2-4 (Aumasson and Bernstein, 2012): places keys in scan order and fingerprints items.
//!
//! The key of the hash is fixed and published, because every node must agree on it for ever. That
//! gives an enemy no cheap way to pile up keys at one place: SipHash must still be searched by
//! force.

/// The 64-bit SipHash-2-4 of `bytes` under the 128-bit key `(k0, k1)`.
pub fn siphash(k0: u64, k1: u64, bytes: &[u8]) -> u64 {
    let mut state = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        absorb(&mut state, u64::from_le_bytes(word.try_into().expect("chunks have eight bytes")));
    }
    let mut last = [0; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    last[7] = bytes.len().to_le_bytes()[0];
    absorb(&mut state, u64::from_le_bytes(last));
    state[2] ^= 0xff;
    for _ in 0..4 {
        round(&mut state);
    }
    state[0] ^ state[1] ^ state[2] ^ state[3]
}

fn absorb(state: &mut [u64; 4], word: u64) {
    state[3] ^= word;
    round(state);
    round(state);
    state[0] ^= word;
}

fn round(state: &mut [u64; 4]) {
    let [mut a, mut b, mut c, mut d] = *state;
    a = a.wrapping_add(b);
    b = b.rotate_left(13) ^ a;
    a = a.rotate_left(32);
    c = c.wrapping_add(d);
    d = d.rotate_left(16) ^ c;
    a = a.wrapping_add(d);
    d = d.rotate_left(21) ^ a;
    c = c.wrapping_add(b);
    b = b.rotate_left(17) ^ c;
    c = c.rotate_left(32);
    *state = [a, b, c, d];
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
