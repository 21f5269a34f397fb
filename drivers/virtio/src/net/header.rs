//! The header in front of every packet (Virtio 1.3, section 5.1.6): what one side asks of the other.
//!
//! ```text
//!  0  flags   1  gso_type   2  hdr_len   4  gso_size   6  csum_start   8  csum_offset   10  num_buffers
//! ```

use core::fmt;

/// How long it is in both directions, the number of buffers included: that is there since version 1.0.
pub const HEADER_BYTES: usize = 12;

const NEEDS_CHECKSUM: u8 = 1;
const DATA_VALID: u8 = 2;

const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_ECN: u8 = 0x80;

/// Where a checksum goes, and what it is of: everything from `start` to the end of the packet. Until it is
/// computed its field holds the sum of the pseudo-header, and no receiver can verify it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartialChecksum {
    /// The first byte that it covers, counted from the start of the frame (`csum_start`).
    pub start: u16,
    /// Where its two bytes are, counted from there (`csum_offset`).
    pub offset: u16,
}

impl PartialChecksum {
    /// Where the field ends, in bytes from the start of the frame.
    pub fn field_end(&self) -> usize {
        usize::from(self.start) + usize::from(self.offset) + 2
    }
}

/// What the header says of the checksum of TCP or UDP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checksum {
    /// Nothing: it is in its place, right or wrong.
    Unknown,
    /// It is not computed yet (`NEEDS_CSUM`). The packet comes from this very machine, or one beside it.
    Partial(PartialChecksum),
    /// It is right (`DATA_VALID`).
    Valid,
}

/// What a large packet is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SegmentKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
}

/// A large segment that stands for several.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segmentation {
    /// What it is.
    pub kind: SegmentKind,
    /// It has the flag CWR, which only the first of the several has.
    pub has_ecn: bool,
    /// All headers, in bytes (`hdr_len`). Of an arrival this is a hint, and may be anything.
    pub header_bytes: u16,
    /// How many bytes of payload each of the several has, except the last (`gso_size`).
    pub segment_bytes: u16,
}

/// The whole header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// How it is with the checksum.
    pub checksum: Checksum,
    /// How it is cut, if it is large.
    pub segmentation: Option<Segmentation>,
    /// How many buffers the packet lies in. It means nothing unless buffers are mergeable, and then only for
    /// arrivals: some devices leave there what was there.
    pub buffers: u16,
}

/// Why what a device writes is no header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderError {
    /// A kind of large packet that nobody has asked for.
    Kind(u8),
    /// Segments without a byte.
    NoSegmentBytes,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderError::Kind(kind) => write!(f, "there is no large packet of type {kind:#04x}"),
            HeaderError::NoSegmentBytes => {
                f.write_str("a large packet has segments without a byte")
            }
        }
    }
}

impl core::error::Error for HeaderError {}

impl Header {
    /// Of a packet that lies in one buffer, of which nothing is asked.
    pub const PLAIN: Header =
        Header { checksum: Checksum::Unknown, segmentation: None, buffers: 0 };

    /// Reads a header. Flags that are not known mean nothing (section 5.1.6.4.2).
    ///
    /// # Errors
    /// If it contradicts itself, or the standard. Whether it fits its packet is not looked at.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Header, HeaderError> {
        let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let [flags, gso_type, ..] = *bytes;
        let checksum = if flags & NEEDS_CHECKSUM != 0 {
            Checksum::Partial(PartialChecksum { start: word(6), offset: word(8) })
        } else if flags & DATA_VALID != 0 {
            Checksum::Valid
        } else {
            Checksum::Unknown
        };
        let kind = match gso_type & !GSO_ECN {
            GSO_NONE => None,
            GSO_TCPV4 => Some(SegmentKind::Tcp4),
            GSO_TCPV6 => Some(SegmentKind::Tcp6),
            _ => return Err(HeaderError::Kind(gso_type)),
        };
        let segmentation = kind.map(|kind| Segmentation {
            kind,
            has_ecn: gso_type & GSO_ECN != 0,
            header_bytes: word(2),
            segment_bytes: word(4),
        });
        if segmentation.is_some_and(|it| it.segment_bytes == 0) {
            return Err(HeaderError::NoSegmentBytes);
        }
        Ok(Header { checksum, segmentation, buffers: word(10) })
    }

    /// Writes a header, each of its bytes.
    #[inline]
    pub fn emit(&self, bytes: &mut [u8; HEADER_BYTES]) {
        *bytes = [0; HEADER_BYTES];
        let mut put = |at: usize, word: u16| bytes[at..at + 2].copy_from_slice(&word.to_le_bytes());
        put(10, self.buffers);
        let flags = match self.checksum {
            Checksum::Unknown => 0,
            Checksum::Valid => DATA_VALID,
            Checksum::Partial(PartialChecksum { start, offset }) => {
                put(6, start);
                put(8, offset);
                NEEDS_CHECKSUM
            }
        };
        let mut gso_type = GSO_NONE;
        if let Some(segmentation) = self.segmentation {
            put(2, segmentation.header_bytes);
            put(4, segmentation.segment_bytes);
            gso_type = match segmentation.kind {
                SegmentKind::Tcp4 => GSO_TCPV4,
                SegmentKind::Tcp6 => GSO_TCPV6,
            };
            gso_type |= if segmentation.has_ecn { GSO_ECN } else { 0 };
        }
        (bytes[0], bytes[1]) = (flags, gso_type);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_standard() {
        let header = Header {
            checksum: Checksum::Partial(PartialChecksum { start: 34, offset: 16 }),
            segmentation: Some(Segmentation {
                kind: SegmentKind::Tcp6,
                has_ecn: true,
                header_bytes: 0x0136,
                segment_bytes: 1440,
            }),
            buffers: 3,
        };
        let mut bytes = [0xff; HEADER_BYTES];
        header.emit(&mut bytes);
        assert_eq!(bytes, [1, 0x84, 0x36, 1, 0xa0, 5, 34, 0, 16, 0, 3, 0]);
        assert_eq!(Header::parse(&bytes), Ok(header));
        Header::PLAIN.emit(&mut bytes);
        assert_eq!(bytes, [0; HEADER_BYTES]);
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let parse = |flags, gso_type, gso_size| {
            Header::parse(&[flags, gso_type, 0, 0, gso_size, 0, 0, 0, 0, 0, 1, 0])
        };
        // UDP, alone and in its newer form, and nonsense: none was asked for.
        for kind in [2, 3, 5, 6, 0x45, 0x7f, 0x82] {
            assert_eq!(parse(1, kind, 100), Err(HeaderError::Kind(kind)));
        }
        assert_eq!(parse(1, 1, 0), Err(HeaderError::NoSegmentBytes));
        assert!(parse(0xf8, 0, 0).is_ok_and(|header| header.checksum == Checksum::Unknown));
        // Both flags: what is missing counts.
        assert!(parse(3, 0, 0).is_ok_and(|it| matches!(it.checksum, Checksum::Partial(_))));
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_back(bytes in any::<[u8; HEADER_BYTES]>()) {
            if let Ok(header) = Header::parse(&bytes) {
                let mut written = [0xaa; HEADER_BYTES];
                header.emit(&mut written);
                prop_assert_eq!(Header::parse(&written), Ok(header));
            }
        }
    }
}
