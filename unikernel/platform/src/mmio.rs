//! Devices that are not on a bus: QEMU's microvm names them on the kernel command line.

/// A virtio-mmio device, as `virtio_mmio.device=SIZE@BASE:LINE` describes it (Linux's format).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MmioDevice {
    /// Where its registers are.
    pub base: u64,
    /// Its interrupt line at the I/O APIC.
    pub line: u8,
}

/// The word on the command line that describes a device.
pub const WORD: &str = "virtio_mmio.device=";

/// The device that a word of the command line describes, or `None` if it does not describe one.
pub fn parse(word: &str) -> Option<MmioDevice> {
    let (_size, place) = word.strip_prefix(WORD)?.split_once('@')?;
    let (base, line) = place.split_once(':')?;
    let base = u64::from_str_radix(base.strip_prefix("0x")?, 16).ok()?;
    Some(MmioDevice { base, line: line.parse().ok().filter(|line| *line < 24)? })
}
