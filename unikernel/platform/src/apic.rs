//! The local APIC: end of interrupt, and the one-shot timer. The kernel has enabled it.

use core::arch::x86_64::_mm_mfence;

use base::{Duration, Instant};
use x86_64::registers::model_specific::Msr;

use crate::clock::Clock;

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
    TimerVector = 0x320,
    TimerInitialCount = 0x380,
    TimerCurrentCount = 0x390,
    TimerDivide = 0x3e0,
}

const TIMER_TSC_DEADLINE: u32 = 1 << 18;
const TIMER_MASKED: u32 = 1 << 16;
const DIVIDE_BY_1: u32 = 0b1011;

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
        let address = core::ptr::with_exposed_provenance::<u32>(XAPIC_REGISTERS + register as usize);
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
        let address = core::ptr::with_exposed_provenance_mut::<u32>(XAPIC_REGISTERS + register as usize);
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

/// The one-shot timer of this processor.
#[derive(Debug)]
pub(crate) struct Timer {
    vector: u8,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// It compares with the time-stamp counter.
    TscDeadline,
    /// It counts down at this many ticks per millisecond.
    Countdown { ticks_per_ms: u64 },
}

impl Timer {
    /// How long the countdown timer is observed to learn its rate.
    const CALIBRATION: Duration = Duration::from_millis(2);

    /// The timer, delivering `vector`.
    pub(crate) fn new(vector: u8, clock: &Clock) -> Timer {
        let has_deadline =
            raw_cpuid::CpuId::new().get_feature_info().is_some_and(|info| info.has_tsc_deadline());
        let kind = if has_deadline { Kind::TscDeadline } else { Timer::calibrate(clock) };
        Timer { vector, kind }
    }

    fn calibrate(clock: &Clock) -> Kind {
        write(Register::TimerVector, TIMER_MASKED);
        write(Register::TimerDivide, DIVIDE_BY_1);
        write(Register::TimerInitialCount, u32::MAX);
        let start = clock.now();
        let elapsed = loop {
            let elapsed = clock.now().since(start);
            if elapsed >= Timer::CALIBRATION {
                break elapsed;
            }
            core::hint::spin_loop();
        };
        let ticks = u64::from(u32::MAX - read(Register::TimerCurrentCount));
        Kind::Countdown { ticks_per_ms: (ticks * 1_000_000 / elapsed.as_nanos()).max(1) }
    }

    /// Sets it to fire at `deadline`, once, instead of what was set before. A deadline too far away fires
    /// early.
    pub(crate) fn set(&mut self, deadline: Instant, clock: &Clock) {
        match self.kind {
            Kind::TscDeadline => {
                write(Register::TimerVector, TIMER_TSC_DEADLINE | u32::from(self.vector));
                // SAFETY: the fence orders the memory-mapped write above before the MSR write (Intel SDM
                // volume 3, 12.5.4.1); the MSR exists, as the processor said.
                unsafe {
                    _mm_mfence();
                    Msr::new(TSC_DEADLINE).write(clock.tsc_at(deadline));
                }
            }
            Kind::Countdown { ticks_per_ms } => {
                let nanos = deadline.since(clock.now()).as_nanos();
                let ticks = u128::from(nanos) * u128::from(ticks_per_ms) / 1_000_000;
                let ticks = u32::try_from(ticks).unwrap_or(u32::MAX).max(1);
                write(Register::TimerVector, u32::from(self.vector));
                write(Register::TimerInitialCount, ticks);
            }
        }
    }

    /// Stops it.
    pub(crate) fn stop(&mut self) {
        write(Register::TimerVector, TIMER_MASKED);
    }
}
