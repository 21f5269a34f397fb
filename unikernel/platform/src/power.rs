//! The end of a node: power off, reset, or stop with a reason that the host can see.

use base::Duration;
use x86_64::instructions::port::Port;

use crate::clock::Clock;
use crate::serial::Serial;

/// Why the node stops. QEMU's `isa-debug-exit` turns the code v into the exit status 2v + 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// An orderly power-off: exit status 0 where the machine has ACPI, else 1 + 2 x 15 = 31.
    PowerOff,
    /// The settings on the kernel command line are wrong: exit status 33.
    Settings,
    /// A device that the node needs is missing or unusable: exit status 35.
    Device,
    /// What is on the disk cannot be trusted: exit status 37.
    Disk,
    /// The processor reported an exception, which is a bug in the image: exit status 39.
    Exception,
}

impl Exit {
    const fn code(self) -> u32 {
        match self {
            Exit::PowerOff => 15,
            Exit::Settings => 16,
            Exit::Device => 17,
            Exit::Disk => 18,
            Exit::Exception => 19,
        }
    }
}

/// The port of QEMU's `isa-debug-exit`.
const DEBUG_EXIT: u16 = 0xf4;
/// PM1a control register of QEMU's q35 and pc machines; bit 13 enters the sleep state in bits 10 to 12 (0:
/// S5).
const ACPI_PM1A: [u16; 2] = [0x604, 0xb004];
const ACPI_SLEEP: u16 = 1 << 13;
/// Sleep and reset registers of QEMU's microvm (ACPI 6.4, section 4.8.3.7, hardware-reduced).
const ACPI_REDUCED_SLEEP: usize = 0xfea0_0200;
const ACPI_REDUCED_RESET: usize = 0xfea0_0202;
const ACPI_REDUCED_SLEEP_S5: u8 = 0x34;
const ACPI_REDUCED_RESET_VALUE: u8 = 0x42;
/// The reset control register of every chipset with PCI; 6 is a full reset.
const RESET_CONTROL: u16 = 0xcf9;
/// The keyboard controller's command port; 0xfe pulses the processor's reset line.
const KEYBOARD_CONTROLLER: u16 = 0x64;

/// Stops the machine for good. Nothing that is not on the disk survives.
pub fn exit(exit: Exit) -> ! {
    Serial::new().flush();
    if exit == Exit::PowerOff {
        for port in ACPI_PM1A {
            // SAFETY: writing the sleep bit ends the machine or, where no such port exists, does nothing.
            unsafe { Port::<u16>::new(port).write(ACPI_SLEEP) };
        }
        write_register(ACPI_REDUCED_SLEEP, ACPI_REDUCED_SLEEP_S5);
        // The machine may take a moment to obey, during which the next request would win.
        let clock = Clock::new();
        let give_up = clock.now() + Duration::from_secs(1);
        while clock.now() < give_up {
            core::hint::spin_loop();
        }
    }
    // SAFETY: the write ends QEMU or, where the device is absent, does nothing.
    unsafe { Port::<u32>::new(DEBUG_EXIT).write(exit.code()) };
    halt_for_ever()
}

/// Restarts the machine from its image.
pub fn reset() -> ! {
    Serial::new().flush();
    // SAFETY: the writes reset the machine or do nothing.
    unsafe {
        Port::<u8>::new(RESET_CONTROL).write(6);
        Port::<u8>::new(KEYBOARD_CONTROLLER).write(0xfe);
    }
    write_register(ACPI_REDUCED_RESET, ACPI_REDUCED_RESET_VALUE);
    halt_for_ever()
}

fn write_register(address: usize, value: u8) {
    // SAFETY: the address is above RAM and mapped; it is the register or nothing at all.
    unsafe { core::ptr::with_exposed_provenance_mut::<u8>(address).write_volatile(value) };
}

fn halt_for_ever() -> ! {
    loop {
        x86_64::instructions::interrupts::disable();
        x86_64::instructions::hlt();
    }
}
