//! What the services of two nodes say to each other: a write on its way to the leader, or its
//! return.
//!
//! ```text
//! request   1  request…                                  (as in an entry, without the time)
//! refused   2  epoch:8  sequence:8  refusal:1
//! ```

use alloc::vec::Vec;

use base::codec::{DecodeError, Reader, Writer};
use bytes::Bytes;

use crate::machine::Request;

const REQUEST: u8 = 1;
const REFUSED: u8 = 2;

/// Why a request certainly did not come into the log by this try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The node does not lead.
    NotLeader,
    /// The leader has too much under way.
    Busy,
    /// The leader's disk is full.
    LogFull,
    /// The request does not fit an entry.
    TooLarge,
    /// The leader has not seen the write that comes before.
    OutOfOrder,
}

/// A message between services.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// Please propose this.
    Request {
        /// What it is.
        request: Request,
        /// The same, as it stands in the message, to be put into an entry.
        encoded: Bytes,
    },
    /// This request of yours was not proposed.
    Refused {
        /// The epoch of the addressed node.
        epoch: u64,
        /// Which request.
        sequence: u64,
        /// Why not.
        refusal: Refusal,
    },
}

impl Message {
    /// A request that is already encoded, as a message.
    pub fn request(encoded: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + encoded.len());
        Writer::new(&mut bytes).u8(REQUEST).bytes(encoded);
        bytes
    }

    /// The return of a request.
    pub fn refused(epoch: u64, sequence: u64, refusal: Refusal) -> Vec<u8> {
        let mut bytes = Vec::new();
        let code = match refusal {
            Refusal::NotLeader => 1,
            Refusal::Busy => 2,
            Refusal::LogFull => 3,
            Refusal::TooLarge => 4,
            Refusal::OutOfOrder => 5,
        };
        Writer::new(&mut bytes).u8(REFUSED).u64(epoch).u64(sequence).u8(code);
        bytes
    }

    /// Reads a whole message, which shares the memory of `bytes`.
    ///
    /// # Errors
    /// If the bytes are no message.
    pub fn decode(bytes: &Bytes) -> Result<Message, DecodeError> {
        let mut reader = Reader::new(bytes);
        match reader.u8()? {
            REQUEST => {
                let encoded = bytes.slice_ref(reader.rest());
                Ok(Message::Request { request: Request::decode(&encoded)?, encoded })
            }
            REFUSED => {
                let (epoch, sequence) = (reader.u64()?, reader.u64()?);
                let refusal = match reader.u8()? {
                    1 => Refusal::NotLeader,
                    2 => Refusal::Busy,
                    3 => Refusal::LogFull,
                    4 => Refusal::TooLarge,
                    5 => Refusal::OutOfOrder,
                    _ => return Err(DecodeError),
                };
                reader.finish()?;
                Ok(Message::Refused { epoch, sequence, refusal })
            }
            _ => Err(DecodeError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Write;
    use crate::machine::RequestId;
    use base::NodeId;
    use proptest::prelude::*;

    #[test]
    fn messages_come_back() {
        let id = RequestId { origin: NodeId::new(3).unwrap(), epoch: 2, sequence: 9 };
        let mut write = Vec::new();
        Write::Flush.encode(&mut write);
        let mut encoded = Vec::new();
        Request::encode(id, 8, 7, &write, &mut encoded);
        let bytes = Bytes::from(Message::request(&encoded));
        let request = Request { id, after: 8, low_water: 7, write: Write::Flush };
        let encoded = Bytes::from(encoded);
        assert_eq!(Message::decode(&bytes), Ok(Message::Request { request, encoded }));
        for refusal in [
            Refusal::NotLeader,
            Refusal::Busy,
            Refusal::LogFull,
            Refusal::TooLarge,
            Refusal::OutOfOrder,
        ] {
            let bytes = Bytes::from(Message::refused(2, 9, refusal));
            let expected = Message::Refused { epoch: 2, sequence: 9, refusal };
            assert_eq!(Message::decode(&bytes), Ok(expected));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..80),
            tag in 0u8..4,
        ) {
            if let Some(first) = bytes.first_mut() {
                *first = tag;
            }
            let _ = Message::decode(&Bytes::from(bytes));
        }
    }
}
