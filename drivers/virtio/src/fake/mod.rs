//! Devices in the memory of the host, for tests: they walk the driver's rings as real devices do.
//!
//! [`device`] gives the two ends of one device: a [`FakeTransport`] for the driver, and a [`FakeDevice`] with
//! which a test plays the device, on the same thread or another. [`FakeNetwork`] and [`FakeDisk`] play it
//! well, [`Liar`] as badly as it can; a test that wants a certain lie uses [`DeviceRing`] directly.
//!
//! A device touches the driver's memory only inside [`FakeDevice::with_ring`], which the driver's reset waits
//! for: after a reset nothing is touched, as the drivers rely on.

mod bell;
mod disk;
mod liar;
mod network;
mod ring;
mod transport;

pub use bell::Bell;
pub use disk::{FakeDisk, STATUS_IO_ERROR, STATUS_OK, STATUS_UNSUPPORTED};
pub use liar::Liar;
pub use network::FakeNetwork;
pub use ring::{Chain, DeviceRing};
pub use transport::{FakeDevice, FakeDoorbell, FakeOptions, FakeTransport, InterruptKind, device};

/// `VIRTIO_F_EVENT_IDX`.
pub const EVENT_INDEX: u64 = 1 << 29;
/// `VIRTIO_F_RING_PACKED`.
pub const PACKED: u64 = 1 << 34;
/// `VIRTIO_F_VERSION_1`.
pub const VERSION_1: u64 = 1 << 32;

/// Memory for rings, as the drivers ask for it.
pub fn allocate(bytes: usize) -> Option<pool::Region> {
    Some(pool::Region::on_heap(bytes))
}
