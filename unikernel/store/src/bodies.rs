//! Bodies that were read: what is in them?

use base::LogIndex;
use base::checksum::crc32c;
use block::SECTOR_BYTES;

use crate::header::{HEADER_BYTES, Header};
use crate::layout::Layout;
use crate::transfer::Transfer;

/// A run of the ring of bodies, in one piece.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bodies<'a> {
    layout: Layout,
    /// The position of the first byte.
    base: u64,
    bytes: &'a [u8],
}

impl<'a> Bodies<'a> {
    /// What a transfer from the ring of bodies has read.
    pub(crate) fn of(layout: Layout, transfer: &'a Transfer) -> Bodies<'a> {
        let base = transfer.offset() * SECTOR_BYTES as u64;
        Bodies { layout, base, bytes: transfer.bytes() }
    }

    fn at(&self, position: u64, length: usize) -> Option<&'a [u8]> {
        let start = usize::try_from(self.layout.bodies().distance(self.base, position)).ok()?;
        self.bytes.get(start..start.checked_add(length)?)
    }

    /// The copy of a header at a position.
    pub(crate) fn header(&self, position: u64) -> Option<Header> {
        let header = Header::decode(self.at(position, HEADER_BYTES)?).ok()?;
        (header.position == position).then_some(header)
    }

    /// The payload of a header, if it is what the header says.
    pub(crate) fn payload(&self, header: &Header) -> Option<&'a [u8]> {
        let body = self.at(header.position, HEADER_BYTES + header.length as usize)?;
        let payload = &body[HEADER_BYTES..];
        (crc32c(payload) == header.payload_checksum).then_some(payload)
    }

    /// The last header of a batch, if all of it is there: headers that chain, and payloads that verify.
    pub(crate) fn last_of_whole_batch(&self, first: &Header) -> Option<Header> {
        let mut last: Option<Header> = None;
        let mut position = first.position;
        for index in first.index.0..=first.batch_last().0 {
            let header = self.header(position)?;
            let is_of_batch = header.index == LogIndex(index)
                && header.batch == first.batch
                && header.batch_last() == first.batch_last();
            let chains = last.is_none_or(|last| last.checksum == header.previous_checksum);
            if !is_of_batch || !chains || self.payload(&header).is_none() {
                return None;
            }
            position = self.layout.bodies().advance(position, header.body_bytes());
            last = Some(header);
        }
        last
    }
}
