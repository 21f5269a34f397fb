//! The hash of receive-side scaling: what cards compute, so that both agree where a flow goes.
//!
//! Definition and vectors: Microsoft, "RSS hashing types" and "Verifying the RSS hash calculation"
//! (Windows driver documentation, network); the same in virtio 1.2, 5.1.6.4.3.

use alloc::boxed::Box;

use crate::FlowKey;

/// The length of a key: the longest input, and the 32 bits under its last bit.
pub const KEY_BYTES: usize = 40;

/// The longest input: two IPv6 addresses and two ports.
const INPUT_MAX_BYTES: usize = 16 + 16 + 2 + 2;

const _: () = assert!(KEY_BYTES == INPUT_MAX_BYTES + 4);

/// The key that Microsoft's vectors are for. It is public: use another where strangers send.
pub const MICROSOFT_KEY: [u8; KEY_BYTES] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f,
    0xb0, //
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2,
    0x0c, //
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

/// What each value of each half byte adds to the hash: 4.5 KiB, which stay in the first-level cache, where a
/// table by whole bytes (36 KiB) does not.
type Contributions = [[u32; 16]; 2 * INPUT_MAX_BYTES];

/// A hash with its key, ready to be computed by looking up half bytes.
///
/// It is linear: whoever knows the key, or sees enough hashes, makes flows that collide. It spreads load and
/// is no defence against floods.
#[derive(Clone, Debug)]
pub struct Toeplitz {
    contributions: Box<Contributions>,
}

impl Toeplitz {
    /// The hash with `key`.
    pub fn new(key: &[u8; KEY_BYTES]) -> Toeplitz {
        let mut contributions = Box::new([[0; 16]; 2 * INPUT_MAX_BYTES]);
        for (place, values) in contributions.iter_mut().enumerate() {
            for (value, contribution) in values.iter_mut().enumerate() {
                // Bit 0 is the highest of the four.
                let is_set = |bit: &usize| value & (0b1000 >> bit) != 0;
                let windows = (0..4).filter(is_set).map(|bit| window(key, 4 * place + bit));
                *contribution = windows.fold(0, |sum, window| sum ^ window);
            }
        }
        Toeplitz { contributions }
    }

    /// The hash of `input`.
    ///
    /// # Panics
    /// If the input is longer than 36 bytes, which two addresses and two ports have at most.
    pub fn hash(&self, input: &[u8]) -> u32 {
        assert!(input.len() <= INPUT_MAX_BYTES, "the key suffices for the input");
        let pairs = self.contributions.as_chunks::<2>().0;
        input.iter().zip(pairs).fold(0, |sum, (byte, [high, low])| {
            sum ^ high[usize::from(byte >> 4)] ^ low[usize::from(byte & 0xf)]
        })
    }

    /// The hash of a flow, over its ports, too, where it has any.
    pub fn hash_flow(&self, flow: &FlowKey) -> u32 {
        let mut input = [0; INPUT_MAX_BYTES];
        let addresses_end = match flow.ipv4() {
            Some((source, destination)) => {
                input[..4].copy_from_slice(&source.octets());
                input[4..8].copy_from_slice(&destination.octets());
                8
            }
            None => {
                let (source, destination) = flow.ipv6();
                input[..16].copy_from_slice(&source.octets());
                input[16..32].copy_from_slice(&destination.octets());
                32
            }
        };
        let Some((source, destination)) = flow.ports else {
            return self.hash(&input[..addresses_end]);
        };
        input[addresses_end..addresses_end + 2].copy_from_slice(&source.to_be_bytes());
        input[addresses_end + 2..addresses_end + 4].copy_from_slice(&destination.to_be_bytes());
        self.hash(&input[..addresses_end + 4])
    }
}

/// The 32 bits of the key that start at `bit`: what a set bit of the input there adds.
fn window(key: &[u8; KEY_BYTES], bit: usize) -> u32 {
    let byte = |index: usize| u64::from(key.get(index).copied().unwrap_or(0));
    let first = bit / 8;
    let forty_bits = (0..5).fold(0, |bits, offset| bits << 8 | byte(first + offset));
    (forty_bits >> (8 - bit % 8)) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, bit by bit: the key moves left under the input, and where a bit is set, its 32
    /// leftmost bits are added.
    fn by_definition(key: &[u8; KEY_BYTES], input: &[u8]) -> u32 {
        let mut key_bits = key.iter().flat_map(|byte| (0..8).map(move |bit| byte >> (7 - bit) & 1));
        let mut leftmost =
            key_bits.by_ref().take(32).fold(0, |bits: u32, bit| bits << 1 | u32::from(bit));
        let mut hash = 0;
        for byte in input {
            for bit in 0..8 {
                if byte >> (7 - bit) & 1 == 1 {
                    hash ^= leftmost;
                }
                leftmost = leftmost << 1 | u32::from(key_bits.next().unwrap_or(0));
            }
        }
        hash
    }

    fn flow(source: &str, destination: &str, ports: Option<(u16, u16)>) -> FlowKey {
        FlowKey {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol: 6,
            ports,
        }
    }

    /// Source, its port, destination, its port, the hash over addresses, the hash over all.
    #[rustfmt::skip]
    const VECTORS: &[(&str, u16, &str, u16, u32, u32)] = &[
        ("66.9.149.187", 2794, "161.142.100.80", 1766, 0x323e_8fc2, 0x51cc_c178),
        ("199.92.111.2", 14230, "65.69.140.83", 4739, 0xd718_262a, 0xc626_b0ea),
        ("24.19.198.95", 12898, "12.22.207.184", 38024, 0xd2d0_a5de, 0x5c2b_394a),
        ("38.27.205.30", 48228, "209.142.163.6", 2217, 0x8298_9176, 0xafc7_327f),
        ("153.39.163.191", 44251, "202.188.127.2", 1303, 0x5d18_09c5, 0x10e8_28a2),
        ("3ffe:2501:200:1fff::7", 2794, "3ffe:2501:200:3::1", 1766, 0x2cc1_8cd5, 0x4020_7d3d),
        ("3ffe:501:8::260:97ff:fe40:efab", 14230, "ff02::1", 4739, 0x0f0c_461c, 0xdde5_1bbf),
        ("3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251, "fe80::200:f8ff:fe21:67cf", 38024,
            0x4b61_e985, 0x02d1_feef),
    ];

    #[test]
    fn the_published_vectors_come_out() {
        let hash = Toeplitz::new(&MICROSOFT_KEY);
        for &(source, source_port, destination, destination_port, addresses, all) in VECTORS {
            assert_eq!(hash.hash_flow(&flow(source, destination, None)), addresses, "{source}");
            let ports = Some((source_port, destination_port));
            assert_eq!(hash.hash_flow(&flow(source, destination, ports)), all, "{source}");
        }
    }

    #[test]
    #[should_panic(expected = "the key suffices")]
    fn an_input_beyond_the_key_is_refused() {
        Toeplitz::new(&MICROSOFT_KEY).hash(&[0; INPUT_MAX_BYTES + 1]);
    }

    proptest! {
        #[test]
        fn looking_up_is_what_the_definition_says(
            key in proptest::array::uniform32(any::<u8>()),
            rest in proptest::array::uniform8(any::<u8>()),
            input in proptest::collection::vec(any::<u8>(), 0..=INPUT_MAX_BYTES),
        ) {
            let mut whole = [0; KEY_BYTES];
            whole[..32].copy_from_slice(&key);
            whole[32..].copy_from_slice(&rest);
            prop_assert_eq!(Toeplitz::new(&whole).hash(&input), by_definition(&whole, &input));
        }
    }
}
