//! The registers of a device, with the driver on one side and a test on the other.

use core::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::vec::Vec;

use virtio_drivers::transport::{DeviceStatus, InterruptStatus};
use virtio_drivers::{Error, PhysAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Bell, DeviceRing, EVENT_INDEX, PACKED};
use crate::queue::{RingAddresses, RingFormat};
use crate::transport::{DeviceType, Doorbell, Doorbells, Transport};

/// How a device interrupts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InterruptKind {
    /// Each time anew (MSI-X).
    Message,
    /// By a line, of which only the rising edge is seen; it falls when it is acknowledged (MMIO).
    Line,
}

/// What a device is like.
#[derive(Clone, Debug)]
pub struct FakeOptions {
    /// What it is.
    pub device_type: DeviceType,
    /// What it offers.
    pub features: u64,
    /// The largest size of each of its queues.
    pub queue_sizes: Vec<u16>,
    /// Its configuration space.
    pub configuration: Vec<u8>,
    /// How it interrupts.
    pub interrupts: InterruptKind,
    /// It never confirms a reset.
    pub ignores_reset: bool,
    /// It does not accept features, whichever the driver takes.
    pub refuses_features: bool,
    /// It does not enable queues.
    pub refuses_queues: bool,
    /// A queue that is unset is not forgotten: it goes on where it stood (QEMU's devices on the board).
    pub keeps_queues: bool,
    /// Its configuration changes whenever it is looked at.
    pub is_restless: bool,
}

#[derive(Debug)]
struct Registers {
    options: FakeOptions,
    status: DeviceStatus,
    accepted: u64,
    rings: Vec<Option<DeviceRing>>,
    /// Queues that are unset, and not forgotten.
    unset: Vec<bool>,
    /// Why the interrupt line is high, as the device's register says it: 0 if it is not.
    line: u32,
    generation_reads: u32,
    resets: u64,
}

#[derive(Debug)]
struct Shared {
    registers: Mutex<Registers>,
    kicks: Vec<AtomicU64>,
    kicked: Bell,
    interrupted: Bell,
}

impl Shared {
    fn registers(&self) -> MutexGuard<'_, Registers> {
        self.registers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The two ends of a device.
pub fn device(options: FakeOptions) -> (FakeTransport, FakeDevice) {
    let queues = options.queue_sizes.len();
    let shared = Arc::new(Shared {
        registers: Mutex::new(Registers {
            options,
            status: DeviceStatus::empty(),
            accepted: 0,
            rings: (0..queues).map(|_| None).collect(),
            unset: std::vec![false; queues],
            line: 0,
            generation_reads: 0,
            resets: 0,
        }),
        kicks: (0..queues).map(|_| AtomicU64::new(0)).collect(),
        kicked: Bell::default(),
        interrupted: Bell::default(),
    });
    (FakeTransport(Arc::clone(&shared)), FakeDevice(shared))
}

/// The device's end: what a test does in the device's place.
#[derive(Clone, Debug)]
pub struct FakeDevice(Arc<Shared>);

impl FakeDevice {
    /// Works on a ring, and raises the interrupt that comes of it. `None` unless the driver has started the
    /// device and set up the queue. A reset waits until the work is done.
    pub fn with_ring<R>(&self, queue: u16, work: impl FnOnce(&mut DeviceRing) -> R) -> Option<R> {
        let mut registers = self.0.registers();
        if !registers.status.contains(DeviceStatus::DRIVER_OK) {
            return None;
        }
        if *registers.unset.get(usize::from(queue))? {
            return None;
        }
        let ring = registers.rings[usize::from(queue)].as_mut()?;
        let result = work(ring);
        let is_wanted = ring.take_interrupt();
        let is_seen = match registers.options.interrupts {
            InterruptKind::Message => true,
            InterruptKind::Line => registers.line == 0,
        };
        if is_wanted {
            registers.line |= InterruptStatus::QUEUE_INTERRUPT.bits();
        }
        drop(registers);
        if is_wanted && is_seen {
            self.0.interrupted.ring();
        }
        Some(result)
    }

    /// The features that the driver took.
    pub fn accepted_features(&self) -> u64 {
        self.0.registers().accepted
    }

    /// Where in its life the driver has put the device.
    pub fn status(&self) -> DeviceStatus {
        self.0.registers().status
    }

    /// Says that it cannot go on without a reset.
    pub fn demand_reset(&self) {
        self.0.registers().status |= DeviceStatus::DEVICE_NEEDS_RESET;
    }

    /// How often the driver has reset it. Every time it has forgotten the chains that it held.
    pub fn resets(&self) -> u64 {
        self.0.registers().resets
    }

    /// Changes what it is like.
    pub fn change(&self, change: impl FnOnce(&mut FakeOptions)) {
        change(&mut self.0.registers().options);
    }

    /// As [`FakeDevice::change`], and the device says so.
    pub fn announce_change(&self, change: impl FnOnce(&mut FakeOptions)) {
        let mut registers = self.0.registers();
        change(&mut registers.options);
        let is_line = registers.options.interrupts == InterruptKind::Line;
        let is_seen = !is_line || registers.line == 0;
        if is_line {
            registers.line |= InterruptStatus::DEVICE_CONFIGURATION_INTERRUPT.bits();
        }
        drop(registers);
        if is_seen {
            self.0.interrupted.ring();
        }
    }

    /// How often the driver has notified it of `queue`.
    pub fn kicks(&self, queue: u16) -> u64 {
        self.0.kicks[usize::from(queue)].load(Ordering::Relaxed)
    }

    /// Rings when the driver notifies the device of any queue.
    pub fn kicked(&self) -> &Bell {
        &self.0.kicked
    }

    /// Rings when the device interrupts the driver.
    pub fn interrupted(&self) -> &Bell {
        &self.0.interrupted
    }
}

/// The driver's end.
#[derive(Debug)]
pub struct FakeTransport(Arc<Shared>);

/// Rings for one queue.
#[derive(Debug)]
pub struct FakeDoorbell {
    shared: Arc<Shared>,
    queue: u16,
}

impl Doorbell for FakeDoorbell {
    fn ring(&mut self) {
        self.shared.kicks[usize::from(self.queue)].fetch_add(1, Ordering::Relaxed);
        self.shared.kicked.ring();
    }
}

impl Doorbells for FakeTransport {
    type Doorbell = FakeDoorbell;

    fn doorbell(&self, queue: u16) -> FakeDoorbell {
        let shared = Arc::clone(&self.0);
        assert!(shared.registers().rings[usize::from(queue)].is_some(), "the queue is set up");
        FakeDoorbell { shared, queue }
    }
}

impl Transport for FakeTransport {
    fn resets_queues(&self) -> bool {
        !self.0.registers().options.keeps_queues
    }
}

impl virtio_drivers::transport::Transport for FakeTransport {
    fn device_type(&self) -> DeviceType {
        self.0.registers().options.device_type
    }

    fn read_device_features(&mut self) -> u64 {
        self.0.registers().options.features
    }

    fn write_driver_features(&mut self, driver_features: u64) {
        self.0.registers().accepted = driver_features;
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        let registers = self.0.registers();
        registers.options.queue_sizes.get(usize::from(queue)).copied().unwrap_or(0).into()
    }

    fn notify(&mut self, queue: u16) {
        self.0.kicks[usize::from(queue)].fetch_add(1, Ordering::Relaxed);
        self.0.kicked.ring();
    }

    fn get_status(&self) -> DeviceStatus {
        self.0.registers().status
    }

    fn set_status(&mut self, status: DeviceStatus) {
        let mut registers = self.0.registers();
        if !status.is_empty() {
            let is_refused = registers.options.refuses_features;
            registers.status = if is_refused { status - DeviceStatus::FEATURES_OK } else { status };
        } else if !registers.options.ignores_reset {
            registers.status = status;
            registers.resets += 1;
            registers.accepted = 0;
            registers.rings.fill_with(|| None);
            registers.unset.fill(false);
            registers.line = 0;
        }
    }

    fn set_guest_page_size(&mut self, _guest_page_size: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        let mut registers = self.0.registers();
        if registers.options.refuses_queues {
            return;
        }
        if core::mem::take(&mut registers.unset[usize::from(queue)]) {
            return;
        }
        let addresses = RingAddresses { descriptors, driver: driver_area, device: device_area };
        let has_event_index = registers.accepted & EVENT_INDEX != 0;
        let is_packed = registers.accepted & PACKED != 0;
        let format = if is_packed { RingFormat::Packed } else { RingFormat::Split };
        let size = u16::try_from(size).expect("the driver chooses from what it was offered");
        registers.rings[usize::from(queue)] =
            Some(DeviceRing::new(format, addresses, size, has_event_index));
    }

    fn queue_unset(&mut self, queue: u16) {
        let mut registers = self.0.registers();
        if registers.options.keeps_queues {
            registers.unset[usize::from(queue)] = true;
        } else {
            registers.rings[usize::from(queue)] = None;
        }
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        let registers = self.0.registers();
        registers.rings[usize::from(queue)].is_some() && !registers.unset[usize::from(queue)]
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        let mut registers = self.0.registers();
        InterruptStatus::from_bits_truncate(core::mem::take(&mut registers.line))
    }

    fn read_config_generation(&self) -> u32 {
        let mut registers = self.0.registers();
        registers.generation_reads += u32::from(registers.options.is_restless);
        registers.generation_reads
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T, Error> {
        let registers = self.0.registers();
        let bytes = registers.options.configuration.get(offset..offset + size_of::<T>());
        bytes.and_then(|bytes| T::read_from_bytes(bytes).ok()).ok_or(Error::ConfigSpaceTooSmall)
    }

    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        offset: usize,
        value: T,
    ) -> Result<(), Error> {
        let mut registers = self.0.registers();
        let bytes = registers.options.configuration.get_mut(offset..offset + size_of::<T>());
        bytes.ok_or(Error::ConfigSpaceTooSmall)?.copy_from_slice(value.as_bytes());
        Ok(())
    }
}
