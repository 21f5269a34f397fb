//! Which of a machine's pairs of queues a frame goes to.
//!
//! A flow goes where the machine sends the other half of the conversation from: there is the core that works
//! on it (receive flow steering, here on the device's side, as Linux's tun does). Flows of which nothing was
//! sent are spread by their hash.

use netio::{Core, FlowKey, MICROSOFT_KEY, Steering, Toeplitz};

use crate::PAIRS_MAX;
use crate::frame::Packet;

/// So much of a frame has all headers that tell flows apart: Ethernet, IP with options, ports.
const BEGINNING_BYTES: usize = 14 + 60 + 4;

/// See the module.
#[derive(Debug)]
pub(super) struct Spread {
    hash: Toeplitz,
    steering: Steering,
}

impl Spread {
    pub(super) fn new() -> Spread {
        let pairs = u8::try_from(PAIRS_MAX).expect("they are few");
        Spread { hash: Toeplitz::new(&MICROSOFT_KEY), steering: Steering::new(pairs) }
    }

    fn key(packet: &Packet<'_, '_>) -> Option<FlowKey> {
        let mut beginning = [0; BEGINNING_BYTES];
        let count = packet.content.read(&mut beginning);
        FlowKey::of_beginning(&beginning[..count])
    }

    /// The machine has sent this frame from a pair.
    pub(super) fn note_sent(&mut self, pair: usize, packet: &Packet<'_, '_>) {
        if let Some(key) = Spread::key(packet) {
            let pair = u8::try_from(pair).expect("they are few");
            self.steering.consumed_on(self.hash.hash_flow(&key.reversed()), Core(pair));
        }
    }

    /// The pair for a frame, of those from the first up to, and not including, `pairs`.
    pub(super) fn pair_for(&mut self, packet: &Packet<'_, '_>, pairs: usize) -> usize {
        let Some(key) = Spread::key(packet) else { return 0 };
        let core = self.steering.steer(self.hash.hash_flow(&key));
        // It is in the machine's hands at once.
        self.steering.handled(core, 1);
        usize::from(core.0) % pairs
    }
}
