//! Devices that are not on a bus (Virtio 1.3, section 4.2), as on QEMU's microvm.

use core::ptr::NonNull;

use virtio_drivers::transport::Transport as _;
use virtio_drivers::transport::mmio::{MmioError, MmioTransport, MmioVersion, VirtIOHeader};

use super::{DeviceType, Transport};

/// How much room the registers of a device take, configuration space included.
pub const MMIO_BYTES: usize = 0x200;

impl Transport for MmioTransport<'_> {
    /// The crate's transport does not write the register for that (`QueueReset`), QEMU's devices do not have
    /// it, and a queue that is only no longer ready goes on where it stood when it is ready again.
    fn resets_queues(&self) -> bool {
        false
    }
}

/// The device whose registers are at `base`, and its kind.
///
/// # Errors
/// If there is none, or one from before version 1.0 (start QEMU with `virtio-mmio.force-legacy=off`).
///
/// # Safety
/// [`MMIO_BYTES`] at `base` are mapped registers, and stay so for ever; nobody else uses them.
pub unsafe fn open_mmio(
    base: NonNull<u8>,
) -> Result<(DeviceType, MmioTransport<'static>), MmioError> {
    if !base.cast::<VirtIOHeader>().is_aligned() {
        return Err(MmioError::MmioRegionTooSmall);
    }
    // SAFETY: the caller's promise, and the alignment was checked.
    let transport = unsafe { MmioTransport::new(base.cast(), MMIO_BYTES) }?;
    match transport.version() {
        MmioVersion::Modern => Ok((transport.device_type(), transport)),
        MmioVersion::Legacy => Err(MmioError::UnsupportedVersion(MmioVersion::Legacy.into())),
    }
}
