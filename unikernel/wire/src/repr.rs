//! The envelope as a value.

use base::{ClusterId, NodeId};

use crate::packet::{Fields, Packet, Refusal};

/// The service that a message is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ServiceId {
    /// Consensus on the log.
    Raft,
    /// The key-value store.
    Kv,
    /// Who belongs to the cluster.
    Members,
    /// Consensus on the ledger, with nodes that may lie.
    Bft,
}

impl ServiceId {
    const fn code(self) -> u8 {
        match self {
            ServiceId::Raft => 1,
            ServiceId::Kv => 2,
            ServiceId::Members => 3,
            ServiceId::Bft => 4,
        }
    }

    const fn from_code(code: u8) -> Option<ServiceId> {
        match code {
            1 => Some(ServiceId::Raft),
            2 => Some(ServiceId::Kv),
            3 => Some(ServiceId::Members),
            4 => Some(ServiceId::Bft),
            _ => None,
        }
    }
}

/// Messages of a lane arrive in order; the urgent lane never waits for the bulk lane.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Lane {
    /// Short messages on which time-outs depend.
    Urgent,
    /// Everything else.
    Bulk,
}

/// Which trace a message belongs to (W3C Trace Context, sections 3.2.2.3 to 3.2.2.5). Zero: none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: u128,
    /// The sender's span.
    pub span_id: u64,
    /// Bit 0: sampled.
    pub flags: u8,
}

/// What a frame is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It acknowledges, and has no content.
    Acknowledgement,
    /// It carries a whole message that is not sent again if it is lost, and acknowledges too.
    Datagram {
        /// For whom the message is.
        service: ServiceId,
        /// The trace of the message.
        trace: TraceContext,
    },
    /// It carries a part of a message, and acknowledges too.
    Data {
        /// For whom the message is.
        service: ServiceId,
        /// Its number in the stream, counted from 0.
        sequence: u32,
        /// It is the message's first part.
        is_first: bool,
        /// It is the message's last part.
        is_last: bool,
        /// The length of the whole message.
        message_length: u32,
        /// Where in the message this part belongs.
        place: u32,
        /// The trace of the message.
        trace: TraceContext,
    },
}

/// The envelope of one frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Repr {
    /// The cluster that both nodes belong to.
    pub cluster: ClusterId,
    /// Who sends it.
    pub source: NodeId,
    /// Who is to get it.
    pub destination: NodeId,
    /// How often the source has started.
    pub epoch: u32,
    /// The source's stream: another one begins when it gives up what was on its way.
    pub stream: u32,
    /// How often the destination has started, as far as the source knows; 0 if it does not.
    pub peer_epoch: u32,
    /// What the source has drawn when it started, not 0.
    pub nonce: u32,
    /// The same of the destination, as far as the source knows; 0 if it does not.
    pub peer_nonce: u32,
    /// The lane that everything else is about.
    pub lane: Lane,
    /// The destination's stream that is acknowledged.
    pub acknowledged_stream: u32,
    /// The next sequence number that is wanted of it: all before are here.
    pub wanted: u32,
    /// Bit i: number `wanted + 1 + i` is here already.
    pub selective: u32,
    /// How long the content is.
    pub length: u16,
    /// See there.
    pub kind: Kind,
}

const KIND_ACKNOWLEDGEMENT: u8 = 0;
const KIND_DATA: u8 = 1;
const KIND_DATAGRAM: u8 = 2;
const FLAG_FIRST: u8 = 1;
const FLAG_LAST: u8 = 2;

impl Repr {
    /// Reads the envelope of a checked frame.
    ///
    /// # Errors
    /// If a field has a value that no node writes.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Result<Repr, Refusal> {
        let malformed = Refusal::Malformed;
        let [epoch, stream, peer_epoch] = packet.identity();
        let [nonce, peer_nonce] = packet.nonces();
        let [sequence, acknowledged_stream, wanted, selective, message_length, place] =
            packet.numbers();
        let (trace_id, span_id, trace_flags) = packet.trace();
        let length = packet.content_length() as u16;
        let trace = TraceContext { trace_id, span_id, flags: trace_flags[0] };
        let service = ServiceId::from_code(packet.service()).ok_or(malformed);
        let kind = match packet.kind() {
            KIND_ACKNOWLEDGEMENT if length == 0 && packet.flags() == 0 => Kind::Acknowledgement,
            KIND_DATA if packet.flags() & !(FLAG_FIRST | FLAG_LAST) == 0 => Kind::Data {
                service: service?,
                sequence,
                is_first: packet.flags() & FLAG_FIRST != 0,
                is_last: packet.flags() & FLAG_LAST != 0,
                message_length,
                place,
                trace,
            },
            KIND_DATAGRAM if length > 0 && packet.flags() == 0 => {
                Kind::Datagram { service: service?, trace }
            }
            _ => return Err(malformed),
        };
        let lane = match packet.lane() {
            [0, 0] => Lane::Urgent,
            [1, 0] => Lane::Bulk,
            _ => return Err(malformed),
        };
        if epoch == 0 || stream == 0 || nonce == 0 || trace_flags[1..] != [0; 3] {
            return Err(malformed);
        }
        Ok(Repr {
            cluster: ClusterId(packet.cluster()),
            source: NodeId::new(packet.source()).ok_or(Refusal::Source)?,
            destination: NodeId::new(packet.destination()).ok_or(Refusal::Destination)?,
            epoch,
            stream,
            peer_epoch,
            nonce,
            peer_nonce,
            lane,
            acknowledged_stream,
            wanted,
            selective,
            length,
            kind,
        })
    }

    /// Writes the envelope. Then write the content, and fill in the checksum.
    pub fn emit<T: AsRef<[u8]> + AsMut<[u8]>>(&self, packet: &mut Packet<T>) {
        let mut fields = Fields {
            kind: KIND_ACKNOWLEDGEMENT,
            service: 0,
            flags: 0,
            source: self.source.get(),
            destination: self.destination.get(),
            cluster: self.cluster.0,
            identity: [self.epoch, self.stream, self.peer_epoch],
            nonces: [self.nonce, self.peer_nonce],
            lane: match self.lane {
                Lane::Urgent => 0,
                Lane::Bulk => 1,
            },
            length: self.length,
            numbers: [0, self.acknowledged_stream, self.wanted, self.selective, 0, 0],
            trace: (0, 0, 0),
        };
        match self.kind {
            Kind::Acknowledgement => {}
            Kind::Datagram { service, trace } => {
                fields.kind = KIND_DATAGRAM;
                fields.service = service.code();
                fields.trace = (trace.trace_id, trace.span_id, trace.flags);
            }
            Kind::Data { service, sequence, is_first, is_last, message_length, place, trace } => {
                fields.kind = KIND_DATA;
                fields.service = service.code();
                fields.flags = u8::from(is_first) * FLAG_FIRST + u8::from(is_last) * FLAG_LAST;
                fields.numbers[0] = sequence;
                fields.numbers[4] = message_length;
                fields.numbers[5] = place;
                fields.trace = (trace.trace_id, trace.span_id, trace.flags);
            }
        }
        packet.write(&fields);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::HEADER_BYTES;

    fn node(number: u16) -> NodeId {
        NodeId::new(number).unwrap()
    }

    fn data(content: &[u8]) -> Repr {
        let trace = TraceContext { trace_id: 1 << 100, span_id: 77, flags: 1 };
        Repr {
            cluster: ClusterId(0xc0ffee),
            source: node(1),
            destination: node(2),
            epoch: 3,
            stream: 4,
            peer_epoch: 5,
            nonce: 11,
            peer_nonce: 12,
            lane: Lane::Bulk,
            acknowledged_stream: 6,
            wanted: 7,
            selective: 8,
            length: content.len() as u16,
            kind: Kind::Data {
                service: ServiceId::Kv,
                sequence: 9,
                is_first: true,
                is_last: false,
                message_length: 10_000,
                place: 0,
                trace,
            },
        }
    }

    fn bytes_of(repr: &Repr, content: &[u8]) -> Vec<u8> {
        let mut packet = Packet::new_unchecked(vec![0xaa; HEADER_BYTES + content.len()]);
        repr.emit(&mut packet);
        packet.content_mut().copy_from_slice(content);
        packet.fill_checksum();
        let bytes = packet.into_inner();
        let checked = Packet::new_checked(&bytes[..]).unwrap();
        assert_eq!(checked.content(), content);
        assert_eq!(Repr::parse(&checked), Ok(*repr));
        bytes
    }

    #[test]
    fn what_is_emitted_is_parsed() {
        bytes_of(&data(b"hello"), b"hello");
        let acknowledgement = Repr { kind: Kind::Acknowledgement, length: 0, ..data(b"") };
        bytes_of(&acknowledgement, b"");
        let trace = TraceContext { trace_id: 1 << 90, span_id: 78, flags: 1 };
        let datagram = Kind::Datagram { service: ServiceId::Raft, trace };
        bytes_of(&Repr { kind: datagram, ..data(b"beat") }, b"beat");
    }

    #[test]
    fn a_frame_is_for_one_node_of_one_cluster() {
        let bytes = bytes_of(&data(b"x"), b"x");
        let packet = Packet::new_checked(&bytes[..]).unwrap();
        assert_eq!(packet.admit(ClusterId(0xc0ffee), node(2)), Ok(node(1)));
        assert_eq!(packet.admit(ClusterId(1), node(2)), Err(Refusal::Cluster));
        assert_eq!(packet.admit(ClusterId(0xc0ffee), node(3)), Err(Refusal::Destination));
        let own = bytes_of(&Repr { source: node(2), ..data(b"") }, b"");
        let own = Packet::new_checked(&own[..]).unwrap();
        assert_eq!(own.admit(ClusterId(0xc0ffee), node(2)), Err(Refusal::Source));
    }

    #[test]
    fn padding_behind_the_content_is_ignored() {
        let mut bytes = bytes_of(&data(b"x"), b"x");
        bytes.extend_from_slice(&[0; 30]);
        assert_eq!(Packet::new_checked(&bytes[..]).unwrap().content(), b"x");
    }

    proptest! {
        #[test]
        fn every_changed_byte_is_noticed(position in 0..HEADER_BYTES + 5, flip in 1u8..=255) {
            let mut bytes = bytes_of(&data(b"hello"), b"hello");
            bytes[position] ^= flip;
            prop_assert!(Packet::new_checked(&bytes[..]).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(packet) = Packet::new_checked(&bytes[..]) {
                let _ = Repr::parse(&packet);
            }
        }

        #[test]
        fn every_shortened_frame_is_refused(cut in 0usize..HEADER_BYTES + 5) {
            let bytes = bytes_of(&data(b"hello"), b"hello");
            prop_assert!(Packet::new_checked(&bytes[..cut]).is_err());
        }
    }
}
