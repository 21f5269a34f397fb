//! The headers of a TCP segment in a frame: where they are, whether they are right, how they are mended.

use core::ops::Range;

use smoltcp::wire::{
    ETHERNET_HEADER_LEN, EthernetFrame, EthernetProtocol, IPV4_HEADER_LEN, IPV6_HEADER_LEN,
    IpAddress, IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket,
};

pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
pub(super) const PSH: u8 = 0x08;
pub(super) const ACK: u8 = 0x10;
pub(super) const URG: u8 = 0x20;
pub(super) const CWR: u8 = 0x80;

/// Where IP starts.
pub(super) const IP: usize = ETHERNET_HEADER_LEN;

/// Places in the header of TCP (RFC 9293, 3.1).
const FLAGS: usize = 13;
pub(super) const CHECKSUM: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Family {
    V4,
    V6,
}

/// Where things are in a frame that holds a whole TCP segment, unfragmented, straight above IP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Layout {
    pub(super) family: Family,
    /// Where TCP starts.
    pub(super) tcp: usize,
    /// Where its payload starts.
    pub(super) payload: usize,
    /// Where it ends; what is behind is padding.
    pub(super) end: usize,
}

impl Layout {
    /// `None` if the frame holds something else: other protocols, fragments, extension headers of IPv6, or
    /// lengths that are wrong.
    pub(super) fn of(frame: &[u8]) -> Option<Layout> {
        let ethernet = EthernetFrame::new_checked(frame).ok()?;
        let (family, tcp, end) = match ethernet.ethertype() {
            EthernetProtocol::Ipv4 => {
                let packet = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
                let header_bytes = usize::from(packet.header_len());
                let is_whole = !packet.more_frags() && packet.frag_offset() == 0;
                let is_plain = packet.version() == 4 && header_bytes >= IPV4_HEADER_LEN && is_whole;
                let is_tcp = is_plain && packet.next_header() == IpProtocol::Tcp;
                let end = IP + usize::from(packet.total_len());
                is_tcp.then_some((Family::V4, IP + header_bytes, end))?
            }
            EthernetProtocol::Ipv6 => {
                let packet = Ipv6Packet::new_checked(ethernet.payload()).ok()?;
                let is_tcp = packet.version() == 6 && packet.next_header() == IpProtocol::Tcp;
                is_tcp.then_some((Family::V6, IP + IPV6_HEADER_LEN, IP + packet.total_len()))?
            }
            EthernetProtocol::Arp | EthernetProtocol::Unknown(_) => return None,
        };
        let segment = TcpPacket::new_checked(&frame[tcp..end]).ok()?;
        let payload = tcp + usize::from(segment.header_len());
        Some(Layout { family, tcp, payload, end })
    }

    pub(super) fn payload_range(&self) -> Range<usize> {
        self.payload..self.end
    }

    pub(super) fn flags(&self, frame: &[u8]) -> u8 {
        frame[self.tcp + FLAGS]
    }

    pub(super) fn set_flags(&self, frame: &mut [u8], flags: u8) {
        frame[self.tcp + FLAGS] = flags;
    }

    pub(super) fn sequence(&self, frame: &[u8]) -> u32 {
        TcpPacket::new_unchecked(&frame[self.tcp..self.end]).seq_number().0.cast_unsigned()
    }

    pub(super) fn set_sequence(&self, frame: &mut [u8], sequence: u32) {
        frame[self.tcp + 4..self.tcp + 8].copy_from_slice(&sequence.to_be_bytes());
    }

    /// The identification of IPv4, or zero: IPv6 has none.
    pub(super) fn identification(&self, frame: &[u8]) -> u16 {
        match self.family {
            Family::V4 => Ipv4Packet::new_unchecked(&frame[IP..]).ident(),
            Family::V6 => 0,
        }
    }

    /// Sets the identification of IPv4; nothing for IPv6.
    pub(super) fn set_identification(&self, frame: &mut [u8], identification: u16) {
        match self.family {
            Family::V4 => Ipv4Packet::new_unchecked(&mut frame[IP..]).set_ident(identification),
            Family::V6 => {}
        }
    }

    /// Whether both checksums are right; IPv6 has only that of TCP.
    pub(super) fn is_intact(&self, frame: &[u8]) -> bool {
        let is_header_intact = match self.family {
            Family::V4 => Ipv4Packet::new_unchecked(&frame[IP..]).verify_checksum(),
            Family::V6 => true,
        };
        let (source, destination) = self.addresses(frame);
        let segment = TcpPacket::new_unchecked(&frame[self.tcp..self.end]);
        is_header_intact && segment.verify_checksum(&source, &destination)
    }

    /// Writes lengths and checksums for a segment that ends where the frame does.
    pub(super) fn seal(&self, frame: &mut [u8]) {
        self.seal_lengths(frame);
        let (source, destination) = self.addresses(frame);
        TcpPacket::new_unchecked(&mut frame[self.tcp..]).fill_checksum(&source, &destination);
    }

    /// As [`Layout::seal`], but leaves the checksum of TCP to the card: the field holds the sum of the
    /// pseudo-header, which the card adds to (virtio 1.2, 5.1.6.2).
    pub(super) fn seal_partially(&self, frame: &mut [u8]) {
        self.seal_lengths(frame);
        let addresses = match self.family {
            Family::V4 => IP + 12..IP + 20,
            Family::V6 => IP + 8..IP + 40,
        };
        let pairs = frame[addresses].as_chunks::<2>().0;
        let sum: u32 = pairs.iter().map(|pair| u32::from(u16::from_be_bytes(*pair))).sum();
        let tcp_bytes = (frame.len() - self.tcp) as u32;
        let sum =
            sum + u32::from(u8::from(IpProtocol::Tcp)) + (tcp_bytes >> 16) + (tcp_bytes & 0xffff);
        // Twice: the first carry may make another.
        let folded = (sum >> 16) + (sum & 0xffff);
        let folded = ((folded >> 16) + (folded & 0xffff)) as u16;
        let field = self.tcp + CHECKSUM;
        frame[field..field + 2].copy_from_slice(&folded.to_be_bytes());
    }

    fn seal_lengths(&self, frame: &mut [u8]) {
        let length = |bytes| u16::try_from(bytes).expect("no packet is longer than IP can say");
        match self.family {
            Family::V4 => {
                let total = length(frame.len() - IP);
                let mut packet = Ipv4Packet::new_unchecked(&mut frame[IP..]);
                packet.set_total_len(total);
                packet.fill_checksum();
            }
            Family::V6 => {
                let payload = length(frame.len() - IP - IPV6_HEADER_LEN);
                Ipv6Packet::new_unchecked(&mut frame[IP..]).set_payload_len(payload);
            }
        }
    }

    fn addresses(&self, frame: &[u8]) -> (IpAddress, IpAddress) {
        match self.family {
            Family::V4 => {
                let packet = Ipv4Packet::new_unchecked(&frame[IP..]);
                (packet.src_addr().into(), packet.dst_addr().into())
            }
            Family::V6 => {
                let packet = Ipv6Packet::new_unchecked(&frame[IP..]);
                (packet.src_addr().into(), packet.dst_addr().into())
            }
        }
    }
}

/// Whether a frame says that TCP follows straight above IP, be it whole or not.
pub(super) fn claims_tcp(frame: &[u8]) -> bool {
    let Ok(ethernet) = EthernetFrame::new_checked(frame) else { return false };
    let packet = ethernet.payload();
    match ethernet.ethertype() {
        EthernetProtocol::Ipv4 => Ipv4Packet::new_checked(packet)
            .is_ok_and(|packet| packet.next_header() == IpProtocol::Tcp),
        EthernetProtocol::Ipv6 => Ipv6Packet::new_checked(packet)
            .is_ok_and(|packet| packet.next_header() == IpProtocol::Tcp),
        EthernetProtocol::Arp | EthernetProtocol::Unknown(_) => false,
    }
}
