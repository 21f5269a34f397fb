//! A machine for the tests: memory, two rings by hand, and the hypervisor's side of the vhost-user protocol.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::Path;
use std::time::Duration;

use vhost::vhost_user::message::VhostUserProtocolFeatures;
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::patience;

pub const MEMORY_BYTES: usize = 2 << 20;
pub const RING: u16 = 16;
pub const RECEIVE: usize = 0;
pub const TRANSMIT: usize = 1;
const BUFFER_BYTES: u32 = 2048;
const DESCRIPTOR_BYTES: u64 = 16;
pub const HEADER_BYTES: usize = 12;
const NEXT: u16 = 1;
const WRITE: u16 = 2;

/// The hypervisor's view of the machine's memory begins here.
pub const USER_BASE: u64 = 0x7000_0000;

/// Where the parts of a ring are in the machine's memory.
pub fn descriptors(ring: usize) -> u64 {
    0x1_0000 * (ring as u64 + 1)
}
/// Of a ring of the usual size.
pub fn available(ring: usize) -> u64 {
    descriptors(ring) + 0x1000
}

/// See the module.
pub struct Guest {
    /// How many descriptors each ring has.
    size: u16,
    pub memory: GuestMemoryMmap,
    kicks: Vec<EventFd>,
    next_available: Vec<u16>,
    next_used: Vec<u16>,
    frontend: Frontend,
}

impl Guest {
    /// Plugs in a card that takes over nothing.
    pub fn plug_in(path: &Path) -> Guest {
        Guest::plug_in_with(path, 0, 1)
    }

    /// Plugs in a card with these features of network cards besides those of all devices, and so many pairs
    /// of rings.
    pub fn plug_in_with(path: &Path, offloads: u64, pairs: usize) -> Guest {
        Guest::plug_in_sized(path, offloads, pairs, RING)
    }

    /// As [`Guest::plug_in_with`], with rings of this size.
    pub fn plug_in_sized(path: &Path, offloads: u64, pairs: usize, size: u16) -> Guest {
        let rings = 2 * pairs;
        // What all buffers need, if that is more.
        let memory_bytes = MEMORY_BYTES.max(8 * usize::from(size) * BUFFER_BYTES as usize);
        let mut frontend = Frontend::connect(path, rings as u64).unwrap();
        frontend.set_owner().unwrap();
        let offered = frontend.get_features().unwrap();
        assert_eq!(offered & offloads, offloads, "the switch offers them");
        // Those of network cards are the first 24.
        let features = offered & (!0xff_ffff | offloads);
        let protocol = frontend.get_protocol_features().unwrap();
        frontend.set_features(features).unwrap();
        if pairs > 1 {
            frontend.set_protocol_features(protocol & VhostUserProtocolFeatures::MQ).unwrap();
            assert!(frontend.get_queue_num().unwrap() >= pairs as u64);
        }
        let file = memory_file(memory_bytes);
        let offset = FileOffset::new(file.try_clone().unwrap(), 0);
        let ranges = [(GuestAddress(0), memory_bytes, Some(offset))];
        let memory = GuestMemoryMmap::from_ranges_with_files(ranges).unwrap();
        let region = VhostUserMemoryRegionInfo {
            guest_phys_addr: 0,
            memory_size: memory_bytes as u64,
            userspace_addr: USER_BASE,
            mmap_offset: 0,
            mmap_handle: file.as_raw_fd(),
        };
        frontend.set_mem_table(&[region]).unwrap();
        let bell = || EventFd::new(EFD_NONBLOCK).unwrap();
        let kicks: Vec<_> = (0..rings).map(|_| bell()).collect();
        let calls: Vec<_> = (0..rings).map(|_| bell()).collect();
        let (next_available, next_used) = (vec![0; rings], vec![0; rings]);
        let mut guest = Guest { size, memory, kicks, next_available, next_used, frontend };
        for (ring, call) in calls.iter().enumerate() {
            guest.frontend.set_vring_num(ring, size).unwrap();
            guest.frontend.set_vring_base(ring, 0).unwrap();
            let config = VringConfigData {
                queue_max_size: size,
                queue_size: size,
                flags: 0,
                desc_table_addr: USER_BASE + descriptors(ring),
                used_ring_addr: USER_BASE + guest.used(ring),
                avail_ring_addr: USER_BASE + guest.available(ring),
                log_addr: None,
            };
            guest.frontend.set_vring_addr(ring, &config).unwrap();
            guest.frontend.set_vring_call(ring, call).unwrap();
            guest.frontend.set_vring_kick(ring, &guest.kicks[ring]).unwrap();
            guest.frontend.set_vring_enable(ring, true).unwrap();
        }
        // Asks for something, so that everything before it is done.
        guest.frontend.get_features().unwrap();
        guest
    }

    fn available(&self, ring: usize) -> u64 {
        descriptors(ring) + (u64::from(self.size) * DESCRIPTOR_BYTES).max(0x1000)
    }

    fn used(&self, ring: usize) -> u64 {
        self.available(ring) + 0x1000
    }

    fn buffer(&self, ring: usize, slot: u16) -> u64 {
        let buffers = (u64::from(self.size) * u64::from(BUFFER_BYTES)).max(0x4_0000);
        0x8_0000 + buffers * ring as u64 + u64::from(slot) * u64::from(BUFFER_BYTES)
    }

    /// Says something to the switch, which must still be there to answer.
    pub fn is_plugged(&mut self) -> bool {
        self.frontend.get_features().is_ok()
    }

    /// Writes a descriptor.
    pub fn describe(
        &self,
        ring: usize,
        slot: u16,
        address: u64,
        length: u32,
        flags: u16,
        next: u16,
    ) {
        let place = descriptors(ring) + u64::from(slot) * 16;
        self.memory.write_obj(address, GuestAddress(place)).unwrap();
        self.memory.write_obj(length, GuestAddress(place + 8)).unwrap();
        self.memory.write_obj(flags, GuestAddress(place + 12)).unwrap();
        self.memory.write_obj(next, GuestAddress(place + 14)).unwrap();
    }

    /// Offers a chain, and rings.
    pub fn offer(&mut self, ring: usize, head: u16) {
        self.offer_in_silence(ring, head);
        self.ring(ring);
    }

    /// Offers a chain, and does not ring.
    fn offer_in_silence(&mut self, ring: usize, head: u16) {
        let place = self.available(ring) + 4 + u64::from(self.next_available[ring] % self.size) * 2;
        self.memory.write_obj(head, GuestAddress(place)).unwrap();
        self.next_available[ring] = self.next_available[ring].wrapping_add(1);
        self.write_available(ring, self.next_available[ring]);
    }

    fn write_available(&self, ring: usize, index: u16) {
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        self.memory.write_obj(index, GuestAddress(self.available(ring) + 2)).unwrap();
    }

    /// Says how much is offered, and rings.
    pub fn set_available(&mut self, ring: usize, index: u16) {
        self.write_available(ring, index);
        self.ring(ring);
    }

    /// Rings.
    pub fn ring(&self, ring: usize) {
        self.kicks[ring].write(1).unwrap();
    }

    /// Offers `count` buffers to receive into.
    pub fn offer_buffers(&mut self, count: u16) {
        self.offer_buffers_in(RECEIVE, count);
    }

    pub fn offer_buffers_in(&mut self, ring: usize, count: u16) {
        for _ in 0..count {
            let slot = self.next_available[ring] % self.size;
            self.describe(ring, slot, self.buffer(ring, slot), BUFFER_BYTES, WRITE, 0);
            self.offer(ring, slot);
        }
    }

    /// Sends a frame, and waits until the switch has taken it.
    pub fn send(&mut self, frame: &[u8]) {
        self.send_with(TRANSMIT, [0; HEADER_BYTES], frame);
    }

    /// As [`Guest::send`], in this ring and with this header: in as many buffers as it takes.
    pub fn send_with(&mut self, ring: usize, header: [u8; HEADER_BYTES], frame: &[u8]) {
        let bytes = [&header[..], frame].concat();
        let pieces: Vec<_> = bytes.chunks(BUFFER_BYTES as usize).collect();
        assert!(pieces.len() <= usize::from(self.size), "the frame fits the ring");
        let head = self.next_available[ring] % self.size;
        for (number, piece) in (0..).zip(&pieces) {
            let (slot, next) = ((head + number) % self.size, (head + number + 1) % self.size);
            self.memory.write_slice(piece, GuestAddress(self.buffer(ring, slot))).unwrap();
            let flags = if usize::from(number) + 1 < pieces.len() { NEXT } else { 0 };
            let length = u32::try_from(piece.len()).unwrap();
            self.describe(ring, slot, self.buffer(ring, slot), length, flags, next);
        }
        self.offer(ring, head);
        assert!(self.is_taken_in(ring), "the switch has not taken the frame");
    }

    /// Puts a short frame into the ring, and does not ring.
    pub fn put_in_silence(&mut self, frame: &[u8]) {
        let slot = self.next_available[TRANSMIT] % self.size;
        let bytes = [&[0; HEADER_BYTES], frame].concat();
        let place = self.buffer(TRANSMIT, slot);
        self.memory.write_slice(&bytes, GuestAddress(place)).unwrap();
        self.describe(TRANSMIT, slot, place, u32::try_from(bytes.len()).unwrap(), 0, 0);
        self.offer_in_silence(TRANSMIT, slot);
    }

    /// Whether the switch has taken everything that was offered for transmission.
    pub fn was_taken(&self) -> bool {
        let index: u16 = self.memory.read_obj(GuestAddress(self.used(TRANSMIT) + 2)).unwrap();
        index == self.next_available[TRANSMIT]
    }

    /// Whether the switch takes everything that was offered for transmission.
    pub fn is_taken(&self) -> bool {
        self.is_taken_in(TRANSMIT)
    }

    fn is_taken_in(&self, ring: usize) -> bool {
        patience(|| {
            let index: u16 = self.memory.read_obj(GuestAddress(self.used(ring) + 2)).unwrap();
            index == self.next_available[ring]
        })
    }

    /// How far the switch has come in this ring.
    pub fn used_index(&self, ring: usize) -> u16 {
        self.memory.read_obj(GuestAddress(self.used(ring) + 2)).unwrap()
    }

    /// Which buffer it has used as the one of that number.
    pub fn used_head(&self, ring: usize, number: u16) -> u32 {
        let place = self.used(ring) + 4 + u64::from(number % self.size) * 8;
        self.memory.read_obj(GuestAddress(place)).unwrap()
    }

    /// The next frame, if one comes soon.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        let (header, frame) = self.receive_in(RECEIVE)?;
        assert_eq!(header[10..12], [1, 0], "one buffer for a frame");
        Some(frame)
    }

    /// The next frame of this ring and its header, out of as many buffers as the header says.
    pub fn receive_in(&mut self, ring: usize) -> Option<([u8; HEADER_BYTES], Vec<u8>)> {
        let mut bytes = self.take_buffer(ring)?;
        let header: [u8; HEADER_BYTES] = bytes[..HEADER_BYTES].try_into().unwrap();
        for _ in 1..u16::from_le_bytes([header[10], header[11]]) {
            bytes.extend(self.take_buffer(ring).expect("the buffers of a frame come together"));
        }
        Some((header, bytes.split_off(HEADER_BYTES)))
    }

    fn take_buffer(&mut self, ring: usize) -> Option<Vec<u8>> {
        let next = self.next_used[ring];
        let has_come = patience(|| {
            self.memory.read_obj::<u16>(GuestAddress(self.used(ring) + 2)).unwrap() != next
        });
        if !has_come {
            return None;
        }
        let place = self.used(ring) + 4 + u64::from(next % self.size) * 8;
        let slot: u32 = self.memory.read_obj(GuestAddress(place)).unwrap();
        let length: u32 = self.memory.read_obj(GuestAddress(place + 4)).unwrap();
        self.next_used[ring] = next.wrapping_add(1);
        let mut bytes = vec![0; length as usize];
        let from = GuestAddress(self.buffer(ring, u16::try_from(slot).unwrap()));
        self.memory.read_slice(&mut bytes, from).unwrap();
        Some(bytes)
    }

    /// That nothing comes.
    pub fn receives_nothing(&mut self) -> bool {
        std::thread::sleep(Duration::from_millis(50));
        let index: u16 = self.memory.read_obj(GuestAddress(self.used(RECEIVE) + 2)).unwrap();
        index == self.next_used[RECEIVE]
    }
}

pub fn memory_file(bytes: usize) -> File {
    // SAFETY: the name is a C string; the result is checked, and owned by the file alone.
    let file = unsafe {
        let fd = libc::memfd_create(c"guest".as_ptr(), libc::MFD_CLOEXEC);
        assert!(fd >= 0);
        File::from_raw_fd(fd)
    };
    file.set_len(bytes as u64).unwrap();
    file
}
