//! What a frame of ours carries: 16 bytes behind the UDP header, numbers in network order.
//!
//! ```text
//!  0       2      3     4          8                 16
//!  | magic | kind | run | sequence | sent, in ns     |
//! ```
//!
//! Kind and lane share a byte, the lane in its upper half: stations of one card that send in the same run
//! number their frames each for itself.
//!
//! An answer has 24 bytes more: frames that arrived, those of them that came out of order, and the time from
//! the first to the last in nanoseconds.

use core::ops::Range;

/// Where the UDP payload is: behind Ethernet, IPv4 without options, and UDP.
pub const PAYLOAD: usize = 14 + 20 + 8;
/// How long a probe is, and an answer.
pub const PROBE_BYTES: usize = 16;
/// See the module.
pub const ANSWER_BYTES: usize = PROBE_BYTES + 24;

/// How many lanes there are.
pub const LANES: usize = 16;
const LANE_SHIFT: u32 = 4;
const KIND_MASK: u8 = 0xf;

const MAGIC: [u8; 2] = *b"PG";

mod field {
    use super::{PAYLOAD, Range};

    const fn at(start: usize, bytes: usize) -> Range<usize> {
        PAYLOAD + start..PAYLOAD + start + bytes
    }

    /// All up to the sequence number, which it includes.
    pub const FIRST: Range<usize> = at(0, 8);
    pub const MAGIC: Range<usize> = at(0, 2);
    pub const KIND: usize = PAYLOAD + 2;
    pub const RUN: usize = PAYLOAD + 3;
    pub const SEQUENCE: Range<usize> = at(4, 4);
    pub const SENT: Range<usize> = at(8, 8);
    pub const ARRIVED: Range<usize> = at(16, 8);
    pub const REORDERED: Range<usize> = at(24, 8);
    pub const SPAN: Range<usize> = at(32, 8);
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
    pub run: u8,
    /// Which of the sender's stations it comes from, below [`LANES`].
    pub lane: u8,
    /// Its place in the run, from zero.
    pub sequence: u32,
    /// When it was sent, in nanoseconds of the sender's clock.
    pub sent_ns: u64,
}

/// What has arrived of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Arrivals {
    /// How many frames.
    pub frames: u64,
    /// How many of them after one that was sent later.
    pub reordered: u64,
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
        let [m0, m1, kind, run, sequence @ ..] = number::<8>(frame, field::FIRST);
        if frame[12..14] != [0x08, 0x00] || [m0, m1] != MAGIC {
            return None;
        }
        Some(Probe {
            kind: Kind::of(kind & KIND_MASK)?,
            run,
            lane: kind >> LANE_SHIFT,
            sequence: u32::from_be_bytes(sequence),
            sent_ns: u64::from_be_bytes(number(frame, field::SENT)),
        })
    }

    /// Writes what differs between two frames of a run.
    ///
    /// # Panics
    /// If the frame is too short.
    #[inline]
    pub fn emit_changes(&self, frame: &mut [u8]) {
        frame[field::SEQUENCE].copy_from_slice(&self.sequence.to_be_bytes());
        frame[field::SENT].copy_from_slice(&self.sent_ns.to_be_bytes());
    }

    /// Writes it.
    ///
    /// # Panics
    /// If the frame is too short.
    #[inline]
    pub fn emit(&self, frame: &mut [u8]) {
        frame[field::MAGIC].copy_from_slice(&MAGIC);
        frame[field::KIND] = self.kind.number() | self.lane << LANE_SHIFT;
        frame[field::RUN] = self.run;
        self.emit_changes(frame);
    }
}

impl Arrivals {
    /// The rest of an answer; `None` if it is not all there.
    pub fn parse(frame: &[u8]) -> Option<Arrivals> {
        (frame.len() >= PAYLOAD + ANSWER_BYTES).then(|| Arrivals {
            frames: u64::from_be_bytes(number(frame, field::ARRIVED)),
            reordered: u64::from_be_bytes(number(frame, field::REORDERED)),
            span_ns: u64::from_be_bytes(number(frame, field::SPAN)),
        })
    }

    /// Writes it.
    ///
    /// # Panics
    /// If the frame is too short.
    pub fn emit(&self, frame: &mut [u8]) {
        frame[field::ARRIVED].copy_from_slice(&self.frames.to_be_bytes());
        frame[field::REORDERED].copy_from_slice(&self.reordered.to_be_bytes());
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
    use super::*;

    const KINDS: [Kind; 5] = [Kind::Data, Kind::Echo, Kind::Reply, Kind::Question, Kind::Answer];

    #[test]
    fn comes_out_as_it_went_in() {
        let mut frame = [0; 96];
        frame[12..14].copy_from_slice(&[8, 0]);
        for kind in KINDS {
            let probe =
                Probe { kind, run: 7, lane: 15, sequence: 0x1234_5678, sent_ns: u64::MAX - 1 };
            probe.emit(&mut frame);
            assert_eq!(Probe::parse(&frame), Some(probe));
        }
        let arrivals = Arrivals { frames: 1_000_001, reordered: 3, span_ns: 500_000_000 };
        arrivals.emit(&mut frame);
        assert_eq!(Arrivals::parse(&frame), Some(arrivals));
        assert_eq!(arrivals.per_second(), 2_000_000.0);
    }

    #[test]
    fn other_frames_are_none() {
        let mut frame = [0; PAYLOAD + PROBE_BYTES];
        frame[12..14].copy_from_slice(&[8, 0]);
        assert_eq!(Probe::parse(&frame), None);
        Probe { kind: Kind::Data, run: 0, lane: 0, sequence: 0, sent_ns: 0 }.emit(&mut frame);
        assert!(Probe::parse(&frame).is_some());
        assert_eq!(Probe::parse(&frame[..frame.len() - 1]), None);
        assert_eq!(Arrivals::parse(&frame), None);
        frame[field::KIND] = 6;
        assert_eq!(Probe::parse(&frame), None);
    }
}
