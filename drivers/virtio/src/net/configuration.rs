//! What a card and its driver agree on (Virtio 1.3, sections 5.1.3 and 5.1.4).

use core::fmt;

use netio::limits::INDIRECTION_ENTRIES;
use netio::{KEY_BYTES, OffloadSet};
use pool::HEADROOM_BYTES;

use super::header::HEADER_BYTES;
use super::offloads;
use crate::device::{Device, FEATURE_RING_RESET, InitError};
use crate::queue::SIZE_MAX;
use crate::transport::Transport;

/// The shortest frame on an Ethernet, its checksum not counted: shorter ones are padded.
pub const FRAME_BYTES_MIN: usize = 60;

/// What is in front of a packet: two addresses and a type, and perhaps the tag of a virtual network.
pub(super) const ETHERNET_HEADER_BYTES: usize = 14;
const VLAN_TAG_BYTES: usize = 4;

const FEATURE_MTU: u64 = 1 << 3;
const FEATURE_MAC: u64 = 1 << 5;
const FEATURE_STATUS: u64 = 1 << 16;
/// There is a queue for commands (`VIRTIO_NET_F_CTRL_VQ`).
pub(super) const FEATURE_CONTROL: u64 = 1 << 17;
/// There are several pairs of queues (`VIRTIO_NET_F_MQ`).
const FEATURE_PAIRS: u64 = 1 << 22;
/// Flows are spread among them by a hash (`VIRTIO_NET_F_RSS`).
const FEATURE_RSS: u64 = 1 << 60;
/// What the driver accepts besides what every driver does.
const FEATURES: u64 = FEATURE_MTU | FEATURE_MAC | FEATURE_STATUS;

const OFFSET_MAC: usize = 0;
const OFFSET_STATUS: usize = 6;
const OFFSET_PAIRS: usize = 8;
const OFFSET_MTU: usize = 10;
const OFFSET_HASH_KEY_BYTES: usize = 17;
const OFFSET_HASH_TABLE_ENTRIES: usize = 18;
const OFFSET_HASH_TYPES: usize = 20;

const STATUS_LINK_UP: u16 = 1;

/// What the standard allows (section 5.1.4): that all queues have numbers.
const PAIRS_ALLOWED_MAX: u16 = 0x7fff;

/// The largest packet of an Ethernet without jumbo frames, and the smallest that IPv4 must be able to send.
const MTU_DEFAULT: u16 = 1500;
const MTU_MIN: u16 = 68;

const _: () = assert!(HEADER_BYTES <= HEADROOM_BYTES);

/// How a card is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NetConfig {
    /// At most so many descriptors per ring: the largest power of two of these, of what the card allows, and
    /// of [`SIZE_MAX`].
    pub queue_size_max: u16,
    /// How many buffers wait for frames to arrive; no more than the ring has descriptors. The rest of the
    /// pool is for what is being sent and worked on.
    pub receive_buffers: u16,
    /// What the card is to take over, if it can. Whoever asks for something of arrivals must take them with
    /// [`super::VirtioNet::receive_packets`].
    pub offloads: OffloadSet,
}

impl NetConfig {
    /// For a pool of 512 buffers: 192 to receive. The card is asked for nothing.
    pub const DEFAULT: NetConfig =
        NetConfig { queue_size_max: 256, receive_buffers: 192, offloads: offloads::NONE };
}

impl Default for NetConfig {
    fn default() -> NetConfig {
        NetConfig::DEFAULT
    }
}

const _: () = assert!(256 <= SIZE_MAX);

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Whether the network is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkState {
    /// It is, or the card cannot tell.
    Up,
    /// It is not, or the card was given up.
    Down,
}

/// The features to take of those that are offered.
pub(super) fn select(offered: u64, config: &NetConfig) -> u64 {
    offered & (FEATURES | FEATURE_RING_RESET) | offloads::select(offered, config.offloads)
}

/// The features to take for several pairs; none if there are no commands with which to use them.
pub(super) fn select_pairs(offered: u64, is_rss_wanted: bool) -> u64 {
    let basic = FEATURE_CONTROL | FEATURE_PAIRS;
    let rss = if is_rss_wanted { FEATURE_RSS } else { 0 };
    if offered & basic == basic { basic | offered & rss } else { 0 }
}

/// How many pairs the card has.
pub(super) fn pairs<T: Transport>(device: &Device<T>) -> Result<u16, InitError> {
    if !device.has(FEATURE_PAIRS) {
        return Ok(1);
    }
    match device.configuration(OFFSET_PAIRS)? {
        pairs @ 1..=PAIRS_ALLOWED_MAX => Ok(pairs),
        _ => Err(InitError::Configuration),
    }
}

/// What the card can hash, if it spreads flows by a hash.
pub(super) fn hash_types<T: Transport>(device: &Device<T>) -> Result<Option<u32>, InitError> {
    if !device.has(FEATURE_RSS) {
        return Ok(None);
    }
    let key_bytes: u8 = device.configuration(OFFSET_HASH_KEY_BYTES)?;
    let entries: u16 = device.configuration(OFFSET_HASH_TABLE_ENTRIES)?;
    if usize::from(key_bytes) < KEY_BYTES || usize::from(entries) < INDIRECTION_ENTRIES {
        return Err(InitError::Configuration);
    }
    device.configuration(OFFSET_HASH_TYPES).map(Some)
}

/// The card's address, which must be that of a single card.
pub(super) fn mac<T: Transport>(device: &Device<T>) -> Result<MacAddress, InitError> {
    if !device.has(FEATURE_MAC) {
        return Err(InitError::NoMacAddress);
    }
    let mut mac = [0; 6];
    for (index, byte) in mac.iter_mut().enumerate() {
        *byte = device.configuration(OFFSET_MAC + index)?;
    }
    let is_group = mac[0] & 1 != 0;
    if is_group || mac == [0; 6] { Err(InitError::NoMacAddress) } else { Ok(MacAddress(mac)) }
}

/// The longest packet: what the card says, within what a buffer holds.
///
/// # Panics
/// If a buffer does not hold even the shortest.
pub(super) fn mtu<T: Transport>(device: &Device<T>, buffer_bytes: usize) -> Result<u16, InitError> {
    let around = HEADROOM_BYTES + ETHERNET_HEADER_BYTES + VLAN_TAG_BYTES;
    let room = buffer_bytes.checked_sub(around).expect("a buffer is a page at least");
    let room = u16::try_from(room).unwrap_or(u16::MAX);
    assert!(room >= MTU_DEFAULT, "a buffer holds a frame");
    let offered =
        if device.has(FEATURE_MTU) { device.configuration(OFFSET_MTU)? } else { MTU_DEFAULT };
    if offered < MTU_MIN { Err(InitError::Configuration) } else { Ok(offered.min(room)) }
}

/// The longest frame with packets of `mtu` bytes.
pub(super) fn frame_bytes_max(mtu: u16) -> usize {
    usize::from(mtu) + ETHERNET_HEADER_BYTES + VLAN_TAG_BYTES
}

/// What the card says of its link.
pub(super) fn link<T: Transport>(device: &Device<T>) -> LinkState {
    if !device.has(FEATURE_STATUS) {
        return LinkState::Up;
    }
    match device.configuration::<u16>(OFFSET_STATUS) {
        Ok(status) if status & STATUS_LINK_UP != 0 => LinkState::Up,
        Ok(_) | Err(_) => LinkState::Down,
    }
}
