//! Reading and writing of little-endian binary formats, for messages and for what is kept on disk.
//!
//! A reader never panics on any input: it answers [`DecodeError`]. A complete format is checked with
//! [`Reader::finish`], so that trailing bytes are refused too.

use alloc::vec::Vec;
use core::fmt;

use crate::{LogIndex, NodeId, Term};

/// The bytes are not what the format says. One opaque error: bad bytes are dropped, not discussed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DecodeError;

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("malformed bytes")
    }
}

impl core::error::Error for DecodeError {}

/// Reads values from the front of a byte slice.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next `count` bytes.
    #[inline]
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(DecodeError)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_le_bytes)
    }

    /// Two bytes, little-endian.
    #[inline]
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes, little-endian.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes, little-endian.
    #[inline]
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    /// Sixteen bytes, little-endian.
    #[inline]
    pub fn u128(&mut self) -> Result<u128, DecodeError> {
        self.array().map(u128::from_le_bytes)
    }

    /// A byte that is 0 or 1.
    #[inline]
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            2..=u8::MAX => Err(DecodeError),
        }
    }

    /// A term.
    #[inline]
    pub fn term(&mut self) -> Result<Term, DecodeError> {
        self.u64().map(Term)
    }

    /// A log position.
    #[inline]
    pub fn log_index(&mut self) -> Result<LogIndex, DecodeError> {
        self.u64().map(LogIndex)
    }

    /// A node number; zero and numbers above the limit are malformed.
    #[inline]
    pub fn node_id(&mut self) -> Result<NodeId, DecodeError> {
        NodeId::new(self.u16()?).ok_or(DecodeError)
    }

    /// A node number, or `None` for zero.
    #[inline]
    pub fn optional_node_id(&mut self) -> Result<Option<NodeId>, DecodeError> {
        match self.u16()? {
            0 => Ok(None),
            number => NodeId::new(number).map(Some).ok_or(DecodeError),
        }
    }

    /// Bytes behind their length, a `u32` that must not exceed `length_max`.
    #[inline]
    pub fn length_prefixed(&mut self, length_max: usize) -> Result<&'a [u8], DecodeError> {
        let length = usize::try_from(self.u32()?).map_err(|_| DecodeError)?;
        if length > length_max {
            return Err(DecodeError);
        }
        self.bytes(length)
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.rest)
    }

    /// The end of the format: nothing may be left.
    #[inline]
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError) }
    }
}

/// Appends values to a byte vector, in the formats that [`Reader`] reads.
#[derive(Debug)]
pub struct Writer<'a> {
    bytes: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// A writer at the end of `bytes`.
    #[inline]
    pub fn new(bytes: &'a mut Vec<u8>) -> Writer<'a> {
        Writer { bytes }
    }

    /// Bytes as they are.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    /// Two bytes, little-endian.
    #[inline]
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Four bytes, little-endian.
    #[inline]
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Eight bytes, little-endian.
    #[inline]
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Sixteen bytes, little-endian.
    #[inline]
    pub fn u128(&mut self, value: u128) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// A byte that is 0 or 1.
    #[inline]
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.u8(u8::from(value))
    }

    /// A term.
    #[inline]
    pub fn term(&mut self, term: Term) -> &mut Self {
        self.u64(term.0)
    }

    /// A log position.
    #[inline]
    pub fn log_index(&mut self, index: LogIndex) -> &mut Self {
        self.u64(index.0)
    }

    /// A node number.
    #[inline]
    pub fn node_id(&mut self, node: NodeId) -> &mut Self {
        self.u16(node.get())
    }

    /// A node number, zero for `None`.
    #[inline]
    pub fn optional_node_id(&mut self, node: Option<NodeId>) -> &mut Self {
        self.u16(node.map_or(0, NodeId::get))
    }

    /// Bytes behind their length as a `u32`.
    ///
    /// # Panics
    /// If the length does not fit.
    #[inline]
    pub fn length_prefixed(&mut self, bytes: &[u8]) -> &mut Self {
        let length = u32::try_from(bytes.len()).expect("lengths are bounded far below 4 GiB");
        self.u32(length).bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut bytes = Vec::new();
        let node = NodeId::new(9);
        Writer::new(&mut bytes)
            .u8(1)
            .u16(2)
            .u32(3)
            .u64(4)
            .u128(5)
            .bool(true)
            .term(Term(6))
            .log_index(LogIndex(7))
            .optional_node_id(node)
            .optional_node_id(None)
            .length_prefixed(b"tail");
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(2));
        assert_eq!(reader.u32(), Ok(3));
        assert_eq!(reader.u64(), Ok(4));
        assert_eq!(reader.u128(), Ok(5));
        assert_eq!(reader.bool(), Ok(true));
        assert_eq!(reader.term(), Ok(Term(6)));
        assert_eq!(reader.log_index(), Ok(LogIndex(7)));
        assert_eq!(reader.optional_node_id(), Ok(node));
        assert_eq!(reader.optional_node_id(), Ok(None));
        assert_eq!(reader.length_prefixed(4), Ok(&b"tail"[..]));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn bad_bytes_are_refused() {
        assert_eq!(Reader::new(&[1, 2, 3]).u32(), Err(DecodeError));
        assert_eq!(Reader::new(&[2]).bool(), Err(DecodeError));
        assert_eq!(Reader::new(&[0, 0]).node_id(), Err(DecodeError));
        assert_eq!(Reader::new(&[5, 0, 0, 0, 1]).length_prefixed(8), Err(DecodeError));
        assert_eq!(Reader::new(&[5, 0, 0, 0, 1, 2, 3, 4, 5]).length_prefixed(4), Err(DecodeError));
        assert_eq!(Reader::new(&[0]).finish(), Err(DecodeError));
    }
}
