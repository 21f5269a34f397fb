//! How devices are found and their registers reached.
//!
//! The drivers are generic over [`Transport`], which is the trait of that name of `virtio-drivers` and one
//! question more. There are two of them:
//!
//! - [`PciDevice`], ours: found by [`Pci::discover`]. It interrupts by message (MSI-X): say where to with
//!   [`PciDevice::set_interrupt`] before you give it to a driver. One that cannot has an interrupt line.
//! - [`MmioTransport`], the crate's: found by [`open_mmio`]. It has an interrupt line.
//!
//! A line stays high until it is acknowledged; the drivers do so whenever they ask for interrupts, so that
//! the line rises anew.

mod doorbell;
mod mmio;
mod pci;
mod registers;

pub use doorbell::{Doorbell, Doorbells};
pub use mmio::{MMIO_BYTES, open_mmio};
pub use pci::{
    Found, InterruptError, InterruptMessage, InterruptSource, Pci, PciDevice, PciDeviceError,
    PciDoorbell,
};
pub use virtio_drivers::transport::DeviceType;
pub use virtio_drivers::transport::mmio::{MmioError, MmioTransport};
pub use virtio_drivers::transport::pci::bus::{ConfigurationAccess, DeviceFunction};

/// A way to the registers of a device.
pub trait Transport: virtio_drivers::transport::Transport {
    /// Whether the device forgets a queue that is unset, so that `VIRTIO_F_RING_RESET` may be taken (Virtio
    /// 1.3, section 2.6.1). Devices offer that whether they can be told so or not.
    fn resets_queues(&self) -> bool;
}
