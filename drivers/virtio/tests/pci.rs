//! The PCI transport against configuration spaces and registers that are plain arrays.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::rc::Rc;

use pool::{PAGE_BYTES, Pool};
use proptest::prelude::*;
use virtio::fake::allocate;
use virtio::net::NetConfig;
use virtio::transport::{
    ConfigurationAccess, DeviceFunction, DeviceType, Doorbell, Doorbells, Found, InterruptError,
    InterruptMessage, InterruptSource, Pci, PciDevice, PciDeviceError, Transport,
};
use virtio::{InitError, VirtioNet};
use virtio_drivers::transport::Transport as _;

/// Configuration space of one function: words, and for the base addresses which bits are fixed.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Space {
    words: [u32; 64],
    bar_masks: [u32; 6],
}

/// The configuration spaces of a machine.
#[derive(Clone, Debug, Default)]
struct Spaces(Rc<RefCell<BTreeMap<Place, Space>>>);

/// Bus, device, function.
type Place = (u8, u8, u8);

impl Spaces {
    fn with(self, bus: u8, device: u8, space: Space) -> Spaces {
        self.0.borrow_mut().insert((bus, device, 0), space);
        self
    }

    fn space(&self, bus: u8, device: u8) -> Space {
        self.0.borrow()[&(bus, device, 0)].clone()
    }
}

impl ConfigurationAccess for Spaces {
    fn read_word(&self, device: DeviceFunction, register: u8) -> u32 {
        let spaces = self.0.borrow();
        let space = spaces.get(&(device.bus, device.device, device.function));
        space.map_or(u32::MAX, |space| space.words[usize::from(register / 4)])
    }

    fn write_word(&mut self, device: DeviceFunction, register: u8, data: u32) {
        let mut spaces = self.0.borrow_mut();
        let key = (device.bus, device.device, device.function);
        let space = spaces.get_mut(&key).expect("only functions that exist are written");
        let word = usize::from(register / 4);
        space.words[word] = match word {
            1 => space.words[1] & 0xffff_0000 | data & 0xffff,
            4..=9 => {
                let mask = space.bar_masks[word - 4];
                space.words[word] & !mask | data & mask
            }
            _ => data,
        };
    }

    unsafe fn unsafe_clone(&self) -> Spaces {
        self.clone()
    }
}

const BAR: u64 = 0xfebf_0000;
const BAR_BYTES: usize = 0x4000;
const COMMON: usize = 0;
const ISR: usize = 0x1000;
const DEVICE: usize = 0x2000;
const NOTIFY: usize = 0x3000;
const TABLE: usize = 0x800;
/// Where the capability of each kind lies in configuration space.
const CAP_MSIX: usize = 0x40;
const CAP_COMMON: usize = 0x50;
const CAP_NOTIFY: usize = 0x60;
const CAP_ISR: usize = 0x78;
const CAP_DEVICE: usize = 0x88;

fn empty(device_id: u16, vendor: u16) -> Space {
    let mut space = Space { words: [0; 64], bar_masks: [0; 6] };
    space.words[0] = u32::from(device_id) << 16 | u32::from(vendor);
    space
}

fn bridge(secondary: u8) -> Space {
    let mut space = empty(0x000c, 0x1b36);
    space.words[3] = 1 << 16;
    space.words[6] = u32::from(secondary) << 8;
    space
}

fn capability(space: &mut Space, at: usize, next: usize, kind: u8, window: (usize, usize)) {
    let length = if at == CAP_NOTIFY { 20 } else { 16 };
    space.words[at / 4] = 0x09 | (next as u32) << 8 | length << 16 | u32::from(kind) << 24;
    space.words[at / 4 + 1] = 4;
    space.words[at / 4 + 2] = window.0 as u32;
    space.words[at / 4 + 3] = window.1 as u32;
}

/// A card as QEMU shows it: everything behind base address 4, which has 64 bits.
fn card() -> Space {
    let mut space = empty(0x1041, 0x1af4);
    space.words[1] = 1 << 20;
    space.words[4 + 4] = BAR as u32 | 0b1100;
    space.words[4 + 5] = 0;
    space.bar_masks[4] = !(BAR_BYTES as u32 - 1);
    space.bar_masks[5] = u32::MAX;
    space.words[0x34 / 4] = CAP_MSIX as u32;
    // Three entries, at the end of a window that nothing else uses.
    space.words[CAP_MSIX / 4] = 0x11 | (CAP_COMMON as u32) << 8 | 2 << 16;
    space.words[CAP_MSIX / 4 + 1] = TABLE as u32 | 4;
    capability(&mut space, CAP_COMMON, CAP_NOTIFY, 1, (COMMON, 0x38));
    capability(&mut space, CAP_NOTIFY, CAP_ISR, 2, (NOTIFY, 0x1000));
    space.words[CAP_NOTIFY / 4 + 4] = 4;
    capability(&mut space, CAP_ISR, CAP_DEVICE, 3, (ISR, 0x1000));
    capability(&mut space, CAP_DEVICE, 0, 4, (DEVICE, 0x1000));
    space
}

/// Registers that remember what is written.
struct Memory(Vec<Cell<u64>>);

impl Memory {
    fn new() -> Memory {
        let memory = Memory(vec![Cell::new(0); BAR_BYTES / 8]);
        memory.set(COMMON + 0x04, u32::MAX);
        memory.set(COMMON + 0x12, 3_u16);
        memory.set(COMMON + 0x18, 64_u16);
        memory.set(DEVICE, 0x0000_5452_u32);
        memory.set(DEVICE + 4, 0x0001_0700_u32);
        memory.set(DEVICE + 8, 0x0578_0001_u32);
        memory
    }

    fn at<T>(&self, offset: usize) -> *mut T {
        assert!(offset + size_of::<T>() <= BAR_BYTES);
        self.0.as_ptr().cast::<u8>().cast_mut().wrapping_add(offset).cast()
    }

    fn get<T: Copy>(&self, offset: usize) -> T {
        // SAFETY: the place lies inside the memory, and integers may hold anything.
        unsafe { self.at::<T>(offset).read_volatile() }
    }

    fn set<T>(&self, offset: usize, value: T) {
        // SAFETY: the place lies inside the memory.
        unsafe { self.at::<T>(offset).write_volatile(value) };
    }

    /// Where a physical range is mapped: nowhere outside the base address.
    fn map(&self, physical: u64, length: usize) -> Option<NonNull<u8>> {
        let offset = usize::try_from(physical.checked_sub(BAR)?).ok()?;
        let is_inside = offset < BAR_BYTES && length <= BAR_BYTES - offset;
        if is_inside { NonNull::new(self.at(offset)) } else { None }
    }
}

const CARD: Found = Found {
    device_type: DeviceType::Network,
    device_function: DeviceFunction { bus: 0, device: 3, function: 0 },
};

fn open(spaces: &Spaces, memory: &Memory) -> Result<PciDevice, PciDeviceError> {
    // SAFETY: the memory outlives the device in every test, and a range outside it is not mapped.
    unsafe { Pci::new(spaces.clone()).open(CARD, |address, length| memory.map(address, length)) }
}

/// What becomes of a card that is not quite as it should be.
fn refusal(change: impl FnOnce(&mut Space)) -> PciDeviceError {
    let mut space = card();
    change(&mut space);
    open(&Spaces::default().with(0, 3, space), &Memory::new()).unwrap_err()
}

const MESSAGE: InterruptMessage = InterruptMessage { address: 0xfee0_1000, data: 0x82 };

#[test]
fn devices_are_found_on_every_bus() {
    let spaces = Spaces::default()
        .with(0, 0, empty(0x29c0, 0x8086))
        .with(0, 1, bridge(1))
        .with(0, 2, bridge(0))
        .with(0, 3, card())
        .with(0, 4, empty(0x1042, 0x1af4))
        .with(0, 5, empty(0x1041, 0x1234))
        .with(1, 0, empty(0x1000, 0x1af4))
        .with(1, 9, bridge(7))
        .with(7, 31, empty(0x1043, 0x1af4));
    let found: Vec<_> = Pci::new(spaces)
        .discover()
        .iter()
        .map(|found| (found.device_type, found.device_function.to_string()))
        .collect();
    let expected = [
        (DeviceType::Network, "00:03.0"),
        (DeviceType::Block, "00:04.0"),
        (DeviceType::Network, "01:00.0"),
        (DeviceType::Console, "07:1f.0"),
    ];
    assert_eq!(found, expected.map(|(kind, place)| (kind, place.to_owned())));
}

/// P20.
#[test]
fn opening_enables_the_device_and_leaves_its_addresses() {
    let spaces = Spaces::default().with(0, 3, card());
    let before = spaces.space(0, 3);
    let memory = Memory::new();
    let _device = open(&spaces, &memory).unwrap();
    let after = spaces.space(0, 3);
    assert_eq!(after.words[4..10], before.words[4..10]);
    assert_eq!(after.words[1] & 0x406, 0x406, "memory, bus master, no interrupt line");
    assert_eq!(after.words[CAP_MSIX / 4] >> 30, 0b10, "messages on, not masked");
}

#[test]
fn a_base_address_of_32_bits_will_do() {
    let mut space = card();
    space.words[4 + 4] = BAR as u32;
    assert!(open(&Spaces::default().with(0, 3, space), &Memory::new()).is_ok());
}

/// P21: an interrupt of its own for each queue.
#[test]
fn a_card_starts_with_its_interrupts() {
    let spaces = Spaces::default().with(0, 3, card());
    let memory = Memory::new();
    let mut device = open(&spaces, &memory).unwrap();
    for entry in 0..3 {
        assert_eq!(memory.get::<u32>(TABLE + 16 * entry + 12), 1, "masked until it is filled in");
    }
    let other = InterruptMessage { address: 0x1_fee0_0000, data: 0x83 };
    device.set_interrupt(InterruptSource::Queue(0), MESSAGE).unwrap();
    device.set_interrupt(InterruptSource::Queue(1), other).unwrap();
    device.set_interrupt(InterruptSource::Configuration, MESSAGE).unwrap();
    assert_eq!(memory.get::<[u32; 4]>(TABLE), [0xfee0_1000, 0, 0x82, 0]);
    assert_eq!(memory.get::<[u32; 4]>(TABLE + 16), [0xfee0_0000, 1, 0x83, 0]);

    memory.set(COMMON + 0x1e, 5_u16);
    let pool = Pool::on_heap(64, PAGE_BYTES);
    let config = NetConfig { queue_size_max: 256, receive_buffers: 16, ..NetConfig::DEFAULT };
    let card = VirtioNet::new(device, config, pool.clone(), allocate).unwrap();
    assert_eq!(memory.get::<u8>(COMMON + 0x14), 0xf, "acknowledged, driver, features, driver ok");
    assert_eq!(memory.get::<u16>(COMMON + 0x10), 0, "the configuration shares the first entry");
    assert_eq!(memory.get::<u16>(COMMON + 0x1a), 1, "the queue set up last has the second");
    assert_eq!(memory.get::<u16>(COMMON + 0x18), 64, "the card allows no more");
    assert_ne!(memory.get::<u64>(COMMON + 0x30), 0);
    assert_eq!(card.mac().to_string(), "52:54:00:00:00:07");
    assert_eq!(card.mtu(), 0x578);
    drop(card);
    assert_eq!(memory.get::<u8>(COMMON + 0x14), 0, "reset");
    assert_eq!(pool.free(), 64);
}

#[test]
fn a_card_without_messages_has_a_line() {
    let mut space = card();
    assert!(
        !open(&Spaces::default().with(0, 3, space.clone()), &Memory::new()).unwrap().has_line()
    );
    space.words[0x34 / 4] = CAP_COMMON as u32;
    let (spaces, memory) = (Spaces::default().with(0, 3, space), Memory::new());
    let mut device = open(&spaces, &memory).unwrap();
    assert!(device.has_line());
    assert_eq!(spaces.space(0, 3).words[1] & 1 << 10, 0, "the line is on");
    memory.set(ISR, 1_u8);
    assert_eq!(device.ack_interrupt().bits(), 1);
    let message = InterruptMessage { address: 0xfee0_0000, data: 0x82 };
    let refusal = device.set_interrupt(InterruptSource::Queue(0), message);
    assert_eq!(refusal, Err(InterruptError::Unsupported));
}

/// P24.
#[test]
fn a_kick_is_one_store_to_the_place_of_the_queue() {
    let memory = Memory::new();
    let mut device = open(&Spaces::default().with(0, 3, card()), &memory).unwrap();
    memory.set(COMMON + 0x1e, 9_u16);
    device.queue_set(1, 64, 0x1000, 0x2000, 0x3000);
    assert!(device.queue_used(1));
    // From now on the common configuration is not looked at.
    memory.set(COMMON + 0x16, 0x7777_u16);
    memory.set(COMMON + 0x1e, 0x7777_u16);
    memory.set(NOTIFY + 36, 0xffff_u16);
    device.notify(1);
    assert_eq!(memory.get::<u16>(NOTIFY + 36), 1);
    assert_eq!(memory.get::<u16>(COMMON + 0x16), 0x7777);
}

#[test]
fn a_doorbell_is_the_same_store_and_nothing_else() {
    let memory = Memory::new();
    let mut device = open(&Spaces::default().with(0, 3, card()), &memory).unwrap();
    memory.set(COMMON + 0x1e, 9_u16);
    device.queue_set(1, 64, 0x1000, 0x2000, 0x3000);
    let mut doorbell = device.doorbell(1);
    drop(device);
    memory.set(NOTIFY + 34, 0xaaaa_u16);
    memory.set(NOTIFY + 38, 0xbbbb_u16);
    memory.set(COMMON + 0x16, 0x7777_u16);
    doorbell.ring();
    let around = [NOTIFY + 34, NOTIFY + 36, NOTIFY + 38].map(|place| memory.get::<u16>(place));
    assert_eq!(around, [0xaaaa, 1, 0xbbbb]);
    assert_eq!(memory.get::<u16>(COMMON + 0x16), 0x7777);
}

#[test]
#[should_panic(expected = "set up")]
fn a_queue_that_is_not_set_up_has_no_doorbell() {
    let memory = Memory::new();
    open(&Spaces::default().with(0, 3, card()), &memory).unwrap().doorbell(0);
}

#[test]
fn a_single_queue_is_reset_only_where_there_is_a_register_for_it() {
    for (bytes, written) in [(0x38, 0_u16), (0x3a, 0), (0x3c, 1)] {
        let mut space = card();
        capability(&mut space, CAP_COMMON, CAP_NOTIFY, 1, (COMMON, bytes));
        let memory = Memory::new();
        let mut device = open(&Spaces::default().with(0, 3, space), &memory).unwrap();
        assert_eq!(device.resets_queues(), written == 1);
        device.queue_set(1, 64, 0x1000, 0x2000, 0x3000);
        device.queue_unset(1);
        assert_eq!(memory.get::<u16>(COMMON + 0x16), 1);
        assert_eq!(memory.get::<u16>(COMMON + 0x3a), written);
        assert!(device.queue_used(1), "these registers confirm nothing");
        memory.set(COMMON + 0x1c, 0_u16);
        assert!(!device.queue_used(1));
    }
}

#[test]
fn a_queue_without_a_place_to_kick_it_is_refused() {
    let memory = Memory::new();
    let device = open(&Spaces::default().with(0, 3, card()), &memory).unwrap();
    memory.set(COMMON + 0x1e, 0x400_u16);
    // The device claims to have enabled it all the same.
    memory.set(COMMON + 0x1c, 1_u16);
    let pool = Pool::on_heap(64, PAGE_BYTES);
    let error = VirtioNet::new(device, NetConfig::default(), pool, allocate).unwrap_err();
    assert_eq!(error, InitError::QueueRefused(0));
}

#[test]
fn there_are_as_many_interrupts_as_the_table_has_entries() {
    let memory = Memory::new();
    let mut device = open(&Spaces::default().with(0, 3, card()), &memory).unwrap();
    for number in 0..3 {
        let message = InterruptMessage { address: 0, data: number };
        device.set_interrupt(InterruptSource::Queue(number as u16), message).unwrap();
    }
    let fourth = device.set_interrupt(InterruptSource::Queue(3), MESSAGE);
    assert_eq!(fourth, Err(InterruptError::TableFull));

    let mut space = card();
    space.words[CAP_MSIX / 4] = space.words[CAP_MSIX / 4] & !0xff | 0x05;
    let mut device = open(&Spaces::default().with(0, 3, space), &memory).unwrap();
    let refused = device.set_interrupt(InterruptSource::Queue(0), MESSAGE);
    assert_eq!(refused, Err(InterruptError::Unsupported));
}

#[test]
fn malformed_devices_are_refused() {
    let missing = PciDeviceError::MissingStructure;
    let bar = PciDeviceError::BaseAddress;
    assert_eq!(refusal(|it| it.words[1] = 0), missing(2), "no capabilities at all");
    assert_eq!(refusal(|it| it.words[CAP_COMMON / 4] ^= 0x8000_0000), missing(1));
    assert_eq!(refusal(|it| it.words[CAP_COMMON / 4 + 3] = 0x37), missing(1), "too short");
    assert_eq!(refusal(|it| it.words[CAP_COMMON / 4 + 2] = 2), missing(1), "askew");
    assert_eq!(refusal(|it| it.words[CAP_NOTIFY / 4 + 4] = 3), missing(2), "an odd distance");
    assert_eq!(refusal(|it| it.words[CAP_NOTIFY / 4] -= 4 << 16), missing(2), "no distance");
    assert_eq!(refusal(|it| it.words[CAP_NOTIFY / 4 + 3] = 1), missing(2), "no room for a kick");
    assert_eq!(refusal(|it| it.words[CAP_DEVICE / 4 + 1] = 6), bar(6));
    assert_eq!(refusal(|it| it.words[CAP_DEVICE / 4 + 1] = 0), bar(0), "not assigned");
    assert_eq!(refusal(|it| it.words[CAP_DEVICE / 4 + 2] = !3), bar(4));
    assert_eq!(refusal(|it| it.words[CAP_DEVICE / 4 + 3] = u32::MAX), bar(4));
    assert_eq!(refusal(|it| it.words[CAP_MSIX / 4 + 1] = 0x3fe0 | 4), bar(4), "beyond the end");
    assert_eq!(refusal(|it| it.words[4 + 5] = 1), bar(4), "out of reach");
    assert_eq!(refusal(|it| it.words[4 + 4] = 0), bar(4), "never assigned");
}

#[test]
fn a_circle_of_capabilities_ends() {
    let mut space = card();
    space.words[CAP_ISR / 4] = space.words[CAP_ISR / 4] & !0xff00 | (CAP_COMMON as u32) << 8;
    let memory = Memory::new();
    let device = open(&Spaces::default().with(0, 3, space), &memory).unwrap();
    assert!(device.read_config_space::<u8>(0).is_err(), "the last capability is never reached");
}

#[test]
fn the_configuration_space_has_an_end() {
    let mut space = card();
    space.words[CAP_DEVICE / 4 + 3] = 10;
    let memory = Memory::new();
    let mut device = open(&Spaces::default().with(0, 3, space), &memory).unwrap();
    assert_eq!(device.read_config_space::<u8>(0), Ok(0x52));
    assert_eq!(device.read_config_space::<u16>(6), Ok(1));
    assert_eq!(device.read_config_space::<u32>(4), Ok(0x0001_0700));
    assert_eq!(device.read_config_space::<[u32; 2]>(0), Ok([0x5452, 0x0001_0700]));
    assert!(device.read_config_space::<u32>(8).is_err());
    assert!(device.read_config_space::<u16>(9).is_err());
    assert!(device.read_config_space::<[u8; 3]>(0).is_err());
    assert!(device.read_config_space::<u8>(usize::MAX).is_err());
    device.write_config_space(8, 0xabcd_u16).unwrap();
    device.write_config_space(0, [1_u32, 2]).unwrap();
    device.write_config_space(3, 7_u8).unwrap();
    assert_eq!(memory.get::<[u32; 3]>(DEVICE), [0x0700_0001, 2, 0x0578_abcd]);
    assert!(device.write_config_space(10, 1_u16).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

    /// Whatever a device says of itself, it is refused or can be started: nothing panics, and nothing
    /// outside its base address is touched.
    #[test]
    fn no_configuration_space_does_harm(
        changes in prop::collection::vec((0_usize..64, any::<u32>(), any::<bool>()), 0..6),
        registers in prop::collection::vec((0_usize..16, any::<u32>()), 0..6),
    ) {
        let mut space = card();
        for (word, value, is_flip) in changes {
            let old = space.words[word];
            space.words[word] = if is_flip { old ^ (1 << (value % 32)) } else { value };
        }
        let memory = Memory::new();
        for (word, value) in registers {
            memory.set(COMMON + 4 * word, value);
        }
        let spaces = Spaces::default().with(0, 3, space);
        Pci::new(spaces.clone()).discover();
        if let Ok(mut device) = open(&spaces, &memory) {
            let _ = device.set_interrupt(InterruptSource::Queue(0), MESSAGE);
            let pool = Pool::on_heap(16, PAGE_BYTES);
            let config = NetConfig { queue_size_max: 16, receive_buffers: 4, ..NetConfig::DEFAULT };
            if let Ok(mut card) = VirtioNet::new(device, config, pool.clone(), allocate) {
                card.receive_burst(4, drop);
                card.check_link();
            }
        }
    }
}
