//! What of a packet must be known before smoltcp looks at it.

use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, Ipv6ExtHeader, Ipv6Packet, TcpPacket,
};

/// The port that a segment of TCP is for, in either family of IP.
pub(crate) fn tcp_port(frame: &[u8]) -> Option<u16> {
    Some(Packet::of(frame)?.tcp()?.dst_port())
}

/// A packet of IP.
struct Packet<'a> {
    protocol: IpProtocol,
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    fn of(frame: &'a [u8]) -> Option<Packet<'a>> {
        let ethernet = EthernetFrame::new_checked(frame).ok()?;
        match ethernet.ethertype() {
            EthernetProtocol::Ipv4 => {
                let ip = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
                Some(Packet { protocol: ip.next_header(), payload: ip.payload() })
            }
            EthernetProtocol::Ipv6 => {
                let ip = Ipv6Packet::new_checked(ethernet.payload()).ok()?;
                let (protocol, payload) = behind_options(ip.next_header(), ip.payload())?;
                Some(Packet { protocol, payload })
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
