//! One ring of a machine: frames are copied out of its memory, or into it. Whatever the machine has written
//! there is checked; what is wrong with one frame costs that frame, what is wrong with the ring the
//! connection.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::num::Wrapping;
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::io::FromRawFd;
use std::sync::atomic::Ordering;

use virtio_queue::{DescriptorChain, Queue, QueueT};
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::eventfd::EventFd;

use super::{Source, Unplug, Watch};
use crate::burst::Burst;
use crate::statistics::Statistics;
use crate::{BACKLOG_FRAMES, BURST_FRAMES, FRAME_MAX_BYTES, FRAME_MIN_BYTES};

/// The longest ring (virtio 1.2, section 2.7: at most 32768; QEMU's network card: 1024).
pub(super) const RING_MAX: u16 = 1024;
/// `struct virtio_net_hdr_v1` (virtio 1.2, section 5.1.6).
const HEADER_BYTES: usize = 12;
/// Where in the header it says over how many buffers a frame goes: always one here.
const HEADER_NUM_BUFFERS: usize = 10;

/// A ring and its two bells.
#[derive(Debug)]
pub(super) struct Ring {
    pub(super) queue: Queue,
    kick: Option<EventFd>,
    call: Option<EventFd>,
    pub(super) is_enabled: bool,
    /// Something was used since the machine was last told.
    is_dirty: bool,
}

fn broken(error: virtio_queue::Error) -> Unplug {
    Unplug::Fault(format!("its ring makes no sense: {error}"))
}

impl Ring {
    pub(super) fn new() -> Ring {
        let queue = Queue::new(RING_MAX).expect("the size is a power of two");
        Ring { queue, kick: None, call: None, is_enabled: false, is_dirty: false }
    }

    /// Whether frames may go.
    pub(super) fn is_running(&self) -> bool {
        self.is_enabled && self.queue.ready() && self.kick.is_some()
    }

    pub(super) fn set_kick(
        &mut self,
        bell: Option<File>,
        watch: &Watch,
        number: u8,
    ) -> std::io::Result<()> {
        self.drop_kick(watch);
        if let Some(bell) = bell {
            let bell = event_fd(bell)?;
            watch.add(bell.as_raw_fd(), Source::Kick(number))?;
            self.kick = Some(bell);
        }
        Ok(())
    }

    /// The machine holds the other end: closing ours alone would leave it in `epoll`.
    pub(super) fn drop_kick(&mut self, watch: &Watch) {
        if let Some(bell) = self.kick.take() {
            watch.remove(bell.as_raw_fd());
        }
    }

    pub(super) fn set_call(&mut self, bell: Option<File>) -> std::io::Result<()> {
        self.call = bell.map(event_fd).transpose()?;
        // Whatever was used before the machine could be told.
        self.is_dirty = true;
        Ok(())
    }

    /// Silences the bell until it is rung again.
    pub(super) fn quiet(&self) {
        if let Some(bell) = &self.kick {
            // It does not block, and what it counts does not matter.
            let _ = bell.read();
        }
    }

    /// How many chains the machine offers now.
    fn offered(&self, memory: &GuestMemoryMmap) -> Result<u16, Unplug> {
        let index = self.queue.avail_idx(memory, Ordering::Acquire).map_err(broken)?;
        let offered = (index - Wrapping(self.queue.next_avail())).0;
        if offered > self.queue.size() {
            return Err(Unplug::Fault(format!("its ring offers {offered} buffers")));
        }
        Ok(offered)
    }

    /// Takes frames out of the transmit ring, a burst at most. True if there are more.
    pub(super) fn receive(
        &mut self,
        memory: &GuestMemoryMmap,
        burst: &mut Burst,
        statistics: &mut Statistics,
    ) -> Result<bool, Unplug> {
        self.queue.disable_notification(memory).map_err(broken)?;
        loop {
            for _ in 0..self.offered(memory)? {
                let Some(chain) = self.queue.pop_descriptor_chain(memory) else {
                    return Err(Unplug::Fault("its ring names a buffer that is none".into()));
                };
                let head = chain.head_index();
                read_frame(memory, chain, burst, statistics);
                self.queue.add_used(memory, head, 0).map_err(broken)?;
                self.is_dirty = true;
                if burst.len() == BURST_FRAMES {
                    return Ok(true);
                }
            }
            if !self.queue.enable_notification(memory).map_err(broken)? {
                return Ok(false);
            }
            self.queue.disable_notification(memory).map_err(broken)?;
        }
    }

    /// Puts a frame into the receive ring. False if the machine has no buffers; then it will ring when it
    /// has.
    pub(super) fn send(
        &mut self,
        memory: &GuestMemoryMmap,
        frame: &[u8],
        statistics: &mut Statistics,
    ) -> Result<bool, Unplug> {
        while self.offered(memory)? == 0 {
            if !self.queue.enable_notification(memory).map_err(broken)? {
                return Ok(false);
            }
            self.queue.disable_notification(memory).map_err(broken)?;
        }
        let Some(chain) = self.queue.pop_descriptor_chain(memory) else {
            return Err(Unplug::Fault("its ring names a buffer that is none".into()));
        };
        let head = chain.head_index();
        let written = write_frame(memory, chain, frame);
        match written {
            Some(_) => {
                statistics.frames_out += 1;
                statistics.bytes_out += frame.len() as u64;
            }
            None => statistics.dropped.bad_buffer += 1,
        }
        self.queue.add_used(memory, head, written.unwrap_or(0)).map_err(broken)?;
        self.is_dirty = true;
        Ok(true)
    }

    /// Puts waiting frames into the receive ring, as many as go.
    pub(super) fn send_waiting(
        &mut self,
        memory: &GuestMemoryMmap,
        waiting: &mut VecDeque<Vec<u8>>,
        statistics: &mut Statistics,
    ) -> Result<(), Unplug> {
        while let Some(frame) = waiting.front() {
            if !self.send(memory, frame, statistics)? {
                return Ok(());
            }
            waiting.pop_front();
        }
        // Nothing waits: no need to hear of each buffer.
        self.queue.disable_notification(memory).map_err(broken)
    }

    /// Rings, if something was used and the machine wants to hear of it.
    pub(super) fn flush(
        &mut self,
        memory: &GuestMemoryMmap,
        statistics: &mut Statistics,
    ) -> Result<(), Unplug> {
        if !self.is_dirty || !self.queue.ready() {
            return Ok(());
        }
        let Some(bell) = &self.call else { return Ok(()) };
        self.is_dirty = false;
        if self.queue.needs_notification(memory).map_err(broken)? {
            statistics.calls += 1;
            // A bell that cannot count further is ringing already.
            let _ = bell.write(1);
        }
        Ok(())
    }
}

/// Keeps a frame for a machine that has no buffers now.
pub(super) fn wait(waiting: &mut VecDeque<Vec<u8>>, frame: &[u8], statistics: &mut Statistics) {
    if waiting.len() < BACKLOG_FRAMES {
        waiting.push_back(frame.into());
    } else {
        statistics.dropped.backlog += 1;
    }
}

/// The frame in a chain, without its header.
fn read_frame(
    memory: &GuestMemoryMmap,
    chain: DescriptorChain<&GuestMemoryMmap>,
    burst: &mut Burst,
    statistics: &mut Statistics,
) {
    // A chain that breaks off or runs in a circle is not the frame that it seems to be.
    let is_whole = chain.clone().last().is_some_and(|last| !last.has_next());
    let Some(mut reader) = is_whole.then(|| chain.reader(memory).ok()).flatten() else {
        statistics.refused.malformed += 1;
        return;
    };
    let length = reader.available_bytes().saturating_sub(HEADER_BYTES);
    if length < FRAME_MIN_BYTES {
        statistics.refused.runt += 1;
    } else if length > FRAME_MAX_BYTES {
        statistics.refused.oversized += 1;
    } else {
        let mut header = [0; HEADER_BYTES];
        let read = reader.read_exact(&mut header);
        let copied = read.and_then(|()| burst.push_with(length, |room| reader.read_exact(room)));
        statistics.refused.malformed += u64::from(copied.is_err());
    }
}

/// Writes header and frame into a chain; how many bytes, unless it is too short or not in the memory.
fn write_frame(
    memory: &GuestMemoryMmap,
    chain: DescriptorChain<&GuestMemoryMmap>,
    frame: &[u8],
) -> Option<u32> {
    let mut writer = chain.writer(memory).ok()?;
    let length = HEADER_BYTES + frame.len();
    if writer.available_bytes() < length {
        return None;
    }
    let mut header = [0; HEADER_BYTES];
    header[HEADER_NUM_BUFFERS] = 1;
    writer.write_all(&header).ok()?;
    writer.write_all(frame).ok()?;
    u32::try_from(length).ok()
}

/// A bell never blocks, whatever kind of file the machine's hypervisor has sent.
fn event_fd(file: File) -> std::io::Result<EventFd> {
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
