//! How fast the time-stamp counter counts: stated by the processor, told by KVM, or measured. How fast the
//! processor's timer counts is measured by it.
//!
//! A host that runs something else for a while does no harm to what is measured: between two readings it
//! may, and a reading that it interrupted is seen to be blurred.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use x86_64::instructions::port::Port;
use x86_64::registers::model_specific::Msr;

use crate::clock::tsc;

/// The counter's rate in kHz, from the most trustworthy source that the machine has.
///
/// # Panics
/// If the machine has none, in which case a node cannot keep time and must not run.
pub(crate) fn tsc_khz() -> u32 {
    from_processor()
        .or_else(from_kvm)
        .or_else(from_pit)
        .filter(|khz| *khz > 0)
        .expect("the machine has a clock to calibrate the time-stamp counter with")
}

/// CPUID leaf 0x15, or the timing leaf 0x40000010 of a hypervisor.
fn from_processor() -> Option<u32> {
    let cpuid = raw_cpuid::CpuId::new();
    let from_crystal =
        cpuid.get_tsc_info().and_then(|info| info.tsc_frequency()).map(|hz| hz / 1_000);
    let from_hypervisor =
        || cpuid.get_hypervisor_info().and_then(|info| info.tsc_frequency()).map(u64::from);
    from_crystal.or_else(from_hypervisor).and_then(|khz| u32::try_from(khz).ok())
}

/// What KVM writes for a guest that asks for its clock (Linux, Documentation/virt/kvm/x86/msr.rst).
#[repr(C, align(32))]
struct KvmClock {
    version: AtomicU32,
    padding: u32,
    tsc_timestamp: AtomicU64,
    system_time: AtomicU64,
    /// Nanoseconds = (cycles shifted left by `shift_and_flags`' low byte, signed) x this / 2^32.
    multiplier: AtomicU32,
    shift_and_flags: AtomicU32,
}

static KVM_CLOCK: KvmClock = KvmClock {
    version: AtomicU32::new(0),
    padding: 0,
    tsc_timestamp: AtomicU64::new(0),
    system_time: AtomicU64::new(0),
    multiplier: AtomicU32::new(0),
    shift_and_flags: AtomicU32::new(0),
};

const KVM_FEATURES: u32 = 0x4000_0001;
const KVM_FEATURE_CLOCKSOURCE2: u32 = 1 << 3;
const KVM_SYSTEM_TIME_NEW: u32 = 0x4b56_4d01;

fn from_kvm() -> Option<u32> {
    let hypervisor = raw_cpuid::CpuId::new().get_hypervisor_info()?;
    let features = core::arch::x86_64::__cpuid(KVM_FEATURES).eax;
    if hypervisor.identify() != raw_cpuid::Hypervisor::KVM
        || features & KVM_FEATURE_CLOCKSOURCE2 == 0
    {
        return None;
    }
    let mut msr = Msr::new(KVM_SYSTEM_TIME_NEW);
    // SAFETY: KVM said that it has this register; it fills the static, which has room, before the write
    // returns, and stops with the second write.
    unsafe {
        msr.write((&raw const KVM_CLOCK).expose_provenance() as u64 | 1);
        msr.write(0);
    }
    let multiplier = u64::from(KVM_CLOCK.multiplier.load(Ordering::Relaxed));
    let shift = KVM_CLOCK.shift_and_flags.load(Ordering::Relaxed) as u8 as i8;
    let unshifted = (1_000_000u64 << 32).checked_div(multiplier)?;
    let khz = match shift {
        ..0 => unshifted.checked_shl(u32::from(shift.unsigned_abs()))?,
        0.. => unshifted.checked_shr(u32::from(shift.unsigned_abs()))?,
    };
    u32::try_from(khz).ok()
}

/// The sharpest of so many readings in a row counts.
const READINGS: usize = 16;
/// So often is it tried to get two readings out of one countdown.
const COUNTDOWNS_MAX: usize = 20;

/// What a counter had counted at some time between two of the time-stamp counter.
#[derive(Clone, Copy)]
struct Reading {
    ticks: u64,
    before: u64,
    after: u64,
}

impl Reading {
    fn uncertainty(self) -> u64 {
        self.after - self.before
    }

    fn middle(self) -> u64 {
        self.before + self.uncertainty() / 2
    }
}

/// What two counters have counted in the same span.
struct Span {
    cycles: u64,
    ticks: u64,
}

/// A span between two sharp readings, long enough by the reading of its end. `None` if a reading fails.
fn measure(read: impl Fn() -> Option<Reading>, is_long: impl Fn(Span) -> bool) -> Option<Span> {
    let first = sharpest(&read)?;
    let until = |last: Reading| Span {
        cycles: last.middle() - first.middle(),
        ticks: last.ticks - first.ticks,
    };
    while !is_long(until(read()?)) {}
    Some(until(sharpest(&read)?))
}

fn sharpest(read: impl Fn() -> Option<Reading>) -> Option<Reading> {
    let mut sharpest = read()?;
    for _ in 1..READINGS {
        let next = read()?;
        if next.uncertainty() < sharpest.uncertainty() {
            sharpest = next;
        }
    }
    Some(sharpest)
}

/// Two readings of the processor's timer are so far apart, in milliseconds: a thousand times what a reading
/// takes.
const TIMER_APART_MS: u64 = 2;

/// The rate in kHz of a timer that `start` makes count down from the largest number, once, and whose count
/// is `current`.
pub(crate) fn countdown_khz(
    start: impl Fn(),
    current: impl Fn() -> u32,
    tsc_khz: u32,
) -> Option<u64> {
    let read = || {
        let before = tsc();
        let count = current();
        let after = tsc();
        let ticks = u64::from(u32::MAX - count);
        (count > 0).then_some(Reading { ticks, before, after })
    };
    let tsc_khz = u64::from(tsc_khz);
    let span = (0..COUNTDOWNS_MAX).find_map(|_| {
        start();
        measure(read, |span| span.cycles >= TIMER_APART_MS * tsc_khz)
    })?;
    u64::try_from(u128::from(span.ticks) * u128::from(tsc_khz) / u128::from(span.cycles)).ok()
}

/// The PIT's input clock (Intel 8254), in Hz.
const PIT_HZ: u64 = 1_193_182;
/// What its counter is loaded with: it is read while it counts down, for 55 ms.
const PIT_COUNT: u16 = u16::MAX;
/// Two readings are so far apart, 10 ms: long enough for 0.1 %, short enough for a boot.
const PIT_APART_TICKS: u64 = 11_932;

fn from_pit() -> Option<u32> {
    let span = (0..COUNTDOWNS_MAX).find_map(|_| {
        start_pit();
        measure(pit_reading, |span| span.ticks >= PIT_APART_TICKS)
    })?;
    u32::try_from(span.cycles * PIT_HZ / span.ticks / 1_000).ok()
}

/// Makes the PIT count down.
fn start_pit() {
    let [low, high] = PIT_COUNT.to_le_bytes();
    let (mut command, mut channel0) = (Port::<u8>::new(0x43), Port::<u8>::new(0x40));
    // SAFETY: nobody else uses the PIT at this point. Mode 0 counts down once.
    unsafe {
        command.write(0b0011_0000);
        channel0.write(low);
        channel0.write(high);
    }
}

/// Reads the PIT's counter, or `None` if it has finished.
fn pit_reading() -> Option<Reading> {
    let (mut command, mut channel0) = (Port::<u8>::new(0x43), Port::<u8>::new(0x40));
    // SAFETY: as above. The read-back command latches status and count of channel 0, which are then read in
    // this order. Bit 7 of the status says that the count is over, bit 6 that it has not been loaded yet.
    let (before, after, status, count) = unsafe {
        let before = tsc();
        command.write(0b1100_0010);
        let after = tsc();
        let status = channel0.read();
        let count = u16::from_le_bytes([channel0.read(), channel0.read()]);
        (before, after, status, count)
    };
    let ticks = if status & 0b0100_0000 == 0 { u64::from(PIT_COUNT - count) } else { 0 };
    (status & 0b1000_0000 == 0).then_some(Reading { ticks, before, after })
}
