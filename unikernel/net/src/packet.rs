//! What of a packet must be known before smoltcp looks at it, which says nothing of what it drops.

use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpAddress, IpProtocol, Ipv4Packet, Ipv6ExtHeader, Ipv6Packet,
    TcpPacket,
};

/// The port that a segment of TCP is for, in either family of IP.
pub(crate) fn tcp_port(frame: &[u8]) -> Option<u16> {
    Some(Packet::of(frame)?.tcp()?.dst_port())
}

/// Whether no checksum of IPv4 or TCP is wrong; what is no packet has none.
pub(crate) fn is_intact(frame: &[u8]) -> bool {
    Packet::of(frame).is_none_or(|packet| {
        let is_segment_intact =
            |tcp: TcpPacket<&[u8]>| tcp.verify_checksum(&packet.source, &packet.destination);
        packet.is_header_intact && packet.tcp().is_none_or(is_segment_intact)
    })
}

/// A packet of IP.
struct Packet<'a> {
    source: IpAddress,
    destination: IpAddress,
    is_header_intact: bool,
    protocol: IpProtocol,
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    fn of(frame: &'a [u8]) -> Option<Packet<'a>> {
        let ethernet = EthernetFrame::new_checked(frame).ok()?;
        match ethernet.ethertype() {
            EthernetProtocol::Ipv4 => {
                let ip = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
                Some(Packet {
                    source: ip.src_addr().into(),
                    destination: ip.dst_addr().into(),
                    is_header_intact: ip.verify_checksum(),
                    protocol: ip.next_header(),
                    payload: ip.payload(),
                })
            }
            EthernetProtocol::Ipv6 => {
                let ip = Ipv6Packet::new_checked(ethernet.payload()).ok()?;
                let (protocol, payload) = behind_options(ip.next_header(), ip.payload())?;
                let (source, destination) = (ip.src_addr().into(), ip.dst_addr().into());
                Some(Packet { source, destination, is_header_intact: true, protocol, payload })
            }
            _ => None,
        }
    }

    fn tcp(&self) -> Option<TcpPacket<&'a [u8]>> {
        let is_tcp = self.protocol == IpProtocol::Tcp;
        is_tcp.then(|| TcpPacket::new_checked(self.payload).ok()).flatten()
    }
}

/// What is behind options for each hop, which are all that smoltcp looks behind.
fn behind_options(protocol: IpProtocol, payload: &[u8]) -> Option<(IpProtocol, &[u8])> {
    if protocol != IpProtocol::HopByHop {
        return Some((protocol, payload));
    }
    let options = Ipv6ExtHeader::new_checked(payload).ok()?;
    let bytes = 8 * (1 + usize::from(options.header_len())); // RFC 8200, 4.3.
    Some((options.next_header(), payload.get(bytes..)?))
}
