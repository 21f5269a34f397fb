//! Which class each kind of traffic travels in: one table, and nothing else decides.
//!
//! | class | name | what |
//! |---|---|---|
//! | 0 | heartbeats | messages of links that are not sent again: Raft's heartbeats and their answers |
//! | 1 | votes | the urgent lane of links: Raft's votes, the ledger's votes and certificates, members |
//! | 2 | acknowledgements | what links have received |
//! | 3 | neighbours | ARP, ICMP: without them nobody is reached, or found out |
//! | 4 | log | the bulk lane of links: entries, snapshots, batches of the ledger |
//! | 5 | redis | replies to Redis clients |
//! | 6 | http | pages and metrics |
//! | 7 | other | everything else |
//!
//! A lane is in one class as a whole: its frames are numbered, and those that were overtaken are taken for
//! lost.

use base::limits::{
    BULK_FRAMES_MAX, HTTP_FRAMES_MAX, NEIGHBOUR_FRAMES_MAX, OTHER_FRAMES_MAX, REDIS_FRAMES_MAX,
    SHAPE_BURST_MIN_BYTES, SHAPE_MAX_MBIT_PER_SECOND, URGENT_FRAMES_MAX,
};
use net::links::Urgency;
use netio::limits::CLASSES;
use netio::{Class, ClassConfig, FlowKey, Shape};

use crate::clients::{HTTP_PORT, RESP_PORT};

/// Classes whose packets come from one place, and share the room for those that wait. What waits of one keeps
/// no other from waiting, too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// Links, without bulk.
    Urgent,
    /// Links.
    Bulk,
    /// The stack of the clients: what it says to its neighbours …
    Neighbours,
    /// … to Redis clients …
    Redis,
    /// … to HTTP clients …
    Http,
    /// … and to others.
    Other,
}

impl Origin {
    /// How many packets from there wait at most.
    pub(super) const fn frames_max(self) -> usize {
        match self {
            Origin::Urgent => URGENT_FRAMES_MAX,
            Origin::Bulk => BULK_FRAMES_MAX,
            Origin::Neighbours => NEIGHBOUR_FRAMES_MAX,
            Origin::Redis => REDIS_FRAMES_MAX,
            Origin::Http => HTTP_FRAMES_MAX,
            Origin::Other => OTHER_FRAMES_MAX,
        }
    }

    /// What comes from this port of ours.
    pub(crate) fn of_service(port: u16) -> Origin {
        CLASS[class_of_service(port).number() as usize].1
    }
}

const fn class(number: u8) -> Class {
    Class::new(number).expect("there are eight")
}

const NEIGHBOURS: Class = class(3);
const OTHER: Class = Class::LAST;

/// The ports of our services, and the class of what comes from there.
const SERVICES: [(u16, Class); 2] = [(RESP_PORT, class(5)), (HTTP_PORT, class(6))];

/// What the classes are called, and where their packets come from.
pub(super) const CLASS: [(&str, Origin); CLASSES] = [
    ("heartbeats", Origin::Urgent),
    ("votes", Origin::Urgent),
    ("acknowledgements", Origin::Urgent),
    ("neighbours", Origin::Neighbours),
    ("log", Origin::Bulk),
    ("redis", Origin::Redis),
    ("http", Origin::Http),
    ("other", Origin::Other),
];

/// The protocols of IP that say how it is with hosts: ICMP and ICMPv6 (IANA).
const ICMP: [u8; 2] = [1, 58];

pub(super) fn class_of_link(urgency: Urgency) -> Class {
    match urgency {
        Urgency::Datagram => Class::FIRST,
        Urgency::Urgent => class(1),
        Urgency::Acknowledgement => class(2),
        Urgency::Bulk => class(4),
    }
}

/// The class of what the stack of the clients sends; `flow` is `None` for what is not IP.
pub(super) fn class_of_client(flow: Option<&FlowKey>) -> Class {
    let Some(flow) = flow else { return NEIGHBOURS };
    if ICMP.contains(&flow.protocol) {
        return NEIGHBOURS;
    }
    flow.ports.map_or(OTHER, |(port, _)| class_of_service(port))
}

fn class_of_service(port: u16) -> Class {
    let service = SERVICES.iter().find(|(service, _)| *service == port);
    service.map_or(OTHER, |(_, class)| *class)
}

/// As many packets of each class as from its origin.
pub(super) fn configs() -> [ClassConfig; CLASSES] {
    CLASS.map(|(_, origin)| ClassConfig { frames_max: origin.frames_max(), shape: None })
}

/// So many megabits a second, and what they are in ten milliseconds at once, or a few frames; `None` if that
/// is none, or more than may be.
pub(super) fn shape_of(mbit: u64) -> Option<Shape> {
    if mbit > SHAPE_MAX_MBIT_PER_SECOND {
        return None;
    }
    let bytes_per_second = mbit * 125_000;
    Shape::new(bytes_per_second, (bytes_per_second / 100).max(SHAPE_BURST_MIN_BYTES))
}
