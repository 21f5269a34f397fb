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

/// How many buckets a flow's histogram of latencies has.
pub const LATENCY_BUCKETS: usize = 128;

/// A flow without a frame for this long is forgotten, unless something else is said.
pub const FLOW_IDLE_NS: u64 = 60_000_000_000;

/// How many flows one call forgets at most.
pub const FLOWS_EXPIRED_PER_CALL: usize = 64;

const _: () = assert!(FLOW_CHAINS.is_power_of_two());
// Places in the table are 16 bits wide, and one number means "none".
const _: () = assert!(FLOWS_MAX < u16::MAX as usize);
