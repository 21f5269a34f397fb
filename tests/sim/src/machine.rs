//! One machine: a disk that stays, and a node that comes and goes.

use base::{ClusterId, Instant, NodeId};
use node::{Hardware, Node, Settings};
use pool::{PAGE_BYTES, Pool};

use crate::disk::{DiskTemper, SimDisk};

/// The size of each disk.
pub const DISK_SECTORS: u64 = 128 * 1024;
const BLOCK_BUFFERS: usize = 16;
const BLOCK_BUFFER_BYTES: usize = 64 * 1024;
const PACKET_BUFFERS: usize = 512;

/// A machine of the simulated cluster.
#[derive(Debug)]
pub struct Machine {
    /// Its number.
    pub id: NodeId,
    /// Its disk.
    pub disk: SimDisk,
    /// Its node, while it is on.
    pub node: Option<Node>,
    /// Its packet buffers.
    pub packets: Pool,
    /// How often it was switched on: events of an earlier life are void.
    pub life: u64,
    voters: Vec<NodeId>,
    mutant: Option<raft::Mutant>,
}

impl Machine {
    /// A machine that is off, with an empty disk.
    pub fn new(
        id: NodeId,
        voters: Vec<NodeId>,
        temper: DiskTemper,
        mutant: Option<raft::Mutant>,
        seed: u64,
    ) -> Machine {
        Machine {
            id,
            disk: SimDisk::new(DISK_SECTORS, temper, seed),
            node: None,
            packets: Pool::on_heap(PACKET_BUFFERS, PAGE_BYTES),
            life: 0,
            voters,
            mutant,
        }
    }

    /// Switches it on.
    pub fn start(&mut self, seed: u64, wall_ms: u64, now: Instant) {
        assert!(self.node.is_none(), "it is off");
        self.life += 1;
        let settings = Settings {
            id: self.id,
            cluster: ClusterId(1),
            peers: self.voters.clone(),
            outside: None,
            without_flush: false,
            wall_ms,
        };
        let hardware = Hardware {
            packets: self.packets.clone(),
            blocks: Pool::on_heap(BLOCK_BUFFERS, BLOCK_BUFFER_BYTES),
            disk_sectors: self.disk.capacity_sectors(),
        };
        let node = Node::new(settings, self.raft_config(), hardware, seed, now);
        self.node = Some(node.expect("the settings are good"));
    }

    #[cfg(feature = "mutants")]
    fn raft_config(&self) -> raft::Config {
        raft::Config { mutant: self.mutant, ..raft::Config::new(self.id, self.voters.clone()) }
    }

    #[cfg(not(feature = "mutants"))]
    fn raft_config(&self) -> raft::Config {
        assert!(self.mutant.is_none(), "bugs are put in by the feature `mutants`");
        raft::Config::new(self.id, self.voters.clone())
    }

    /// Switches it off without a warning.
    pub fn crash(&mut self) {
        self.node = None;
        self.disk.crash();
        // Buffers that were in the node's hands are in nobody's.
        self.packets = Pool::on_heap(PACKET_BUFFERS, PAGE_BYTES);
    }
}
