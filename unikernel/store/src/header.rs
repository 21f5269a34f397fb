//! The header of a record.
//!
//! ```text
//!  0  magic "CH"   2  version   3  kind      4  payload length (u32)
//!  8  index        16 term      24 batch     32 first = index - this (u16)   34 last = index + this (u16)
//! 36  position of the body's header copy, in bytes from the start of the bodies (u64)
//! 44  checksum of the payload   48  checksum of the header before   52  position of that header's copy / 8
//! (u32) 56  bytes of bodies of the whole batch (u32)                      60  checksum of the 60 bytes above
//! ```

use base::checksum::crc32c;
use base::codec::{DecodeError, Reader, Writer};
use base::{LogIndex, Term};

/// How long a header is.
pub(crate) const HEADER_BYTES: usize = 64;

const MAGIC: u16 = u16::from_le_bytes(*b"CH");
const VERSION: u8 = 1;
const CHECKED_BYTES: usize = HEADER_BYTES - 4;
/// Bodies begin on multiples of this.
const BODY_ALIGN: u64 = 8;

/// How many bytes a body with a payload of this length takes.
pub(crate) fn body_bytes(payload_bytes: usize) -> u64 {
    ((HEADER_BYTES + payload_bytes) as u64).next_multiple_of(BODY_ALIGN)
}

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) kind: u8,
    pub(crate) length: u32,
    pub(crate) index: LogIndex,
    pub(crate) term: Term,
    pub(crate) batch: u64,
    pub(crate) before: u16,
    pub(crate) behind: u16,
    pub(crate) position: u64,
    pub(crate) payload_checksum: u32,
    pub(crate) previous_checksum: u32,
    /// Where the copy of the header before is: a lost header is found from its successor.
    pub(crate) previous_position: u64,
    /// How many bytes the bodies of the whole batch take.
    pub(crate) batch_bytes: u32,
    /// Its own; computed by [`Header::encode`].
    pub(crate) checksum: u32,
}

impl Header {
    /// The last index of its batch.
    pub(crate) fn batch_last(&self) -> LogIndex {
        LogIndex(self.index.0 + u64::from(self.behind))
    }

    /// How many bytes its body takes: the copy of the header, the payload and the padding.
    pub(crate) fn body_bytes(&self) -> u64 {
        body_bytes(self.length as usize)
    }

    /// Fills in the checksum and gives the bytes.
    pub(crate) fn encode(&mut self) -> [u8; HEADER_BYTES] {
        let mut bytes = alloc::vec::Vec::with_capacity(HEADER_BYTES);
        Writer::new(&mut bytes)
            .u16(MAGIC)
            .u8(VERSION)
            .u8(self.kind)
            .u32(self.length)
            .log_index(self.index)
            .term(self.term)
            .u64(self.batch)
            .u16(self.before)
            .u16(self.behind)
            .u64(self.position)
            .u32(self.payload_checksum)
            .u32(self.previous_checksum)
            .u32(
                u32::try_from(self.previous_position / BODY_ALIGN).expect("disks are below 32 GiB"),
            )
            .u32(self.batch_bytes);
        self.checksum = crc32c(&bytes);
        Writer::new(&mut bytes).u32(self.checksum);
        bytes.try_into().expect("the fields add up to a header")
    }

    /// Reads a header and checks everything that it says of itself.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Header, DecodeError> {
        let mut reader = Reader::new(bytes);
        let magic = reader.u16()?;
        let version = reader.u8()?;
        // A slot that was never written needs no closer look.
        if magic != MAGIC || version != VERSION {
            return Err(DecodeError);
        }
        let mut header = Header {
            kind: reader.u8()?,
            length: reader.u32()?,
            index: reader.log_index()?,
            term: reader.term()?,
            batch: reader.u64()?,
            before: reader.u16()?,
            behind: reader.u16()?,
            position: reader.u64()?,
            payload_checksum: reader.u32()?,
            previous_checksum: reader.u32()?,
            previous_position: u64::from(reader.u32()?) * BODY_ALIGN,
            batch_bytes: reader.u32()?,
            checksum: 0,
        };
        header.checksum = reader.u32()?;
        reader.finish()?;
        let is_whole = header.checksum == crc32c(&bytes[..CHECKED_BYTES])
            && header.index.0 > u64::from(header.before)
            && header.index.0.checked_add(u64::from(header.behind)).is_some();
        if is_whole { Ok(header) } else { Err(DecodeError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            kind: 1,
            length: 77,
            index: LogIndex(9),
            term: Term(4),
            batch: 3,
            before: 1,
            behind: 2,
            position: 4096,
            payload_checksum: 5,
            previous_checksum: 6,
            previous_position: 800,
            batch_bytes: 1024,
            checksum: 0,
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let mut written = header();
        let bytes = written.encode();
        assert_eq!(Header::decode(&bytes), Ok(written));
        assert_eq!(written.batch_last(), LogIndex(11));
        assert_eq!(written.body_bytes(), 64 + 80);
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = header().encode();
        for bit in 0..HEADER_BYTES * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&bytes), Err(DecodeError), "bit {bit}");
        }
    }
}
