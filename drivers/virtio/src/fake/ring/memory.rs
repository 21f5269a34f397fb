//! The driver's memory, as a device reaches it.

use core::ptr::with_exposed_provenance_mut;
use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};

/// Memory at the addresses that the driver gave for its ring. The driver keeps it until it has reset the
/// device, and rings are reachable only before that.
#[derive(Clone, Copy, Debug)]
pub(super) struct DriverMemory;

impl DriverMemory {
    pub(super) fn u16_at(self, address: u64) -> &'static AtomicU16 {
        // SAFETY: see the type: no reference is kept beyond an access.
        unsafe { AtomicU16::from_ptr(with_exposed_provenance_mut(address as usize)) }
    }

    pub(super) fn u32_at(self, address: u64) -> &'static AtomicU32 {
        // SAFETY: as in `u16_at`.
        unsafe { AtomicU32::from_ptr(with_exposed_provenance_mut(address as usize)) }
    }

    pub(super) fn u64_at(self, address: u64) -> &'static AtomicU64 {
        // SAFETY: as in `u16_at`.
        unsafe { AtomicU64::from_ptr(with_exposed_provenance_mut(address as usize)) }
    }
}
