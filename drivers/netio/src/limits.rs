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
