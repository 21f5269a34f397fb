//! How devices are found and their registers reached.
//!
//! The drivers are generic over the [`Transport`] trait of `virtio-drivers`. There are two of them:
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
pub use virtio_drivers::transport::mmio::{MmioError, MmioTransport};
pub use virtio_drivers::transport::pci::bus::{ConfigurationAccess, DeviceFunction};
pub use virtio_drivers::transport::{DeviceType, Transport};
