//! The local APIC: end of interrupt, and the one-shot timer. The kernel has enabled it.

use core::arch::x86_64::_mm_mfence;

use base::Instant;
use x86_64::registers::model_specific::Msr;

use crate::clock::{self, Clock};
use crate::{calibration, interrupts};

const APIC_BASE: Msr = Msr::new(0x1b);
const APIC_BASE_X2APIC: u64 = 1 << 10;
const TSC_DEADLINE: u32 = 0x6e0;

/// Where the registers are in xAPIC mode; `entry.s` maps them.
const XAPIC_REGISTERS: usize = 0xfee0_0000;
/// The MSR of the register at offset 0 in x2APIC mode; the next register is 16 bytes or one MSR further.
const X2APIC_REGISTERS: u32 = 0x800;

/// Offsets of registers (Intel SDM volume 3, table 12-1).
#[derive(Clone, Copy)]
enum Register {
    Id = 0x20,
    EndOfInterrupt = 0xb0,
    #[cfg(feature = "smp")]
    CommandLow = 0x300,
    #[cfg(feature = "smp")]
    CommandHigh = 0x310,
    TimerVector = 0x320,
    TimerInitialCount = 0x380,
    TimerCurrentCount = 0x390,
    TimerDivide = 0x3e0,
}

const TIMER_TSC_DEADLINE: u32 = 1 << 18;
const TIMER_MASKED: u32 = 1 << 16;
const DIVIDE_BY_1: u32 = 0b1011;

/// Of the interrupt command register: still on its way; not the end of a level; to all but this processor.
#[cfg(feature = "smp")]
const COMMAND_PENDING: u32 = 1 << 12;
#[cfg(feature = "smp")]
const COMMAND_ASSERT: u32 = 1 << 14;
#[cfg(feature = "smp")]
const COMMAND_OTHERS: u32 = 0b11 << 18;

fn is_x2apic() -> bool {
    // SAFETY: every x86-64 processor has this register, and ring 0 may read it.
    unsafe { APIC_BASE.read() & APIC_BASE_X2APIC != 0 }
}

fn read(register: Register) -> u32 {
    if is_x2apic() {
        let msr = Msr::new(X2APIC_REGISTERS + (register as u32 >> 4));
        // SAFETY: the register exists in x2APIC mode, which is on.
        unsafe { msr.read() as u32 }
    } else {
        let address =
            core::ptr::with_exposed_provenance::<u32>(XAPIC_REGISTERS + register as usize);
        // SAFETY: the registers are mapped there in xAPIC mode.
        unsafe { address.read_volatile() }
    }
}

fn write(register: Register, value: u32) {
    if is_x2apic() {
        let mut msr = Msr::new(X2APIC_REGISTERS + (register as u32 >> 4));
        // SAFETY: the register exists in x2APIC mode, which is on.
        unsafe { msr.write(u64::from(value)) };
    } else {
        let address =
            core::ptr::with_exposed_provenance_mut::<u32>(XAPIC_REGISTERS + register as usize);
        // SAFETY: the registers are mapped there in xAPIC mode.
        unsafe { address.write_volatile(value) };
    }
}

/// This processor's number on the interrupt bus.
pub(crate) fn id() -> u8 {
    let register = read(Register::Id);
    if is_x2apic() { register as u8 } else { (register >> 24) as u8 }
}

/// Tells the APIC that the interrupt in service is done.
pub(crate) fn end_of_interrupt() {
    write(Register::EndOfInterrupt, 0);
}

/// Interrupts another processor.
#[cfg(feature = "smp")]
pub(crate) fn send(apic_id: u8, vector: u8) {
    command(apic_id.into(), COMMAND_ASSERT | u32::from(vector));
}

/// Interrupts all other processors.
#[cfg(feature = "smp")]
pub(crate) fn send_to_others(vector: u8) {
    command(0, COMMAND_OTHERS | COMMAND_ASSERT | u32::from(vector));
}

/// Writes the interrupt command register (Intel SDM volume 3, section 11.6.1).
#[cfg(feature = "smp")]
fn command(apic_id: u32, low: u32) {
    // What the other processor is to see was written before it is interrupted.
    // SAFETY: the fence has no other effect.
    unsafe { _mm_mfence() };
    if is_x2apic() {
        let mut msr = Msr::new(X2APIC_REGISTERS + (Register::CommandLow as u32 >> 4));
        // SAFETY: the register exists in x2APIC mode, which is on, and takes both halves at once.
        unsafe { msr.write(u64::from(apic_id) << 32 | u64::from(low)) };
        return;
    }
    // Nobody waits for this processor to answer here, and interrupts are disabled: no other command comes
    // between the halves.
    while read(Register::CommandLow) & COMMAND_PENDING != 0 {
        core::hint::spin_loop();
    }
    write(Register::CommandHigh, apic_id << 24);
    write(Register::CommandLow, low);
}

/// The one-shot timer of this processor. Every access to its registers costs an exit to the hypervisor, and
/// may wake a thread of it: the timer is set only when it would otherwise fire too late.
#[derive(Debug)]
pub(crate) struct Timer {
    kind: Kind,
    processor: usize,
    /// When it fires, unless it has fired.
    fires_at: Option<Instant>,
    /// How often it had fired when it was set.
    ticks: u64,
}

#[derive(Debug)]
enum Kind {
    /// It compares with the time-stamp counter.
    TscDeadline,
    /// It counts down at this many ticks per millisecond.
    Countdown { ticks_per_ms: u64 },
}

impl Timer {
    /// The timer of this processor, whose number is given. It is not set.
    pub(crate) fn new(processor: usize) -> Timer {
        let vector = interrupts::timer_vector(processor);
        let has_deadline =
            raw_cpuid::CpuId::new().get_feature_info().is_some_and(|info| info.has_tsc_deadline());
        let kind = if has_deadline {
            write(Register::TimerVector, TIMER_TSC_DEADLINE | u32::from(vector));
            // SAFETY: the fence orders the memory-mapped write above before writes to the deadline's MSR
            // (Intel SDM volume 3, 12.5.4.1).
            unsafe { _mm_mfence() };
            Kind::TscDeadline
        } else {
            let ticks_per_ms = Timer::calibrate();
            write(Register::TimerInitialCount, 0);
            write(Register::TimerVector, u32::from(vector));
            Kind::Countdown { ticks_per_ms }
        };
        Timer { kind, processor, fires_at: None, ticks: interrupts::ticks(processor) }
    }

    /// How fast it counts down.
    fn calibrate() -> u64 {
        write(Register::TimerVector, TIMER_MASKED);
        write(Register::TimerDivide, DIVIDE_BY_1);
        let start = || write(Register::TimerInitialCount, u32::MAX);
        calibration::countdown_khz(start, || read(Register::TimerCurrentCount), clock::tsc_khz())
            .filter(|khz| *khz > 0)
            .expect("the processor has a timer that counts")
    }

    /// Makes it fire once, at `deadline` or earlier. A deadline too far away fires early.
    pub(crate) fn fire_by(&mut self, deadline: Instant, clock: &Clock) {
        let ticks = interrupts::ticks(self.processor);
        if self.ticks != ticks {
            (self.ticks, self.fires_at) = (ticks, None);
        }
        let now = clock.now();
        // A timer that fires for nothing costs more than one that is set anew. Within half of the time
        // another heartbeat comes, and with it another chance to set it.
        let serves = |at: Instant| at <= deadline && at.since(now).times(2) >= deadline.since(now);
        if self.fires_at.is_some_and(serves) {
            return;
        }
        self.fires_at = Some(deadline);
        match self.kind {
            Kind::TscDeadline => {
                // SAFETY: the MSR exists, as the processor said.
                unsafe { Msr::new(TSC_DEADLINE).write(clock.tsc_at(deadline)) };
            }
            Kind::Countdown { ticks_per_ms } => {
                let nanos = deadline.since(now).as_nanos();
                let ticks = u128::from(nanos) * u128::from(ticks_per_ms) / 1_000_000;
                let ticks = u32::try_from(ticks).unwrap_or(u32::MAX).max(1);
                write(Register::TimerInitialCount, ticks);
            }
        }
    }
}
