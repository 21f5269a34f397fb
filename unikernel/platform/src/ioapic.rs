//! The I/O APIC: which vector an interrupt line of the board delivers.

/// Where it is on every machine that is supported; `entry.s` maps it.
const REGISTERS: usize = 0xfec0_0000;
/// Offset of the data window; the register's number goes to offset 0.
const WINDOW: usize = 0x10;
/// The first of the redirection registers, two for each line.
const REDIRECTION: u32 = 0x10;

fn write(register: u32, value: u32) {
    let select = core::ptr::with_exposed_provenance_mut::<u32>(REGISTERS);
    let window = core::ptr::with_exposed_provenance_mut::<u32>(REGISTERS + WINDOW);
    // SAFETY: the registers are mapped there, and the node has one thread.
    unsafe {
        select.write_volatile(register);
        window.write_volatile(value);
    }
}

/// Makes `line` deliver `vector` to the processor `apic_id`: fixed, edge-triggered, active high, unmasked.
pub(crate) fn route(line: u8, vector: u8, apic_id: u8) {
    let register = REDIRECTION + 2 * u32::from(line);
    write(register + 1, u32::from(apic_id) << 24);
    write(register, u32::from(vector));
}
