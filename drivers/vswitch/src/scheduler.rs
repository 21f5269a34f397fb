//! What the switch asks of Linux's scheduler: it works for some microseconds at a time, and frames wait for
//! it.

use std::io;

/// The shortest turn that Linux grants. Whoever asks for short turns gets them soon after it wakes
/// (`sched_setattr(2)`: since Linux 6.12 `sched_runtime` is that for ordinary threads, too).
const TURN_NS: u64 = 100_000;
/// How much later than it has asked for the switch may be woken.
const SLACK_NS: libc::c_ulong = 1_000;

/// `struct sched_attr`, in its first version.
#[derive(Debug, Default)]
#[repr(C)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

const SIZE: u32 = size_of::<Attributes>() as u32;

/// Asks for short turns, soon, for the thread that calls it. An older kernel gives what it has.
///
/// # Errors
/// If the kernel knows nothing of it.
pub fn ask_for_short_turns() -> io::Result<()> {
    // SAFETY: a call that takes a number, and changes nothing but this thread's timers.
    if unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, SLACK_NS) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut attributes = Attributes::default();
    let (this_thread, flags) = (0, 0);
    // SAFETY: the structure is as long as said, and the call writes no more than that.
    let result = unsafe {
        libc::syscall(libc::SYS_sched_getattr, this_thread, &raw mut attributes, SIZE, flags)
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // Everything else stays as somebody may have wanted it.
    attributes.runtime = TURN_NS;
    // SAFETY: the structure says itself how long it is.
    let result = unsafe {
        libc::syscall(libc::SYS_sched_setattr, this_thread, &raw const attributes, flags)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_takes_it() {
        ask_for_short_turns().expect("any kernel since 3.14 has both calls");
    }
}
