//! The I/O APIC: which vector an interrupt line of the board delivers.

/// Where it is on every machine that is supported; `entry.s` maps it.
const REGISTERS: usize = 0xfec0_0000;
/// Offset of the data window; the register's number goes to offset 0.
const WINDOW: usize = 0x10;
/// The first of the redirection registers, two for each line.
const REDIRECTION: u32 = 0x10;

/// The register that says how many lines there are (82093AA data sheet, section 3.2.2).
const VERSION: u32 = 0x01;
/// In a redirection register: nothing comes through.
const MASKED: u32 = 1 << 16;

/// Selects a register, and gives the window through which it is seen.
fn select(register: u32) -> *mut u32 {
    let select = core::ptr::with_exposed_provenance_mut::<u32>(REGISTERS);
    // SAFETY: the registers are mapped there, and the node has one thread.
    unsafe { select.write_volatile(register) };
    core::ptr::with_exposed_provenance_mut::<u32>(REGISTERS + WINDOW)
}

fn read(register: u32) -> u32 {
    // SAFETY: as above.
    unsafe { select(register).read_volatile() }
}

fn write(register: u32, value: u32) {
    // SAFETY: as above.
    unsafe { select(register).write_volatile(value) };
}

/// Lets no line through. The kernel has let all of them through; a device on the PCI bus would interrupt
/// twice, for its interrupt also comes by a line from before there was an I/O APIC.
pub(crate) fn mask_all() {
    let last = read(VERSION) >> 16 & 0xff;
    for line in 0..=last {
        write(REDIRECTION + 2 * line, MASKED);
    }
}

/// Makes `line` deliver `vector` to the processor `apic_id`: fixed, edge-triggered, active high, unmasked.
pub(crate) fn route(line: u8, vector: u8, apic_id: u8) {
    let register = REDIRECTION + 2 * u32::from(line);
    write(register + 1, u32::from(apic_id) << 24);
    write(register, u32::from(vector));
}
