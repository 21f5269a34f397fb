//! A frame's bytes, seen through the envelope.

use core::fmt;

use base::checksum::Crc32c;
use base::{ClusterId, NodeId};

use crate::VERSION;

/// Where each field is. Each begins where the one before ends.
mod field {
    use core::ops::Range;

    pub(super) const VERSION: usize = 0;
    pub(super) const KIND: usize = VERSION + 1;
    pub(super) const SERVICE: usize = KIND + 1;
    pub(super) const FLAGS: usize = SERVICE + 1;
    pub(super) const SOURCE: Range<usize> = after(FLAGS + 1, 2);
    pub(super) const DESTINATION: Range<usize> = after(SOURCE.end, 2);
    pub(super) const CLUSTER: Range<usize> = after(DESTINATION.end, 8);
    pub(super) const EPOCH: Range<usize> = after(CLUSTER.end, 4);
    pub(super) const STREAM: Range<usize> = after(EPOCH.end, 4);
    pub(super) const PEER_EPOCH: Range<usize> = after(STREAM.end, 4);
    pub(super) const LANE: usize = PEER_EPOCH.end;
    pub(super) const LENGTH: Range<usize> = after(LANE + 2, 2);
    pub(super) const SEQUENCE: Range<usize> = after(LENGTH.end, 4);
    pub(super) const ACKNOWLEDGED_STREAM: Range<usize> = after(SEQUENCE.end, 4);
    pub(super) const WANTED: Range<usize> = after(ACKNOWLEDGED_STREAM.end, 4);
    pub(super) const SELECTIVE: Range<usize> = after(WANTED.end, 4);
    pub(super) const MESSAGE_LENGTH: Range<usize> = after(SELECTIVE.end, 4);
    pub(super) const PLACE: Range<usize> = after(MESSAGE_LENGTH.end, 4);
    pub(super) const TRACE_ID: Range<usize> = after(PLACE.end, 16);
    pub(super) const SPAN_ID: Range<usize> = after(TRACE_ID.end, 8);
    pub(super) const TRACE_FLAGS: usize = SPAN_ID.end;
    pub(super) const NONCE: Range<usize> = after(TRACE_FLAGS + 4, 4);
    pub(super) const PEER_NONCE: Range<usize> = after(NONCE.end, 4);
    pub(super) const CHECKSUM: Range<usize> = after(PEER_NONCE.end, 4);

    const fn after(start: usize, length: usize) -> Range<usize> {
        start..start + length
    }
}

/// How long the envelope is: a multiple of 8.
pub const HEADER_BYTES: usize = field::CHECKSUM.end;

const _: () = assert!(HEADER_BYTES == 96);

/// Why a frame is not taken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Refusal {
    /// It is shorter than it says, or than an envelope.
    Truncated,
    /// It is of another version of the protocol.
    Version,
    /// Its checksum does not hold.
    Checksum,
    /// A field has a value that no node writes.
    Malformed,
    /// It is of another cluster.
    Cluster,
    /// It is for another node.
    Destination,
    /// Its source is not a node of this cluster, or is this node itself.
    Source,
    /// It is from a life of its source, or of this node, that has ended.
    Stale,
    /// It is for another life of this node, a later one or one that began as often: another machine has its
    /// number, or its disk was put back.
    Superseded,
    /// Another machine has its source's number, has started as often, and was heard first.
    Twin,
}

impl Refusal {
    /// All of them, in order: an index into a table of counters.
    pub const ALL: [Refusal; 10] = [
        Refusal::Truncated,
        Refusal::Version,
        Refusal::Checksum,
        Refusal::Malformed,
        Refusal::Cluster,
        Refusal::Destination,
        Refusal::Source,
        Refusal::Stale,
        Refusal::Superseded,
        Refusal::Twin,
    ];
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Truncated => "truncated",
            Refusal::Version => "version",
            Refusal::Checksum => "checksum",
            Refusal::Malformed => "malformed",
            Refusal::Cluster => "cluster",
            Refusal::Destination => "destination",
            Refusal::Source => "source",
            Refusal::Stale => "stale",
            Refusal::Superseded => "superseded",
            Refusal::Twin => "twin",
        })
    }
}

impl core::error::Error for Refusal {}

/// A window over the bytes of an envelope and its content.
#[derive(Clone, Debug)]
pub struct Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// A window over bytes that are at least an envelope; for writing, or when they were checked.
    ///
    /// # Panics
    /// Later, in the accessors, if they are shorter.
    pub fn new_unchecked(buffer: T) -> Packet<T> {
        Packet { buffer }
    }

    /// A window over received bytes. What lies behind the content (padding) is ignored.
    ///
    /// # Errors
    /// If they are not a whole frame of this version with the right checksum.
    pub fn new_checked(buffer: T) -> Result<Packet<T>, Refusal> {
        let packet = Packet { buffer };
        let length = packet.buffer.as_ref().len();
        if length < HEADER_BYTES {
            return Err(Refusal::Truncated);
        }
        if packet.buffer.as_ref()[field::VERSION] != VERSION {
            return Err(Refusal::Version);
        }
        if length < HEADER_BYTES + packet.content_length() {
            return Err(Refusal::Truncated);
        }
        if packet.checksum() != packet.computed_checksum() {
            return Err(Refusal::Checksum);
        }
        Ok(packet)
    }

    /// The bytes.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// Whether the frame is from a node of `cluster` to node `own`.
    ///
    /// # Errors
    /// If it is not.
    pub fn admit(&self, cluster: ClusterId, own: NodeId) -> Result<NodeId, Refusal> {
        if self.u64(field::CLUSTER) != cluster.0 {
            return Err(Refusal::Cluster);
        }
        if self.u16(field::DESTINATION) != own.get() {
            return Err(Refusal::Destination);
        }
        NodeId::new(self.u16(field::SOURCE)).filter(|source| *source != own).ok_or(Refusal::Source)
    }

    fn array<const N: usize>(&self, range: core::ops::Range<usize>) -> [u8; N] {
        self.buffer.as_ref()[range].try_into().expect("the field has that length")
    }

    fn u16(&self, range: core::ops::Range<usize>) -> u16 {
        u16::from_le_bytes(self.array(range))
    }

    fn u32(&self, range: core::ops::Range<usize>) -> u32 {
        u32::from_le_bytes(self.array(range))
    }

    fn u64(&self, range: core::ops::Range<usize>) -> u64 {
        u64::from_le_bytes(self.array(range))
    }

    /// The length of the content.
    pub fn content_length(&self) -> usize {
        usize::from(self.u16(field::LENGTH))
    }

    /// The content.
    pub fn content(&self) -> &[u8] {
        &self.buffer.as_ref()[HEADER_BYTES..HEADER_BYTES + self.content_length()]
    }

    pub(crate) fn kind(&self) -> u8 {
        self.buffer.as_ref()[field::KIND]
    }

    pub(crate) fn service(&self) -> u8 {
        self.buffer.as_ref()[field::SERVICE]
    }

    pub(crate) fn flags(&self) -> u8 {
        self.buffer.as_ref()[field::FLAGS]
    }

    pub(crate) fn cluster(&self) -> u64 {
        self.u64(field::CLUSTER)
    }

    pub(crate) fn source(&self) -> u16 {
        self.u16(field::SOURCE)
    }

    pub(crate) fn destination(&self) -> u16 {
        self.u16(field::DESTINATION)
    }

    pub(crate) fn lane(&self) -> [u8; 2] {
        self.array(field::LANE..field::LANE + 2)
    }

    /// Epoch, stream, and the destination's epoch.
    pub(crate) fn identity(&self) -> [u32; 3] {
        [self.u32(field::EPOCH), self.u32(field::STREAM), self.u32(field::PEER_EPOCH)]
    }

    /// The source's nonce, and the destination's.
    pub(crate) fn nonces(&self) -> [u32; 2] {
        [self.u32(field::NONCE), self.u32(field::PEER_NONCE)]
    }

    /// Sequence; acknowledged stream, next wanted, selective; message length and place.
    pub(crate) fn numbers(&self) -> [u32; 6] {
        [
            self.u32(field::SEQUENCE),
            self.u32(field::ACKNOWLEDGED_STREAM),
            self.u32(field::WANTED),
            self.u32(field::SELECTIVE),
            self.u32(field::MESSAGE_LENGTH),
            self.u32(field::PLACE),
        ]
    }

    pub(crate) fn trace(&self) -> (u128, u64, [u8; 4]) {
        let flags = self.array(field::TRACE_FLAGS..field::TRACE_FLAGS + 4);
        (u128::from_le_bytes(self.array(field::TRACE_ID)), self.u64(field::SPAN_ID), flags)
    }

    fn checksum(&self) -> u32 {
        self.u32(field::CHECKSUM)
    }

    fn computed_checksum(&self) -> u32 {
        let mut checksum = Crc32c::new();
        checksum.update(&self.buffer.as_ref()[..field::CHECKSUM.start]);
        checksum.update(self.content());
        checksum.finish()
    }
}

/// All fields but the checksum, as they are written.
pub(crate) struct Fields {
    pub(crate) kind: u8,
    pub(crate) service: u8,
    pub(crate) flags: u8,
    pub(crate) source: u16,
    pub(crate) destination: u16,
    pub(crate) cluster: u64,
    pub(crate) identity: [u32; 3],
    pub(crate) nonces: [u32; 2],
    pub(crate) lane: u8,
    pub(crate) length: u16,
    pub(crate) numbers: [u32; 6],
    pub(crate) trace: (u128, u64, u8),
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    pub(crate) fn write(&mut self, fields: &Fields) {
        let bytes = self.buffer.as_mut();
        bytes[..HEADER_BYTES].fill(0);
        bytes[field::VERSION] = VERSION;
        bytes[field::KIND] = fields.kind;
        bytes[field::SERVICE] = fields.service;
        bytes[field::FLAGS] = fields.flags;
        bytes[field::SOURCE].copy_from_slice(&fields.source.to_le_bytes());
        bytes[field::DESTINATION].copy_from_slice(&fields.destination.to_le_bytes());
        bytes[field::CLUSTER].copy_from_slice(&fields.cluster.to_le_bytes());
        let [epoch, stream, peer_epoch] = fields.identity;
        bytes[field::EPOCH].copy_from_slice(&epoch.to_le_bytes());
        bytes[field::STREAM].copy_from_slice(&stream.to_le_bytes());
        bytes[field::PEER_EPOCH].copy_from_slice(&peer_epoch.to_le_bytes());
        bytes[field::LANE] = fields.lane;
        bytes[field::LENGTH].copy_from_slice(&fields.length.to_le_bytes());
        let [sequence, stream, wanted, selective, length, place] = fields.numbers;
        bytes[field::SEQUENCE].copy_from_slice(&sequence.to_le_bytes());
        bytes[field::ACKNOWLEDGED_STREAM].copy_from_slice(&stream.to_le_bytes());
        bytes[field::WANTED].copy_from_slice(&wanted.to_le_bytes());
        bytes[field::SELECTIVE].copy_from_slice(&selective.to_le_bytes());
        bytes[field::MESSAGE_LENGTH].copy_from_slice(&length.to_le_bytes());
        bytes[field::PLACE].copy_from_slice(&place.to_le_bytes());
        bytes[field::TRACE_ID].copy_from_slice(&fields.trace.0.to_le_bytes());
        bytes[field::SPAN_ID].copy_from_slice(&fields.trace.1.to_le_bytes());
        bytes[field::TRACE_FLAGS] = fields.trace.2;
        let [nonce, peer_nonce] = fields.nonces;
        bytes[field::NONCE].copy_from_slice(&nonce.to_le_bytes());
        bytes[field::PEER_NONCE].copy_from_slice(&peer_nonce.to_le_bytes());
    }

    /// Where the content goes: behind the envelope.
    pub fn content_mut(&mut self) -> &mut [u8] {
        let end = HEADER_BYTES + self.content_length();
        &mut self.buffer.as_mut()[HEADER_BYTES..end]
    }

    /// Fills in the checksum, when everything else is there.
    pub fn fill_checksum(&mut self) {
        let checksum = self.computed_checksum();
        self.buffer.as_mut()[field::CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
    }
}
