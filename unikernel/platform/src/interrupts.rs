//! Interrupts: they only wake the processor. Whoever is woken looks at the devices itself.
//!
//! The kernel's table stays in use for what the kernel handles; our vectors and the processor's exceptions
//! are replaced in a copy of it. An exception is a bug: it is reported and ends the machine.
//!
//! Each processor has counts of its own, and which one is woken shows in the vector: a handler need not ask.

use core::fmt::Write;
use core::sync::atomic::{AtomicU64, Ordering};

use spin::Once;
use x86_64::structures::idt::{HandlerFunc, InterruptDescriptorTable, InterruptStackFrame};
use x86_64::{instructions, set_general_handler};

use crate::power::{self, Exit};
use crate::serial::Serial;
use crate::{apic, ioapic};

/// The first vector of ours; below are exceptions and the kernel's lines.
const VECTOR_FIRST: u8 = 0x80;
/// The vector of the serial port.
const VECTOR_SERIAL: u8 = VECTOR_FIRST;
/// The first vector for a device of the first processor.
const VECTOR_DEVICE_FIRST: u8 = VECTOR_FIRST + 1;
/// How many vectors devices may have.
const DEVICE_VECTORS: u8 = 64;
/// The vector by which any device says that its configuration has changed.
const VECTOR_CHANGE: u8 = VECTOR_DEVICE_FIRST + DEVICE_VECTORS;
/// The most processors that do something.
pub const PROCESSORS_MAX: usize = 8;
/// The vectors of the processors' timers, and those by which devices and other processors call them.
const VECTOR_TICK_FIRST: u8 = 0xd0;
const VECTOR_CALL_FIRST: u8 = 0xe0;
const _: () = assert!(VECTOR_CHANGE < VECTOR_TICK_FIRST);
const _: () = assert!(PROCESSORS_MAX <= (VECTOR_CALL_FIRST - VECTOR_TICK_FIRST) as usize);

/// The board's line of COM1.
const LINE_COM1: u8 = 4;

/// How many interrupts a processor had, of its timer aside, and how many of that. No two share a cache line.
#[repr(align(128))]
struct Counts {
    devices: AtomicU64,
    ticks: AtomicU64,
}

static COUNTS: [Counts; PROCESSORS_MAX] =
    [const { Counts { devices: AtomicU64::new(0), ticks: AtomicU64::new(0) } }; PROCESSORS_MAX];
/// How often a device has said that its configuration has changed.
static CHANGES: AtomicU64 = AtomicU64::new(0);
static TABLE: Once<InterruptDescriptorTable> = Once::new();

/// The node's interrupts, with vectors to give away.
#[derive(Debug)]
pub struct Interrupts {
    next_vector: u8,
}

/// What a device writes to signal an interrupt (PCI local bus 3.0, section 6.8.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message {
    /// Where to.
    pub address: u64,
    /// What.
    pub data: u32,
}

impl Interrupts {
    /// Disables interrupts, installs the handlers, and lets only the serial port's line through.
    ///
    /// # Safety
    /// Called once, on the kernel's first task.
    pub unsafe fn install() -> Interrupts {
        instructions::interrupts::disable();
        let table = TABLE.call_once(|| {
            let current = instructions::tables::sidt().base.as_ptr::<InterruptDescriptorTable>();
            // SAFETY: the table that the processor uses now is the kernel's, and complete.
            unsafe {
                let mut table = current.read();
                set_handlers(&mut table);
                table
            }
        });
        table.load();
        ioapic::mask_all();
        ioapic::route(LINE_COM1, VECTOR_SERIAL, apic::id());
        Interrupts { next_vector: VECTOR_DEVICE_FIRST }
    }

    /// A vector for one more device queue, or `None` when all are given.
    fn take_vector(&mut self) -> Option<u8> {
        let vector = self.next_vector;
        (vector < VECTOR_DEVICE_FIRST + DEVICE_VECTORS).then(|| {
            self.next_vector += 1;
            vector
        })
    }

    /// A message for a device that signals by message (MSI-X).
    pub fn message(&mut self) -> Option<Message> {
        let vector = self.take_vector()?;
        Some(message_to(apic::id(), vector))
    }

    /// A message for all devices, by which each says that its configuration has changed: see [`changes`].
    pub fn change_message(&self) -> Message {
        message_to(apic::id(), VECTOR_CHANGE)
    }

    /// Lets the board's interrupt line `line` through.
    pub fn line(&mut self, line: u8) -> Option<()> {
        let vector = self.take_vector()?;
        ioapic::route(line, vector, apic::id());
        Some(())
    }
}

fn message_to(apic_id: u8, vector: u8) -> Message {
    Message { address: 0xfee0_0000 | u64::from(apic_id) << 12, data: u32::from(vector) }
}

/// What calls a processor: a message that devices can send.
#[cfg(feature = "smp")]
pub(crate) fn call_message(processor: usize, apic_id: u8) -> Message {
    message_to(apic_id, call_vector(processor))
}

/// The vector that calls a processor.
#[cfg(feature = "smp")]
pub(crate) fn call_vector(processor: usize) -> u8 {
    VECTOR_CALL_FIRST + processor as u8
}

/// The vector of a processor's timer.
pub(crate) fn timer_vector(processor: usize) -> u8 {
    VECTOR_TICK_FIRST + processor as u8
}

/// Disables interrupts and installs the handlers on a further processor, after [`Interrupts::install`].
#[cfg(feature = "smp")]
pub(crate) fn join() {
    instructions::interrupts::disable();
    TABLE.get().expect("the first processor has installed them").load();
}

/// How many interrupts of devices a processor had, and calls.
pub(crate) fn devices(processor: usize) -> u64 {
    COUNTS[processor].devices.load(Ordering::Relaxed)
}

/// How many interrupts the first processor had: of devices, and of its timer.
pub fn counts() -> (u64, u64) {
    (devices(0), ticks(0))
}

/// How often devices have said by message that their configuration has changed: that a link has come or gone,
/// or that one needs a reset.
pub fn changes() -> u64 {
    CHANGES.load(Ordering::Relaxed)
}

/// How often a processor's timer has fired.
pub(crate) fn ticks(processor: usize) -> u64 {
    COUNTS[processor].ticks.load(Ordering::Relaxed)
}

/// # Safety
/// The table is the kernel's: its stack indices are valid.
unsafe fn set_handlers(table: &mut InterruptDescriptorTable) {
    // Vector 7 (device not available) stays the kernel's, which switches floating-point state there.
    set_general_handler!(table, exception, 0..7);
    set_general_handler!(table, exception, 8..32);
    // SAFETY: the kernel's task state has stacks at these indices; a fault on an exhausted stack must not
    // push its frame there.
    unsafe {
        let address = table.page_fault.handler_addr();
        table.page_fault.set_handler_addr(address).set_stack_index(0);
        let address = table.general_protection_fault.handler_addr();
        table.general_protection_fault.set_handler_addr(address).set_stack_index(0);
        let address = table.double_fault.handler_addr();
        table.double_fault.set_handler_addr(address).set_stack_index(1);
    }
    for vector in VECTOR_SERIAL..VECTOR_DEVICE_FIRST + DEVICE_VECTORS {
        table[vector].set_handler_fn(WAKE[0]);
    }
    table[VECTOR_CHANGE].set_handler_fn(change);
    for processor in 0..PROCESSORS_MAX {
        table[VECTOR_TICK_FIRST + processor as u8].set_handler_fn(TICK[processor]);
        table[VECTOR_CALL_FIRST + processor as u8].set_handler_fn(WAKE[processor]);
    }
}

const TICK: [HandlerFunc; PROCESSORS_MAX] =
    [tick::<0>, tick::<1>, tick::<2>, tick::<3>, tick::<4>, tick::<5>, tick::<6>, tick::<7>];
const WAKE: [HandlerFunc; PROCESSORS_MAX] =
    [wake::<0>, wake::<1>, wake::<2>, wake::<3>, wake::<4>, wake::<5>, wake::<6>, wake::<7>];

extern "x86-interrupt" fn tick<const PROCESSOR: usize>(_frame: InterruptStackFrame) {
    COUNTS[PROCESSOR].ticks.fetch_add(1, Ordering::Relaxed);
    apic::end_of_interrupt();
}

extern "x86-interrupt" fn wake<const PROCESSOR: usize>(_frame: InterruptStackFrame) {
    COUNTS[PROCESSOR].devices.fetch_add(1, Ordering::Relaxed);
    apic::end_of_interrupt();
}

extern "x86-interrupt" fn change(_frame: InterruptStackFrame) {
    CHANGES.fetch_add(1, Ordering::Relaxed);
    // Whoever sleeps is to look.
    COUNTS[0].devices.fetch_add(1, Ordering::Relaxed);
    apic::end_of_interrupt();
}

/// Reports an exception of the processor and ends the machine.
fn exception(frame: InterruptStackFrame, vector: u8, error_code: Option<u64>) {
    let address = x86_64::registers::control::Cr2::read_raw();
    // The port takes what it can: there is nobody left to tell of a failure.
    let _ = writeln!(
        Serial::new(),
        "\ncoterie: fatal: exception {vector} ({}) at {:#x}, error code {:#x}, address {address:#x}, \
         stack {:#x}",
        exception_name(vector),
        frame.instruction_pointer.as_u64(),
        error_code.unwrap_or(0),
        frame.stack_pointer.as_u64(),
    );
    power::exit(Exit::Exception)
}

fn exception_name(vector: u8) -> &'static str {
    match vector {
        0 => "divide error",
        3 => "breakpoint",
        6 => "invalid opcode",
        8 => "double fault",
        12 => "stack fault",
        13 => "general protection",
        14 => "page fault",
        18 => "machine check",
        _ => "see Intel SDM volume 3, table 6-1",
    }
}
