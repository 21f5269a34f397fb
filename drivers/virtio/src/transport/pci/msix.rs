//! Interrupts by message (MSI-X; PCI local bus 3.0, section 6.8.2): a table of what to write where.

use alloc::vec::Vec;
use core::fmt;

use virtio_drivers::transport::pci::bus::{CapabilityInfo, ConfigurationAccess, DeviceFunction};

use super::capability::Window;
use super::{Pci, PciDeviceError};
use crate::transport::registers::Registers;

const ENABLE: u32 = 1 << 31;
const MASK_ALL: u32 = 1 << 30;
const TABLE_SIZE: u16 = 0x7ff;
const ENTRY_BYTES: u32 = 16;

/// What raises an interrupt.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum InterruptSource {
    /// A change of the device's configuration: the link, or a need for reset.
    Configuration,
    /// A completion in this queue.
    Queue(u16),
}

/// What a device writes, and where, to raise an interrupt. For a local APIC: `0xFEE0_0000 | id << 12`, and
/// the vector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InterruptMessage {
    /// Where to.
    pub address: u64,
    /// What.
    pub data: u32,
}

/// Why an interrupt cannot be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InterruptError {
    /// The device has no MSI-X.
    Unsupported,
    /// The device's table is full.
    TableFull,
}

impl fmt::Display for InterruptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            InterruptError::Unsupported => "the device cannot interrupt by message",
            InterruptError::TableFull => "the device has no room for another interrupt",
        })
    }
}

impl core::error::Error for InterruptError {}

/// The table of a device, all of whose interrupts go through it from the moment that it is made.
#[derive(Debug)]
pub(super) struct Table {
    registers: Registers,
    /// How many entries the device has.
    entries: u16,
    /// What was written to the first of them. A message is written once, however many sources share it.
    messages: Vec<InterruptMessage>,
}

impl Table {
    /// Finds the table, masks every entry, and switches the device over to it.
    pub(super) fn new<C: ConfigurationAccess>(
        pci: &Pci<C>,
        device: DeviceFunction,
        capability: CapabilityInfo,
        registers: impl Fn(Window) -> Result<Registers, PciDeviceError>,
    ) -> Result<Table, PciDeviceError> {
        let entries = (capability.private_header & TABLE_SIZE) + 1;
        let place = pci.read_word(device, capability.offset + 4);
        let window = Window {
            bar: (place & 7) as u8,
            offset: place & !7,
            length: u32::from(entries) * ENTRY_BYTES,
        };
        let table = Table { registers: registers(window)?, entries, messages: Vec::new() };
        // With the whole table masked nothing fires while its entries, whose content is undefined, are
        // masked.
        let control = pci.read_word(device, capability.offset);
        pci.write_word(device, capability.offset, control | ENABLE | MASK_ALL);
        for entry in 0..entries {
            table.registers.write(Table::entry(entry) + 12, 1_u32);
        }
        pci.write_word(device, capability.offset, (control | ENABLE) & !MASK_ALL);
        Ok(table)
    }

    const fn entry(index: u16) -> usize {
        index as usize * ENTRY_BYTES as usize
    }

    /// The entry that sends `message`.
    pub(super) fn entry_for(&mut self, message: InterruptMessage) -> Result<u16, InterruptError> {
        if let Some(index) = self.messages.iter().position(|known| *known == message) {
            return Ok(index as u16);
        }
        let index = self.messages.len() as u16;
        if index == self.entries {
            return Err(InterruptError::TableFull);
        }
        let entry = Table::entry(index);
        self.registers.write(entry, message.address as u32);
        self.registers.write(entry + 4, (message.address >> 32) as u32);
        self.registers.write(entry + 8, message.data);
        self.registers.write(entry + 12, 0_u32);
        self.messages.push(message);
        Ok(index)
    }
}
