//! The heap: size classes in front of the kernel's allocator.
//!
//! The kernel's allocator searches a list of free chunks, which grows without bound when short-lived
//! allocations lie between long-lived ones, and puts every allocation on a 128-byte boundary. Here an
//! allocation of up to 32 KiB is rounded up to one of four sizes for each power of two and taken from that
//! size's list: constant time, at most a quarter wasted. What is freed stays with its size. Larger ones go to
//! the kernel, and are few.

use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, null_mut};
use core::sync::atomic::{AtomicUsize, Ordering};

use hermit::mm::ALLOCATOR as KERNEL;
use spin::Mutex;
use x86_64::instructions::interrupts::without_interrupts;

/// The smallest size: room for the link of a free list.
const SIZE_MIN: usize = 16;
/// The largest size that has a list.
const SIZE_MAX: usize = 32 * 1024;
/// Sizes per power of two.
const STEPS: usize = 4;
/// From 16 to 32 KiB there are 11 doublings, four steps each, and the last size itself.
const CLASSES: usize = (SIZE_MAX.ilog2() - SIZE_MIN.ilog2()) as usize * STEPS + 1;
/// How much is taken from the kernel at once, for many allocations of one size.
const SLAB_BYTES: usize = 64 * 1024;
/// Every size is a multiple of this; a greater alignment is met by the kernel.
const ALIGN_MAX: usize = 16;

/// A free allocation holds the link to the next one of its size.
struct Free {
    next: Option<NonNull<Free>>,
}

struct Lists([Option<NonNull<Free>>; CLASSES]);

// SAFETY: the lists own the memory that they link, which has no ties to a thread.
unsafe impl Send for Lists {}

/// The global allocator.
struct Heap {
    lists: Mutex<Lists>,
}

#[global_allocator]
static HEAP: Heap = Heap { lists: Mutex::new(Lists([None; CLASSES])) };

/// How many bytes are allocated by lists, as they were asked for. Written only by who holds the lists: a
/// plain load and store, for a locked instruction in every allocation would be felt.
static IN_USE: AtomicUsize = AtomicUsize::new(0);

fn note_in_use(change: impl FnOnce(usize) -> usize) {
    IN_USE.store(change(IN_USE.load(Ordering::Relaxed)), Ordering::Relaxed);
}

/// How many bytes of the heap are in use, large allocations aside.
pub fn in_use() -> usize {
    IN_USE.load(Ordering::Relaxed)
}

/// The class of a size, and the size that its allocations have; `None` if it is too large.
fn class_of(layout: Layout) -> Option<(usize, usize)> {
    let size = layout.size().max(SIZE_MIN);
    if size > SIZE_MAX || layout.align() > ALIGN_MAX {
        return None;
    }
    // The power of two below, and how many quarters of it are needed on top. Below 64 bytes a quarter is
    // less than the alignment, and whole multiples of 16 take its place.
    let power = 1 << size.ilog2();
    let step = (power / STEPS).max(ALIGN_MAX);
    let steps = (size - power).div_ceil(step);
    let rounded = power + steps * step;
    let doublings = (power.ilog2() - SIZE_MIN.ilog2()) as usize;
    Some((doublings * STEPS + steps * step * STEPS / power, rounded))
}

fn from_kernel(layout: Layout) -> *mut u8 {
    // SAFETY: no layout here has the size zero, which the global allocator is never asked for either.
    unsafe { KERNEL.alloc(layout) }
}

impl Lists {
    fn take(&mut self, class: usize, size: usize) -> *mut u8 {
        if self.0[class].is_none() {
            self.refill(class, size);
        }
        let Some(free) = self.0[class] else { return null_mut() };
        // SAFETY: what is in a list is free memory that begins with its link.
        self.0[class] = unsafe { free.as_ref() }.next;
        free.as_ptr().cast()
    }

    /// Cuts a run of the kernel's memory into allocations of one size.
    fn refill(&mut self, class: usize, size: usize) {
        let count = (SLAB_BYTES / size).max(1);
        let Ok(layout) = Layout::from_size_align(count * size, ALIGN_MAX) else { return };
        let Some(slab) = NonNull::new(from_kernel(layout)) else { return };
        for place in (0..count).rev() {
            // SAFETY: the place lies inside the slab, which is ours.
            let free = unsafe { slab.add(place * size) };
            self.give(class, free);
        }
    }

    fn give(&mut self, class: usize, memory: NonNull<u8>) {
        let free = memory.cast::<Free>();
        // SAFETY: the memory is free, large enough for a link, and aligned to 16 bytes.
        unsafe { free.write(Free { next: self.0[class] }) };
        self.0[class] = Some(free);
    }
}

// SAFETY: every allocation lies in memory of the kernel's that is given to nobody else, is as large as its
// class, which is at least as large as the layout, and aligned to 16 bytes or by the kernel.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match class_of(layout) {
            Some((class, size)) => without_interrupts(|| {
                let mut lists = self.lists.lock();
                note_in_use(|in_use| in_use + layout.size());
                lists.take(class, size)
            }),
            None => from_kernel(layout),
        }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        match (class_of(layout), NonNull::new(memory)) {
            (Some((class, _)), Some(memory)) => {
                without_interrupts(|| {
                    let mut lists = self.lists.lock();
                    note_in_use(|in_use| in_use - layout.size());
                    lists.give(class, memory);
                });
            }
            // SAFETY: it came from the kernel, with this layout.
            _ => unsafe { KERNEL.dealloc(memory, layout) },
        }
    }
}
