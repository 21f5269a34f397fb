//! Who cuts large segments and merges small ones: the card, if it can, and the processor otherwise.

mod headers;
mod merge;
mod segment;
#[cfg(test)]
mod tests;

use core::num::NonZeroU16;

use pool::{Frame, Pool};

use self::headers::{CHECKSUM, CWR, Family, Layout, RST, SYN, URG};
pub use self::merge::MergeStatistics;
use self::merge::Merger;
pub use self::segment::SegmentError;

/// What a card can take over (virtio 1.2, 5.1.3, whose names are given).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OffloadSet {
    /// Checksums of what is sent (`VIRTIO_NET_F_CSUM`).
    pub transmit_checksum: bool,
    /// What is received may lack a full checksum (`VIRTIO_NET_F_GUEST_CSUM`).
    pub receive_checksum: bool,
    /// Cutting TCP over IPv4 (`VIRTIO_NET_F_HOST_TSO4`).
    pub transmit_tso_ipv4: bool,
    /// Cutting TCP over IPv6 (`VIRTIO_NET_F_HOST_TSO6`).
    pub transmit_tso_ipv6: bool,
    /// Large segments of TCP over IPv4 may be received (`VIRTIO_NET_F_GUEST_TSO4`).
    pub receive_tso_ipv4: bool,
    /// Large segments of TCP over IPv6 may be received (`VIRTIO_NET_F_GUEST_TSO6`).
    pub receive_tso_ipv6: bool,
    /// A frame may be received in several buffers (`VIRTIO_NET_F_MRG_RXBUF`).
    pub mergeable_buffers: bool,
}

impl OffloadSet {
    /// What is used of what is `offered`: what is `wanted`, without what lacks what it rests on (virtio 1.2,
    /// 5.1.3.1). Buffers are short, so large segments are only received in several.
    pub fn negotiate(offered: OffloadSet, wanted: OffloadSet) -> OffloadSet {
        let transmit_checksum = offered.transmit_checksum && wanted.transmit_checksum;
        let receive_checksum = offered.receive_checksum && wanted.receive_checksum;
        let mergeable_buffers = offered.mergeable_buffers && wanted.mergeable_buffers;
        let receives_large = receive_checksum && mergeable_buffers;
        let both = |of: fn(&OffloadSet) -> bool| of(&offered) && of(&wanted);
        OffloadSet {
            transmit_checksum,
            receive_checksum,
            transmit_tso_ipv4: transmit_checksum && both(|set| set.transmit_tso_ipv4),
            transmit_tso_ipv6: transmit_checksum && both(|set| set.transmit_tso_ipv6),
            receive_tso_ipv4: receives_large && both(|set| set.receive_tso_ipv4),
            receive_tso_ipv6: receives_large && both(|set| set.receive_tso_ipv6),
            mergeable_buffers,
        }
    }
}

/// What the card is to do with a frame: the fields of its header (virtio 1.2, 5.1.6). The checksum field of
/// TCP holds the sum of the pseudo-header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CardSegmentation {
    /// Whether it is IPv6: `VIRTIO_NET_HDR_GSO_TCPV6` in the place of `VIRTIO_NET_HDR_GSO_TCPV4`.
    pub is_ipv6: bool,
    /// All headers, in bytes: `hdr_len`.
    pub header_bytes: u16,
    /// How many bytes of payload each segment gets at most: `gso_size`.
    pub segment_bytes: u16,
}

/// Where the card is to put a checksum (virtio 1.2, 5.1.6.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CardChecksum {
    /// From where on it is taken, in bytes: `csum_start`.
    pub start: u16,
    /// Where from there it is put, in bytes: `csum_offset`.
    pub offset: u16,
}

/// What is left to the card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CardTask {
    /// Nothing: the frame is complete.
    None,
    /// A checksum.
    Checksum(CardChecksum),
    /// To cut the frame, and the checksum of each piece.
    Segment(CardSegmentation, CardChecksum),
}

/// A frame for the card.
#[derive(Debug)]
pub struct Outgoing {
    /// The frame.
    pub frame: Frame,
    /// What the card is to do with it.
    pub task: CardTask,
}

impl From<Frame> for Outgoing {
    /// A complete frame.
    fn from(frame: Frame) -> Outgoing {
        Outgoing { frame, task: CardTask::None }
    }
}

/// What was used since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OffloadUse {
    /// Frames that were short enough as they were.
    pub sent_whole: u64,
    /// Large segments that the card cuts.
    pub cut_by_card: u64,
    /// Large segments that were cut here.
    pub cut_here: u64,
    /// The frames that they became.
    pub cut_into: u64,
    /// Large segments that could not be cut.
    pub refused: u64,
    /// Checksums of short segments that were left to the card …
    pub summed_by_card: u64,
    /// … and that were computed here.
    pub summed_here: u64,
    /// Arrivals that the card has vouched for …
    pub verified_by_card: u64,
    /// … and those that were verified here …
    pub verified_here: u64,
    /// … and found wrong.
    pub bad_checksum: u64,
    /// What was merged here.
    pub merge: MergeStatistics,
}

impl OffloadUse {
    /// What was used after `before`, an earlier count.
    pub fn since(&self, before: &OffloadUse) -> OffloadUse {
        OffloadUse {
            sent_whole: self.sent_whole - before.sent_whole,
            cut_by_card: self.cut_by_card - before.cut_by_card,
            cut_here: self.cut_here - before.cut_here,
            cut_into: self.cut_into - before.cut_into,
            refused: self.refused - before.refused,
            summed_by_card: self.summed_by_card - before.summed_by_card,
            summed_here: self.summed_here - before.summed_here,
            verified_by_card: self.verified_by_card - before.verified_by_card,
            verified_here: self.verified_here - before.verified_here,
            bad_checksum: self.bad_checksum - before.bad_checksum,
            merge: self.merge.since(&before.merge),
        }
    }
}

/// What was offered, negotiated, and used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OffloadStatus {
    /// What the card can do.
    pub offered: OffloadSet,
    /// What it was asked to do.
    pub negotiated: OffloadSet,
    /// What came of it.
    pub used: OffloadUse,
}

/// Cuts and merges, or lets the card do it.
#[derive(Debug)]
pub struct OffloadEngine {
    status: OffloadStatus,
    merger: Merger,
    segments: Pool,
}

impl OffloadEngine {
    /// An engine for a card that offers `offered`, of which `wanted` is to be used. Segments are cut into
    /// buffers of `segments`, and merged in buffers of `merge_buffers`.
    ///
    /// # Panics
    /// If the merge buffers are shorter than [`crate::limits::MERGE_BUFFER_BYTES`].
    pub fn new(
        offered: OffloadSet,
        wanted: OffloadSet,
        segments: Pool,
        merge_buffers: Pool,
    ) -> OffloadEngine {
        let negotiated = OffloadSet::negotiate(offered, wanted);
        let status = OffloadStatus { offered, negotiated, used: OffloadUse::default() };
        OffloadEngine { status, merger: Merger::new(merge_buffers), segments }
    }

    /// Sends a frame: as it is, if its payload is at most `segment_bytes` long or it is no TCP segment (then
    /// its length is the card's concern); with a word to the card, if that cuts it; or in pieces. Says how
    /// many frames were given to `send`.
    ///
    /// # Errors
    /// The frame is dropped and counted; see [`SegmentError`].
    pub fn transmit(
        &mut self,
        mut frame: Frame,
        segment_bytes: u16,
        mut send: impl FnMut(Outgoing),
    ) -> Result<usize, SegmentError> {
        let long = Layout::of(&frame)
            .filter(|layout| layout.payload_range().len() > usize::from(segment_bytes));
        let Some(layout) = long else {
            self.status.used.sent_whole += 1;
            send(frame.into());
            return Ok(1);
        };
        frame.truncate(layout.end);
        self.cut(frame, &layout, segment_bytes, send)
    }

    /// As [`OffloadEngine::transmit`], for a frame of a stack that computes no checksums of TCP: the card
    /// does, or the processor. It is cut only if the stack says into which pieces.
    ///
    /// # Errors
    /// As there.
    pub fn transmit_unsummed(
        &mut self,
        mut frame: Frame,
        segment_bytes: Option<NonZeroU16>,
        mut send: impl FnMut(Outgoing),
    ) -> Result<usize, SegmentError> {
        let used = &mut self.status.used;
        let Some(layout) = Layout::of(&frame) else {
            used.sent_whole += 1;
            send(frame.into());
            return Ok(1);
        };
        frame.truncate(layout.end);
        let payload_bytes = layout.payload_range().len();
        let long = segment_bytes.filter(|bytes| payload_bytes > usize::from(bytes.get()));
        if let Some(segment_bytes) = long {
            return self.cut(frame, &layout, segment_bytes.get(), send);
        }
        used.sent_whole += 1;
        let task = if self.status.negotiated.transmit_checksum {
            used.summed_by_card += 1;
            layout.seal_partially(&mut frame);
            CardTask::Checksum(card_checksum(&layout))
        } else {
            used.summed_here += 1;
            layout.seal(&mut frame);
            CardTask::None
        };
        send(Outgoing { frame, task });
        Ok(1)
    }

    /// Sends a frame whose payload is longer than `segment_bytes`, and which ends where its segment does.
    fn cut(
        &mut self,
        mut frame: Frame,
        layout: &Layout,
        segment_bytes: u16,
        mut send: impl FnMut(Outgoing),
    ) -> Result<usize, SegmentError> {
        let used = &mut self.status.used;
        let cuts_itself = match layout.family {
            Family::V4 => self.status.negotiated.transmit_tso_ipv4,
            Family::V6 => self.status.negotiated.transmit_tso_ipv6,
        };
        // A card that was not asked about ECN may repeat CWR (`VIRTIO_NET_F_HOST_ECN`).
        let is_plain = layout.flags(&frame) & (SYN | RST | URG | CWR) == 0;
        if cuts_itself && is_plain && segment_bytes > 0 {
            used.cut_by_card += 1;
            layout.seal_partially(&mut frame);
            let segmentation = card_segmentation(layout, segment_bytes);
            send(Outgoing { frame, task: CardTask::Segment(segmentation, card_checksum(layout)) });
            return Ok(1);
        }
        let bytes_max = usize::from(segment_bytes);
        let cut = segment::segment(&frame, layout, bytes_max, &self.segments, |frame| {
            send(frame.into());
        });
        match cut {
            Ok(count) => {
                used.cut_here += 1;
                used.cut_into += count as u64;
            }
            Err(_) => used.refused += 1,
        }
        cut
    }

    /// Whether a stack that verifies no checksums of TCP may see an arrival. If the card does not vouch for
    /// it, it is verified here. What is above IP and no TCP is for the stack to verify; TCP in fragments is
    /// refused, for nobody could.
    pub fn accepts(&mut self, frame: &[u8], is_vouched_for: bool) -> bool {
        let used = &mut self.status.used;
        let Some(layout) = Layout::of(frame) else {
            let is_tcp = headers::claims_tcp(frame);
            used.bad_checksum += u64::from(is_tcp);
            return !is_tcp;
        };
        if is_vouched_for {
            used.verified_by_card += 1;
            return true;
        }
        used.verified_here += 1;
        let is_intact = layout.is_intact(frame);
        used.bad_checksum += u64::from(!is_intact);
        is_intact
    }

    /// Takes a frame that has arrived, and gives on to `give` what need not wait for more.
    pub fn receive(&mut self, frame: Frame, now_ns: u64, mut give: impl FnMut(Frame)) {
        self.merger.receive(frame, now_ns, &mut give);
    }

    /// As [`OffloadEngine::receive`], of what [`OffloadEngine::accepts`] and for a stack that verifies no
    /// checksums of TCP: large segments have none then.
    pub fn receive_accepted(&mut self, frame: Frame, now_ns: u64, mut give: impl FnMut(Frame)) {
        self.merger.receive_verified(frame, now_ns, &mut give);
    }

    /// Gives on everything that waits: at the end of a burst, after which nobody knows when the next one
    /// comes.
    pub fn flush(&mut self, mut give: impl FnMut(Frame)) {
        self.merger.flush_all(&mut give);
    }

    /// Gives on what has waited for [`crate::limits::MERGE_WITHIN_NS`].
    pub fn handle_timeout(&mut self, now_ns: u64, mut give: impl FnMut(Frame)) {
        self.merger.handle_timeout(now_ns, &mut give);
    }

    /// When [`OffloadEngine::handle_timeout`] has something to do, in nanoseconds.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.merger.poll_timeout()
    }

    /// What was offered, negotiated, and used so far.
    pub fn status(&self) -> OffloadStatus {
        let used = OffloadUse { merge: self.merger.statistics(), ..self.status.used };
        OffloadStatus { used, ..self.status }
    }
}

fn card_segmentation(layout: &Layout, segment_bytes: u16) -> CardSegmentation {
    let is_ipv6 = layout.family == Family::V6;
    CardSegmentation { is_ipv6, header_bytes: short(layout.payload), segment_bytes }
}

fn card_checksum(layout: &Layout) -> CardChecksum {
    CardChecksum { start: short(layout.tcp), offset: short(CHECKSUM) }
}

/// Ethernet, at most 60 bytes of IP, and at most 60 of TCP.
fn short(bytes: usize) -> u16 {
    u16::try_from(bytes).expect("headers are short")
}
