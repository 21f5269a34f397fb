//! What nodes say to each other of who belongs to the cluster, and its bytes.
//!
//! Each message is one datagram: a question is asked again until what was wanted is seen to have happened, so
//! a message may be lost, and comes perhaps twice.

use alloc::vec::Vec;
use core::fmt;

use base::codec::{DecodeError, Reader, Writer};
use base::{LogIndex, NodeId, limits};

/// A message of one node's to another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// Somebody wants the members changed. Who does not lead passes it on to the leader, once.
    Ask(Request),
    /// What became of a question. It goes back the way that the question came.
    Answer {
        /// Whose question it was.
        asker: NodeId,
        /// Which.
        number: u64,
        /// What became of it.
        verdict: Verdict,
        /// The members, as far as whoever answers knows.
        members: Vec<NodeId>,
    },
    /// The node that this is sent to was removed, and speaks as if it were not.
    Removed,
}

/// A question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    /// Who asks.
    pub asker: NodeId,
    /// The asker's name for the question.
    pub number: u64,
    /// What is wanted.
    pub wish: Wish,
}

/// What somebody wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// To become a member. The asker's log ends here: at 0, if it knows nothing.
    Join(LogIndex),
    /// That a member leaves for ever.
    Remove(NodeId),
}

/// What became of a question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is in the log of the leader, and happens unless that is lost.
    Accepted,
    /// Not now: ask again.
    NotYet(Delay),
    /// It will not happen.
    Refused(Reason),
}

/// Why something cannot happen now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delay {
    /// Nobody is known to lead.
    NoLeader,
    /// Another change is under way.
    OtherChange,
    /// The leader has only begun, or hands over.
    LeaderBusy,
}

/// Why something does not happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// The number of the node that wants to join was that of a member that was removed.
    Retired,
    /// A member has that number, and has something in its log.
    InUse,
    /// The cluster has as many members as it may have.
    Full,
    /// There is no such member.
    Unknown,
    /// Nobody would vote any more.
    LastVoter,
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Delay::NoLeader => "nobody is known to lead",
            Delay::OtherChange => "another change of the members is under way",
            Delay::LeaderBusy => "the leader is about to begin, or to hand over",
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Retired => f.write_str(
                "a node of this number was removed from the cluster, and numbers are not used twice: give \
                 this node another",
            ),
            Reason::InUse => f.write_str(
                "a member has this number, and a log that this node does not have: give this node another \
                 number, or remove that member first",
            ),
            Reason::Full => {
                write!(
                    f,
                    "the cluster has {} members, and no room for more",
                    limits::CLUSTER_NODES_MAX
                )
            }
            Reason::Unknown => f.write_str("there is no such member; 'raft nodes' lists them"),
            Reason::LastVoter => f.write_str("it is the last that votes"),
        }
    }
}

const ASK_JOIN: u8 = 1;
const ASK_REMOVE: u8 = 2;
const ACCEPTED: u8 = 3;
const NOT_YET: u8 = 4;
const REFUSED: u8 = 5;
const REMOVED: u8 = 6;

const DELAYS: [Delay; 3] = [Delay::NoLeader, Delay::OtherChange, Delay::LeaderBusy];
const REASONS: [Reason; 5] =
    [Reason::Retired, Reason::InUse, Reason::Full, Reason::Unknown, Reason::LastVoter];

impl Message {
    /// Appends the message to `bytes`.
    pub fn encode(&self, bytes: &mut Vec<u8>) {
        let mut writer = Writer::new(bytes);
        match self {
            Message::Ask(Request { asker, number, wish }) => {
                writer.u8(match wish {
                    Wish::Join(_) => ASK_JOIN,
                    Wish::Remove(_) => ASK_REMOVE,
                });
                writer.node_id(*asker);
                writer.u64(*number);
                match wish {
                    Wish::Join(last) => writer.log_index(*last),
                    Wish::Remove(node) => writer.node_id(*node),
                };
            }
            Message::Answer { asker, number, verdict, members } => {
                writer.u8(match verdict {
                    Verdict::Accepted => ACCEPTED,
                    Verdict::NotYet(_) => NOT_YET,
                    Verdict::Refused(_) => REFUSED,
                });
                writer.node_id(*asker);
                writer.u64(*number);
                match verdict {
                    Verdict::Accepted => {}
                    Verdict::NotYet(delay) => {
                        writer.u8(*delay as u8);
                    }
                    Verdict::Refused(reason) => {
                        writer.u8(*reason as u8);
                    }
                }
                writer.u16(members.len() as u16);
                for member in members {
                    writer.node_id(*member);
                }
            }
            Message::Removed => {
                writer.u8(REMOVED);
            }
        }
    }

    /// Reads a message.
    ///
    /// # Errors
    /// If the bytes are anything but one whole message.
    pub fn decode(bytes: &[u8]) -> Result<Message, DecodeError> {
        let mut reader = Reader::new(bytes);
        let kind = reader.u8()?;
        let message = match kind {
            ASK_JOIN | ASK_REMOVE => {
                let (asker, number) = (reader.node_id()?, reader.u64()?);
                let wish = match kind {
                    ASK_JOIN => Wish::Join(reader.log_index()?),
                    _ => Wish::Remove(reader.node_id()?),
                };
                Message::Ask(Request { asker, number, wish })
            }
            ACCEPTED | NOT_YET | REFUSED => {
                let (asker, number) = (reader.node_id()?, reader.u64()?);
                let verdict = match kind {
                    ACCEPTED => Verdict::Accepted,
                    NOT_YET => Verdict::NotYet(pick(&DELAYS, reader.u8()?)?),
                    _ => Verdict::Refused(pick(&REASONS, reader.u8()?)?),
                };
                let members = decode_members(&mut reader)?;
                Message::Answer { asker, number, verdict, members }
            }
            REMOVED => Message::Removed,
            _ => return Err(DecodeError),
        };
        reader.finish()?;
        Ok(message)
    }
}

fn decode_members(reader: &mut Reader<'_>) -> Result<Vec<NodeId>, DecodeError> {
    let count = usize::from(reader.u16()?);
    if count > limits::CLUSTER_NODES_MAX {
        return Err(DecodeError);
    }
    let members = (0..count).map(|_| reader.node_id()).collect::<Result<Vec<NodeId>, _>>()?;
    if members.is_sorted_by(|a, b| a < b) { Ok(members) } else { Err(DecodeError) }
}

fn pick<T: Copy>(all: &[T], place: u8) -> Result<T, DecodeError> {
    all.get(usize::from(place)).copied().ok_or(DecodeError)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node() -> impl Strategy<Value = NodeId> {
        (1..=limits::NODE_ID_MAX).prop_map(|number| NodeId::new(number).unwrap())
    }

    fn verdict() -> impl Strategy<Value = Verdict> {
        prop_oneof![
            Just(Verdict::Accepted),
            prop::sample::select(&DELAYS[..]).prop_map(Verdict::NotYet),
            prop::sample::select(&REASONS[..]).prop_map(Verdict::Refused),
        ]
    }

    fn message() -> impl Strategy<Value = Message> {
        let wish = prop_oneof![
            any::<u64>().prop_map(|last| Wish::Join(LogIndex(last))),
            node().prop_map(Wish::Remove)
        ];
        let members = prop::collection::btree_set(node(), 0..=limits::CLUSTER_NODES_MAX);
        prop_oneof![
            (node(), any::<u64>(), wish).prop_map(|(asker, number, wish)| Message::Ask(Request {
                asker,
                number,
                wish
            })),
            (node(), any::<u64>(), verdict(), members).prop_map(
                |(asker, number, verdict, members)| {
                    let members = members.into_iter().collect();
                    Message::Answer { asker, number, verdict, members }
                }
            ),
            Just(Message::Removed),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_nothing_shorter_or_longer(message in message()) {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            prop_assert_eq!(Message::decode(&bytes), Ok(message));
            for cut in 0..bytes.len() {
                prop_assert!(Message::decode(&bytes[..cut]).is_err());
            }
            bytes.push(0);
            prop_assert!(Message::decode(&bytes).is_err());
        }

        #[test]
        fn no_bytes_make_it_panic_and_what_is_read_is_written_back(
            bytes in prop::collection::vec(any::<u8>(), 0..160),
        ) {
            if let Ok(message) = Message::decode(&bytes) {
                let mut written = Vec::new();
                message.encode(&mut written);
                prop_assert_eq!(written, bytes);
            }
        }
    }

    #[test]
    fn hostile_bytes_are_refused() {
        let of = |verdict, members| {
            let mut bytes = Vec::new();
            let asker = NodeId::new(4).unwrap();
            Message::Answer { asker, number: 1, verdict, members }.encode(&mut bytes);
            bytes
        };
        let members: Vec<NodeId> =
            (1..=limits::CLUSTER_NODES_MAX as u16).filter_map(NodeId::new).collect();
        let most = of(Verdict::Accepted, members.clone());
        assert!(Message::decode(&most).is_ok());
        let more = [members, [NodeId::new(200).unwrap()].to_vec()].concat();
        assert!(Message::decode(&of(Verdict::Accepted, more)).is_err(), "one too many");
        let twice = [1, 1].map(|number| NodeId::new(number).unwrap());
        assert!(Message::decode(&of(Verdict::Accepted, twice.to_vec())).is_err(), "out of order");
        let mut reason = of(Verdict::Refused(Reason::LastVoter), Vec::new());
        let place = reason.len() - 3;
        reason[place] += 1;
        assert!(Message::decode(&reason).is_err(), "no such reason");
    }
}
