//! The registers of a virtio device on a bus (Virtio 1.3, section 4.1.4.3).

use alloc::vec::Vec;

use virtio_drivers::transport::pci::{
    VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_CAP_DEVICE_CFG, VIRTIO_PCI_CAP_ISR_CFG,
    VIRTIO_PCI_CAP_NOTIFY_CFG,
};
use virtio_drivers::transport::{DeviceStatus, InterruptStatus};
use virtio_drivers::{Error, PhysAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::PciDeviceError;
use super::capability::{Structures, Window};
use super::msix::{InterruptError, InterruptMessage, InterruptSource, Table};
use crate::transport::registers::Registers;
use crate::transport::{DeviceType, Doorbell, Doorbells, Transport};

/// Offsets in the common configuration.
mod common {
    pub(super) const DEVICE_FEATURE_SELECT: usize = 0x00;
    pub(super) const DEVICE_FEATURE: usize = 0x04;
    pub(super) const DRIVER_FEATURE_SELECT: usize = 0x08;
    pub(super) const DRIVER_FEATURE: usize = 0x0c;
    pub(super) const CONFIG_MSIX_VECTOR: usize = 0x10;
    pub(super) const NUM_QUEUES: usize = 0x12;
    pub(super) const DEVICE_STATUS: usize = 0x14;
    pub(super) const CONFIG_GENERATION: usize = 0x15;
    pub(super) const QUEUE_SELECT: usize = 0x16;
    pub(super) const QUEUE_SIZE: usize = 0x18;
    pub(super) const QUEUE_MSIX_VECTOR: usize = 0x1a;
    pub(super) const QUEUE_ENABLE: usize = 0x1c;
    pub(super) const QUEUE_NOTIFY_OFF: usize = 0x1e;
    pub(super) const QUEUE_DESC: usize = 0x20;
    pub(super) const QUEUE_DRIVER: usize = 0x28;
    pub(super) const QUEUE_DEVICE: usize = 0x30;
    pub(super) const LENGTH: usize = 0x38;
    /// Only devices that can reset a single queue have it.
    pub(super) const QUEUE_RESET: usize = 0x3a;
}

/// How a device says that it could not assign an interrupt.
const NO_VECTOR: u16 = 0xffff;

/// A virtio device on a PCI bus. A kick is one store, to an address found when the queue was set up.
#[derive(Debug)]
pub struct PciDevice {
    device_type: DeviceType,
    common: Registers,
    notify: Registers,
    notify_multiplier: u32,
    configuration: Option<Registers>,
    interrupts: Option<Table>,
    /// The status of the interrupt line, if the device cannot send messages.
    line: Option<Registers>,
    /// The entry of the table for each source that has one: few, and only looked up when queues are set up.
    routes: Vec<(InterruptSource, u16)>,
    /// Where in `notify` each queue is kicked, for the queues from 0 on that are set up.
    notify_offsets: [Option<usize>; QUEUES_MAX],
}

/// How many queues a device may use here: as many pairs as a card may have, and one for commands.
const QUEUES_MAX: usize = 2 * crate::net::PAIRS_MAX as usize + 1;

/// How often a register is read until a queue is reset. A read takes a microsecond or so.
const QUEUE_RESET_POLLS_MAX: u32 = 100_000;

/// The register in which one queue is kicked.
#[derive(Debug)]
pub struct PciDoorbell {
    register: Registers,
    queue: u16,
}

impl Doorbell for PciDoorbell {
    fn ring(&mut self) {
        self.register.write(0, self.queue);
    }
}

impl Doorbells for PciDevice {
    type Doorbell = PciDoorbell;

    fn doorbell(&self, queue: u16) -> PciDoorbell {
        let offset = self.notify_offsets.get(usize::from(queue)).copied().flatten();
        let offset = offset.expect("only a queue that is set up is kicked");
        PciDoorbell { register: self.notify.part(offset, size_of::<u16>()), queue }
    }
}

impl PciDevice {
    pub(super) fn new(
        device_type: DeviceType,
        structures: &Structures,
        interrupts: Option<Table>,
        registers: impl Fn(Window) -> Result<Registers, PciDeviceError>,
    ) -> Result<PciDevice, PciDeviceError> {
        // What is too short, or does not lie on its own alignment, is as good as missing.
        let open = |kind: u8, window: Window, length: usize, align: u32| {
            if (window.length as usize) < length || !window.offset.is_multiple_of(align) {
                return Err(PciDeviceError::MissingStructure(kind));
            }
            registers(window)
        };
        let configuration = match structures.configuration {
            Some(window) => Some(open(VIRTIO_PCI_CAP_DEVICE_CFG, window, 0, 4)?),
            None => None,
        };
        let line = match structures.isr {
            Some(window) if interrupts.is_none() => {
                Some(open(VIRTIO_PCI_CAP_ISR_CFG, window, 1, 1)?)
            }
            Some(_) | None => None,
        };
        if !structures.notify_multiplier.is_multiple_of(2) {
            return Err(PciDeviceError::MissingStructure(VIRTIO_PCI_CAP_NOTIFY_CFG));
        }
        Ok(PciDevice {
            device_type,
            common: open(VIRTIO_PCI_CAP_COMMON_CFG, structures.common, common::LENGTH, 4)?,
            notify: open(VIRTIO_PCI_CAP_NOTIFY_CFG, structures.notify, 2, 2)?,
            notify_multiplier: structures.notify_multiplier,
            configuration,
            interrupts,
            line,
            routes: Vec::new(),
            notify_offsets: [None; QUEUES_MAX],
        })
    }

    /// Sends `message` for every interrupt of `source`, from the moment that its queue is set up. Sources may
    /// share a message.
    ///
    /// # Errors
    /// If the device cannot; then nothing has changed.
    pub fn set_interrupt(
        &mut self,
        source: InterruptSource,
        message: InterruptMessage,
    ) -> Result<(), InterruptError> {
        let table = self.interrupts.as_mut().ok_or(InterruptError::Unsupported)?;
        let entry = table.entry_for(message)?;
        self.routes.retain(|(other, _)| *other != source);
        self.routes.push((source, entry));
        Ok(())
    }

    /// Whether the device cannot send messages, and interrupts by its line instead.
    pub fn has_line(&self) -> bool {
        self.line.is_some()
    }

    /// Writes an interrupt's entry to the register for it, and says whether the device took it.
    fn assign(&self, source: InterruptSource, register: usize) -> bool {
        let route = self.routes.iter().find(|(other, _)| *other == source);
        let Some(&(_, entry)) = route else { return true };
        self.common.write(register, entry);
        self.common.read::<u16>(register) == entry && entry != NO_VECTOR
    }

    /// Where the queue that is selected is kicked, if that lies in the window.
    fn notify_offset(&self) -> Option<usize> {
        let offset = self.common.read::<u16>(common::QUEUE_NOTIFY_OFF);
        let offset = usize::from(offset).checked_mul(self.notify_multiplier as usize)?;
        (offset <= self.notify.length() - size_of::<u16>()).then_some(offset)
    }

    fn select(&self, queue: u16) {
        self.common.write(common::QUEUE_SELECT, queue);
    }

    /// A 64-bit register is written in halves (section 4.1.3.1).
    fn write_address(&self, register: usize, address: u64) {
        self.common.write(register, address as u32);
        self.common.write(register + 4, (address >> 32) as u32);
    }
}

impl Transport for PciDevice {
    /// If the device has the register for that (section 4.1.4.3.2).
    fn resets_queues(&self) -> bool {
        self.common.length() >= common::QUEUE_RESET + size_of::<u16>()
    }
}

impl virtio_drivers::transport::Transport for PciDevice {
    fn device_type(&self) -> DeviceType {
        self.device_type
    }

    fn read_device_features(&mut self) -> u64 {
        let half = |select: u32| {
            self.common.write(common::DEVICE_FEATURE_SELECT, select);
            u64::from(self.common.read::<u32>(common::DEVICE_FEATURE))
        };
        half(0) | half(1) << 32
    }

    fn write_driver_features(&mut self, driver_features: u64) {
        for (select, half) in [(0_u32, driver_features as u32), (1, (driver_features >> 32) as u32)]
        {
            self.common.write(common::DRIVER_FEATURE_SELECT, select);
            self.common.write(common::DRIVER_FEATURE, half);
        }
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        let queues = self.common.read::<u16>(common::NUM_QUEUES);
        if queue >= queues || usize::from(queue) >= QUEUES_MAX {
            return 0;
        }
        self.select(queue);
        self.common.read::<u16>(common::QUEUE_SIZE).into()
    }

    fn notify(&mut self, queue: u16) {
        let offset = self.notify_offsets.get(usize::from(queue)).copied().flatten();
        self.notify.write(offset.expect("only a queue that is set up is kicked"), queue);
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(self.common.read::<u8>(common::DEVICE_STATUS).into())
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.common.write(common::DEVICE_STATUS, status.bits() as u8);
    }

    fn set_guest_page_size(&mut self, _guest_page_size: u32) {
        // Only devices from before version 1.0 want to know.
    }

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    /// Leaves the queue disabled if the device does not take its interrupts, or has no place to kick it:
    /// ask `queue_used`.
    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        let Some(place) = self.notify_offsets.get_mut(usize::from(queue)) else { return };
        *place = None;
        self.select(queue);
        let notify_offset = self.notify_offset();
        // A reset has made the device forget its interrupts, that of the configuration too.
        let has_interrupts = self
            .assign(InterruptSource::Configuration, common::CONFIG_MSIX_VECTOR)
            && self.assign(InterruptSource::Queue(queue), common::QUEUE_MSIX_VECTOR);
        if notify_offset.is_none() || !has_interrupts {
            return;
        }
        self.notify_offsets[usize::from(queue)] = notify_offset;
        self.common.write(common::QUEUE_SIZE, size as u16);
        self.write_address(common::QUEUE_DESC, descriptors);
        self.write_address(common::QUEUE_DRIVER, driver_area);
        self.write_address(common::QUEUE_DEVICE, device_area);
        self.common.write(common::QUEUE_ENABLE, 1_u16);
    }

    /// Resets the queue, if the device has the register for that; ask `queue_used` whether it did.
    fn queue_unset(&mut self, queue: u16) {
        if !self.resets_queues() {
            // Then only a reset of the device takes a queue back.
            return;
        }
        self.select(queue);
        self.common.write(common::QUEUE_RESET, 1_u16);
        // It is done when the register is zero again, and then the queue is disabled.
        for _ in 0..QUEUE_RESET_POLLS_MAX {
            if self.common.read::<u16>(common::QUEUE_RESET) == 0 {
                break;
            }
            core::hint::spin_loop();
        }
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        self.select(queue);
        let is_set_up = self.notify_offsets.get(usize::from(queue)).is_some_and(Option::is_some);
        is_set_up && self.common.read::<u16>(common::QUEUE_ENABLE) == 1
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        // A message needs no acknowledgement; the line falls when its status is read (section 4.1.4.5).
        let status = self.line.as_ref().map_or(0, |line| line.read::<u8>(0));
        InterruptStatus::from_bits_truncate(status.into())
    }

    fn read_config_generation(&self) -> u32 {
        self.common.read::<u8>(common::CONFIG_GENERATION).into()
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T, Error> {
        let registers = self.configuration.as_ref().ok_or(Error::ConfigSpaceMissing)?;
        check_access::<T>(registers, offset)?;
        let mut value = T::new_zeroed();
        let bytes = value.as_mut_bytes();
        // A field is read with its own width (section 4.1.3.1).
        match bytes.len() {
            1 => bytes[0] = registers.read(offset),
            2 => bytes.copy_from_slice(&registers.read::<u16>(offset).to_ne_bytes()),
            _ => {
                for (index, word) in bytes.chunks_exact_mut(4).enumerate() {
                    word.copy_from_slice(&registers.read::<u32>(offset + 4 * index).to_ne_bytes());
                }
            }
        }
        Ok(value)
    }

    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        offset: usize,
        value: T,
    ) -> Result<(), Error> {
        let registers = self.configuration.as_ref().ok_or(Error::ConfigSpaceMissing)?;
        check_access::<T>(registers, offset)?;
        match *value.as_bytes() {
            [byte] => registers.write(offset, byte),
            [low, high] => registers.write(offset, u16::from_ne_bytes([low, high])),
            ref bytes => {
                for (index, word) in bytes.as_chunks::<4>().0.iter().enumerate() {
                    registers.write(offset + 4 * index, u32::from_ne_bytes(*word));
                }
            }
        }
        Ok(())
    }
}

/// Whether a field of type `T` at `offset` lies in the window, and is a byte, two, or whole words.
fn check_access<T>(registers: &Registers, offset: usize) -> Result<(), Error> {
    let bytes = size_of::<T>();
    let (width, is_whole) = match bytes {
        1 | 2 => (bytes, true),
        _ => (4, bytes.is_multiple_of(4)),
    };
    if !is_whole || !offset.is_multiple_of(width) {
        return Err(Error::InvalidParam);
    }
    let end = offset.checked_add(bytes).ok_or(Error::ConfigSpaceTooSmall)?;
    if end <= registers.length() { Ok(()) } else { Err(Error::ConfigSpaceTooSmall) }
}
