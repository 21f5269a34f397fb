//! A packet in a buffer: the window that holds it, with room in front and behind.

use core::ops::{Deref, DerefMut};
use core::slice::{from_raw_parts, from_raw_parts_mut};

use crate::{HEADROOM_BYTES, PacketBuffer};

/// An owned packet. It derefs to the bytes of its window; headers are put in front, payload behind,
/// and layers are peeled off by moving the window's edges: the bytes themselves never move.
#[derive(Debug)]
pub struct Frame {
    buffer: PacketBuffer,
    /// Invariant: `start <= end <= buffer.len()`, on which unsafe code relies: to compare with the length
    /// again would read it from the pool for every access. Half as wide as a length, for frames are moved
    /// often.
    start: u32,
    end: u32,
}

impl Frame {
    /// An empty frame that starts behind the usual headroom.
    #[inline]
    pub fn new(buffer: PacketBuffer) -> Frame {
        let start = HEADROOM_BYTES as u32;
        Frame { buffer, start, end: start }
    }

    /// A frame whose bytes are already in the buffer, at `start..start + length`; `None` if they are not
    /// inside it.
    #[inline]
    pub fn from_received(buffer: PacketBuffer, start: usize, length: usize) -> Option<Frame> {
        let end = start.checked_add(length).filter(|end| *end <= buffer.len())?;
        // A buffer is shorter than 4 GiB, as its pool has asserted.
        Some(Frame { buffer, start: start as u32, end: end as u32 })
    }

    #[inline]
    fn length(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// How many bytes can be put in front.
    #[inline]
    pub fn headroom(&self) -> usize {
        self.start as usize
    }

    /// How many bytes can be put behind.
    #[inline]
    pub fn tailroom(&self) -> usize {
        self.buffer.len() - self.end as usize
    }

    /// Grows the frame by `count` bytes in front and gives those bytes, whose content is undefined.
    ///
    /// # Panics
    /// If there is less headroom.
    #[inline]
    pub fn prepend(&mut self, count: usize) -> &mut [u8] {
        let start = self.headroom().checked_sub(count).expect("the headroom suffices");
        self.start = start as u32;
        // SAFETY: these bytes end where the frame started, which lies in the buffer.
        unsafe { self.bytes_mut(start, count) }
    }

    /// Grows the frame by `count` bytes behind and gives those bytes, whose content is undefined.
    ///
    /// # Panics
    /// If there is less tailroom.
    #[inline]
    pub fn append(&mut self, count: usize) -> &mut [u8] {
        assert!(count <= self.tailroom(), "the tailroom suffices");
        let old_end = self.end as usize;
        self.end += count as u32;
        // SAFETY: these bytes end where the frame ends now, which lies in the buffer, as just asserted.
        unsafe { self.bytes_mut(old_end, count) }
    }

    /// So many bytes of the buffer.
    ///
    /// # Safety
    /// They lie in the buffer.
    #[inline]
    unsafe fn bytes_mut(&mut self, start: usize, count: usize) -> &mut [u8] {
        // SAFETY: the buffer's holder alone has its bytes, and is borrowed mutably; the caller's promise.
        unsafe { from_raw_parts_mut(self.buffer.base().as_ptr().add(start), count) }
    }

    /// Copies `bytes` behind the frame, and counts the copy.
    ///
    /// # Panics
    /// If there is less tailroom.
    pub fn append_copy(&mut self, bytes: &[u8]) {
        self.append(bytes.len()).copy_from_slice(bytes);
        self.buffer.pool().count_copied(bytes.len());
    }

    /// Drops `count` bytes in front: a header that has been read.
    ///
    /// # Panics
    /// If the frame is shorter.
    #[inline]
    pub fn trim_front(&mut self, count: usize) {
        assert!(count <= self.len(), "the frame has that many bytes");
        self.start += count as u32;
    }

    /// Drops what is behind the first `length` bytes; nothing if the frame is not longer.
    #[inline]
    pub fn truncate(&mut self, length: usize) {
        if length < self.len() {
            self.end = self.start + length as u32;
        }
    }

    /// The address at which a device finds the frame's first byte.
    #[inline]
    pub fn device_address(&self) -> u64 {
        self.buffer.device_address() + u64::from(self.start)
    }

    /// The whole buffer, its window forgotten.
    #[inline]
    pub fn into_buffer(self) -> PacketBuffer {
        self.buffer
    }

    /// The buffer that holds the frame.
    pub fn buffer(&self) -> &PacketBuffer {
        &self.buffer
    }
}

impl Deref for Frame {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: the window lies in the buffer, whose holder alone has its bytes.
        unsafe {
            from_raw_parts(self.buffer.base().as_ptr().add(self.start as usize), self.length())
        }
    }
}

impl DerefMut for Frame {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: the window lies in the buffer.
        unsafe { self.bytes_mut(self.start as usize, self.length()) }
    }
}
