//! Where a device says that its registers are (Virtio 1.3, section 4.1.4).

use virtio_drivers::transport::pci::bus::{
    CapabilityInfo, ConfigurationAccess, DeviceFunction, PCI_CAP_ID_VNDR,
};
use virtio_drivers::transport::pci::{
    VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_CAP_DEVICE_CFG, VIRTIO_PCI_CAP_ISR_CFG,
    VIRTIO_PCI_CAP_NOTIFY_CFG,
};

use super::{Pci, PciDeviceError};

/// The capability of message-signalled interrupts with a table (PCI local bus 3.0, section 6.8.2).
const PCI_CAPABILITY_MSIX: u8 = 0x11;
/// As many capabilities as fit into configuration space: each is a word at least.
const CAPABILITIES_MAX: usize = 48;
/// The length of a virtio capability, and of the one for notifications, which has one more word.
const CAPABILITY_BYTES: u8 = 16;
const NOTIFY_CAPABILITY_BYTES: u8 = 20;

/// Some bytes behind a base address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Window {
    pub(super) bar: u8,
    pub(super) offset: u32,
    pub(super) length: u32,
}

/// All that a driver needs to find.
#[derive(Debug)]
pub(super) struct Structures {
    pub(super) common: Window,
    pub(super) notify: Window,
    /// How far the notification addresses of two queues are apart, in bytes, in units of their offsets.
    pub(super) notify_multiplier: u32,
    pub(super) configuration: Option<Window>,
    /// The status of the interrupt line.
    pub(super) isr: Option<Window>,
    pub(super) msix: Option<CapabilityInfo>,
}

/// Reads the capability list. Of several structures of a kind the first counts.
pub(super) fn read<C: ConfigurationAccess>(
    pci: &Pci<C>,
    device: DeviceFunction,
) -> Result<Structures, PciDeviceError> {
    let (mut common, mut notify) = (None, None);
    let (mut configuration, mut isr, mut msix) = (None, None, None);
    for capability in pci.root().capabilities(device).take(CAPABILITIES_MAX) {
        if capability.id == PCI_CAPABILITY_MSIX {
            msix = msix.or(fits(&capability, 12).then_some(capability));
        }
        if capability.id != PCI_CAP_ID_VNDR {
            continue;
        }
        let [length, kind] = capability.private_header.to_le_bytes();
        if length < CAPABILITY_BYTES || !fits(&capability, length) {
            continue;
        }
        let window = || window_of(pci, device, &capability);
        match kind {
            VIRTIO_PCI_CAP_COMMON_CFG => common = common.or_else(|| Some(window())),
            VIRTIO_PCI_CAP_NOTIFY_CFG if length >= NOTIFY_CAPABILITY_BYTES => {
                let multiplier = pci.read_word(device, capability.offset + CAPABILITY_BYTES);
                notify = notify.or_else(|| Some((window(), multiplier)));
            }
            VIRTIO_PCI_CAP_DEVICE_CFG => {
                configuration = configuration.or_else(|| Some(window()));
            }
            VIRTIO_PCI_CAP_ISR_CFG => isr = isr.or_else(|| Some(window())),
            // Other kinds are not needed.
            _ => {}
        }
    }
    let (notify, notify_multiplier) =
        notify.ok_or(PciDeviceError::MissingStructure(VIRTIO_PCI_CAP_NOTIFY_CFG))?;
    Ok(Structures {
        common: common.ok_or(PciDeviceError::MissingStructure(VIRTIO_PCI_CAP_COMMON_CFG))?,
        notify,
        notify_multiplier,
        configuration,
        isr,
        msix,
    })
}

/// Whether `length` bytes from the start of a capability lie in configuration space.
fn fits(capability: &CapabilityInfo, length: u8) -> bool {
    usize::from(capability.offset) + usize::from(length) <= 256
}

fn window_of<C: ConfigurationAccess>(
    pci: &Pci<C>,
    device: DeviceFunction,
    capability: &CapabilityInfo,
) -> Window {
    let word = |offset| pci.read_word(device, capability.offset + offset);
    Window { bar: word(4).to_le_bytes()[0], offset: word(8), length: word(12) }
}
