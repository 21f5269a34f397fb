//! The bells of a ring: how each side wakes the other.

use std::fs::File;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::io::FromRawFd;

use vmm_sys_util::eventfd::EventFd;

/// A bell that never blocks, whatever kind of file the machine's hypervisor has sent.
pub(super) fn from_file(file: File) -> std::io::Result<EventFd> {
    // SAFETY: the descriptor is open; these calls change only its flags.
    let is_set = unsafe {
        let flags = libc::fcntl(file.as_raw_fd(), libc::F_GETFL);
        flags >= 0 && libc::fcntl(file.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK) >= 0
    };
    if !is_set {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the file gives up its descriptor, so the bell is its only owner.
    Ok(unsafe { EventFd::from_raw_fd(file.into_raw_fd()) })
}
