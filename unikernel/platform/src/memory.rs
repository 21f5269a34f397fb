//! Memory that devices can reach: a run at the top of RAM that the kernel never hears of.
//!
//! It is identity-mapped and physically contiguous, so that an address is an address: no translation.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use pool::Region;

/// Packet buffers, disk buffers and rings: 512 x 4 KiB, 32 x 64 KiB, and queues, with room for growth.
pub const ARENA_MIN_BYTES: u64 = 8 << 20;

/// Machines with much memory have more for packets, but no more than this.
const ARENA_MAX_BYTES: u64 = 64 << 20;

/// The arena is the eighth part of memory, within these limits.
const ARENA_PART: u64 = 8;

/// Large pages everywhere: the kernel maps its share with 2 MiB pages.
const ARENA_ALIGN_BYTES: u64 = 2 << 20;

/// Where the arena starts; 0 while there is none, or after it was taken.
static ARENA_START: AtomicU64 = AtomicU64::new(0);
/// How long it is. Written before its start.
static ARENA_BYTES: AtomicU64 = AtomicU64::new(0);

/// Reserves the arena at the end of a run of memory, and gives its first address. Only the first call does
/// so.
pub(crate) fn reserve(memory_end: u64) -> Option<u64> {
    if ARENA_START.load(Ordering::Relaxed) != 0 {
        return None;
    }
    let end = memory_end & !(ARENA_ALIGN_BYTES - 1);
    let part = (memory_end / ARENA_PART).clamp(ARENA_MIN_BYTES, ARENA_MAX_BYTES);
    let bytes = part & !(ARENA_ALIGN_BYTES - 1);
    let start = end.checked_sub(bytes).filter(|start| *start > 0)?;
    // There is one processor, and this its first function.
    ARENA_BYTES.store(bytes, Ordering::Relaxed);
    ARENA_START.store(start, Ordering::Relaxed);
    Some(start)
}

/// The arena, to whoever asks first.
pub fn take_arena() -> Option<Region> {
    let start = ARENA_START.swap(0, Ordering::Relaxed);
    let base = NonNull::new(core::ptr::with_exposed_provenance_mut::<u8>(start as usize))?;
    let bytes = ARENA_BYTES.load(Ordering::Relaxed) as usize;
    // SAFETY: the range is RAM, identity-mapped by `entry.s`, left out of the kernel's memory, and given
    // away once: the swap above sees to it.
    Some(unsafe { Region::new(base, bytes, start) })
}

/// Forgets what the processor remembers of the page tables, which never change. This is for QEMU's
/// translator: it remembers 256 pages at first, and only when it forgets them does it consider whether it
/// should remember more. A node under load uses a thousand, and looking them up again and again costs it a
/// twentieth of its time. Any other processor does this in a microsecond.
pub fn flush_translations() {
    x86_64::instructions::tlb::flush_all();
}

// What the compiler calls where it copies or fills memory; its own are weak, and give way.
core::arch::global_asm!(
    ".globl memcpy, memmove, memset",
    ".set memcpy, {memcpy}",
    ".set memmove, {memmove}",
    ".set memset, {memset}",
    memcpy = sym mem::coterie_memcpy,
    memmove = sym mem::coterie_memmove,
    memset = sym mem::coterie_memset,
);
