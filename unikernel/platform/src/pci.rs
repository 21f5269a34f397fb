//! PCI configuration space through the ports 0xCF8 and 0xCFC, which every PC with PCI has.

use core::sync::atomic::{AtomicBool, Ordering};

use virtio_drivers::transport::pci::bus::{ConfigurationAccess, DeviceFunction};
use x86_64::instructions::port::Port;

const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;
const ENABLE: u32 = 1 << 31;

/// The two ports.
#[derive(Debug)]
pub struct ConfigurationPorts(());

static TAKEN: AtomicBool = AtomicBool::new(false);

impl ConfigurationPorts {
    /// The ports, to whoever asks first; `None` on a machine without PCI (QEMU's microvm).
    pub fn take() -> Option<ConfigurationPorts> {
        let absent = {
            let mut address = Port::<u32>::new(ADDRESS);
            // SAFETY: on a machine without PCI the write is ignored and the read gives all ones.
            unsafe {
                address.write(ENABLE);
                address.read() != ENABLE
            }
        };
        (!absent && !TAKEN.swap(true, Ordering::Relaxed)).then_some(ConfigurationPorts(()))
    }

    fn select(device: DeviceFunction, register: u8) {
        let address = ENABLE
            | u32::from(device.bus) << 16
            | u32::from(device.device) << 11
            | u32::from(device.function) << 8
            | u32::from(register & !3);
        // SAFETY: selecting a register has no effect by itself.
        unsafe { Port::<u32>::new(ADDRESS).write(address) };
    }
}

impl ConfigurationAccess for ConfigurationPorts {
    fn read_word(&self, device: DeviceFunction, register: u8) -> u32 {
        ConfigurationPorts::select(device, register);
        // SAFETY: reading configuration space has no side effects on the devices that are supported.
        unsafe { Port::<u32>::new(DATA).read() }
    }

    fn write_word(&mut self, device: DeviceFunction, register: u8, data: u32) {
        ConfigurationPorts::select(device, register);
        // SAFETY: the caller configures a device that it owns.
        unsafe { Port::<u32>::new(DATA).write(data) };
    }

    unsafe fn unsafe_clone(&self) -> ConfigurationPorts {
        ConfigurationPorts(())
    }
}

/// The board's line of a device's interrupt pin A, on the chipset ICH9 of QEMU's q35: pins take turns on the
/// lines E to H, which are the I/O APIC's 20 to 23. From slot 25 on firmware may choose; those are not
/// supported.
pub fn interrupt_line(device: u8) -> Option<u8> {
    (device < 25).then_some(20 + device % 4)
}
