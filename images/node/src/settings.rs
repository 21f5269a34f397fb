//! What a node is told when it starts: the words `coterie.KEY=VALUE` of the kernel command line.
//!
//! | word | meaning | default |
//! |---|---|---|
//! | `coterie.id=N` | the node's number, 1 to 254 | required |
//! | `coterie.cluster=HEX` | the cluster's identity, up to 16 hexadecimal digits | required |
//! | `coterie.peers=N,N,…` | the numbers of all nodes that found the cluster, this one included | this |
//! | `coterie.join=N` | the number of any member: the node asks it to be added | or this |
//! | `coterie.format=yes` or `no` | whether an empty disk is formatted, and not taken for a lost one | `no` |
//! | `coterie.outside=A.B.C.D/P[,GATEWAY]` or `none` | address for clients | `10.0.2.15/24,10.0.2.2` |
//! | `coterie.disk=flush` or `noflush` | whether a disk that cannot flush is refused | `flush` |
//! | `coterie.reads=index` or `lease` | whether a leader asks a majority before it answers reads | `index` |
//! | `coterie.clock=continuous` or `unknown` | whether the hypervisor never stops the clock | `unknown` |
//! | `coterie.services=raft` or `raft,bft` | whether it takes part in the ledger | if it has keys |
//! | `coterie.ring=N` | descriptors of each ring between the nodes, a power of two up to 1024 | 256 |
//! | `coterie.path=kernel`, `userspace` or `dpdk` | what carries the frames of the cluster | unknown |
//! | `coterie.snapshot=N` | how many entries lead to a snapshot, if room is not scarce | 100000 |
//! | `coterie.wall_ms=N` | the date at launch, in ms since 1970, for machines without a clock | 0 |
//!
//! Every word must be known: a misspelt setting that is silently ignored is worse than a node that stops.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use base::{ClusterId, NodeId, limits};
use netio::ZeroCopyPath;

/// The settings of one node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The node's number.
    pub id: NodeId,
    /// Which cluster it belongs to.
    pub cluster: ClusterId,
    /// How it comes to its group.
    pub beginning: Beginning,
    /// Whether an empty disk is formatted. If not, an empty disk is one that has forgotten.
    pub may_format: bool,
    /// Its place on the network of the clients, if it has a card for that.
    pub outside: Option<Outside>,
    /// Whether a disk is accepted that cannot flush, and so may lose what was acknowledged.
    pub without_flush: bool,
    /// How reads are answered. All nodes of a cluster should be told the same.
    pub reads: Reads,
    /// Somebody vouches for it that this hypervisor never stops the guest's clock, not even while the machine
    /// is paused.
    pub has_continuous_clock: bool,
    /// Whether it takes part in the ledger; if nothing is said, it does if its machine has keys for it.
    pub ledger: Option<bool>,
    /// What carries the frames of the cluster, as far as somebody has said: a card cannot tell.
    pub path: Option<ZeroCopyPath>,
    /// How many descriptors each ring of the card of the cluster has, if the card allows that.
    pub ring_size: u16,
    /// A snapshot is taken after so many entries, or earlier if room is scarce.
    pub snapshot_entries: u64,
    /// The date at launch, in milliseconds since 1970; 0 if unknown.
    pub wall_ms: u64,
}

/// How a node comes to its group. It matters only as long as its disk knows of none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Beginning {
    /// It is one of those who found the group: all of them in ascending order, this one included.
    Founds(Vec<NodeId>),
    /// It asks this member to be added.
    Joins(NodeId),
}

/// How a leader makes sure that nobody else has been elected when it answers a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reads {
    /// It asks a majority (ReadIndex).
    #[default]
    Index,
    /// It relies on the promises of a majority, and on clocks.
    Lease,
}

/// An address on the network of the clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outside {
    /// The node's IPv4 address.
    pub address: [u8; 4],
    /// The length of the network's prefix.
    pub prefix: u8,
    /// The way to other networks.
    pub gateway: Option<[u8; 4]>,
}

/// What QEMU's user network gives to its only guest.
const OUTSIDE_DEFAULT: Outside =
    Outside { address: [10, 0, 2, 15], prefix: 24, gateway: Some([10, 0, 2, 2]) };

/// Words of the machine, not for the node.
const MACHINE_WORD: &str = "virtio_mmio.device=";

/// Why the settings are refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SettingsError {
    /// The command line is too long or not text.
    Unreadable,
    /// A word that no setting starts with.
    Unknown(String),
    /// A setting that is there twice.
    Twice(&'static str),
    /// A setting that must be there and is not.
    Missing(&'static str),
    /// A setting whose value is not of its form: the word, and what the value must be.
    Bad(String, &'static str),
    /// Neither peers nor a member to join, or both.
    NoBeginning,
    /// The node is told to join itself.
    JoinsItself(NodeId),
    /// The node's own number is not among the peers.
    NotAPeer(NodeId),
    /// There are more peers than a cluster may have.
    TooManyPeers(usize),
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingsError::Unreadable => {
                f.write_str("the kernel command line is too long or not UTF-8 text")
            }
            SettingsError::Unknown(word) => write!(f, "unknown setting '{}'", word.escape_debug()),
            SettingsError::Twice(key) => write!(f, "setting '{key}' is given twice"),
            SettingsError::Missing(key) => write!(f, "setting '{key}=…' is missing"),
            SettingsError::Bad(word, expected) => {
                write!(f, "bad setting '{}': the value must be {expected}", word.escape_debug())
            }
            SettingsError::NoBeginning => f.write_str(
                "exactly one of 'coterie.peers=…' (to found a cluster) and 'coterie.join=…' (to join one) \
                 must be given",
            ),
            SettingsError::JoinsItself(id) => {
                write!(f, "coterie.join names this node, number {id}: name a member of the cluster")
            }
            SettingsError::NotAPeer(id) => {
                write!(f, "coterie.peers does not list this node, number {id}")
            }
            SettingsError::TooManyPeers(count) => {
                write!(
                    f,
                    "coterie.peers lists {count} nodes; at most {} are supported",
                    limits::CLUSTER_NODES_MAX
                )
            }
        }
    }
}

impl core::error::Error for SettingsError {}

/// The values as they are found, each at most once.
#[derive(Default)]
struct Found {
    id: Option<NodeId>,
    cluster: Option<ClusterId>,
    peers: Option<Vec<NodeId>>,
    join: Option<NodeId>,
    may_format: Option<bool>,
    outside: Option<Option<Outside>>,
    without_flush: Option<bool>,
    reads: Option<Reads>,
    has_continuous_clock: Option<bool>,
    ledger: Option<bool>,
    path: Option<ZeroCopyPath>,
    ring_size: Option<u16>,
    snapshot_entries: Option<u64>,
    wall_ms: Option<u64>,
}

impl Settings {
    /// Who votes in the group when it begins; nobody that this node knows, if it joins later.
    pub fn founders(&self) -> Vec<NodeId> {
        match &self.beginning {
            Beginning::Founds(founders) => founders.clone(),
            Beginning::Joins(_) => Vec::new(),
        }
    }

    /// The configuration of consensus.
    pub fn consensus(&self) -> raft::Config {
        let lease_reads = self.reads == Reads::Lease;
        raft::Config { lease_reads, ..raft::Config::new(self.id, self.founders()) }
    }

    /// Reads a kernel command line.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(command_line: &str) -> Result<Settings, SettingsError> {
        let mut found = Found::default();
        for word in command_line.split_ascii_whitespace() {
            if !word.starts_with(MACHINE_WORD) {
                found.take(word)?;
            }
        }
        found.complete()
    }
}

impl Found {
    fn take(&mut self, word: &str) -> Result<(), SettingsError> {
        let unknown = || SettingsError::Unknown(word.to_string());
        let (key, value) = word.split_once('=').ok_or_else(unknown)?;
        let bad = |expected| SettingsError::Bad(word.to_string(), expected);
        match key {
            "coterie.id" => set(&mut self.id, "coterie.id", value.parse().ok(), || {
                bad("a node number from 1 to 254")
            }),
            "coterie.cluster" => {
                set(&mut self.cluster, "coterie.cluster", parse_cluster(value), || {
                    bad("up to 16 hexadecimal digits")
                })
            }
            "coterie.peers" => set(&mut self.peers, "coterie.peers", parse_peers(value), || {
                bad("different node numbers from 1 to 254, separated by commas")
            }),
            "coterie.join" => set(&mut self.join, "coterie.join", value.parse().ok(), || {
                bad("a node number from 1 to 254")
            }),
            "coterie.format" => {
                set(&mut self.may_format, "coterie.format", parse_format(value), || {
                    bad("yes or no")
                })
            }
            "coterie.outside" => {
                set(&mut self.outside, "coterie.outside", parse_outside(value), || {
                    bad("none or A.B.C.D/PREFIX[,GATEWAY]")
                })
            }
            "coterie.disk" => {
                set(&mut self.without_flush, "coterie.disk", parse_disk(value), || {
                    bad("flush or noflush")
                })
            }
            "coterie.reads" => {
                set(&mut self.reads, "coterie.reads", parse_reads(value), || bad("index or lease"))
            }
            "coterie.clock" => {
                set(&mut self.has_continuous_clock, "coterie.clock", parse_clock(value), || {
                    bad("continuous or unknown")
                })
            }
            "coterie.services" => {
                set(&mut self.ledger, "coterie.services", parse_services(value), || {
                    bad("raft or raft,bft")
                })
            }
            "coterie.path" => {
                set(&mut self.path, "coterie.path", ZeroCopyPath::named(value), || {
                    bad("kernel, userspace or dpdk")
                })
            }
            "coterie.ring" => {
                let size = value.parse().ok().filter(|size| limits::is_ring_size(*size));
                set(&mut self.ring_size, "coterie.ring", size, || bad("a power of two up to 1024"))
            }
            "coterie.snapshot" => {
                let entries = value.parse().ok().filter(|entries| *entries > 0);
                set(&mut self.snapshot_entries, "coterie.snapshot", entries, || {
                    bad("a number of entries, at least 1")
                })
            }
            "coterie.wall_ms" => {
                set(&mut self.wall_ms, "coterie.wall_ms", value.parse().ok(), || {
                    bad("a number of milliseconds since 1970")
                })
            }
            _ => Err(unknown()),
        }
    }

    fn complete(self) -> Result<Settings, SettingsError> {
        let id = self.id.ok_or(SettingsError::Missing("coterie.id"))?;
        let cluster = self.cluster.ok_or(SettingsError::Missing("coterie.cluster"))?;
        let beginning = match (self.peers, self.join) {
            (Some(peers), None) if peers.len() > limits::CLUSTER_NODES_MAX => {
                return Err(SettingsError::TooManyPeers(peers.len()));
            }
            (Some(peers), None) if !peers.contains(&id) => return Err(SettingsError::NotAPeer(id)),
            (Some(peers), None) => Beginning::Founds(peers),
            (None, Some(member)) if member == id => return Err(SettingsError::JoinsItself(id)),
            (None, Some(member)) => Beginning::Joins(member),
            (Some(_), Some(_)) | (None, None) => return Err(SettingsError::NoBeginning),
        };
        Ok(Settings {
            id,
            cluster,
            beginning,
            may_format: self.may_format.unwrap_or(false),
            outside: self.outside.unwrap_or(Some(OUTSIDE_DEFAULT)),
            without_flush: self.without_flush.unwrap_or(false),
            reads: self.reads.unwrap_or_default(),
            has_continuous_clock: self.has_continuous_clock.unwrap_or(false),
            ledger: self.ledger,
            path: self.path,
            ring_size: self.ring_size.unwrap_or(limits::RING_SIZE),
            snapshot_entries: self.snapshot_entries.unwrap_or(limits::SNAPSHOT_ENTRIES),
            wall_ms: self.wall_ms.unwrap_or(0),
        })
    }
}

fn set<T>(
    place: &mut Option<T>,
    key: &'static str,
    value: Option<T>,
    bad: impl FnOnce() -> SettingsError,
) -> Result<(), SettingsError> {
    match place.replace(value.ok_or_else(bad)?) {
        None => Ok(()),
        Some(_) => Err(SettingsError::Twice(key)),
    }
}

fn parse_cluster(value: &str) -> Option<ClusterId> {
    let is_hex = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u64::from_str_radix(value, 16).ok().map(ClusterId)).flatten()
}

fn parse_peers(value: &str) -> Option<Vec<NodeId>> {
    let mut peers =
        value.split(',').map(|number| number.parse().ok()).collect::<Option<Vec<NodeId>>>()?;
    let count = peers.len();
    peers.sort_unstable();
    peers.dedup();
    (peers.len() == count).then_some(peers)
}

fn parse_outside(value: &str) -> Option<Option<Outside>> {
    if value == "none" {
        return Some(None);
    }
    let (network, gateway) = match value.split_once(',') {
        Some((network, gateway)) => (network, Some(parse_address(gateway)?)),
        None => (value, None),
    };
    let (address, prefix) = network.split_once('/')?;
    let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
    Some(Some(Outside { address: parse_address(address)?, prefix, gateway }))
}

fn parse_address(value: &str) -> Option<[u8; 4]> {
    value.parse::<core::net::Ipv4Addr>().ok().map(|address| address.octets())
}

fn parse_format(value: &str) -> Option<bool> {
    match value {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

fn parse_disk(value: &str) -> Option<bool> {
    match value {
        "flush" => Some(false),
        "noflush" => Some(true),
        _ => None,
    }
}

fn parse_reads(value: &str) -> Option<Reads> {
    match value {
        "index" => Some(Reads::Index),
        "lease" => Some(Reads::Lease),
        _ => None,
    }
}

/// The replicated log is there always: who belongs to the cluster is written in it.
fn parse_services(value: &str) -> Option<bool> {
    match value {
        "raft" => Some(false),
        "raft,bft" | "bft,raft" => Some(true),
        _ => None,
    }
}

fn parse_clock(value: &str) -> Option<bool> {
    match value {
        "continuous" => Some(true),
        "unknown" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
