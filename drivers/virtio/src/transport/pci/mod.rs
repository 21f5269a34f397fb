//! Virtio over PCI (Virtio 1.3, section 4.1).
//!
//! Buses, capabilities and base addresses are read with the types of `virtio-drivers`; a list of
//! capabilities that a device ties into a circle ends after as many as fit.

mod capability;
mod device;
mod msix;

use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::ptr::NonNull;

use virtio_drivers::transport::pci::bus::{
    Command, ConfigurationAccess, DeviceFunction, HeaderType, PciRoot,
};
use virtio_drivers::transport::pci::virtio_device_type;

use super::DeviceType;
use super::registers::Registers;
use capability::Window;
pub use device::{PciDevice, PciDoorbell};
pub use msix::{InterruptError, InterruptMessage, InterruptSource};

/// A virtio device on a bus.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Found {
    /// What it is.
    pub device_type: DeviceType,
    /// Where it is.
    pub device_function: DeviceFunction,
}

/// Why a device cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PciDeviceError {
    /// A structure that the standard demands is not there, too short, or askew (the capability's type).
    MissingStructure(u8),
    /// A base address is not assigned, not memory, smaller than what is said to lie in it, or out of reach.
    BaseAddress(u8),
}

impl fmt::Display for PciDeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PciDeviceError::MissingStructure(kind) => {
                write!(f, "the structure of type {kind} is missing or malformed")
            }
            PciDeviceError::BaseAddress(bar) => write!(f, "base address {bar} is not usable"),
        }
    }
}

impl core::error::Error for PciDeviceError {}

/// The PCI buses of a machine.
#[derive(Debug)]
pub struct Pci<C> {
    access: RefCell<C>,
}

impl<C: ConfigurationAccess> Pci<C> {
    /// The buses that `access` reaches.
    pub fn new(access: C) -> Pci<C> {
        Pci { access: RefCell::new(access) }
    }

    /// All virtio devices, on the first bus and behind every bridge that firmware has set up.
    pub fn discover(&self) -> Vec<Found> {
        let root = self.root();
        let mut found = Vec::new();
        let mut seen = [false; 256];
        let mut buses = alloc::vec![0_u8];
        while let Some(bus) = buses.pop() {
            if core::mem::replace(&mut seen[usize::from(bus)], true) {
                continue;
            }
            for (device_function, information) in root.enumerate_bus(bus) {
                if information.header_type == HeaderType::PciPciBridge {
                    buses.push(self.secondary_bus(device_function));
                } else if let Some(device_type) = virtio_device_type(&information) {
                    found.push(Found { device_type, device_function });
                }
            }
        }
        found
    }

    /// Lets the device decode its addresses and reach memory, and finds its registers. `map` gives the
    /// place where a physical range is mapped, or `None` if it is out of reach.
    ///
    /// # Errors
    /// If the device lacks a structure, or has one that cannot be reached.
    ///
    /// # Safety
    /// What `map` gives is mapped registers of the length it was asked for, and stays so for ever. No other
    /// driver uses the device.
    pub unsafe fn open(
        &self,
        found: Found,
        map: impl Fn(u64, usize) -> Option<NonNull<u8>>,
    ) -> Result<PciDevice, PciDeviceError> {
        let device_function = found.device_function;
        let registers = |window: Window| {
            let address = self.physical_address(device_function, &window)?;
            let length = window.length as usize;
            let base = map(address, length).ok_or(PciDeviceError::BaseAddress(window.bar))?;
            // SAFETY: the caller promises that what `map` gives is valid.
            Ok(unsafe { Registers::new(base, length) })
        };
        let structures = capability::read(self, device_function)?;
        let mut root = self.root();
        let (_status, command) = root.get_status_command(device_function);
        let wanted = Command::MEMORY_SPACE | Command::BUS_MASTER | Command::INTERRUPT_DISABLE;
        let mut command = command | wanted;
        // The interrupt line is for devices that cannot send messages.
        command.set(Command::INTERRUPT_DISABLE, structures.msix.is_some());
        root.set_command(device_function, command);
        let interrupts = match structures.msix {
            Some(msix) => Some(msix::Table::new(self, device_function, msix, registers)?),
            None => None,
        };
        PciDevice::new(found.device_type, &structures, interrupts, registers)
    }

    /// The root, lent for a moment.
    fn root(&self) -> PciRoot<Lent<'_, C>> {
        PciRoot::new(Lent(&self.access))
    }

    fn read_word(&self, device: DeviceFunction, register: u8) -> u32 {
        self.access.borrow().read_word(device, register)
    }

    fn write_word(&self, device: DeviceFunction, register: u8, data: u32) {
        self.access.borrow_mut().write_word(device, register, data);
    }

    /// The bus behind a bridge (PCI local bus 3.0; bridge architecture 1.2, section 3.2.5.4).
    fn secondary_bus(&self, bridge: DeviceFunction) -> u8 {
        self.read_word(bridge, 0x18).to_le_bytes()[1]
    }

    /// Where a window is, if its base address is assigned and holds it. Decoding is off while it is measured.
    fn physical_address(
        &self,
        device: DeviceFunction,
        window: &Window,
    ) -> Result<u64, PciDeviceError> {
        let error = PciDeviceError::BaseAddress(window.bar);
        if window.bar > 5 {
            return Err(error);
        }
        let information = self.root().bar_info(device, window.bar).map_err(|_| error)?;
        let (address, size) = information.and_then(|bar| bar.memory_address_size()).ok_or(error)?;
        let end = u64::from(window.offset) + u64::from(window.length);
        let start = address.checked_add(u64::from(window.offset));
        start.filter(|_| address > 0 && end <= size).ok_or(error)
    }
}

/// One access to configuration space, lent to several roots in turn.
struct Lent<'a, C>(&'a RefCell<C>);

impl<C: ConfigurationAccess> ConfigurationAccess for Lent<'_, C> {
    fn read_word(&self, device: DeviceFunction, register: u8) -> u32 {
        self.0.borrow().read_word(device, register)
    }

    fn write_word(&mut self, device: DeviceFunction, register: u8, data: u32) {
        self.0.borrow_mut().write_word(device, register, data);
    }

    unsafe fn unsafe_clone(&self) -> Self {
        Lent(self.0)
    }
}
