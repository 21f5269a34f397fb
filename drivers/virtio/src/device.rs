//! What every driver does with its device: negotiate, set up queues, start, notice faults, reset.

use core::fmt;

use pool::Region;
use virtio_drivers::transport::{DeviceStatus, InterruptStatus};
use zerocopy::{FromBytes, IntoBytes};

use crate::queue::{Queue, QueueError, RingFormat, SIZE_MAX, Suppression};
use crate::transport::{DeviceType, Transport};

/// The device may ask for notifications by index, and so may the driver (`VIRTIO_F_EVENT_IDX`).
pub(crate) const FEATURE_EVENT_INDEX: u64 = 1 << 29;
/// Rings may be packed (`VIRTIO_F_RING_PACKED`). Whoever runs the device has to ask for that.
pub(crate) const FEATURE_PACKED: u64 = 1 << 34;
/// The device follows the standard since version 1.0 (`VIRTIO_F_VERSION_1`).
pub(crate) const FEATURE_VERSION_1: u64 = 1 << 32;

/// A single queue can be reset (`VIRTIO_F_RING_RESET`).
pub(crate) const FEATURE_RING_RESET: u64 = 1 << 40;

/// How often the status is read until the device confirms a reset. A read takes a microsecond or so.
const RESET_POLLS_MAX: u32 = 1_000_000;
/// How often a configuration field is read until no change of the device's comes in between.
const CONFIGURATION_READS_MAX: u32 = 8;

/// Why a driver cannot use a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InitError {
    /// It is a device of another kind.
    WrongDevice,
    /// It does not confirm its reset.
    ResetIgnored,
    /// It is from before version 1.0 of the standard.
    Legacy,
    /// It does not accept the features that it offered.
    FeaturesRefused,
    /// It does not have the queue.
    NoQueue(u16),
    /// It does not enable the queue, or not with its interrupt.
    QueueRefused(u16),
    /// There is no memory for a ring.
    NoMemory,
    /// Its configuration space is too small, or never at rest.
    Configuration,
    /// The card has no usable MAC address.
    NoMacAddress,
    /// It refuses to use its queues as it is told to.
    ControlRefused,
    /// It does not answer to commands.
    ControlSilent,
    /// The disk has no flush: what was written may be lost.
    NoFlush,
    /// The disk cannot be written.
    ReadOnly,
}

impl fmt::Display for InitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InitError::WrongDevice => f.write_str("it is a device of another kind"),
            InitError::ResetIgnored => f.write_str("it does not confirm its reset"),
            InitError::Legacy => f.write_str("it does not follow Virtio 1.0 or later"),
            InitError::FeaturesRefused => f.write_str("it refuses the features that it offered"),
            InitError::NoQueue(queue) => write!(f, "it has no queue {queue}"),
            InitError::QueueRefused(queue) => write!(f, "it does not enable queue {queue}"),
            InitError::NoMemory => f.write_str("there is no memory for its rings"),
            InitError::Configuration => f.write_str("its configuration space is not usable"),
            InitError::NoMacAddress => f.write_str("it has no usable MAC address"),
            InitError::ControlRefused => f.write_str("it refuses to use its queues as it is told"),
            InitError::ControlSilent => f.write_str("it does not answer to commands"),
            InitError::NoFlush => f.write_str("it has no flush: what was written may be lost"),
            InitError::ReadOnly => f.write_str("it cannot be written"),
        }
    }
}

impl core::error::Error for InitError {}

/// Why a driver has given up a device that worked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The device broke the rules of a ring.
    Queue(QueueError),
    /// The device says that it needs a reset (`DEVICE_NEEDS_RESET`).
    NeedsReset,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Queue(error) => error.fmt(f),
            Fault::NeedsReset => f.write_str("the device asks for a reset"),
        }
    }
}

impl core::error::Error for Fault {}

/// A device whose features are negotiated.
#[derive(Debug)]
pub(crate) struct Device<T: Transport> {
    transport: T,
    device_type: DeviceType,
    offered: u64,
    features: u64,
    kicks: u64,
    is_changed: bool,
}

impl<T: Transport> Device<T> {
    /// The device behind `transport`, of which nothing is known yet but what it is.
    pub(crate) fn new(transport: T, device_type: DeviceType) -> Device<T> {
        Device { transport, device_type, offered: 0, features: 0, kicks: 0, is_changed: false }
    }

    /// Resets the device and takes those features that `select` picks of those that it offers; version 1,
    /// event indices and packed rings are always taken, and what the transport cannot do is not (Virtio 1.3,
    /// section 3.1.1, steps 1 to 6).
    pub(crate) fn negotiate(&mut self, select: impl FnOnce(u64) -> u64) -> Result<(), InitError> {
        if self.transport.device_type() != self.device_type {
            return Err(InitError::WrongDevice);
        }
        if !self.reset() {
            return Err(InitError::ResetIgnored);
        }
        self.add_status(DeviceStatus::ACKNOWLEDGE);
        self.add_status(DeviceStatus::DRIVER);
        self.offered = self.transport.read_device_features();
        if !self.transport.resets_queues() {
            self.offered &= !FEATURE_RING_RESET;
        }
        let always = FEATURE_VERSION_1 | FEATURE_EVENT_INDEX | FEATURE_PACKED;
        self.features = self.offered & (select(self.offered) | always);
        if !self.has(FEATURE_VERSION_1) {
            self.add_status(DeviceStatus::FAILED);
            return Err(InitError::Legacy);
        }
        self.transport.write_driver_features(self.features);
        self.add_status(DeviceStatus::FEATURES_OK);
        if !self.transport.get_status().contains(DeviceStatus::FEATURES_OK) {
            self.add_status(DeviceStatus::FAILED);
            return Err(InitError::FeaturesRefused);
        }
        Ok(())
    }

    fn add_status(&mut self, status: DeviceStatus) {
        let status = self.transport.get_status() | status;
        self.transport.set_status(status);
    }

    /// How its registers are reached.
    pub(crate) fn transport(&self) -> &T {
        &self.transport
    }

    /// The features that the device offers.
    pub(crate) fn offered(&self) -> u64 {
        self.offered
    }

    /// Those that were negotiated.
    pub(crate) fn features(&self) -> u64 {
        self.features
    }

    /// Whether the feature with this bit was negotiated.
    pub(crate) fn has(&self, feature: u64) -> bool {
        self.features & feature != 0
    }

    /// How rings lie in memory.
    pub(crate) fn ring_format(&self) -> RingFormat {
        if self.has(FEATURE_PACKED) { RingFormat::Packed } else { RingFormat::Split }
    }

    /// A ring for `queue`, of as many descriptors as the device allows, up to `size_max`.
    pub(crate) fn set_up_queue<Token>(
        &mut self,
        queue: u16,
        size_max: u16,
        allocate: &mut impl FnMut(usize) -> Option<Region>,
    ) -> Result<Queue<Token>, InitError> {
        let size_max = self.transport.max_queue_size(queue).min(size_max.min(SIZE_MAX).into());
        let power = size_max.checked_ilog2().ok_or(InitError::NoQueue(queue))?;
        let (size, format) = (1 << power, self.ring_format());
        let bytes = Queue::<Token>::bytes(format, size);
        let region =
            allocate(bytes).filter(|region| region.length() >= bytes).ok_or(InitError::NoMemory)?;
        let suppression = if self.has(FEATURE_EVENT_INDEX) {
            Suppression::EventIndex
        } else {
            Suppression::Flags
        };
        let mut ring = Queue::new(format, region, size, suppression);
        self.connect(queue, &mut ring)?;
        Ok(ring)
    }

    /// Tells the device where the ring for `queue` is.
    pub(crate) fn connect<Token>(
        &mut self,
        queue: u16,
        ring: &mut Queue<Token>,
    ) -> Result<(), InitError> {
        if self.transport.max_queue_size(queue) < u32::from(ring.size()) {
            return Err(InitError::NoQueue(queue));
        }
        let addresses = ring.attach();
        self.transport.queue_set(
            queue,
            ring.size().into(),
            addresses.descriptors,
            addresses.driver,
            addresses.device,
        );
        if self.transport.queue_used(queue) { Ok(()) } else { Err(InitError::QueueRefused(queue)) }
    }

    /// Lets the device work.
    pub(crate) fn start(&mut self) {
        self.add_status(DeviceStatus::DRIVER_OK);
    }

    /// Stops the device, and says whether it has confirmed it: only then is its memory ours again.
    pub(crate) fn reset(&mut self) -> bool {
        self.transport.set_status(DeviceStatus::empty());
        (0..RESET_POLLS_MAX).any(|_| {
            core::hint::spin_loop();
            self.transport.get_status().is_empty()
        })
    }

    /// Takes one queue back from the device, which goes on with the others. Says whether it has confirmed
    /// that: only then is the queue's memory ours again. Never if it cannot do that (section 2.6.1).
    pub(crate) fn reset_queue(&mut self, queue: u16) -> bool {
        if !self.has(FEATURE_RING_RESET) {
            return false;
        }
        self.transport.queue_unset(queue);
        !self.transport.queue_used(queue)
    }

    /// Notifies the device of `queue`.
    pub(crate) fn kick(&mut self, queue: u16) {
        self.kicks += 1;
        self.transport.notify(queue);
    }

    /// How often the device was notified.
    pub(crate) fn kicks(&self) -> u64 {
        self.kicks
    }

    /// Lets the interrupt line fall, where there is one (see [`crate::transport`]).
    /// True if a queue had raised it.
    pub(crate) fn acknowledge_interrupt(&mut self) -> bool {
        let causes = self.transport.ack_interrupt();
        self.is_changed |= causes.contains(InterruptStatus::DEVICE_CONFIGURATION_INTERRUPT);
        causes.contains(InterruptStatus::QUEUE_INTERRUPT)
    }

    /// Whether the line was raised for a change of the configuration.
    pub(crate) fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// The configuration is about to be looked at.
    pub(crate) fn forget_change(&mut self) {
        self.is_changed = false;
    }

    /// Whether the device has given up.
    pub(crate) fn needs_reset(&self) -> bool {
        self.transport.get_status().contains(DeviceStatus::DEVICE_NEEDS_RESET)
    }

    /// A field of the configuration space.
    pub(crate) fn configuration<V: FromBytes + IntoBytes>(
        &self,
        offset: usize,
    ) -> Result<V, InitError> {
        self.transport.read_config_space(offset).map_err(|_| InitError::Configuration)
    }

    /// A 64-bit field of the configuration space, its halves from the same moment.
    pub(crate) fn configuration_u64(&self, offset: usize) -> Result<u64, InitError> {
        for _ in 0..CONFIGURATION_READS_MAX {
            let generation = self.transport.read_config_generation();
            let low: u32 = self.configuration(offset)?;
            let high: u32 = self.configuration(offset + 4)?;
            if self.transport.read_config_generation() == generation {
                return Ok(u64::from(low) | u64::from(high) << 32);
            }
        }
        Err(InitError::Configuration)
    }
}
