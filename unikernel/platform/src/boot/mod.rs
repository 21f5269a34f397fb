//! From the hypervisor to the kernel: PVH entry, memory map, kernel command line, boot information.
//!
//! No boot loader is involved: QEMU, Firecracker and Cloud Hypervisor load the ELF image themselves.

mod device_tree;
mod start_info;

use core::arch::{asm, global_asm};
use core::num::NonZeroU64;

use hermit_entry::boot_info::{
    BootInfo, DeviceTreeAddress, HardwareInfo, LoadInfo, PlatformInfo, RawBootInfo, SerialPortBase,
};

use self::device_tree::DeviceTree;
use self::start_info::{MemoryRange, StartInfo};
use crate::{clock, memory};

global_asm!(include_str!("entry.s"));

unsafe extern "C" {
    /// The first byte of the image, by the linker script.
    static image_start: u8;
    /// The byte behind the image, by the linker script.
    static image_end: u8;
    /// The kernel's entry point.
    fn _start(boot_info: &'static RawBootInfo, cpu: u32) -> !;
}

/// The longest kernel command line that is taken; a longer one is refused at boot.
pub const COMMAND_LINE_MAX_BYTES: usize = 2048;

/// The hypervisor's first COM port, where the kernel reports its own errors.
const COM1: u16 = 0x3f8;

/// What boot leaves behind for the kernel and for the node. Written once, before the kernel runs.
struct Handover {
    boot_info: Option<RawBootInfo>,
    device_tree: [u8; device_tree::SIZE_MAX_BYTES],
    command_line: [u8; COMMAND_LINE_MAX_BYTES],
    /// Its length, or `None` if it did not fit or was not text.
    command_line_length: Option<usize>,
}

static mut HANDOVER: Handover = Handover {
    boot_info: None,
    device_tree: [0; device_tree::SIZE_MAX_BYTES],
    command_line: [0; COMMAND_LINE_MAX_BYTES],
    command_line_length: None,
};

/// The kernel command line, or `None` if it is longer than [`COMMAND_LINE_MAX_BYTES`] or not UTF-8.
pub fn command_line() -> Option<&'static str> {
    // SAFETY: nothing writes the hand-over after `pvh_main`, which ran before anything else.
    let handover = unsafe { &*(&raw const HANDOVER) };
    let length = handover.command_line_length?;
    core::str::from_utf8(&handover.command_line[..length]).ok()
}

/// Rust's first function: describes the machine to the kernel and enters it.
///
/// # Safety
/// Called once, by `entry.s`, with the address that the hypervisor gave.
#[unsafe(no_mangle)]
unsafe extern "C" fn pvh_main(start_info: &'static StartInfo) -> ! {
    // SAFETY: this is the only code that runs, and nobody else has a reference.
    let handover = unsafe { &mut *(&raw mut HANDOVER) };
    take_command_line(handover, start_info);
    let image = (&raw const image_start).expose_provenance() as u64
        ..(&raw const image_end).expose_provenance() as u64;

    let mut tree = DeviceTree::new(&mut handover.device_tree);
    tree.tsc_frequency(clock::calibrate());
    for range in start_info.usable_memory() {
        tree.memory(reserve_arena(range, image.end));
    }
    tree.finish();

    handover.boot_info = Some(RawBootInfo::from(BootInfo {
        hardware_info: HardwareInfo {
            phys_addr_range: 0..0,
            serial_port_base: SerialPortBase::new(COM1),
            device_tree: DeviceTreeAddress::new(handover.device_tree.as_ptr().expose_provenance() as u64),
        },
        load_info: LoadInfo {
            kernel_image_addr_range: image,
            tls_info: None, // The linker script refuses thread-local data.
        },
        platform_info: PlatformInfo::LinuxBootParams {
            // The kernel would complain about every word that is not its own.
            command_line: None,
            boot_params_addr: NonZeroU64::new(core::ptr::from_ref(start_info).expose_provenance() as u64)
                .expect("a reference is never null"),
        },
    }));
    let boot_info = handover.boot_info.as_ref().expect("it was just set");
    // SAFETY: `_start` expects RDI = boot information, ESI = 0 for the first processor, and RSP = the low
    // end of a stack of at least its KERNEL_STACK_SIZE, all of which hold; it never returns.
    unsafe {
        asm!(
            "lea rsp, [rip + kernel_boot_stack]",
            "xor esi, esi",
            "jmp {start}",
            start = sym _start,
            in("rdi") boot_info,
            options(noreturn)
        )
    }
}

fn take_command_line(handover: &mut Handover, start_info: &StartInfo) {
    let given = start_info.command_line();
    if let Some(room) = handover.command_line.get_mut(..given.len()) {
        room.copy_from_slice(given);
        handover.command_line_length = Some(given.len());
    }
}

/// Keeps the top of the range that holds the image for the devices, and gives the rest to the kernel.
fn reserve_arena(range: MemoryRange, kernel_end: u64) -> MemoryRange {
    let holds_image = range.contains(kernel_end);
    match holds_image.then(|| memory::reserve(range.end())).flatten() {
        Some(arena_start) if arena_start > kernel_end => range.until(arena_start),
        Some(_) | None => range,
    }
}
