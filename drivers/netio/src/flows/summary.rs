//! A key in two words, to be compared and hashed in few instructions.

use core::net::IpAddr;

use crate::FlowKey;
use crate::limits::FLOW_FRONTS;

/// Bits of the second word, above the ports (the source's lowest) and the protocol.
const HAS_PORTS: u64 = 1 << 40;
const IS_IPV6: u64 = 1 << 41;

/// All that is in a key of IPv4, and for IPv6 all but the first 96 bits of each address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Summary {
    /// The source above the destination.
    addresses: u64,
    rest: u64,
}

impl Summary {
    /// Of no key.
    pub(super) const NONE: Summary = Summary { addresses: 0, rest: u64::MAX };

    /// Of this key.
    #[inline]
    pub(super) fn of(key: &FlowKey) -> Summary {
        // In whatever order this machine reads the addresses: nobody else sees them.
        let (source, destination, family) = match (&key.source, &key.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let [source, destination] = [source, destination].map(|it| it.octets());
                (u32::from_ne_bytes(source), u32::from_ne_bytes(destination), 0)
            }
            (source, destination) => (last_32_bits(source), last_32_bits(destination), IS_IPV6),
        };
        let ports = match key.ports {
            Some((from, to)) => u64::from(from) | u64::from(to) << 16 | HAS_PORTS,
            None => 0,
        };
        Summary {
            addresses: u64::from(source) << 32 | u64::from(destination),
            rest: ports | u64::from(key.protocol) << 32 | family,
        }
    }

    /// Of the same conversation in the other direction.
    #[inline]
    pub(super) fn reversed(self) -> Summary {
        let ports = self.rest as u32; // These are the lower half.
        Summary {
            addresses: self.addresses.rotate_left(32),
            rest: self.rest >> 32 << 32 | u64::from(ports.rotate_left(16)),
        }
    }

    /// Whether equal summaries are of equal keys.
    #[inline]
    pub(super) fn is_whole(self) -> bool {
        self.rest & IS_IPV6 == 0
    }

    /// A number below [`FLOW_FRONTS`], for which anybody can choose keys. Multiples of the golden ratio lie
    /// far apart (Knuth, The Art of Computer Programming, volume 3, section 6.4): ports that follow each
    /// other share none.
    #[inline]
    pub(super) fn front(self) -> usize {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        // Another odd number, or addresses that differ as ports do would make up for them.
        const OTHER: u64 = 0xd6e8_feb8_6659_fd93;
        let mixed = self.rest.wrapping_mul(GOLDEN).wrapping_add(self.addresses.wrapping_mul(OTHER));
        (mixed >> (u64::BITS - FLOW_FRONTS.trailing_zeros())) as usize
    }
}

fn last_32_bits(address: &IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => address.to_bits() as u32,
    }
}
