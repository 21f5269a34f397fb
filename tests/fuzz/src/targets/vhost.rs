//! A machine at a port of the switch that writes anything into its rings, of two pairs, and leaves any work
//! to its card. Two others must still be able to talk, one of which has a card that does nothing for it.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use vhost::vhost_user::message::VhostUserProtocolFeatures;
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};
use vswitch::port::PortKind;
use vswitch::switch::{Config, PortConfig, Switch};

use super::control::Folder;
use crate::input::Input;
use crate::ip;

const MEMORY_BYTES: u64 = 1 << 20;
const RING: u16 = 16;
const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
const PAIRS: usize = 2;
const BUFFER_BYTES: u64 = 2048;
const HEADER_BYTES: u64 = 12;
/// Where frames of any length are.
const LARGE: u64 = 0xc_0000;
/// What a card may do for its machine when it receives: sum, take large segments, merge buffers.
const RECEIVES: u64 = 1 << 1 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 15;
const WRITE: u16 = 2;
/// The hypervisor's view of the machine's memory begins here.
const USER_BASE: u64 = 0x7000_0000;
const STEPS_MAX: usize = 64;
/// How often somebody looks whether a frame has come, and sends it once more meanwhile: so much may wait for
/// the receiver that there is no room for it.
const LOOKS_MAX: usize = 10_000_000;
const LOOKS_BETWEEN: usize = 100_000;

/// The switch, and two machines that behave.
struct World {
    folder: Folder,
    sender: Guest,
    receiver: Guest,
    count: u64,
}

pub(super) fn run(bytes: &[u8]) {
    static WORLD: OnceLock<Mutex<World>> = OnceLock::new();
    let world = WORLD.get_or_init(|| Mutex::new(World::start()));
    let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
    let mut guest = Guest::plug_in(&world.folder.0.join("1"), &world.folder, 0, PAIRS);
    guest.offer_buffers(RECEIVE, RING);
    guest.offer_buffers(RECEIVE + 2, RING);
    let mut input = Input::new(bytes);
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        guest.step(&mut input);
    }
    world.check();
}

impl World {
    fn start() -> World {
        let folder = Folder::new();
        let port = |name: &str| PortConfig {
            name: name.into(),
            kind: PortKind::VhostUser,
            path: folder.0.join(name),
            station: None,
        };
        let ports = ["1", "2", "3"].map(port).into();
        let config = Config { control: folder.0.join("control"), ports, seed: 1, stop: None };
        let mut switch = Switch::new(&config).expect("the folder is ours");
        std::thread::spawn(move || switch.run().expect("the switch never ends"));
        let sender = Guest::plug_in(&folder.0.join("2"), &folder, 0, 1);
        let mut receiver = Guest::plug_in(&folder.0.join("3"), &folder, RECEIVES, 1);
        receiver.offer_buffers(RECEIVE, RING);
        World { folder, sender, receiver, count: 0 }
    }

    /// A frame to everybody arrives, among whatever the other machine has sent.
    fn check(&mut self) {
        self.count += 1;
        let mut frame = vec![0xff; 6];
        frame.extend([2, 0, 0, 0, 0, 2, 0x88, 0xb5]);
        frame.extend(self.count.to_le_bytes());
        frame.resize(60, 0);
        for look in 0..LOOKS_MAX {
            if look % LOOKS_BETWEEN == 0 {
                self.sender.send(TRANSMIT, &frame);
            }
            match self.receiver.receive() {
                Some(received) if received == frame => return,
                Some(_) => {}
                None => std::thread::yield_now(),
            }
        }
        panic!("the others cannot talk any more");
    }
}

/// Where the parts of a ring are in the machine's memory.
fn descriptors(ring: usize) -> u64 {
    0x1_0000 * (ring as u64 + 1)
}

fn available(ring: usize) -> u64 {
    descriptors(ring) + 0x1000
}

fn used(ring: usize) -> u64 {
    descriptors(ring) + 0x2000
}

fn buffer(ring: usize, slot: u16) -> u64 {
    0x8_0000 + (ring as u64 * u64::from(RING) + u64::from(slot)) * BUFFER_BYTES
}

/// A machine, and its hypervisor's end of the connection.
struct Guest {
    memory: GuestMemoryMmap,
    kicks: [EventFd; 2 * PAIRS],
    next_available: [u16; 2 * PAIRS],
    next_used: u16,
    frontend: Frontend,
}

impl Guest {
    /// With all features that the switch offers, but for those, and so many pairs of rings.
    fn plug_in(path: &Path, folder: &Folder, without: u64, pairs: usize) -> Guest {
        let mut frontend = Frontend::connect(path, 2 * PAIRS as u64).expect("the switch listens");
        frontend.set_owner().expect("it is heard");
        let features = frontend.get_features().expect("it is answered") & !without;
        let protocol = frontend.get_protocol_features().expect("it is answered");
        frontend.set_features(features).expect("it is heard");
        let several = protocol & VhostUserProtocolFeatures::MQ;
        frontend.set_protocol_features(several).expect("it is heard");
        frontend.get_queue_num().expect("it is answered");
        let file = memory_file(folder);
        let offset = FileOffset::new(file.try_clone().expect("a descriptor is free"), 0);
        let ranges = [(GuestAddress(0), MEMORY_BYTES as usize, Some(offset))];
        let memory = GuestMemoryMmap::from_ranges_with_files(ranges).expect("it can be mapped");
        let region = VhostUserMemoryRegionInfo {
            guest_phys_addr: 0,
            memory_size: MEMORY_BYTES,
            userspace_addr: USER_BASE,
            mmap_offset: 0,
            mmap_handle: file.as_raw_fd(),
        };
        frontend.set_mem_table(&[region]).expect("it is heard");
        let kicks = [0, 1, 2, 3].map(|ring| start_ring(&mut frontend, ring, ring / 2 < pairs));
        // Asks for something, so that everything before it is done.
        frontend.get_features().expect("it is answered");
        Guest { memory, kicks, next_available: [0; 2 * PAIRS], next_used: 0, frontend }
    }

    fn offer_buffers(&mut self, ring: usize, count: u16) {
        for _ in 0..count {
            let slot = self.next_available[ring] % RING;
            self.describe(ring, slot, buffer(ring, slot), BUFFER_BYTES as u32, WRITE, 0);
            self.offer(ring, slot);
        }
    }

    fn describe(&self, ring: usize, slot: u16, address: u64, length: u32, flags: u16, next: u16) {
        let place = descriptors(ring) + u64::from(slot % RING) * 16;
        self.write(place, &address.to_le_bytes());
        self.write(place + 8, &length.to_le_bytes());
        self.write(place + 12, &flags.to_le_bytes());
        self.write(place + 14, &next.to_le_bytes());
    }

    fn write(&self, place: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(place)).expect("the place is in the memory");
    }

    fn read<const N: usize>(&self, place: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.memory.read_slice(&mut bytes, GuestAddress(place)).expect("it is in the memory");
        bytes
    }

    fn offer(&mut self, ring: usize, head: u16) {
        let place = available(ring) + 4 + u64::from(self.next_available[ring] % RING) * 2;
        self.write(place, &head.to_le_bytes());
        self.next_available[ring] = self.next_available[ring].wrapping_add(1);
        self.set_available(ring, self.next_available[ring]);
    }

    fn set_available(&mut self, ring: usize, index: u16) {
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        self.write(available(ring) + 2, &index.to_le_bytes());
        // A bell that cannot count further is ringing already.
        let _ = self.kicks[ring].write(1);
    }

    fn send(&mut self, ring: usize, frame: &[u8]) {
        let place = buffer(ring, self.next_available[ring] % RING);
        self.send_from(ring, place, &[0; HEADER_BYTES as usize], frame);
    }

    /// Sends a frame with this header, in one buffer at this place.
    fn send_from(&mut self, ring: usize, place: u64, header: &[u8], frame: &[u8]) {
        let slot = self.next_available[ring] % RING;
        self.write(place, header);
        self.write(place + HEADER_BYTES, frame);
        self.describe(ring, slot, place, (header.len() + frame.len()) as u32, 0, 0);
        self.offer(ring, slot);
    }

    /// Sends a frame of which something is left to do, or its header says so.
    fn send_unfinished(&mut self, ring: usize, input: &mut Input<'_>) {
        let choice = input.u8();
        let mut header = [1, choice % 6, 54, 0, 0, 0, 34, 0, 16, 0, 0, 0];
        header[4..6].copy_from_slice(&(input.u16() >> (choice % 8)).to_le_bytes());
        if choice & 0x80 != 0 {
            let place = usize::from(input.below(HEADER_BYTES as u8));
            header[place] = input.u8();
        }
        let length = usize::from(input.u16() >> (choice % 8)).min(64_000);
        let mut frame = ip::tcp(80, input.u32(), 1, ip::ACK, &vec![choice; length]);
        if choice & 0x40 != 0 {
            let place = usize::from(input.below(54));
            frame[place] = input.u8();
        }
        self.send_from(ring, LARGE, &header, &frame);
    }

    /// The next frame, if one has come; its buffer is offered again.
    fn receive(&mut self) -> Option<Vec<u8>> {
        let next = self.next_used;
        if u16::from_le_bytes(self.read(used(RECEIVE) + 2)) == next {
            return None;
        }
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        let place = used(RECEIVE) + 4 + u64::from(next % RING) * 8;
        let slot = u32::from_le_bytes(self.read(place));
        let length = u32::from_le_bytes(self.read(place + 4));
        self.next_used = next.wrapping_add(1);
        let from = buffer(RECEIVE, u16::try_from(slot).expect("it was offered")) + HEADER_BYTES;
        let mut bytes = vec![0; length as usize - HEADER_BYTES as usize];
        self.memory.read_slice(&mut bytes, GuestAddress(from)).expect("it is in the memory");
        self.offer_buffers(RECEIVE, 1);
        Some(bytes)
    }

    /// Something that a machine can do that is out of its mind.
    fn step(&mut self, input: &mut Input<'_>) {
        let choice = input.u8();
        let ring = usize::from(choice >> 6);
        match choice % 16 % 9 {
            0 => {
                let address = match input.u8() {
                    near @ 0..200 => 0x8_0000 + u64::from(near) * 64,
                    200..228 => MEMORY_BYTES - u64::from(input.u8()),
                    _ => input.u64(),
                };
                let slot = input.u16();
                let (length, flags) = (u32::from(input.u16()), u16::from(input.below(8)));
                self.describe(ring, slot, address, length, flags, u16::from(input.below(20)));
            }
            1 => self.offer(ring, u16::from(input.below(20))),
            2 => self.offer(ring, input.u16()),
            3 => self.set_available(ring, input.u16()),
            4 => {
                let length = usize::from(input.u8());
                self.send(ring, input.take(length));
            }
            6 | 7 => self.send_unfinished(ring | 1, input),
            5 => {
                let place = descriptors(ring) + u64::from(input.u16()) % 0x3000;
                self.write(place, &input.u64().to_le_bytes());
            }
            _ => self.tell(ring, input),
        }
    }

    /// Something that a hypervisor can say. That it is refused is as good as that it is taken.
    fn tell(&mut self, ring: usize, input: &mut Input<'_>) {
        let index = if input.below(4) == 0 { usize::from(input.u8()) } else { ring };
        let _ = match input.below(5) {
            0 => self.frontend.set_vring_num(index.min(3), input.u16()),
            1 => self.frontend.set_vring_base(index.min(3), input.u16()),
            2 => self.frontend.set_vring_enable(index.min(3), input.u8() & 1 == 0),
            3 => self.frontend.set_features(input.u64()),
            _ => {
                let address = |input: &mut Input<'_>| {
                    let offset = u64::from(input.u32());
                    if offset & 1 == 0 { USER_BASE + offset % MEMORY_BYTES } else { offset << 9 }
                };
                let config = VringConfigData {
                    queue_max_size: RING,
                    queue_size: RING,
                    flags: 0,
                    desc_table_addr: address(input),
                    used_ring_addr: address(input),
                    avail_ring_addr: address(input),
                    log_addr: None,
                };
                self.frontend.set_vring_addr(index.min(3), &config)
            }
        };
    }
}

fn start_ring(frontend: &mut Frontend, ring: usize, is_enabled: bool) -> EventFd {
    let bell = || EventFd::new(EFD_NONBLOCK).expect("a descriptor is free");
    let (kick, call) = (bell(), bell());
    let config = VringConfigData {
        queue_max_size: RING,
        queue_size: RING,
        flags: 0,
        desc_table_addr: USER_BASE + descriptors(ring),
        used_ring_addr: USER_BASE + used(ring),
        avail_ring_addr: USER_BASE + available(ring),
        log_addr: None,
    };
    frontend.set_vring_num(ring, RING).expect("it is heard");
    frontend.set_vring_base(ring, 0).expect("it is heard");
    frontend.set_vring_addr(ring, &config).expect("it is heard");
    frontend.set_vring_call(ring, &call).expect("it is heard");
    frontend.set_vring_kick(ring, &kick).expect("it is heard");
    frontend.set_vring_enable(ring, is_enabled).expect("it is heard");
    kick
}

/// A file that has no name any more: memory that can be shared.
fn memory_file(folder: &Folder) -> File {
    let path = folder.0.join("memory");
    let options = File::options().read(true).write(true).create(true).truncate(true).open(&path);
    let file = options.expect("the folder is ours");
    file.set_len(MEMORY_BYTES).expect("there is room");
    std::fs::remove_file(path).expect("the folder is ours");
    file
}
