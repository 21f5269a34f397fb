//! Frames, made from a template: only the flow and the probe differ.

use alloc::vec::Vec;
use core::num::NonZeroU64;

use pool::{Frame, PacketBuffer, Pool};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol, Ipv4Address,
    Ipv4Packet, Ipv4Repr, UdpPacket,
};

use crate::probe::{PAYLOAD, Probe};
use crate::{FCS_BYTES, SIZES};

/// The discard service (RFC 863), to which frames of ours seem to go.
const PORT_TO: u16 = 9;
/// The first of the ports from which they seem to come, one for each flow.
const PORT_FROM: u16 = 0x4000;
const SOURCE_PORT: core::ops::Range<usize> = 34..36;
/// Addresses that RFC 2544 sets apart for measurements (appendix C.2.2).
const FROM: Ipv4Address = Ipv4Address::new(198, 18, 0, 1);
const TO: Ipv4Address = Ipv4Address::new(198, 19, 0, 1);

/// Where a buffer says which template it holds, before the start of its frame: beside the card's header, so
/// that one line of the cache has both.
const STAMP_BEFORE: usize = 64;
const _: () = assert!(STAMP_BEFORE + 8 <= pool::HEADROOM_BYTES);

/// The shortest frame of an Ethernet, in memory.
const HEAD_BYTES: usize = 60;
const _: () = assert!(HEAD_BYTES + FCS_BYTES == *SIZES.start());

/// The head that all frames of one size between two stations have in common.
#[derive(Clone, Debug)]
pub struct Template {
    head: [u8; HEAD_BYTES],
    bytes: usize,
    /// Its number, which no other has.
    stamp: u64,
}

impl Template {
    /// Frames of `size` bytes, checksum included. The UDP checksum is left out, as IPv4 allows.
    ///
    /// # Panics
    /// If the size is not one of [`SIZES`].
    pub fn new(from: [u8; 6], to: [u8; 6], size: usize) -> Template {
        assert!(SIZES.contains(&size), "the command was checked");
        let bytes = size - FCS_BYTES;
        let mut whole = [0; *SIZES.end()];
        let frame = &mut whole[..bytes];
        let ethernet = EthernetRepr {
            src_addr: EthernetAddress(from),
            dst_addr: EthernetAddress(to),
            ethertype: EthernetProtocol::Ipv4,
        };
        ethernet.emit(&mut EthernetFrame::new_unchecked(&mut *frame));
        let checksums = ChecksumCapabilities::default();
        let ip = Ipv4Repr {
            src_addr: FROM,
            dst_addr: TO,
            next_header: IpProtocol::Udp,
            payload_len: bytes - 14 - 20,
            hop_limit: 64,
        };
        ip.emit(&mut Ipv4Packet::new_unchecked(&mut frame[14..]), &checksums);
        let mut udp = UdpPacket::new_unchecked(&mut frame[34..]);
        udp.set_src_port(PORT_FROM);
        udp.set_dst_port(PORT_TO);
        udp.set_len(u16::try_from(bytes - PAYLOAD + 8).expect("frames are short"));
        udp.set_checksum(0);
        let mut head = [0; HEAD_BYTES];
        head.copy_from_slice(&whole[..HEAD_BYTES]);
        Template { head, bytes, stamp: 0 }
    }

    /// The same with a number, which no other template has, for [`Template::refill`].
    pub fn stamped(self, stamp: NonZeroU64) -> Template {
        Template { stamp: stamp.get(), ..self }
    }

    /// A frame of a flow, or `None` if the pool has no buffer.
    pub fn frame(&self, flow: u16, probe: &Probe, pool: &Pool) -> Option<Frame> {
        pool.allocate().map(|buffer| self.fill(buffer, flow, probe))
    }

    /// A frame of a flow in a buffer that nobody else writes to: what it holds of this template already is
    /// left as it is, which is all but the flow, the number and the time.
    #[inline]
    pub fn refill(&self, buffer: PacketBuffer, flow: u16, probe: &Probe) -> Frame {
        let mut frame = Frame::new(buffer);
        frame.append(self.bytes);
        let ours = self.stamp.to_ne_bytes();
        if with_stamp(&mut frame, |stamp| core::mem::replace(stamp, ours)) != ours {
            // A copy, so that the caller's can stay in the processor's registers.
            let probe = *probe;
            return self.fill(frame.into_buffer(), flow, &probe);
        }
        let head: &mut [u8; HEAD_BYTES] =
            frame.first_chunk_mut().expect("no frame is shorter than its head");
        head[SOURCE_PORT].copy_from_slice(&PORT_FROM.wrapping_add(flow).to_be_bytes());
        probe.emit_changes(head);
        frame
    }

    /// A frame of a flow in this buffer. Behind its head is whatever the buffer held.
    pub fn fill(&self, buffer: PacketBuffer, flow: u16, probe: &Probe) -> Frame {
        let mut frame = Frame::new(buffer);
        let bytes = frame.append(self.bytes);
        let head: &mut [u8; HEAD_BYTES] =
            bytes.first_chunk_mut().expect("no frame is shorter than its head");
        *head = self.head;
        let port = PORT_FROM.wrapping_add(flow);
        head[SOURCE_PORT].copy_from_slice(&port.to_be_bytes());
        probe.emit(head);
        frame
    }
}

/// Forgets what is in the buffers of a pool, which are all there.
pub fn clear_stamps(pool: &Pool) {
    let frames = core::iter::from_fn(|| pool.allocate_frame()).take(pool.free());
    for mut frame in frames.collect::<Vec<_>>() {
        with_stamp(&mut frame, |stamp| *stamp = [0; 8]);
    }
}

/// Where a buffer says which template it holds. The frame stays as it is.
#[inline]
fn with_stamp<R>(frame: &mut Frame, act: impl FnOnce(&mut [u8; 8]) -> R) -> R {
    let before = frame.prepend(STAMP_BEFORE);
    let result = act(before.first_chunk_mut().expect("it is longer"));
    frame.trim_front(STAMP_BEFORE);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::Kind;
    use smoltcp::wire::IpAddress;

    #[test]
    fn frames_are_what_they_say() {
        let pool = Pool::on_heap(1, pool::PAGE_BYTES);
        for size in crate::SIZES_RFC2544 {
            let template = Template::new([2; 6], [4; 6], size);
            let probe = Probe { kind: Kind::Data, run: 1, lane: 0, sequence: 2, sent_ns: 3 };
            let frame = template.frame(5, &probe, &pool).unwrap();
            assert_eq!(frame.len(), size - FCS_BYTES);
            let ethernet = EthernetFrame::new_checked(&frame[..]).unwrap();
            assert_eq!(ethernet.dst_addr(), EthernetAddress([4; 6]));
            let ip = Ipv4Packet::new_checked(ethernet.payload()).unwrap();
            assert!(ip.verify_checksum());
            let udp = UdpPacket::new_checked(ip.payload()).unwrap();
            assert!(udp.verify_checksum(&IpAddress::Ipv4(FROM), &IpAddress::Ipv4(TO)));
            assert_eq!((udp.src_port(), udp.dst_port()), (PORT_FROM + 5, 9));
            assert_eq!(Probe::parse(&frame), Some(probe));
            assert!(template.frame(5, &probe, &pool).is_none());
        }
    }

    #[test]
    fn a_buffer_that_holds_it_is_not_written_anew() {
        let pool = Pool::on_heap(1, pool::PAGE_BYTES);
        clear_stamps(&pool);
        let probe = |sequence| Probe { kind: Kind::Data, run: 1, lane: 0, sequence, sent_ns: 3 };
        let templates = [[2; 6], [4; 6]]
            .map(|to| Template::new([6; 6], to, 64))
            .into_iter()
            .zip([NonZeroU64::MIN, NonZeroU64::MAX])
            .map(|(template, stamp)| template.stamped(stamp));
        for (template, to) in templates.zip([2, 4]) {
            for (sequence, flow) in [(0, 7), (1, 8), (2, 9)] {
                let written = template.refill(pool.allocate().unwrap(), flow, &probe(sequence));
                assert_eq!(written.headroom(), pool::HEADROOM_BYTES);
                let expected = written.to_vec();
                drop(written);
                let whole = template.fill(pool.allocate().unwrap(), flow, &probe(sequence));
                assert_eq!((expected[0], &expected), (to, &whole.to_vec()));
            }
            // What nobody would do: the second time the head is not written.
            let mut spoilt = template.refill(pool.allocate().unwrap(), 0, &probe(3));
            spoilt[0] = 0xaa;
            drop(spoilt);
            assert_eq!(template.refill(pool.allocate().unwrap(), 0, &probe(4))[0], 0xaa);
        }
    }
}
