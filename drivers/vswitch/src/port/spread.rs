//! Which of a machine's pairs of queues a frame goes to.
//!
//! A flow goes where the machine sends the other half of the conversation from: there is the core that works
//! on it (receive flow steering, here on the device's side, as Linux's tun does). Flows of which nothing was
//! sent are spread by their hash.
//!
//! A flow moves only when the machine has taken all of it that its old pair was given, or it would overtake
//! itself. What the machine has taken is known for what was in a ring at some time, which a mark remembers:
//! when the machine has come as far as the mark, all that was given before is in its hands.

use netio::{Core, FlowKey, MICROSOFT_KEY, Steering, Toeplitz};

use crate::PAIRS_MAX;
use crate::frame::Packet;

/// So much of a frame has all headers that tell flows apart: Ethernet, IP with options, ports.
const BEGINNING_BYTES: usize = 14 + 60 + 4;

/// How far a machine has come in the ring of a pair that it receives from.
pub(super) trait Progress {
    /// Behind how many buffers, counted with wrapping, the next frame comes; `None` while frames wait for
    /// buffers, so that the last one that was given is not in the ring.
    fn position(&self) -> Option<u16>;
    /// Whether the machine has taken everything before that position.
    fn has_taken(&self, position: u16) -> bool;
}

/// When the machine has come to this position, it has taken so many of the frames that are not known to be.
#[derive(Clone, Copy, Debug)]
struct Mark {
    position: u16,
    frames: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Spread {
    hash: Toeplitz,
    /// Among as many pairs as the machine used last.
    pairs: u8,
    steering: Steering,
    marks: [Option<Mark>; PAIRS_MAX],
}

impl Spread {
    pub(super) fn new() -> Spread {
        let (hash, steering) = (Toeplitz::new(&MICROSOFT_KEY), Steering::new(1));
        Spread { hash, pairs: 1, steering, marks: [None; PAIRS_MAX] }
    }

    /// The machine uses so many pairs, from the first on. What it used others for is forgotten.
    pub(super) fn set_pairs(&mut self, pairs: usize) {
        let pairs = u8::try_from(pairs).expect("they are few");
        if self.pairs != pairs {
            (self.pairs, self.steering) = (pairs, Steering::new(pairs));
            self.marks = [None; PAIRS_MAX];
        }
    }

    /// Remembers how far a pair was filled, at the end of a turn.
    pub(super) fn mark(&mut self, pair: usize, progress: &impl Progress) {
        if pair >= usize::from(self.pairs) || self.marks[pair].is_some() {
            return;
        }
        let frames = self.steering.backlog(core(pair));
        let position = progress.position().filter(|_| frames > 0);
        self.marks[pair] = position.map(|position| Mark { position, frames });
    }

    /// Looks how far the machine has come in a pair.
    fn look(&mut self, pair: usize, progress: &impl Progress) {
        // A mark of earlier may be reached though what was given since is not.
        for _ in 0..2 {
            self.mark(pair, progress);
            let Some(mark) = self.marks[pair] else { return };
            if !progress.has_taken(mark.position) {
                return;
            }
            self.steering.handled(core(pair), mark.frames);
            self.marks[pair] = None;
        }
    }

    fn key(packet: &Packet<'_, '_>) -> Option<FlowKey> {
        let mut beginning = [0; BEGINNING_BYTES];
        let count = packet.content.read(&mut beginning);
        FlowKey::of_beginning(&beginning[..count])
    }

    /// The machine has sent this frame from a pair, which may be one in which it receives nothing.
    pub(super) fn note_sent(&mut self, pair: usize, packet: &Packet<'_, '_>) {
        if pair >= usize::from(self.pairs) {
            return;
        }
        if let Some(key) = Spread::key(packet) {
            self.steering.consumed_on(self.hash.hash_flow(&key.reversed()), core(pair));
        }
    }

    /// The pair for a frame. The machine's rings are looked at only if its flow is to move.
    pub(super) fn pair_for(&mut self, packet: &Packet<'_, '_>, pairs: &[impl Progress]) -> usize {
        let Some(key) = Spread::key(packet) else { return 0 };
        let hash = self.hash.hash_flow(&key);
        if let Some(Core(old)) = self.steering.holder(hash) {
            self.look(old.into(), &pairs[usize::from(old)]);
        }
        self.steering.steer(hash).0.into()
    }
}

fn core(pair: usize) -> Core {
    Core(u8::try_from(pair).expect("they are few"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::with_packet;

    /// The machine takes everything at once.
    const TAKEN: [Ring; PAIRS_MAX] = [Ring { given: 0, taken: 0, is_waiting: false }; PAIRS_MAX];

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

    /// A pair whose machine has come so far.
    #[derive(Clone, Copy, Default)]
    struct Ring {
        given: u16,
        taken: u16,
        is_waiting: bool,
    }

    impl Progress for Ring {
        fn position(&self) -> Option<u16> {
            (!self.is_waiting).then_some(self.given)
        }

        fn has_taken(&self, position: u16) -> bool {
            position <= self.taken
        }
    }

    /// Gives the machine the next frame of the answer.
    fn give(spread: &mut Spread, rings: &mut [Ring]) -> usize {
        let pair = with_packet(&mut frame(true), |packet| spread.pair_for(packet, &*rings));
        rings[pair].given += 1;
        pair
    }

    fn send(spread: &mut Spread, pair: usize) {
        with_packet(&mut frame(false), |packet| spread.note_sent(pair, packet));
    }

    #[test]
    fn a_flow_does_not_overtake_itself() {
        let mut spread = Spread::new();
        spread.set_pairs(2);
        let mut rings = [Ring::default(); 2];
        send(&mut spread, 0);
        assert_eq!([0; 3].map(|_| give(&mut spread, &mut rings)), [0; 3]);
        spread.mark(0, &rings[0]);
        send(&mut spread, 1);
        assert_eq!(give(&mut spread, &mut rings), 0, "the machine has taken nothing");
        rings[0].taken = 3;
        assert_eq!(give(&mut spread, &mut rings), 0, "the fourth lies there still");
        rings[0].taken = 5;
        assert_eq!(give(&mut spread, &mut rings), 1, "an idle pair keeps nothing");
        assert_eq!(give(&mut spread, &mut rings), 1);
        // And back, though others wait for buffers there.
        send(&mut spread, 0);
        (rings[1].taken, rings[1].is_waiting) = (2, true);
        assert_eq!(give(&mut spread, &mut rings), 1, "it may be the flow's last that waits");
        (rings[1].taken, rings[1].is_waiting) = (3, false);
        assert_eq!(give(&mut spread, &mut rings), 0);
    }

    #[test]
    fn a_pair_that_is_never_empty_lets_a_flow_go_all_the_same() {
        let mut spread = Spread::new();
        spread.set_pairs(2);
        let mut rings = [Ring::default(); 2];
        send(&mut spread, 0);
        assert_eq!(give(&mut spread, &mut rings), 0);
        spread.mark(0, &rings[0]);
        // Frames of others follow.
        rings[0].given = 9;
        send(&mut spread, 1);
        rings[0].taken = 1;
        assert_eq!(give(&mut spread, &mut rings), 1);
    }

    #[test]
    fn a_flow_goes_to_the_pair_that_it_is_sent_from_if_that_receives() {
        let mut spread = Spread::new();
        for pairs in [1, 2, 3, 8, 2] {
            spread.set_pairs(pairs);
            for pair in (0..crate::PAIRS_MAX).rev() {
                with_packet(&mut frame(false), |packet| spread.note_sent(pair, packet));
                let to = with_packet(&mut frame(true), |packet| spread.pair_for(packet, &TAKEN));
                assert!(to < pairs, "a pair that receives nothing gets nothing");
                assert!(pair >= pairs || to == pair, "{to} of {pairs}, sent from {pair}");
            }
        }
    }
}
