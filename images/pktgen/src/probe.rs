//! What a frame carries: 18 bytes behind the UDP header, which is all that the shortest has room for. Numbers
//! are in network order.
//!
//! ```text
//!  0       2            3          10    14            18
//!  | magic | lane, kind | sequence | run | sent, in ns |
//! ```
//!
//! Lane and kind share a byte, the lane in its upper half: stations of one card that send in the same run
//! number their frames each for itself.
//!
//! Who sent a frame is in its Ethernet header: see [`RunKey`].
//!
//! An answer has 32 bytes more: different frames that arrived, those of them that came out of order, frames
//! that came more than once, and the time from the first to the last in nanoseconds.

use core::ops::Range;

/// Where the UDP payload is: behind Ethernet, IPv4 without options, and UDP.
pub const PAYLOAD: usize = 14 + 20 + 8;
/// How long a probe is, and an answer.
pub const PROBE_BYTES: usize = 18;
/// See the module.
pub const ANSWER_BYTES: usize = PROBE_BYTES + 32;

/// How many lanes there are.
pub const LANES: usize = 16;
const LANE_SHIFT: u32 = 4;
const KIND_MASK: u8 = 0xf;
/// How many frames a lane can number.
pub const SEQUENCES: u64 = 1 << TAG_SHIFT;
/// Lane and kind are above the sequence number, in a word with it.
const TAG_SHIFT: u32 = 56;

/// The checksum of UDP, which is left out, and the magic behind it.
const MARK: [u8; 4] = *b"\0\0PG";
const IPV4: [u8; 2] = [0x08, 0x00];

mod field {
    use super::{PAYLOAD, Range};

    const fn at(start: usize, bytes: usize) -> Range<usize> {
        PAYLOAD + start..PAYLOAD + start + bytes
    }

    /// The address of the sender, and the type behind it.
    pub const SOURCE: Range<usize> = 6..14;
    pub const TYPE: Range<usize> = 12..14;
    pub const MARK: Range<usize> = PAYLOAD - 2..PAYLOAD + 2;
    pub const MAGIC: Range<usize> = at(0, 2);
    /// Lane, kind and sequence.
    pub const PLACE: Range<usize> = at(2, 8);
    pub const RUN: Range<usize> = at(10, 4);
    pub const SENT: Range<usize> = at(14, 4);
    pub const ARRIVED: Range<usize> = at(18, 8);
    pub const REORDERED: Range<usize> = at(26, 8);
    pub const DUPLICATES: Range<usize> = at(34, 8);
    pub const SPAN: Range<usize> = at(42, 8);
}

/// What a frame is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// To be counted.
    Data,
    /// To be sent back at once.
    Echo,
    /// What was sent back.
    Reply,
    /// How many of this run have arrived?
    Question,
    /// So many.
    Answer,
}

impl Kind {
    #[inline]
    fn of(number: u8) -> Option<Kind> {
        Some(match number {
            1 => Kind::Data,
            2 => Kind::Echo,
            3 => Kind::Reply,
            4 => Kind::Question,
            5 => Kind::Answer,
            _ => return None,
        })
    }

    fn number(self) -> u8 {
        match self {
            Kind::Data => 1,
            Kind::Echo => 2,
            Kind::Reply => 3,
            Kind::Question => 4,
            Kind::Answer => 5,
        }
    }
}

/// What a frame carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Probe {
    /// What it is for.
    pub kind: Kind,
    /// Which run of the sender it belongs to.
    pub run: u32,
    /// Which of the sender's stations it comes from, below [`LANES`].
    pub lane: u8,
    /// Its place in the run, from zero, below [`SEQUENCES`].
    pub sequence: u64,
    /// When it was sent, in nanoseconds of the sender's clock: the lower half of them.
    pub sent_ns: u32,
}

/// Which run of which sender. The default is nobody's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RunKey {
    /// The sender's address and the type behind it, which is that of IPv4: so the two are one read.
    source: u64,
    run: u32,
}

/// What has arrived of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Arrivals {
    /// How many different frames.
    pub frames: u64,
    /// How many of them after one that was sent later.
    pub reordered: u64,
    /// How many came again, or so late that nobody knows whether they did.
    pub duplicates: u64,
    /// From the first to the last, in nanoseconds.
    pub span_ns: u64,
}

#[inline]
fn number<const N: usize>(frame: &[u8], place: Range<usize>) -> [u8; N] {
    frame[place].try_into().expect("the place has that length")
}

impl Probe {
    /// The probe in a frame; `None` if it is not one of ours. Ethernet, IPv4 and UDP are not looked at beyond
    /// what shows that.
    #[inline]
    pub fn parse(frame: &[u8]) -> Option<Probe> {
        let frame: &[u8; PAYLOAD + PROBE_BYTES] = frame.first_chunk()?;
        if frame[field::TYPE] != IPV4 || frame[field::MARK] != MARK {
            return None;
        }
        let place = u64::from_be_bytes(number(frame, field::PLACE));
        let tag = (place >> TAG_SHIFT) as u8;
        Some(Probe {
            kind: Kind::of(tag & KIND_MASK)?,
            run: u32::from_be_bytes(number(frame, field::RUN)),
            lane: tag >> LANE_SHIFT,
            sequence: place % SEQUENCES,
            sent_ns: u32::from_be_bytes(number(frame, field::SENT)),
        })
    }

    /// Writes what differs between two frames of a run.
    ///
    /// # Panics
    /// If the frame is too short.
    #[inline]
    pub fn emit_changes(&self, frame: &mut [u8]) {
        let tag = self.kind.number() | self.lane << LANE_SHIFT;
        let place = (u64::from(tag) << TAG_SHIFT) | (self.sequence % SEQUENCES);
        frame[field::PLACE].copy_from_slice(&place.to_be_bytes());
        frame[field::SENT].copy_from_slice(&self.sent_ns.to_be_bytes());
    }

    /// Writes it.
    ///
    /// # Panics
    /// If the frame is too short.
    #[inline]
    pub fn emit(&self, frame: &mut [u8]) {
        frame[field::MAGIC].copy_from_slice(&MARK[2..]);
        frame[field::RUN].copy_from_slice(&self.run.to_be_bytes());
        self.emit_changes(frame);
    }
}

impl RunKey {
    /// The run that a frame with this probe belongs to.
    ///
    /// # Panics
    /// If the frame is too short for a probe.
    #[inline]
    pub fn of(frame: &[u8], probe: &Probe) -> RunKey {
        RunKey { source: u64::from_be_bytes(number(frame, field::SOURCE)), run: probe.run }
    }
}

impl Arrivals {
    /// The rest of an answer; `None` if it is not all there.
    pub fn parse(frame: &[u8]) -> Option<Arrivals> {
        let word = |place| u64::from_be_bytes(number(frame, place));
        (frame.len() >= PAYLOAD + ANSWER_BYTES).then(|| Arrivals {
            frames: word(field::ARRIVED),
            reordered: word(field::REORDERED),
            duplicates: word(field::DUPLICATES),
            span_ns: word(field::SPAN),
        })
    }

    /// Writes it.
    ///
    /// # Panics
    /// If the frame is too short.
    pub fn emit(&self, frame: &mut [u8]) {
        frame[field::ARRIVED].copy_from_slice(&self.frames.to_be_bytes());
        frame[field::REORDERED].copy_from_slice(&self.reordered.to_be_bytes());
        frame[field::DUPLICATES].copy_from_slice(&self.duplicates.to_be_bytes());
        frame[field::SPAN].copy_from_slice(&self.span_ns.to_be_bytes());
    }

    /// How many frames arrived in a second.
    pub fn per_second(&self) -> f64 {
        match self.span_ns {
            0 => 0.0,
            // The first frame begins the span.
            span => self.frames.saturating_sub(1) as f64 * 1e9 / span as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use base::Prng;

    use super::*;

    const KINDS: [Kind; 5] = [Kind::Data, Kind::Echo, Kind::Reply, Kind::Question, Kind::Answer];

    #[test]
    fn comes_out_as_it_went_in() {
        let mut frame = [0; 96];
        frame[field::TYPE].copy_from_slice(&IPV4);
        for kind in KINDS {
            let sequence = SEQUENCES - 2;
            let probe = Probe { kind, run: 0x9abc_def0, lane: 15, sequence, sent_ns: u32::MAX - 1 };
            probe.emit(&mut frame);
            assert_eq!(Probe::parse(&frame), Some(probe));
        }
        let arrivals =
            Arrivals { frames: 1_000_001, reordered: 3, duplicates: 4, span_ns: 500_000_000 };
        arrivals.emit(&mut frame);
        assert_eq!(Arrivals::parse(&frame), Some(arrivals));
        assert_eq!(arrivals.per_second(), 2_000_000.0);
    }

    #[test]
    fn other_frames_are_none() {
        let mut frame = [0; PAYLOAD + PROBE_BYTES];
        frame[field::TYPE].copy_from_slice(&IPV4);
        assert_eq!(Probe::parse(&frame), None);
        Probe { kind: Kind::Data, run: 0, lane: 0, sequence: 0, sent_ns: 0 }.emit(&mut frame);
        assert!(Probe::parse(&frame).is_some());
        assert_eq!(Probe::parse(&frame[..frame.len() - 1]), None);
        assert_eq!(Arrivals::parse(&frame), None);
        for place in [12, 13, PAYLOAD - 2, PAYLOAD - 1, PAYLOAD, PAYLOAD + 1] {
            let mut other = frame;
            other[place] ^= 1;
            assert_eq!(Probe::parse(&other), None, "byte {place}");
        }
        frame[field::PLACE.start] = 6;
        assert_eq!(Probe::parse(&frame), None);
    }

    #[test]
    fn whatever_is_written_is_read() {
        let mut prng = Prng::new(1);
        let mut frame = [0; PAYLOAD + ANSWER_BYTES];
        frame[field::TYPE].copy_from_slice(&IPV4);
        for round in 0..10_000 {
            // Of all lengths.
            let mut random = || prng.next_u64() >> (prng.next_u64() % 64);
            let probe = Probe {
                kind: KINDS[round % KINDS.len()],
                run: random() as u32,
                lane: random() as u8 % LANES as u8,
                sequence: random() % SEQUENCES,
                sent_ns: random() as u32,
            };
            let [frames, reordered, duplicates, span_ns] = [(); 4].map(|()| random());
            let arrivals = Arrivals { frames, reordered, duplicates, span_ns };
            probe.emit(&mut frame);
            arrivals.emit(&mut frame);
            assert_eq!(Probe::parse(&frame), Some(probe));
            assert_eq!(Arrivals::parse(&frame), Some(arrivals));
        }
    }

    #[test]
    fn whatever_is_read_is_what_is_there() {
        let mut prng = Prng::new(2);
        let mut read = [0; 2];
        for _ in 0..20_000 {
            let length = prng.below(128) as usize;
            let mut frame: Vec<u8> = (0..length).map(|_| prng.next_u64() as u8).collect();
            // Chance alone would hardly ever make one of ours.
            if length >= field::MARK.end && prng.chance(1, 2) {
                frame[field::TYPE].copy_from_slice(&IPV4);
                frame[field::MARK].copy_from_slice(&MARK);
            }
            let mut again = frame.clone();
            if let Some(probe) = Probe::parse(&frame) {
                probe.emit(&mut again);
                let _ = RunKey::of(&frame, &probe);
                read[0] += 1;
            }
            if let Some(arrivals) = Arrivals::parse(&frame) {
                assert!(arrivals.per_second() >= 0.0);
                arrivals.emit(&mut again);
                read[1] += 1;
            }
            assert_eq!(again, frame);
        }
        assert!(read.iter().all(|count| *count > 1_000), "{read:?}");
    }

    #[test]
    fn a_run_is_of_one_sender() {
        let mut frame = [0; PAYLOAD + PROBE_BYTES];
        frame[field::TYPE].copy_from_slice(&IPV4);
        let probe = Probe { kind: Kind::Data, run: 7, lane: 0, sequence: 0, sent_ns: 0 };
        let key = RunKey::of(&frame, &probe);
        assert_eq!(key, RunKey::of(&frame, &Probe { sequence: 5, lane: 2, ..probe }));
        assert_ne!(key, RunKey::of(&frame, &Probe { run: 8, ..probe }));
        assert_ne!(key, RunKey::default(), "not even a run 0 of the address zero is nobody's");
        frame[6] = 1;
        assert_ne!(key, RunKey::of(&frame, &probe));
    }
}
