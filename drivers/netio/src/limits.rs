//! How large things may be, and how the limits depend on each other.

/// How many entries an indirection table has: what RSS implementations commonly have, and the least
/// that a virtio device with RSS has (virtio 1.2, 5.1.4: `rss_max_indirection_table_length`).
pub const INDIRECTION_ENTRIES: usize = 128;

/// How many cores frames are steered to.
pub const CORES_MAX: usize = 64;

/// How many flows are tracked at once.
pub const FLOWS_MAX: usize = 1024;

/// How many places flows have in the steering table. Flows that share a place move together.
pub const STEERED_PLACES: usize = 4 * FLOWS_MAX;

const _: () = assert!(INDIRECTION_ENTRIES.is_power_of_two());
const _: () = assert!(STEERED_PLACES.is_power_of_two());
const _: () = assert!(STEERED_PLACES.is_multiple_of(INDIRECTION_ENTRIES));
const _: () = assert!(CORES_MAX <= u8::MAX as usize && CORES_MAX <= INDIRECTION_ENTRIES);

/// How many chains the index of flows has: about one flow in each when the table is full.
pub const FLOW_CHAINS: usize = FLOWS_MAX;

/// How many places are in front of that index: of a full table's flows, 12 in 100 share one by chance.
pub const FLOW_FRONTS: usize = 8 * FLOWS_MAX;

/// How many buckets a flow's histogram of latencies has.
pub const LATENCY_BUCKETS: usize = 128;

/// A flow without a frame for this long is forgotten, unless something else is said.
pub const FLOW_IDLE_NS: u64 = 60_000_000_000;

/// How many flows one call forgets at most.
pub const FLOWS_EXPIRED_PER_CALL: usize = 64;

const _: () = assert!(FLOW_CHAINS.is_power_of_two() && FLOW_FRONTS.is_power_of_two());
// Places in the table are 16 bits wide, and one number means "none".
const _: () = assert!(FLOWS_MAX < u16::MAX as usize);

/// How many classes of traffic there are; class 0 goes first.
pub const CLASSES: usize = 8;

/// How many frames of one class wait at most, unless something else is said …
pub const CLASS_FRAMES: usize = 24;

/// … and how many may be said.
pub const CLASS_FRAMES_MAX: usize = 128;

/// A class that others kept from sending for this long is starved.
pub const STARVED_AFTER_NS: u64 = 100_000_000;

/// The fastest that a class may be shaped to, in bytes per second: 100 Gbit/s.
pub const SHAPE_MAX_BYTES_PER_SECOND: u64 = 12_500_000_000;

/// The largest burst of a shaped class, in bytes.
pub const SHAPE_MAX_BURST_BYTES: u64 = 1 << 30;

const _: () = assert!(CLASS_FRAMES <= CLASS_FRAMES_MAX);
// A set of classes fits the bits of a byte.
const _: () = assert!(CLASSES <= u8::BITS as usize);
// Credit is counted in nano-bytes, in 64 bits.
const _: () = assert!(SHAPE_MAX_BURST_BYTES <= u64::MAX / 1_000_000_000);

/// The longest packet of IPv4, and the longest payload of one of IPv6 (RFC 791, RFC 8200): 64 KiB less one.
pub const IP_LENGTH_MAX_BYTES: usize = 65_535;

/// How many flows are merged at once.
pub const MERGED_FLOWS_MAX: usize = 8;

/// How long a buffer must be in which segments are merged.
pub const MERGE_BUFFER_BYTES: usize = 17 * pool::PAGE_BYTES;

/// A segment waits this long for the next one, if the burst it came in has not ended before.
pub const MERGE_WITHIN_NS: u64 = 50_000;

// Headers of Ethernet and IPv6 and the longest payload, behind the headroom.
const _: () = assert!(pool::HEADROOM_BYTES + 14 + 40 + IP_LENGTH_MAX_BYTES <= MERGE_BUFFER_BYTES);
