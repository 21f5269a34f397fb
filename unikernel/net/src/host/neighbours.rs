//! Neighbours whose addresses are known: nobody has to ask for them, and nothing waits for an answer.
//!
//! smoltcp asks one neighbour a second, so first contact with 31 of them would take as many seconds. It
//! believes who answers without having been asked (RFC 826, RFC 4861), and forgets in a minute: so it is
//! answered, now and then, in both families of IP.

use alloc::vec;
use alloc::vec::Vec;

use base::{Duration, Instant, limits};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv4Address, Ipv6Address, Ipv6Cidr,
    Ipv6Packet, Ipv6Repr, NdiscNeighborFlags, NdiscRepr,
};

/// smoltcp forgets after a minute.
const TELL_EVERY: Duration = Duration::from_secs(20);

const ETHERNET_BYTES: usize = 14;
const ARP_BYTES: usize = 28;
const IPV6_BYTES: usize = 40;

/// A frame that says where a neighbour is.
pub(super) type Answer = Vec<u8>;

/// Those that are known, and when the interface is told of them.
#[derive(Debug)]
pub(super) struct Neighbours {
    mac: EthernetAddress,
    address: Ipv4Address,
    /// Invariant: at most [`limits::CLUSTER_NODES_MAX`].
    known: Vec<(Ipv4Address, EthernetAddress)>,
    due: Instant,
}

impl Neighbours {
    /// None yet, of the station with these addresses.
    pub(super) fn new(mac: EthernetAddress, address: Ipv4Address) -> Neighbours {
        Neighbours { mac, address, known: Vec::new(), due: Instant::ORIGIN }
    }

    pub(super) fn set(&mut self, neighbours: impl Iterator<Item = (Ipv4Address, EthernetAddress)>) {
        let own = self.address;
        let others = neighbours.filter(|(address, _)| *address != own);
        self.known = others.take(limits::CLUSTER_NODES_MAX).collect();
        self.due = Instant::ORIGIN;
    }

    /// Whether the interface is to be told.
    pub(super) fn are_due(&self, now: Instant) -> bool {
        self.due <= now && !self.known.is_empty()
    }

    /// An answer from each in each family, to be given to the interface.
    pub(super) fn tell(&mut self, now: Instant) -> Vec<Answer> {
        self.due = now + TELL_EVERY;
        let both = |(address, mac): &(Ipv4Address, EthernetAddress)| {
            [self.answer_of(*address, *mac), self.advertisement_of(*mac)]
        };
        self.known.iter().flat_map(both).collect()
    }

    /// By ARP.
    fn answer_of(&self, address: Ipv4Address, mac: EthernetAddress) -> Answer {
        let mut answer = self.frame_of(mac, EthernetProtocol::Arp, ARP_BYTES);
        let arp = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Reply,
            source_hardware_addr: mac,
            source_protocol_addr: address,
            target_hardware_addr: self.mac,
            target_protocol_addr: self.address,
        };
        arp.emit(&mut ArpPacket::new_unchecked(&mut answer[ETHERNET_BYTES..]));
        answer
    }

    /// By neighbour discovery, for the address on the link.
    fn advertisement_of(&self, mac: EthernetAddress) -> Answer {
        let (from, to) = (link_local(mac).address(), link_local(self.mac).address());
        let advertisement = Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
            flags: NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE,
            target_addr: from,
            lladdr: Some(mac.into()),
        });
        let bytes = advertisement.buffer_len();
        let ip = Ipv6Repr {
            src_addr: from,
            dst_addr: to,
            next_header: IpProtocol::Icmpv6,
            payload_len: bytes,
            hop_limit: 255, // RFC 4861, 7.1.2: it has passed no router.
        };
        let mut answer = self.frame_of(mac, EthernetProtocol::Ipv6, IPV6_BYTES + bytes);
        let (header, rest) = answer[ETHERNET_BYTES..].split_at_mut(IPV6_BYTES);
        ip.emit(&mut Ipv6Packet::new_unchecked(header));
        let checksums = ChecksumCapabilities::default();
        advertisement.emit(&from, &to, &mut Icmpv6Packet::new_unchecked(rest), &checksums);
        answer
    }

    /// A frame from there to this station, without what it carries.
    fn frame_of(&self, from: EthernetAddress, protocol: EthernetProtocol, bytes: usize) -> Answer {
        let mut frame = vec![0; ETHERNET_BYTES + bytes];
        let ethernet = EthernetRepr { src_addr: from, dst_addr: self.mac, ethertype: protocol };
        ethernet.emit(&mut EthernetFrame::new_unchecked(&mut frame));
        frame
    }
}

/// The address on the link that follows from an Ethernet address (RFC 4291, 2.5.6 and appendix A).
pub(super) fn link_local(mac: EthernetAddress) -> Ipv6Cidr {
    let [a, b, c, d, e, f] = mac.0;
    let pair = |high, low| u16::from_be_bytes([high, low]);
    let address =
        Ipv6Address::new(0xfe80, 0, 0, 0, pair(a ^ 2, b), pair(c, 0xff), pair(0xfe, d), pair(e, f));
    Ipv6Cidr::new(address, 64)
}
