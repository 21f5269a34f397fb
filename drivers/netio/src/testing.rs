//! Frames for tests, written byte by byte from the RFCs, so that nothing under test makes its own input.

use std::vec::Vec;

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const URG: u8 = 0x20;
pub(crate) const CWR: u8 = 0x80;

/// A TCP segment in a frame; [`Segment::frame`] writes it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Segment {
    pub(crate) is_ipv6: bool,
    pub(crate) source_port: u16,
    pub(crate) sequence: u32,
    pub(crate) acknowledgement: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    /// A multiple of four bytes.
    pub(crate) options: Vec<u8>,
    /// Of IPv4 alone.
    pub(crate) identification: u16,
    pub(crate) payload: Vec<u8>,
}

impl Segment {
    pub(crate) fn new(is_ipv6: bool, payload: &[u8]) -> Segment {
        Segment {
            is_ipv6,
            source_port: 4000,
            sequence: 1_000,
            acknowledgement: 77,
            flags: ACK,
            window: 512,
            options: Vec::new(),
            identification: 9,
            payload: payload.to_vec(),
        }
    }

    /// The Ethernet frame, with right checksums.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let tcp_bytes = 20 + self.options.len() + self.payload.len();
        let addresses = self.addresses();
        let mut tcp = Vec::with_capacity(tcp_bytes);
        tcp.extend(self.source_port.to_be_bytes());
        tcp.extend(6379_u16.to_be_bytes());
        tcp.extend(self.sequence.to_be_bytes());
        tcp.extend(self.acknowledgement.to_be_bytes());
        tcp.push((5 + self.options.len() as u8 / 4) << 4);
        tcp.push(self.flags);
        tcp.extend(self.window.to_be_bytes());
        tcp.extend([0; 4]);
        tcp.extend(&self.options);
        tcp.extend(&self.payload);
        let mut pseudo = addresses.clone();
        pseudo.extend((tcp_bytes as u32).to_be_bytes());
        pseudo.extend(6_u32.to_be_bytes());
        pseudo.extend(&tcp);
        tcp[16..18].copy_from_slice(&checksum(&pseudo).to_be_bytes());

        let mut frame = std::vec![2, 0x77, 0, 0, 0, 1, 2, 0x77, 0, 0, 0, 2];
        match self.is_ipv6 {
            true => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                frame.extend((tcp_bytes as u16).to_be_bytes());
                frame.extend([6, 64]);
                frame.extend(addresses);
            }
            false => {
                frame.extend([0x08, 0x00]);
                let mut header = std::vec![0x45, 0];
                header.extend((20 + tcp_bytes as u16).to_be_bytes());
                header.extend(self.identification.to_be_bytes());
                header.extend([0, 0, 64, 6, 0, 0]);
                header.extend(addresses);
                let sum = checksum(&header);
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                frame.extend(header);
            }
        }
        frame.extend(tcp);
        frame
    }

    fn addresses(&self) -> Vec<u8> {
        let mut addresses = Vec::new();
        for last in [2, 1] {
            if self.is_ipv6 {
                addresses.extend([0xfd, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            } else {
                addresses.extend([10, 77, 0]);
            }
            addresses.push(last);
        }
        addresses
    }
}

/// The Internet checksum (RFC 1071).
pub(crate) fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match *pair {
        [high, low] => u64::from(high) << 8 | u64::from(low),
        [high] => u64::from(high) << 8,
        _ => 0,
    });
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}
