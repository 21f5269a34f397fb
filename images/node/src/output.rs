//! What a node wants done, and by whom.

use alloc::string::String;
use alloc::vec::Vec;

use block::BlockRequest;
use kv::Reply;
use pool::Frame;

/// Which of the node's cards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Port {
    /// The network of the nodes.
    Cluster,
    /// The network of the clients.
    Outside,
}

/// The name of a request that was made with [`crate::Node::execute`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

/// Something for the world to do. It may be done at once: nothing waits for anything else.
#[derive(Debug)]
pub enum Output {
    /// Send a frame.
    Transmit(Port, Frame),
    /// Hand a request to the disk.
    Disk(BlockRequest),
    /// Write to the console.
    Console(Vec<u8>),
    /// The answer to a request that was made with [`crate::Node::execute`].
    Answer(RequestId, Reply),
    /// Stop: nothing more comes from this node.
    Stop(Stop),
}

/// Why a node stops.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stop {
    /// Somebody asked for it.
    PowerOff,
    /// Somebody asked for a fresh start.
    Restart,
    /// What is on the disk cannot be trusted, or the disk failed: the reason.
    Disk(String),
    /// A device failed: the reason.
    Device(String),
    /// The configuration cannot work: the reason.
    Settings(String),
}
