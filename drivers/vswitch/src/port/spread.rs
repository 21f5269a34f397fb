//! Which of a machine's pairs of queues a frame goes to.
//!
//! A flow goes where the machine sends the other half of the conversation from: there is the core that works
//! on it (receive flow steering, here on the device's side, as Linux's tun does). Flows of which nothing was
//! sent are spread by their hash.

use netio::{Core, FlowKey, MICROSOFT_KEY, Steering, Toeplitz};

use crate::frame::Packet;

/// So much of a frame has all headers that tell flows apart: Ethernet, IP with options, ports.
const BEGINNING_BYTES: usize = 14 + 60 + 4;

/// See the module.
#[derive(Debug)]
pub(super) struct Spread {
    hash: Toeplitz,
    /// Among as many pairs as the machine used last.
    pairs: u8,
    steering: Steering,
}

impl Spread {
    pub(super) fn new() -> Spread {
        Spread { hash: Toeplitz::new(&MICROSOFT_KEY), pairs: 1, steering: Steering::new(1) }
    }

    /// The machine uses so many pairs, from the first on. What it used others for is forgotten.
    pub(super) fn set_pairs(&mut self, pairs: usize) {
        let pairs = u8::try_from(pairs).expect("they are few");
        if self.pairs != pairs {
            (self.pairs, self.steering) = (pairs, Steering::new(pairs));
        }
    }

    fn key(packet: &Packet<'_, '_>) -> Option<FlowKey> {
        let mut beginning = [0; BEGINNING_BYTES];
        let count = packet.content.read(&mut beginning);
        FlowKey::of_beginning(&beginning[..count])
    }

    /// The machine has sent this frame from a pair, which may be one in which it receives nothing.
    pub(super) fn note_sent(&mut self, pair: usize, packet: &Packet<'_, '_>) {
        let pair = u8::try_from(pair).expect("they are few");
        if pair >= self.pairs {
            return;
        }
        if let Some(key) = Spread::key(packet) {
            self.steering.consumed_on(self.hash.hash_flow(&key.reversed()), Core(pair));
        }
    }

    /// The pair for a frame.
    pub(super) fn pair_for(&mut self, packet: &Packet<'_, '_>) -> usize {
        let Some(key) = Spread::key(packet) else { return 0 };
        let core = self.steering.steer(self.hash.hash_flow(&key));
        // It is in the machine's hands at once.
        self.steering.handled(core, 1);
        usize::from(core.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::with_packet;

    /// UDP between two hosts, or its answer.
    fn frame(is_answer: bool) -> Vec<u8> {
        let mut frame = vec![0; 60];
        frame[12..14].copy_from_slice(&[8, 0]);
        frame[14] = 0x45;
        frame[16..18].copy_from_slice(&[0, 46]);
        frame[23] = 17;
        let (from, to) = if is_answer { (2, 1) } else { (1, 2) };
        frame[26..34].copy_from_slice(&[10, 0, 0, from, 10, 0, 0, to]);
        frame[34..38].copy_from_slice(&[0, from, 0, to]);
        frame
    }

    #[test]
    fn a_flow_goes_to_the_pair_that_it_is_sent_from_if_that_receives() {
        let mut spread = Spread::new();
        for pairs in [1, 2, 3, 8, 2] {
            spread.set_pairs(pairs);
            for pair in (0..crate::PAIRS_MAX).rev() {
                with_packet(&mut frame(false), |packet| spread.note_sent(pair, packet));
                let to = with_packet(&mut frame(true), |packet| spread.pair_for(packet));
                assert!(to < pairs, "a pair that receives nothing gets nothing");
                assert!(pair >= pairs || to == pair, "{to} of {pairs}, sent from {pair}");
            }
        }
    }
}
