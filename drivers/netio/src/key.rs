//! Which flow a frame belongs to.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket, UdpPacket,
};

/// Shorter IPv4 headers are nonsense (RFC 791, 3.1), which `smoltcp` lets through.
const IPV4_HEADER_MIN_BYTES: u8 = 20;
const IPV6_HEADER_BYTES: usize = 40;

/// The 5-tuple: what frames of one conversation in one direction have in common.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct FlowKey {
    /// Who sends.
    pub source: IpAddr,
    /// Who receives; of the same family as the source.
    pub destination: IpAddr,
    /// The number of the protocol above IP (IANA: 6 is TCP, 17 is UDP).
    pub protocol: u8,
    /// Source and destination port; `None` where there are none: other protocols, and all fragments, so that
    /// the fragments of a packet stay together.
    pub ports: Option<(u16, u16)>,
}

impl FlowKey {
    /// The flow of an Ethernet frame; `None` if it is no IP packet, or one that is cut short.
    ///
    /// Extension headers of IPv6 are not skipped: such packets have no ports here.
    pub fn of_frame(frame: &[u8]) -> Option<FlowKey> {
        let frame = EthernetFrame::new_checked(frame).ok()?;
        match frame.ethertype() {
            EthernetProtocol::Ipv4 => FlowKey::of_ipv4(frame.payload(), ports),
            EthernetProtocol::Ipv6 => FlowKey::of_ipv6(frame.payload(), ports),
            EthernetProtocol::Arp | EthernetProtocol::Unknown(_) => None,
        }
    }

    /// As [`FlowKey::of_frame`], for a frame of which only the beginning is at hand. Headers that are not all
    /// there are as good as none.
    pub fn of_beginning(frame: &[u8]) -> Option<FlowKey> {
        let frame = EthernetFrame::new_checked(frame).ok()?;
        let packet = frame.payload();
        // Of what is behind the headers the packet may say anything.
        let mut headers = [0; 60 + 4];
        let count = headers.len().min(packet.len());
        let headers = &mut headers[..count];
        headers.copy_from_slice(&packet[..count]);
        match frame.ethertype() {
            EthernetProtocol::Ipv4 if count >= usize::from(IPV4_HEADER_MIN_BYTES) => {
                let total = u16::try_from(count).expect("headers are short");
                Ipv4Packet::new_unchecked(&mut *headers).set_total_len(total);
                FlowKey::of_ipv4(headers, first_ports)
            }
            EthernetProtocol::Ipv6 if count > IPV6_HEADER_BYTES => {
                let payload = u16::try_from(count - IPV6_HEADER_BYTES).expect("headers are short");
                Ipv6Packet::new_unchecked(&mut *headers).set_payload_len(payload);
                FlowKey::of_ipv6(headers, first_ports)
            }
            _ => None,
        }
    }

    /// The same conversation in the other direction.
    pub fn reversed(&self) -> FlowKey {
        FlowKey {
            source: self.destination,
            destination: self.source,
            protocol: self.protocol,
            ports: self.ports.map(|(from, to)| (to, from)),
        }
    }

    fn of_ipv4(packet: &[u8], ports: FindPorts) -> Option<FlowKey> {
        let packet = Ipv4Packet::new_checked(packet).ok()?;
        if packet.version() != 4 || packet.header_len() < IPV4_HEADER_MIN_BYTES {
            return None;
        }
        let is_fragment = packet.more_frags() || packet.frag_offset() > 0;
        let protocol = packet.next_header();
        let ports = if is_fragment { None } else { ports(protocol, packet.payload()) };
        Some(FlowKey {
            source: packet.src_addr().into(),
            destination: packet.dst_addr().into(),
            protocol: protocol.into(),
            ports,
        })
    }

    fn of_ipv6(packet: &[u8], ports: FindPorts) -> Option<FlowKey> {
        let packet = Ipv6Packet::new_checked(packet).ok()?;
        if packet.version() != 6 {
            return None;
        }
        let protocol = packet.next_header();
        Some(FlowKey {
            source: packet.src_addr().into(),
            destination: packet.dst_addr().into(),
            protocol: protocol.into(),
            ports: ports(protocol, packet.payload()),
        })
    }

    /// The addresses of a flow of IPv4, source first.
    pub(crate) fn ipv4(&self) -> Option<(Ipv4Addr, Ipv4Addr)> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Some((source, destination)),
            _ => None,
        }
    }

    /// The addresses as IPv6 has them; IPv4 is mapped (RFC 4291, 2.5.5.2).
    pub(crate) fn ipv6(&self) -> (Ipv6Addr, Ipv6Addr) {
        let mapped = |address| match address {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        (mapped(self.source), mapped(self.destination))
    }
}

/// How source and destination port are found in what is behind IP.
type FindPorts = fn(IpProtocol, &[u8]) -> Option<(u16, u16)>;

/// Of TCP and UDP alike they come first; whether the rest makes sense is not looked at.
fn first_ports(protocol: IpProtocol, payload: &[u8]) -> Option<(u16, u16)> {
    let has_ports = matches!(protocol, IpProtocol::Tcp | IpProtocol::Udp);
    let [a, b, c, d] = *payload.first_chunk().filter(|_| has_ports)?;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

fn ports(protocol: IpProtocol, payload: &[u8]) -> Option<(u16, u16)> {
    match protocol {
        IpProtocol::Tcp => {
            let segment = TcpPacket::new_checked(payload).ok()?;
            Some((segment.src_port(), segment.dst_port()))
        }
        IpProtocol::Udp => {
            let datagram = UdpPacket::new_checked(payload).ok()?;
            Some((datagram.src_port(), datagram.dst_port()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Segment;

    /// Where the header of IP starts.
    const IP: usize = 14;

    #[test]
    fn the_five_of_a_segment_are_read_from_both_families() {
        for (is_ipv6, source, destination) in
            [(false, "10.77.0.2", "10.77.0.1"), (true, "fd77::2", "fd77::1")]
        {
            let expected = FlowKey {
                source: source.parse().unwrap(),
                destination: destination.parse().unwrap(),
                protocol: 6,
                ports: Some((4000, 6379)),
            };
            let frame = Segment::new(is_ipv6, b"payload").frame();
            assert_eq!(FlowKey::of_frame(&frame), Some(expected));
        }
    }

    #[test]
    fn the_beginning_is_enough() {
        for is_ipv6 in [false, true] {
            let frame = Segment::new(is_ipv6, &[7; 1_000]).frame();
            let whole = FlowKey::of_frame(&frame).unwrap();
            let headers = IP + if is_ipv6 { 40 } else { 20 };
            for length in [headers + 4, headers + 20, 78, 500, frame.len()] {
                assert_eq!(FlowKey::of_beginning(&frame[..length]), Some(whole), "{length}");
            }
            for length in 0..headers + 4 {
                let key = FlowKey::of_beginning(&frame[..length]);
                assert!(key.is_none_or(|key| key.ports.is_none()), "{length}");
            }
            assert_eq!(whole.reversed().reversed(), whole);
            assert_eq!(whole.reversed().ports, Some((6379, 4000)));
        }
    }

    #[test]
    fn a_datagram_has_ports_and_an_echo_has_none() {
        let mut frame = Segment::new(false, &[]).frame();
        frame[IP + 9] = 17;
        frame[IP + 24..IP + 26].copy_from_slice(&20_u16.to_be_bytes());
        assert_eq!(FlowKey::of_frame(&frame).unwrap().ports, Some((4000, 6379)));
        frame[IP + 9] = 1;
        let key = FlowKey::of_frame(&frame).unwrap();
        assert_eq!((key.protocol, key.ports), (1, None));
    }

    #[test]
    fn fragments_of_a_packet_are_one_flow_without_ports() {
        let mut first = Segment::new(false, b"payload").frame();
        first[IP + 6] = 0x20;
        let mut last = Segment::new(false, b"anything").frame();
        last[IP + 7] = 1;
        assert_eq!(FlowKey::of_frame(&first).unwrap().ports, None);
        assert_eq!(FlowKey::of_frame(&first), FlowKey::of_frame(&last));
    }

    #[test]
    fn what_is_cut_short_or_lies_about_itself_is_in_no_flow() {
        for is_ipv6 in [false, true] {
            let frame = Segment::new(is_ipv6, b"payload").frame();
            assert!((0..frame.len()).all(|length| FlowKey::of_frame(&frame[..length]).is_none()));
            let mut other_version = frame.clone();
            other_version[IP] ^= 0x10;
            assert_eq!(FlowKey::of_frame(&other_version), None);
        }
        let mut short_header = Segment::new(false, b"payload").frame();
        short_header[IP] = 0x44;
        assert_eq!(FlowKey::of_frame(&short_header), None);
    }
}
