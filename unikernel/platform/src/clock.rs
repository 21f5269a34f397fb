//! Time: the processor's time-stamp counter, calibrated once at boot.

use core::arch::x86_64::_rdtsc;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use base::Instant;

use crate::calibration;

/// Kilohertz of the time-stamp counter, and its value at the clock's origin. Set once by `calibrate`.
static TSC_KHZ: AtomicU32 = AtomicU32::new(0);
static TSC_ORIGIN: AtomicU64 = AtomicU64::new(0);

pub(crate) fn tsc() -> u64 {
    // SAFETY: every x86-64 processor has it, and ring 0 may read it.
    unsafe { _rdtsc() }
}

/// Finds the counter's rate in kHz and starts the clock. Called once, at boot.
pub(crate) fn calibrate() -> u32 {
    TSC_ORIGIN.store(tsc(), Ordering::Relaxed);
    let khz = calibration::tsc_khz();
    TSC_KHZ.store(khz, Ordering::Relaxed);
    khz
}

/// The rate that boot has found.
pub(crate) fn tsc_khz() -> u32 {
    TSC_KHZ.load(Ordering::Relaxed).max(1)
}

/// The node's clock. Its origin is the start of the image.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Nanoseconds per cycle as a fixed-point number with [`Clock::SHIFT`] fractional bits.
    scale: u64,
    origin: u64,
}

impl Clock {
    /// Thirty-two fractional bits: exact to a nanosecond for hours, to parts in 10^9 for ever.
    const SHIFT: u32 = 32;

    /// The clock that boot calibrated.
    pub fn new() -> Clock {
        let origin = TSC_ORIGIN.load(Ordering::Relaxed);
        Clock { scale: (1_000_000 << Clock::SHIFT) / u64::from(tsc_khz()), origin }
    }

    /// The time now.
    pub fn now(&self) -> Instant {
        let cycles = u128::from(tsc().saturating_sub(self.origin));
        Instant::from_nanos(((cycles * u128::from(self.scale)) >> Clock::SHIFT) as u64)
    }

    /// Whether the clock is known to go on while the hypervisor has the machine paused.
    ///
    /// It is if the hypervisor is KVM and says that the counter never stops (Intel SDM 17.17.1): a guest of
    /// KVM reads the processor's own counter, and only what KVM computes from it, its paravirtual clock,
    /// halts with the machine. QEMU's translator halts the counter too.
    pub fn is_continuous(&self) -> bool {
        let cpuid = raw_cpuid::CpuId::new();
        let is_kvm = cpuid
            .get_hypervisor_info()
            .is_some_and(|info| info.identify() == raw_cpuid::Hypervisor::KVM);
        let power = cpuid.get_advanced_power_mgmt_info();
        is_kvm && power.is_some_and(|info| info.has_invariant_tsc())
    }

    /// The counter's value at `instant`, for a timer that compares with it.
    pub(crate) fn tsc_at(&self, instant: Instant) -> u64 {
        let cycles = (u128::from(instant.as_nanos()) << Clock::SHIFT) / u128::from(self.scale);
        self.origin.saturating_add(u64::try_from(cycles).unwrap_or(u64::MAX))
    }

    /// Milliseconds since 1970 by the machine's real-time clock; 0 if it has none.
    pub fn wall_ms(&self) -> u64 {
        let mut time = hermit::time::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the kernel writes one `timespec` through the pointer.
        let result = unsafe { hermit::syscalls::sys_clock_gettime(CLOCK_REALTIME, &raw mut time) };
        if result != 0 {
            return 0;
        }
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        seconds.saturating_mul(1_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000)
    }
}

/// The kernel's number for the clock that shows the date.
const CLOCK_REALTIME: hermit::syscalls::clockid_t = 1;

impl Default for Clock {
    fn default() -> Clock {
        Clock::new()
    }
}
