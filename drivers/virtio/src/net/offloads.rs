//! What a card takes over: the bits of the standard (Virtio 1.3, section 5.1.3) and the words of `netio`.

use netio::{CardChecksum, CardTask, OffloadSet, Outgoing};
pub use netio::{CardOffloads, OffloadCounts};
use pool::{Frame, FrameChain};

use super::header::{Checksum, Header, PartialChecksum, SegmentKind, Segmentation};

const CSUM: u64 = 1 << 0;
const GUEST_CSUM: u64 = 1 << 1;
const GUEST_TSO4: u64 = 1 << 7;
const GUEST_TSO6: u64 = 1 << 8;
const GUEST_ECN: u64 = 1 << 9;
const HOST_TSO4: u64 = 1 << 11;
const HOST_TSO6: u64 = 1 << 12;
const HOST_ECN: u64 = 1 << 13;
const MRG_RXBUF: u64 = 1 << 15;

/// The longest frame that a card cuts: a packet of 64 KiB less one behind Ethernet's header and a tag.
const LARGE_FRAME_BYTES_MAX: usize = 65_535 + 18;

/// Nothing at all.
pub(super) const NONE: OffloadSet = OffloadSet {
    transmit_checksum: false,
    receive_checksum: false,
    transmit_tso_ipv4: false,
    transmit_tso_ipv6: false,
    receive_tso_ipv4: false,
    receive_tso_ipv6: false,
    mergeable_buffers: false,
};

/// A packet that has arrived.
#[derive(Debug)]
pub struct Received {
    /// Its bytes.
    pub frames: FrameChain,
    /// How it is with its checksum. One that is [`Checksum::Partial`] must not be verified: it is the sum of
    /// the pseudo-header, and the packet has not been on a wire.
    pub checksum: Checksum,
    /// What it stands for, if it is large.
    pub segmentation: Option<Segmentation>,
}

/// What the card is to do with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransmitOffload {
    /// Nothing: it is complete.
    None,
    /// Compute its checksum.
    Checksum(PartialChecksum),
    /// Cut it, and compute the checksum of each piece.
    Segment(Segmentation, PartialChecksum),
}

/// A packet for the card. Where the card has a checksum to compute, its field holds the sum of the
/// pseudo-header.
#[derive(Debug)]
pub struct Packet {
    /// Its bytes.
    pub frame: Frame,
    /// What is left to do.
    pub offload: TransmitOffload,
}

impl From<Frame> for Packet {
    fn from(frame: Frame) -> Packet {
        Packet { frame, offload: TransmitOffload::None }
    }
}

impl From<Outgoing> for Packet {
    fn from(Outgoing { frame, task }: Outgoing) -> Packet {
        let place = |it: CardChecksum| PartialChecksum { start: it.start, offset: it.offset };
        let offload = match task {
            CardTask::None => TransmitOffload::None,
            CardTask::Checksum(checksum) => TransmitOffload::Checksum(place(checksum)),
            CardTask::Segment(card, checksum) => {
                let segmentation = Segmentation {
                    kind: if card.is_ipv6 { SegmentKind::Tcp6 } else { SegmentKind::Tcp4 },
                    has_ecn: false,
                    header_bytes: card.header_bytes,
                    segment_bytes: card.segment_bytes,
                };
                TransmitOffload::Segment(segmentation, place(checksum))
            }
        };
        Packet { frame, offload }
    }
}

/// What was agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Agreement {
    pub(super) set: OffloadSet,
    receive_ecn: bool,
    transmit_ecn: bool,
}

impl Agreement {
    /// What these features mean.
    pub(super) fn new(features: u64) -> Agreement {
        Agreement {
            set: set_of(features),
            receive_ecn: features & GUEST_ECN != 0,
            transmit_ecn: features & HOST_ECN != 0,
        }
    }

    /// Whether headers of arrivals say anything.
    pub(super) fn is_received_plain(&self) -> bool {
        // Large arrivals rest on both.
        !self.set.receive_checksum && !self.set.mergeable_buffers
    }

    /// Whether a card may say this of an arrival whose first frame has so many bytes.
    pub(super) fn allows(&self, header: &Header, first_bytes: usize) -> bool {
        let is_checksum_allowed = match header.checksum {
            Checksum::Unknown => true,
            Checksum::Valid => self.set.receive_checksum,
            Checksum::Partial(partial) => {
                self.set.receive_checksum && partial.field_end() <= first_bytes
            }
        };
        let is_size_allowed = header.segmentation.is_none_or(|it| match it.kind {
            SegmentKind::Tcp4 => self.set.receive_tso_ipv4 && (self.receive_ecn || !it.has_ecn),
            SegmentKind::Tcp6 => self.set.receive_tso_ipv6 && (self.receive_ecn || !it.has_ecn),
        });
        is_checksum_allowed && is_size_allowed
    }

    /// The header for a frame of so many bytes, of which so many fit on the wire; `None` if the card was not
    /// asked to do that, or the request does not fit the frame.
    #[inline]
    pub(super) fn header(
        &self,
        offload: TransmitOffload,
        bytes: usize,
        wire_bytes: usize,
    ) -> Option<Header> {
        let (checksum, segmentation) = match offload {
            TransmitOffload::None => return (bytes <= wire_bytes).then_some(Header::PLAIN),
            TransmitOffload::Checksum(checksum) => (checksum, None),
            TransmitOffload::Segment(segmentation, checksum) => (checksum, Some(segmentation)),
        };
        let is_checksum_sound = self.set.transmit_checksum && checksum.field_end() <= bytes;
        let is_size_sound = match &segmentation {
            None => bytes <= wire_bytes,
            Some(it) => self.cuts(it, bytes, wire_bytes),
        };
        (is_checksum_sound && is_size_sound).then_some(Header {
            checksum: Checksum::Partial(checksum),
            segmentation,
            buffers: 0,
        })
    }

    fn cuts(&self, segmentation: &Segmentation, bytes: usize, wire_bytes: usize) -> bool {
        let is_negotiated = match segmentation.kind {
            SegmentKind::Tcp4 => self.set.transmit_tso_ipv4,
            SegmentKind::Tcp6 => self.set.transmit_tso_ipv6,
        };
        let header_bytes = usize::from(segmentation.header_bytes);
        let piece_bytes = header_bytes + usize::from(segmentation.segment_bytes);
        is_negotiated
            && (self.transmit_ecn || !segmentation.has_ecn)
            && segmentation.segment_bytes > 0
            && header_bytes < bytes
            && piece_bytes <= wire_bytes
            && bytes <= LARGE_FRAME_BYTES_MAX
    }
}

/// The bits to take of those that are offered, if these are wanted.
pub(super) fn select(offered: u64, wanted: OffloadSet) -> u64 {
    let set = OffloadSet::negotiate(set_of(offered), wanted);
    let bit = |is_set: bool, bit: u64| if is_set { bit } else { 0 };
    let receives_large = set.receive_tso_ipv4 || set.receive_tso_ipv6;
    let transmits_large = set.transmit_tso_ipv4 || set.transmit_tso_ipv6;
    let ecn = bit(receives_large, GUEST_ECN) | bit(transmits_large, HOST_ECN);
    bit(set.transmit_checksum, CSUM)
        | bit(set.receive_checksum, GUEST_CSUM)
        | bit(set.transmit_tso_ipv4, HOST_TSO4)
        | bit(set.transmit_tso_ipv6, HOST_TSO6)
        | bit(set.receive_tso_ipv4, GUEST_TSO4)
        | bit(set.receive_tso_ipv6, GUEST_TSO6)
        | bit(set.mergeable_buffers, MRG_RXBUF)
        | (ecn & offered)
}

/// What these features mean.
pub(super) fn set_of(features: u64) -> OffloadSet {
    let has = |bit: u64| features & bit != 0;
    OffloadSet {
        transmit_checksum: has(CSUM),
        receive_checksum: has(GUEST_CSUM),
        transmit_tso_ipv4: has(HOST_TSO4),
        transmit_tso_ipv6: has(HOST_TSO6),
        receive_tso_ipv4: has(GUEST_TSO4),
        receive_tso_ipv6: has(GUEST_TSO6),
        mergeable_buffers: has(MRG_RXBUF),
    }
}
