//! What a sender has left for its card to do, done here for receivers whose cards do not take it: checksums
//! filled in, large segments cut.

use netio::{OffloadEngine, OffloadSet};
use pool::{PAGE_BYTES, Pool};
use virtio::net::{Checksum, PartialChecksum};

use super::{Packet, with_packet};
use crate::{FRAME_MAX_BYTES, LARGE_MAX_BYTES};

/// A large segment of small pieces becomes so many frames at most; one that would become more is dropped.
const PIECES_MAX: usize = 256;

/// Completes frames, one at a time.
#[derive(Debug)]
pub struct Completer {
    whole: Pool,
    engine: OffloadEngine,
}

impl Default for Completer {
    fn default() -> Completer {
        let nothing = OffloadSet::default();
        let whole = Pool::on_heap(1, LARGE_MAX_BYTES.next_multiple_of(PAGE_BYTES) + PAGE_BYTES);
        let pieces = Pool::on_heap(PIECES_MAX, PAGE_BYTES);
        let merge =
            Pool::on_heap(1, netio::limits::MERGE_BUFFER_BYTES.next_multiple_of(PAGE_BYTES));
        Completer { whole, engine: OffloadEngine::new(nothing, nothing, pieces, merge) }
    }
}

impl Completer {
    /// Gives what becomes of a frame to `give`: nothing is left to do of any. Says how many bytes were copied
    /// on the way; `None` if it cannot be done, because the frame is not what its sender says, or would be
    /// longer than a frame then: a large segment that is not understood is none that can be cut.
    pub fn complete(
        &mut self,
        packet: &Packet<'_, '_>,
        mut give: impl FnMut(&Packet<'_, '_>),
    ) -> Option<usize> {
        let length = packet.len();
        let mut frame = self.whole.allocate_frame().expect("one at a time");
        if length > frame.tailroom() {
            return None;
        }
        // Its sender may change it until then, and not longer.
        packet.content.read(frame.append(length));
        let Some(segmentation) = packet.header.segmentation else {
            return finish(&mut frame, packet.header.checksum, &mut give).then_some(length);
        };
        let (mut copied, mut is_done) = (length, true);
        let cut = self.engine.transmit(frame, segmentation.segment_bytes, |piece| {
            let mut piece = piece.frame;
            if piece.len() == length {
                // It was not cut: it is short, or not understood.
                is_done = finish(&mut piece, packet.header.checksum, &mut give);
            } else {
                copied += piece.len();
                is_done &= finish(&mut piece, Checksum::Unknown, &mut give);
            }
        });
        (cut.is_ok() && is_done).then_some(copied)
    }
}

/// Fills in a checksum that is left to do, and gives the frame away if it is one.
fn finish(frame: &mut [u8], checksum: Checksum, give: &mut impl FnMut(&Packet<'_, '_>)) -> bool {
    let is_filled = match checksum {
        Checksum::Partial(checksum) => fill(frame, checksum).is_some(),
        Checksum::Unknown | Checksum::Valid => true,
    };
    let is_frame = is_filled && frame.len() <= FRAME_MAX_BYTES;
    if is_frame {
        with_packet(frame, give);
    }
    is_frame
}

/// Writes the checksum of everything from `start` on into its field, which holds the sum of the pseudo-header
/// (RFC 1071); `None` if the field is not in the frame.
pub(super) fn fill(frame: &mut [u8], checksum: PartialChecksum) -> Option<()> {
    let end = checksum.field_end();
    if end > frame.len() {
        return None;
    }
    let covered = &frame[usize::from(checksum.start)..];
    let mut words = covered.chunks_exact(2);
    let mut sum: u64 =
        words.by_ref().map(|word| u64::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    if let [last] = words.remainder() {
        sum += u64::from(u16::from_be_bytes([*last, 0]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // Of UDP a checksum of zero would mean that there is none (RFC 768); as a number it is the same.
    let value = match !(sum as u16) {
        0 => 0xffff,
        value => value,
    };
    frame[end - 2..end].copy_from_slice(&value.to_be_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::{Scatter, Stored};
    use super::*;
    use virtio::net::{Header, SegmentKind, Segmentation};
    use vm_memory::VolatileSlice;

    /// Ethernet, IPv4 and TCP with so much payload; the checksum is that of the pseudo-header.
    fn segment(payload: usize) -> Vec<u8> {
        let mut frame = vec![2; 12];
        frame.extend([8, 0, 0x45, 0]);
        frame.extend(u16::try_from(40 + payload).unwrap().to_be_bytes());
        frame.extend([0, 7, 0, 0, 64, 6, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2]);
        let tcp = frame.len();
        frame.extend([0x10, 0, 0x20, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 4, 0, 0, 0, 0, 0]);
        frame.extend((0..payload).map(|index| index as u8));
        let length = u32::try_from(20 + payload).unwrap();
        let mut sum = 0x0a4d + 1 + 0x0a4d + 2 + 6 + length;
        sum = (sum & 0xffff) + (sum >> 16);
        frame[tcp + 16..tcp + 18].copy_from_slice(&u16::try_from(sum).unwrap().to_be_bytes());
        frame
    }

    /// The sum over pseudo-header and segment, the checksum in its place, is all ones.
    fn is_right(frame: &[u8]) -> bool {
        let length = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
        let tcp = &frame[34..14 + length];
        let mut covered = frame[26..34].to_vec();
        covered.extend([0, 6]);
        covered.extend(u16::try_from(tcp.len()).unwrap().to_be_bytes());
        covered.extend(tcp);
        covered.resize(covered.len().next_multiple_of(2), 0);
        let words =
            covered.chunks_exact(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
        let sum: u32 = words.sum();
        (sum & 0xffff) + (sum >> 16) == 0xffff
    }

    fn complete(header: Header, mut frame: Vec<u8>) -> Option<Vec<Vec<u8>>> {
        let mut content = Scatter::default();
        content.push(VolatileSlice::from(&mut frame[..])).unwrap();
        let packet = Packet::new(header, &content).unwrap();
        let mut stored = Stored::default();
        stored.set(&packet);
        let mut done = Vec::new();
        let copied = stored.with(|packet| {
            Completer::default().complete(packet, |packet| {
                assert!(packet.is_complete());
                done.push(packet.to_vec());
            })
        });
        copied.map(|_| done)
    }

    const PARTIAL: Checksum = Checksum::Partial(PartialChecksum { start: 34, offset: 16 });

    #[test]
    fn a_checksum_is_filled_in() {
        for payload in [0, 1, 2, 999, 1460] {
            let header = Header { checksum: PARTIAL, ..Header::PLAIN };
            let frame = segment(payload);
            assert!(!is_right(&frame));
            let done = complete(header, frame).unwrap();
            assert!(done.len() == 1 && is_right(&done[0]), "{payload}");
        }
    }

    /// The header of a large segment of pieces of so many bytes, whose checksum begins there.
    fn large(segment_bytes: u16, start: u16) -> Header {
        let segmentation = Segmentation {
            kind: SegmentKind::Tcp4,
            has_ecn: false,
            header_bytes: start + 20,
            segment_bytes,
        };
        let checksum = Checksum::Partial(PartialChecksum { start, offset: 16 });
        Header { checksum, segmentation: Some(segmentation), buffers: 0 }
    }

    /// As [`segment`], with a tag of a VLAN, which the engine that cuts does not know.
    fn tagged(payload: usize) -> Vec<u8> {
        let mut frame = segment(payload);
        frame.splice(12..12, [0x81, 0, 0, 7]);
        frame
    }

    #[test]
    fn a_large_segment_that_is_short_has_its_checksum_filled_in() {
        for payload in [0, 1, 1_459, 1_460] {
            let done = complete(large(1_460, 34), segment(payload)).unwrap();
            assert!(done.len() == 1 && is_right(&done[0]), "{payload}");
        }
        // With a tag, too: a card knows where the checksum is without knowing what it is of.
        let mut done = complete(large(1_460, 38), tagged(1_460)).unwrap();
        assert_eq!((done.len(), done[0].len()), (1, FRAME_MAX_BYTES));
        done[0].drain(12..16);
        assert!(is_right(&done[0]));
    }

    #[test]
    fn what_is_longer_than_a_frame_and_cannot_be_cut_is_not_done() {
        assert_eq!(complete(large(1_460, 38), tagged(1_461)), None);
        assert_eq!(complete(large(1_460, 38), tagged(20_000)), None);
        let mut fragment = segment(20_000);
        fragment[20] = 0x20;
        assert_eq!(complete(large(1_460, 34), fragment), None);
        // Nor are pieces that are no frames.
        assert_eq!(complete(large(3_000, 34), segment(20_000)), None);
        assert_eq!(complete(large(3_000, 34), segment(2_000)), None);
    }

    #[test]
    fn a_large_segment_is_cut() {
        let header = large(1_460, 34);
        let done = complete(header, segment(60_000)).unwrap();
        assert_eq!(done.len(), 60_000_usize.div_ceil(1_460));
        assert!(done.iter().all(|frame| is_right(frame) && frame.len() <= 1_514));
        let payload: Vec<u8> = done.iter().flat_map(|frame| frame[54..].to_vec()).collect();
        assert_eq!(payload, segment(60_000)[54..]);
    }

    #[test]
    fn it_says_how_much_it_copies() {
        let copied = |header, payload| {
            let mut frame = segment(payload);
            let mut content = Scatter::default();
            content.push(VolatileSlice::from(&mut frame[..])).unwrap();
            let packet = Packet::new(header, &content).unwrap();
            Completer::default().complete(&packet, |_| {}).unwrap()
        };
        assert_eq!(copied(Header { checksum: PARTIAL, ..Header::PLAIN }, 100), 154);
        assert_eq!(copied(large(1_000, 34), 2_500), 2_554 + 3 * 54 + 2_500);
    }

    #[test]
    fn what_cannot_be_is_not_done() {
        let header = |start, offset| {
            let checksum = Checksum::Partial(PartialChecksum { start, offset });
            Header { checksum, ..Header::PLAIN }
        };
        for (start, offset) in [(34, 20), (60, 0), (u16::MAX, u16::MAX), (0, 53)] {
            assert_eq!(complete(header(start, offset), segment(0)), None, "{start} {offset}");
        }
        assert!(complete(header(0, 52), segment(0)).is_some());
    }
}
