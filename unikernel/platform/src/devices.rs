//! Devices, found and made ready to be started: their registers mapped, their interrupts on the way to us.

use core::fmt;
use core::ptr::NonNull;

use pool::Region;
use virtio::transport::{
    DeviceType, InterruptMessage, InterruptSource, MMIO_BYTES, MmioTransport, Pci, PciDevice,
    open_mmio,
};

use crate::interrupts::Interrupts;
use crate::{mmio, pci};

/// What `entry.s` maps.
const MAPPED_BYTES: u64 = 4 << 30;

/// Why a device could not be made ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiscoveryError {
    /// It has a line, and we do not know where that ends.
    NoInterruptLine,
    /// Its table of interrupt messages is too short.
    NoInterruptMessage,
}

impl fmt::Display for DiscoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = match self {
            DiscoveryError::NoInterruptLine => "way for the interrupts of a device without MSI-X",
            DiscoveryError::NoInterruptMessage => "room in the MSI-X table of a device",
        };
        write!(f, "there is no {missing}")
    }
}

/// Makes the virtio devices on the PCI bus ready, and gives them to `take`, one by one.
///
/// # Errors
/// If one cannot be made ready, or `take` fails.
pub fn on_pci<E: From<DiscoveryError>>(
    ports: pci::ConfigurationPorts,
    interrupts: &mut Interrupts,
    mut take: impl FnMut(DeviceType, PciDevice) -> Result<(), E>,
) -> Result<(), E> {
    let bus = Pci::new(ports);
    for found in bus.discover() {
        // SAFETY: `identity` gives what `entry.s` maps, and the kernel has no drivers for these devices.
        let Ok(mut device) = (unsafe { bus.open(found, identity) }) else { continue };
        if device.has_line() {
            let line = pci::interrupt_line(found.device_function.device);
            line.and_then(|line| interrupts.line(line)).ok_or(DiscoveryError::NoInterruptLine)?;
        } else {
            send_messages(&mut device, found.device_type, interrupts)?;
        }
        take(found.device_type, device)?;
    }
    Ok(())
}

/// Each queue that is used sends a message of its own. That of a changed configuration is for all devices.
fn send_messages(
    device: &mut PciDevice,
    device_type: DeviceType,
    interrupts: &mut Interrupts,
) -> Result<(), DiscoveryError> {
    let queues: &[u16] = match device_type {
        DeviceType::Network => &[virtio::net::RECEIVE_QUEUE, virtio::net::TRANSMIT_QUEUE],
        _ => &[virtio::blk::REQUEST_QUEUE],
    };
    for &queue in queues {
        let Some(message) = interrupts.message() else { continue };
        let message = InterruptMessage { address: message.address, data: message.data };
        device
            .set_interrupt(InterruptSource::Queue(queue), message)
            .map_err(|_| DiscoveryError::NoInterruptMessage)?;
    }
    let message = interrupts.change_message();
    let message = InterruptMessage { address: message.address, data: message.data };
    // A device without room for it is asked once in a while, as all are.
    let _ = device.set_interrupt(InterruptSource::Configuration, message);
    Ok(())
}

/// Sends the interrupts of a further pair of a card's queues to another processor. False if the card has no
/// room in its table of messages: then the pair cannot be used.
#[cfg(feature = "smp")]
pub fn send_pair_to(card: &mut PciDevice, pair: u16, message: crate::interrupts::Message) -> bool {
    let message = InterruptMessage { address: message.address, data: message.data };
    [2 * pair, 2 * pair + 1].into_iter().all(|queue| {
        let source = InterruptSource::Queue(queue);
        card.set_interrupt(source, message).is_ok()
    })
}

/// Makes the devices that the command line describes ready, and gives them to `take`, one by one.
///
/// # Errors
/// If `take` fails.
pub fn on_board<E>(
    command_line: &str,
    interrupts: &mut Interrupts,
    mut take: impl FnMut(DeviceType, MmioTransport<'static>) -> Result<(), E>,
) -> Result<(), E> {
    for place in command_line.split_ascii_whitespace().filter_map(mmio::parse) {
        let Some(base) = identity(place.base, MMIO_BYTES) else { continue };
        // SAFETY: the machine says that a device's registers are there; `entry.s` maps them.
        let Ok((kind, transport)) = (unsafe { open_mmio(base) }) else { continue };
        if interrupts.line(place.line).is_some() {
            take(kind, transport)?;
        }
    }
    Ok(())
}

/// Where a physical range is mapped: at itself, below 4 GiB.
fn identity(physical: u64, length: usize) -> Option<NonNull<u8>> {
    let end = physical.checked_add(length as u64)?;
    let address = usize::try_from(physical).ok().filter(|_| end <= MAPPED_BYTES)?;
    NonNull::new(core::ptr::with_exposed_provenance_mut(address))
}

/// Cuts whole pages off the front of the memory that devices can reach; `None` if too little is left.
pub fn cut(arena: &mut Option<Region>, bytes: usize) -> Option<Region> {
    let whole = arena.take()?;
    let length = bytes.next_multiple_of(pool::PAGE_BYTES);
    if length > whole.length() {
        *arena = Some(whole);
        return None;
    }
    let (piece, rest) = whole.split_at(length);
    *arena = (rest.length() > 0).then_some(rest);
    Some(piece)
}
