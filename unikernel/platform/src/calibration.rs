//! How fast the time-stamp counter counts: stated by the processor, told by KVM, or measured.

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

/// The PIT's input clock (Intel 8254), in Hz.
const PIT_HZ: u64 = 1_193_182;
/// One measurement, 5 ms: a look at the PIT takes microseconds, so that the edges are known to 0.1 %.
const PIT_TICKS: u16 = 5_966;
/// A countdown is good enough if its edges are known to one part in this, on both sides together.
const PRECISION: u64 = 500;
/// So often is it tried; then the best one has to do.
const MEASUREMENTS_MAX: usize = 20;
/// A machine whose PIT has not counted down after so many looks has none.
const LOOKS_MAX: u32 = 10_000_000;

/// One countdown: it took at least and at most so many cycles.
#[derive(Clone, Copy)]
struct Countdown {
    least: u64,
    most: u64,
}

impl Countdown {
    fn uncertainty(self) -> u64 {
        self.most - self.least
    }

    fn middle(self) -> u64 {
        self.least + self.uncertainty() / 2
    }
}

/// A host that runs something else in the middle of a countdown does no harm, but one that does so while it
/// begins or ends does, in either direction. That is seen, and the countdown with the sharpest edges counts.
fn from_pit() -> Option<u32> {
    let mut best: Option<Countdown> = None;
    for _ in 0..MEASUREMENTS_MAX {
        let Some(countdown) = countdown() else { continue };
        if best.is_none_or(|best| countdown.uncertainty() < best.uncertainty()) {
            best = Some(countdown);
        }
        if countdown.uncertainty() <= countdown.least / PRECISION {
            break;
        }
    }
    u32::try_from(best?.middle() * PIT_HZ / u64::from(PIT_TICKS) / 1_000).ok()
}

/// Counts the cycles of one countdown of channel 0, or `None` if it never ends or ended at once.
fn countdown() -> Option<Countdown> {
    let mut command = Port::<u8>::new(0x43);
    let mut channel0 = Port::<u8>::new(0x40);
    let [low, high] = PIT_TICKS.to_le_bytes();
    // SAFETY: nobody else uses the PIT at this point. Mode 0 raises the output at the end of the count;
    // the read-back command latches the status, whose bit 7 is the output and bit 6 says "not yet loaded".
    unsafe {
        command.write(0b0011_0000);
        channel0.write(low);
        let before_start = tsc();
        channel0.write(high);
        let mut running_at = tsc();
        let after_start = running_at;
        for look in 0..LOOKS_MAX {
            let looked_at = tsc();
            command.write(0b1110_0010);
            if channel0.read() & 0b1100_0000 == 0b1000_0000 {
                let ended_by = tsc();
                let least = running_at.saturating_sub(after_start);
                return (look > 0).then(|| Countdown { least, most: ended_by - before_start });
            }
            // It was still running when it was looked at, which was after this.
            running_at = looked_at;
        }
    }
    None
}
