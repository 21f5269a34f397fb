//! What a PCI device says of itself: its configuration space, and its registers.

use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::rc::Rc;

use pool::{PAGE_BYTES, Pool};
use virtio::VirtioNet;
use virtio::fake::allocate;
use virtio::net::NetConfig;
use virtio::transport::{
    ConfigurationAccess, DeviceFunction, DeviceType, Found, InterruptMessage, InterruptSource, Pci,
};

use crate::input::Input;

const BAR: u64 = 0xfebf_0000;
const BAR_BYTES: usize = 0x4000;
const BUFFERS: usize = 16;
const CARD: Found = Found {
    device_type: DeviceType::Network,
    device_function: DeviceFunction { bus: 0, device: 3, function: 0 },
};

/// The words of a card as QEMU shows it: an identity, a base address of 64 bits, and five capabilities.
const GOOD: [(usize, u32); 27] = [
    (0, 0x1041_1af4),
    (1, 1 << 20),
    (8, BAR as u32 | 0b1100),
    (13, 0x40),
    (16, 0x0002_5011),
    (17, 0x804),
    (20, 0x0110_6009),
    (21, 4),
    (22, 0),
    (23, 0x38),
    (24, 0x0214_7809),
    (25, 4),
    (26, 0x3000),
    (27, 0x1000),
    (28, 4),
    (30, 0x0310_8809),
    (31, 4),
    (32, 0x1000),
    (33, 0x1000),
    (34, 0x0410_0009),
    (35, 4),
    (36, 0x2000),
    (37, 0x1000),
    (38, 0),
    (39, 0),
    (40, 0),
    (41, 0),
];

/// The configuration space of the one function that there is.
#[derive(Clone, Debug)]
struct Space(Rc<RefCell<[u32; 64]>>);

impl ConfigurationAccess for Space {
    fn read_word(&self, device: DeviceFunction, register: u8) -> u32 {
        let is_there = device == CARD.device_function;
        if is_there { self.0.borrow()[usize::from(register / 4)] } else { u32::MAX }
    }

    fn write_word(&mut self, device: DeviceFunction, register: u8, data: u32) {
        assert_eq!(device, CARD.device_function, "only functions that exist are written");
        let word = usize::from(register / 4);
        let mut words = self.0.borrow_mut();
        words[word] = match word {
            1 => words[1] & 0xffff_0000 | data & 0xffff,
            // The lower bits of a base address are fixed, for its size is asked by writing ones.
            8 => words[8] & (BAR_BYTES as u32 - 1) | data & !(BAR_BYTES as u32 - 1),
            _ => data,
        };
    }

    unsafe fn unsafe_clone(&self) -> Space {
        self.clone()
    }
}

/// Registers that remember what is written.
struct Memory(Vec<Cell<u64>>);

impl Memory {
    /// Where a physical range is mapped: nowhere outside the base address.
    fn map(&self, physical: u64, length: usize) -> Option<NonNull<u8>> {
        let offset = usize::try_from(physical.checked_sub(BAR)?).ok()?;
        let is_inside = offset < BAR_BYTES && length <= BAR_BYTES - offset;
        let start = self.0.as_ptr().cast::<u8>().cast_mut();
        is_inside.then(|| NonNull::new(start.wrapping_add(offset))).flatten()
    }
}

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut words = [0; 64];
    for (word, value) in GOOD {
        words[word] = value;
    }
    let memory = Memory((0..BAR_BYTES / 8).map(|_| Cell::new(0)).collect());
    // A device that offers everything, and has three queues of 64.
    memory.0[0].set(u64::from(u32::MAX) << 32);
    memory.0[2].set(3 << 16);
    memory.0[3].set(64);
    for _ in 0..input.below(8) {
        let (word, value) = (usize::from(input.below(64)), input.u32());
        words[word] = if input.u8() & 1 == 0 { words[word] ^ 1 << (value % 32) } else { value };
    }
    for _ in 0..input.below(8) {
        let place = if input.u8() & 1 == 0 { 0 } else { 0x2000 / 8 };
        memory.0[place + usize::from(input.below(8))].set(input.u64());
    }
    start(Space(Rc::new(RefCell::new(words))), &memory);
}

/// Starts the card, if it is one.
fn start(space: Space, memory: &Memory) {
    Pci::new(space.clone()).discover();
    let map = |address, length| memory.map(address, length);
    // SAFETY: the memory outlives the device, and a range outside it is not mapped.
    let Ok(mut device) = (unsafe { Pci::new(space).open(CARD, map) }) else { return };
    let message = InterruptMessage { address: 0xfee0_1000, data: 0x82 };
    // A device without messages refuses.
    let _ = device.set_interrupt(InterruptSource::Queue(0), message);
    let pool = Pool::on_heap(BUFFERS, PAGE_BYTES);
    let config = NetConfig { queue_size_max: 16, receive_buffers: 4, ..NetConfig::DEFAULT };
    if let Ok(mut card) = VirtioNet::new(device, config, pool.clone(), allocate) {
        card.receive_burst(4, drop);
        card.check_link();
    }
    assert_eq!(pool.free(), BUFFERS, "no buffer is lost");
}
