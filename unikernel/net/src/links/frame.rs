//! The headers of others around the envelope: Ethernet, IPv4, UDP.

use pool::{Frame, HEADROOM_BYTES, Pool};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket,
};
use wire::{HEADER_BYTES, Packet, Repr};

use crate::addresses::{LINK_PORT, cluster_ip, cluster_mac};

const ETHERNET_BYTES: usize = 14;
const IPV4_BYTES: usize = 20;
const UDP_BYTES: usize = 8;
const HOP_LIMIT: u8 = 1;

/// How much of a message fits into a frame.
pub(super) fn content_max(mtu: usize, pool: &Pool) -> usize {
    let room = mtu.min(pool.buffer_bytes() - HEADROOM_BYTES - ETHERNET_BYTES);
    let content = room.checked_sub(IPV4_BYTES + UDP_BYTES + HEADER_BYTES);
    content.filter(|content| *content > 0).expect("the MTU leaves room for content")
}

/// The envelope and what follows, if the frame is one of a link.
pub(super) fn content_of(frame: &Frame) -> Option<&[u8]> {
    let ethernet = EthernetFrame::new_checked(&frame[..]).ok()?;
    if ethernet.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let ipv4 = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
    let is_plain = ipv4.version() == 4 && !ipv4.more_frags() && ipv4.frag_offset() == 0;
    if ipv4.next_header() != IpProtocol::Udp || !is_plain || !ipv4.verify_checksum() {
        return None;
    }
    let start = usize::from(ipv4.header_len());
    let end = usize::from(ipv4.total_len());
    let udp = UdpPacket::new_checked(ethernet.payload().get(start..end)?).ok()?;
    if udp.dst_port() != LINK_PORT {
        return None;
    }
    let start = ETHERNET_BYTES + start + UDP_BYTES;
    frame.get(start..start + usize::from(udp.len()) - UDP_BYTES)
}

/// Writes a frame into a buffer.
pub(super) fn build(mut frame: Frame, repr: &Repr, content: &[u8]) -> Frame {
    let udp_bytes = UDP_BYTES + HEADER_BYTES + content.len();
    let bytes = frame.append(ETHERNET_BYTES + IPV4_BYTES + udp_bytes);
    let ethernet = EthernetRepr {
        src_addr: cluster_mac(repr.source),
        dst_addr: cluster_mac(repr.destination),
        ethertype: EthernetProtocol::Ipv4,
    };
    ethernet.emit(&mut EthernetFrame::new_unchecked(&mut *bytes));
    let ipv4 = Ipv4Repr {
        src_addr: cluster_ip(repr.source),
        dst_addr: cluster_ip(repr.destination),
        next_header: IpProtocol::Udp,
        payload_len: udp_bytes,
        hop_limit: HOP_LIMIT,
    };
    let packet = &mut bytes[ETHERNET_BYTES..];
    ipv4.emit(&mut Ipv4Packet::new_unchecked(&mut *packet), &ChecksumCapabilities::default());
    let mut udp = UdpPacket::new_unchecked(&mut packet[IPV4_BYTES..]);
    udp.set_src_port(LINK_PORT);
    udp.set_dst_port(LINK_PORT);
    udp.set_len(u16::try_from(udp_bytes).expect("a frame is far shorter than 64 KiB"));
    // None: the envelope's checksum covers more than UDP's would (RFC 768: zero means none).
    udp.set_checksum(0);
    let mut envelope = Packet::new_unchecked(&mut packet[IPV4_BYTES + UDP_BYTES..]);
    repr.emit(&mut envelope);
    envelope.content_mut().copy_from_slice(content);
    envelope.fill_checksum();
    frame
}
