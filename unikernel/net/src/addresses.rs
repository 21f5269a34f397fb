//! Who has which address: it follows from a node's number, so nobody has to ask.

use base::NodeId;
use smoltcp::wire::{EthernetAddress, Ipv4Address};

/// The Ethernet address of a node's card on the cluster network: 02:77:00:00 and the number.
pub fn cluster_mac(node: NodeId) -> EthernetAddress {
    let [high, low] = node.get().to_be_bytes();
    EthernetAddress([0x02, 0x77, 0x00, 0x00, high, low])
}

/// The Ethernet address of a node's card on the clients' network: 02:77:01:00 and the number.
pub fn outside_mac(node: NodeId) -> EthernetAddress {
    let [high, low] = node.get().to_be_bytes();
    EthernetAddress([0x02, 0x77, 0x01, 0x00, high, low])
}

/// The node whose card has this address.
pub fn node_of_mac(mac: [u8; 6]) -> Option<NodeId> {
    match mac {
        [0x02, 0x77, 0x00, 0x00, high, low] => NodeId::new(u16::from_be_bytes([high, low])),
        _ => None,
    }
}

/// The IPv4 address of a node on the cluster network: 10.77.0.I.
pub fn cluster_ip(node: NodeId) -> Ipv4Address {
    let [high, low] = node.get().to_be_bytes();
    Ipv4Address::new(10, 77, high, low)
}

/// The length of the cluster network's prefix.
pub const CLUSTER_PREFIX: u8 = 24;

/// The UDP port that frames between nodes go to and come from.
pub const LINK_PORT: u16 = 7077;
