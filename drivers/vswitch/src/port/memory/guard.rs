//! Memory that is taken away: whoever shares a file can make it shorter while it is mapped here.
//!
//! Touching what is behind its end raises `SIGBUS`, which ends a process that has no answer. A seal
//! (`F_SEAL_SHRINK`, `fcntl(2)`) would keep the file as it is, but files of hugetlbfs, which DPDK shares, and
//! memory that its hypervisor has not made for seals, cannot be sealed. So the signal has an answer, which
//! holds for every file: the whole mapping becomes memory of our own, full of zeros, and its machine is
//! unplugged when the loss is noticed.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use vhost::vhost_user::message::MAX_ATTACHED_FD_ENTRIES;
use vm_memory::VolatileSlice;

use crate::PORTS_MAX;

/// As many mappings as a hypervisor can share at once for each port, and for one that is just sharing others.
const WATCHED_MAX: usize = MAX_ATTACHED_FD_ENTRIES * (PORTS_MAX + 1);

/// A place in the table that nobody has, and one that is being filled in: no mapping begins there.
const FREE: usize = 0;
const CLAIMED: usize = 1;

/// A mapping, as the handler of the signal sees it: it can take no lock.
#[derive(Debug)]
struct Watched {
    start: AtomicUsize,
    bytes: AtomicUsize,
    is_lost: AtomicBool,
}

static WATCHED: [Watched; WATCHED_MAX] = [const {
    Watched {
        start: AtomicUsize::new(FREE),
        bytes: AtomicUsize::new(0),
        is_lost: AtomicBool::new(false),
    }
}; WATCHED_MAX];

impl Watched {
    fn holds(&self, address: usize) -> bool {
        let start = self.start.load(Ordering::Acquire);
        start > CLAIMED && address.wrapping_sub(start) < self.bytes.load(Ordering::Relaxed)
    }

    /// Puts memory of our own in the place of the mapping. Called by the handler: nothing but a system call.
    fn replace(&self) -> bool {
        let start = std::ptr::with_exposed_provenance_mut(self.start.load(Ordering::Relaxed));
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // The whole of it: of huge pages no part can be replaced.
        let bytes = self.bytes.load(Ordering::Relaxed);
        // SAFETY: all of it is one mapping of machine's memory, which is watched only while it is there, and
        // to which others write at any time anyway.
        let place = unsafe { libc::mmap(start, bytes, protection, flags, -1, 0) };
        self.is_lost.store(true, Ordering::Relaxed);
        place != libc::MAP_FAILED
    }
}

extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel gives the handler what is to be known of the signal, which has an address.
    let address = unsafe { (*info).si_addr() }.addr();
    let watched = WATCHED.iter().find(|watched| watched.holds(address));
    if !watched.is_some_and(Watched::replace) {
        // It is none of ours: the program ends as it would have, at the same place.
        // SAFETY: this call may be made in a handler (`signal-safety(7)`).
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Answers the signal from now on.
fn answer() -> io::Result<()> {
    static RESULT: OnceLock<nix::Result<()>> = OnceLock::new();
    let install = || {
        let handler = SigHandler::SigAction(handle);
        let action = SigAction::new(handler, SaFlags::SA_SIGINFO, SigSet::empty());
        // SAFETY: the handler calls nothing that may not be called in one.
        unsafe { sigaction(Signal::SIGBUS, &action) }.map(drop)
    };
    Ok((*RESULT.get_or_init(install))?)
}

/// Watches a mapping until it is dropped, which must be before the mapping goes.
#[derive(Debug)]
pub(super) struct Guard(&'static Watched);

impl Guard {
    /// Watches this mapping.
    ///
    /// # Errors
    /// If there are too many, or the signal cannot be answered.
    pub(super) fn of(mapping: &VolatileSlice<'_>) -> io::Result<Guard> {
        answer()?;
        let claims = |watched: &&Watched| {
            let (success, failure) = (Ordering::Acquire, Ordering::Relaxed);
            watched.start.compare_exchange(FREE, CLAIMED, success, failure).is_ok()
        };
        let too_many = || io::Error::other("too many mappings are watched");
        let watched = WATCHED.iter().find(claims).ok_or_else(too_many)?;
        watched.bytes.store(mapping.len(), Ordering::Relaxed);
        watched.is_lost.store(false, Ordering::Relaxed);
        let start = mapping.ptr_guard_mut().as_ptr().expose_provenance();
        watched.start.store(start, Ordering::Release);
        Ok(Guard(watched))
    }

    /// Whether it turned out to be gone.
    pub(super) fn is_lost(&self) -> bool {
        self.0.is_lost.load(Ordering::Relaxed)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.start.store(FREE, Ordering::Release);
    }
}
