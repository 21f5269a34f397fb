//! Frames, made from a template: only the flow and the probe differ.

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

/// The shortest frame of an Ethernet, in memory.
const HEAD_BYTES: usize = 60;
const _: () = assert!(HEAD_BYTES + FCS_BYTES == *SIZES.start());

/// The head that all frames of one size between two stations have in common.
#[derive(Clone, Debug)]
pub struct Template {
    head: [u8; HEAD_BYTES],
    bytes: usize,
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
        Template { head, bytes }
    }

    /// A frame of a flow, or `None` if the pool has no buffer.
    pub fn frame(&self, flow: u16, probe: &Probe, pool: &Pool) -> Option<Frame> {
        pool.allocate().map(|buffer| self.fill(buffer, flow, probe))
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
            let probe = Probe { kind: Kind::Data, run: 1, sequence: 2, sent_ns: 3 };
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
}
