//! The headers of others around what is sent to a node: Ethernet, IPv4, UDP and TCP.

const ETHERNET_BYTES: usize = 14;
const IPV4_BYTES: usize = 20;
const UDP: u8 = 17;
const TCP: u8 = 6;
/// What is in front of the content of a UDP frame.
pub(crate) const HEADERS_BYTES: usize = ETHERNET_BYTES + IPV4_BYTES + 8;

/// Where TCP segments come from, and where they go.
const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
const CLIENT: [u8; 4] = [10, 0, 2, 2];
const NODE_MAC: [u8; 6] = [2, 0x77, 1, 0, 0, 1];
const NODE: [u8; 4] = [10, 0, 2, 15];
const CLIENT_PORT: u16 = 40_000;

/// A UDP datagram from node 2 to node 1 of a cluster.
pub(crate) fn udp(port: u16, content: &[u8]) -> Vec<u8> {
    let length = (8 + content.len()) as u16;
    let ports = [port.to_be_bytes(), port.to_be_bytes(), length.to_be_bytes(), [0; 2]].concat();
    let ethernet = [[2, 0x77, 0, 0, 0, 1], [2, 0x77, 0, 0, 0, 2]].concat();
    let datagram = [&ports, content].concat();
    [ethernet, vec![8, 0], ipv4(UDP, [10, 77, 0, 2], [10, 77, 0, 1], &datagram)].concat()
}

/// The flags of a segment.
pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const ACK: u8 = 16;

/// A TCP segment from a client to node 1.
pub(crate) fn tcp(
    port: u16,
    sequence: u32,
    acknowledged: u32,
    flags: u8,
    content: &[u8],
) -> Vec<u8> {
    let mut segment = [CLIENT_PORT.to_be_bytes(), port.to_be_bytes()].concat();
    segment.extend(sequence.to_be_bytes());
    segment.extend(acknowledged.to_be_bytes());
    // Five words of header, and all the room there is.
    segment.extend([5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(content);
    let length = (segment.len() as u16).to_be_bytes();
    let pseudo = [&CLIENT[..], &NODE, &[0, TCP], &length, &segment].concat();
    let checksum = checksum(&pseudo);
    segment[16..18].copy_from_slice(&checksum);
    [&NODE_MAC[..], &CLIENT_MAC, &[8, 0], &ipv4(TCP, CLIENT, NODE, &segment)].concat()
}

/// The client tells the node its address.
pub(crate) fn arp() -> Vec<u8> {
    let kind = [0, 1, 8, 0, 6, 4, 0, 1];
    let arp = [&kind[..], &CLIENT_MAC, &CLIENT, &[0; 6], &NODE].concat();
    [&[0xff; 6][..], &CLIENT_MAC, &[8, 6], &arp].concat()
}

/// A segment that a node has sent: its sequence number, how far it goes, and its content.
pub(crate) fn parse_tcp(frame: &[u8]) -> Option<(u32, u32, &[u8])> {
    let is_tcp = frame.len() >= 54 && frame[12..14] == [8, 0] && frame[23] == TCP;
    if !is_tcp {
        return None;
    }
    let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    let segment = &frame[ETHERNET_BYTES + IPV4_BYTES..ETHERNET_BYTES + total];
    let sequence = u32::from_be_bytes(segment[4..8].try_into().expect("four bytes"));
    let content = &segment[usize::from(segment[12] >> 4) * 4..];
    let marks = u32::from(segment[13] & SYN != 0) + u32::from(segment[13] & FIN != 0);
    Some((sequence, sequence.wrapping_add(content.len() as u32 + marks), content))
}

fn ipv4(protocol: u8, source: [u8; 4], destination: [u8; 4], content: &[u8]) -> Vec<u8> {
    let [high, low] = ((IPV4_BYTES + content.len()) as u16).to_be_bytes();
    let head = [0x45, 0, high, low, 0, 0, 0, 0, 64, protocol, 0, 0];
    let mut packet = [&head[..], &source, &destination, content].concat();
    let checksum = checksum(&packet[..IPV4_BYTES]);
    packet[10..12].copy_from_slice(&checksum);
    packet
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let mut sum: u32 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    (!(sum as u16)).to_be_bytes()
}
