//! Merging TCP segments that follow one another into large ones (generic receive offload).
//!
//! Only what could be cut into the very same segments again is merged: headers are equal but for what counts
//! up, every segment but the last is of one length, and both checksums are right.

use core::ops::Range;

use pool::{Frame, Pool};
use smoltcp::wire::{IPV4_HEADER_LEN, Ipv4Packet};

use super::headers::{ACK, FIN, Family, IP, Layout, PSH};
use crate::limits::{IP_LENGTH_MAX_BYTES, MERGE_BUFFER_BYTES, MERGE_WITHIN_NS, MERGED_FLOWS_MAX};

/// What was merged since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MergeStatistics {
    /// Frames that came in.
    pub received: u64,
    /// Those that were appended to another.
    pub appended: u64,
    /// Large segments that came out of two or more.
    pub merged: u64,
    /// TCP segments whose checksum was wrong: given on as they were, for the stack to drop.
    pub bad_checksum: u64,
    /// How often there was no buffer to merge in.
    pub no_buffer: u64,
}

impl MergeStatistics {
    pub(super) fn since(&self, before: &MergeStatistics) -> MergeStatistics {
        MergeStatistics {
            received: self.received - before.received,
            appended: self.appended - before.appended,
            merged: self.merged - before.merged,
            bad_checksum: self.bad_checksum - before.bad_checksum,
            no_buffer: self.no_buffer - before.no_buffer,
        }
    }
}

/// A segment that waits for the next one of its flow.
#[derive(Debug)]
struct Held {
    frame: Frame,
    /// Of the first segment; `end` is not kept up.
    layout: Layout,
    since_ns: u64,
    /// The sequence number of the next one.
    next: u32,
    /// How many bytes of payload every segment has, but for the last.
    segment_bytes: usize,
    segments: u16,
    identification: u16,
    /// By how much identifications differ, once two are known: one, or zero where they mean nothing.
    identification_step: Option<u16>,
    /// Whether who gets it verifies the checksum of TCP: it is computed only then.
    is_verified_later: bool,
}

/// The segments that wait, one for each flow.
#[derive(Debug)]
pub(super) struct Merger {
    held: [Option<Held>; MERGED_FLOWS_MAX],
    /// Long buffers, to merge in.
    buffers: Pool,
    statistics: MergeStatistics,
}

impl Merger {
    /// # Panics
    /// If the buffers are shorter than [`MERGE_BUFFER_BYTES`].
    pub(super) fn new(buffers: Pool) -> Merger {
        assert!(buffers.buffer_bytes() >= MERGE_BUFFER_BYTES, "64 KiB and headers fit a buffer");
        let held = core::array::from_fn(|_| None);
        Merger { held, buffers, statistics: MergeStatistics::default() }
    }

    pub(super) fn statistics(&self) -> MergeStatistics {
        self.statistics
    }

    /// Takes a frame, and gives on what need not wait, in the order of each flow.
    pub(super) fn receive(&mut self, frame: Frame, now_ns: u64, give: &mut impl FnMut(Frame)) {
        self.statistics.received += 1;
        let Some(layout) = Layout::of(&frame) else { return give(frame) };
        if !layout.is_intact(&frame) {
            self.statistics.bad_checksum += 1;
            return give(frame);
        }
        self.merge(frame, &layout, (now_ns, true), give);
    }

    /// As [`Merger::receive`], for a frame that was verified, and for who does not do so again.
    pub(super) fn receive_verified(
        &mut self,
        frame: Frame,
        now_ns: u64,
        give: &mut impl FnMut(Frame),
    ) {
        self.statistics.received += 1;
        match Layout::of(&frame) {
            Some(layout) => self.merge(frame, &layout, (now_ns, false), give),
            None => give(frame),
        }
    }

    fn merge(
        &mut self,
        frame: Frame,
        layout: &Layout,
        (now_ns, is_verified_later): (u64, bool),
        give: &mut impl FnMut(Frame),
    ) {
        let place = self
            .held
            .iter()
            .position(|held| held.as_ref().is_some_and(|held| held.is_same_flow(&frame, layout)));
        if let Some(place) = place {
            if self.append(place, &frame, layout) {
                if ends(&frame, layout) || self.is_complete(place, layout) {
                    self.flush(place, give);
                }
                return;
            }
            // It is overtaken by nothing of its flow.
            self.flush(place, give);
        }
        if is_mergeable(&frame, layout) && !ends(&frame, layout) {
            self.hold(Held::new(frame, *layout, (now_ns, is_verified_later)), give);
        } else {
            give(frame);
        }
    }

    /// Gives on what has waited for too long.
    pub(super) fn handle_timeout(&mut self, now_ns: u64, give: &mut impl FnMut(Frame)) {
        for place in 0..MERGED_FLOWS_MAX {
            if self.held[place].as_ref().is_some_and(|held| held.deadline_ns() <= now_ns) {
                self.flush(place, give);
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<u64> {
        self.held.iter().flatten().map(Held::deadline_ns).min()
    }

    pub(super) fn flush_all(&mut self, give: &mut impl FnMut(Frame)) {
        for place in 0..MERGED_FLOWS_MAX {
            self.flush(place, give);
        }
    }

    /// Lets a segment wait, in the place of the one that has waited for longest if there is no other.
    fn hold(&mut self, held: Held, give: &mut impl FnMut(Frame)) {
        let age = |place: &usize| self.held[*place].as_ref().map(|held| held.since_ns);
        // `None`, which is free, comes before every time.
        let place = (0..MERGED_FLOWS_MAX).min_by_key(age).expect("there are places");
        self.flush(place, give);
        self.held[place] = Some(held);
    }

    fn flush(&mut self, place: usize, give: &mut impl FnMut(Frame)) {
        let Some(mut held) = self.held[place].take() else { return };
        if held.segments > 1 {
            self.statistics.merged += 1;
            match held.is_verified_later {
                true => held.layout.seal(&mut held.frame),
                false => held.layout.seal_partially(&mut held.frame),
            }
        }
        give(held.frame);
    }

    /// Appends a segment to the one that waits; false if it does not fit there.
    fn append(&mut self, place: usize, frame: &Frame, layout: &Layout) -> bool {
        let Some(held) = &mut self.held[place] else { return false };
        if !held.is_followed_by(frame, layout) {
            return false;
        }
        if held.segments == 1 {
            let Some(mut long) = self.buffers.allocate_frame() else {
                self.statistics.no_buffer += 1;
                return false;
            };
            long.append(held.layout.payload).copy_from_slice(&held.frame[..held.layout.payload]);
            long.append_copy(&held.frame[held.layout.payload_range()]);
            held.frame = long;
        }
        held.append(frame, layout);
        self.statistics.appended += 1;
        true
    }

    /// Whether nothing may follow what was appended last.
    fn is_complete(&self, place: usize, last: &Layout) -> bool {
        self.held[place].as_ref().is_some_and(|held| {
            last.payload_range().len() < held.segment_bytes || !held.has_room(1)
        })
    }
}

impl Held {
    fn new(frame: Frame, layout: Layout, (since_ns, is_verified_later): (u64, bool)) -> Held {
        let segment_bytes = layout.payload_range().len();
        Held {
            layout,
            since_ns,
            next: layout.sequence(&frame).wrapping_add(segment_bytes as u32),
            segment_bytes,
            segments: 1,
            identification: layout.identification(&frame),
            identification_step: None,
            is_verified_later,
            frame,
        }
    }

    fn deadline_ns(&self) -> u64 {
        self.since_ns.saturating_add(MERGE_WITHIN_NS)
    }

    fn has_room(&self, bytes: usize) -> bool {
        let counted_from = match self.layout.family {
            Family::V4 => IP,
            Family::V6 => self.layout.tcp,
        };
        self.frame.len() - counted_from + bytes <= IP_LENGTH_MAX_BYTES
    }

    /// Whether addresses and ports are the same.
    fn is_same_flow(&self, frame: &Frame, layout: &Layout) -> bool {
        let addresses = match self.layout.family {
            Family::V4 => IP + 12..IP + 20,
            Family::V6 => IP + 8..IP + 40,
        };
        let ports = |layout: &Layout| layout.tcp..layout.tcp + 4;
        self.layout.family == layout.family
            && self.frame[addresses.clone()] == frame[addresses]
            && self.frame[ports(&self.layout)] == frame[ports(layout)]
    }

    /// Whether a segment of the same flow continues this one, and would be cut from the whole again.
    fn is_followed_by(&self, frame: &Frame, layout: &Layout) -> bool {
        let bytes = layout.payload_range().len();
        let has_same_headers = self.layout.tcp == layout.tcp
            && self.layout.payload == layout.payload
            && unchanging(layout)
                .into_iter()
                .all(|range| self.frame[range.clone()] == frame[range])
            && self.layout.flags(&self.frame) == layout.flags(frame) & !(FIN | PSH);
        is_mergeable(frame, layout)
            && has_same_headers
            && layout.sequence(frame) == self.next
            && bytes <= self.segment_bytes
            && self.has_room(bytes)
            && self.step_to(frame, layout).is_some()
    }

    /// By how much the identification grows to that of the next segment, if that is allowed: by one, or,
    /// where fragmentation is forbidden, not at all (there it means nothing: RFC 6864, 4.1), always alike.
    fn step_to(&self, frame: &Frame, layout: &Layout) -> Option<u16> {
        let means_nothing = match layout.family {
            Family::V4 => Ipv4Packet::new_unchecked(&frame[IP..]).dont_frag(),
            Family::V6 => true,
        };
        let step = layout.identification(frame).wrapping_sub(self.identification);
        let is_allowed = step == 1 || step == 0 && means_nothing;
        let is_as_before = self.identification_step.is_none_or(|before| before == step);
        (is_allowed && is_as_before).then_some(step)
    }

    fn append(&mut self, frame: &Frame, layout: &Layout) {
        let payload = &frame[layout.payload_range()];
        self.identification_step = self.step_to(frame, layout);
        self.identification = layout.identification(frame);
        self.next = self.next.wrapping_add(payload.len() as u32);
        self.segments += 1;
        self.frame.append_copy(payload);
        self.layout.set_flags(&mut self.frame, layout.flags(frame));
    }
}

/// Whether a segment is of the kind that is merged: data, acknowledged, nothing unusual.
fn is_mergeable(frame: &Frame, layout: &Layout) -> bool {
    let is_plain = match layout.family {
        Family::V4 => layout.tcp == IP + IPV4_HEADER_LEN,
        Family::V6 => true,
    };
    is_plain && layout.flags(frame) & !(FIN | PSH) == ACK && !layout.payload_range().is_empty()
}

/// Whether the stack should see what came so far, at once.
fn ends(frame: &Frame, layout: &Layout) -> bool {
    layout.flags(frame) & (FIN | PSH) != 0
}

/// What all segments of a merged one have in common, flags aside.
fn unchanging(layout: &Layout) -> [Range<usize>; 6] {
    let tcp = layout.tcp;
    let ip = match layout.family {
        // Around total length and identification, and around the checksum.
        Family::V4 => [IP..IP + 2, IP + 6..IP + 10, IP + 12..tcp],
        // Around the length of the payload.
        Family::V6 => [IP..IP + 4, IP + 6..IP + 8, IP + 8..tcp],
    };
    let [before_length, before_checksum, addresses] = ip;
    // Acknowledgement and offset; window; urgent pointer and options, behind the checksum.
    let window = tcp + 14..tcp + 16;
    [
        0..before_length.end,
        before_checksum,
        addresses,
        tcp + 8..tcp + 13,
        window,
        tcp + 18..layout.payload,
    ]
}
