//! The queue on which a card is told things (Virtio 1.3, section 5.1.6.5): one command at a time, waited for.

use core::mem::ManuallyDrop;
use core::sync::atomic::Ordering;

use netio::limits::INDIRECTION_ENTRIES;
use netio::{Core, KEY_BYTES};
use pool::{PAGE_BYTES, Region};

use crate::device::{Device, InitError};
use crate::memory::SharedMemory;
use crate::queue::{Direction, Queue, Segment};
use crate::transport::Transport;

/// The class of commands about queue pairs, and its commands.
const CLASS_PAIRS: u8 = 4;
const COMMAND_PAIRS_SET: u8 = 0;
const COMMAND_RSS: u8 = 1;

/// What the card answers.
const ACK_OK: u8 = 0;
const ACK_NONE: u8 = 0xff;

/// Where things are in the page: class and command, then data; the answer.
const DATA_OFFSET: usize = 2;
const ACK_OFFSET: usize = PAGE_BYTES - 8;

/// A chain of two, and one to spare, for rings have powers of two.
const QUEUE_SIZE: u16 = 4;

/// How often the answer is looked for. Between two looks a register is read, for a microsecond or so.
const POLLS_MAX: u32 = 1_000_000;

/// What is hashed: IPv4 and IPv6 by their addresses, TCP and UDP over them by their ports as well.
const HASH_TYPES: u32 = 0b11_1111;

const CONFIGURATION_BYTES: usize = 8 + 2 * INDIRECTION_ENTRIES + 3 + KEY_BYTES;
const _: () = assert!(DATA_OFFSET + CONFIGURATION_BYTES <= ACK_OFFSET);

/// How a card spreads flows among its pairs: by the Toeplitz hash with this key, and this table, as
/// [`netio::Steering`] does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rss {
    /// The key of the hash.
    pub key: [u8; KEY_BYTES],
    /// The pair for each value of the lowest bits of the hash.
    pub table: [Core; INDIRECTION_ENTRIES],
}

impl Rss {
    /// As the card wants it (section 5.1.6.5.7): flows that are not hashed go to pair 0.
    fn bytes(&self, pairs: u16, hash_types: u32) -> [u8; CONFIGURATION_BYTES] {
        let mut bytes = [0; CONFIGURATION_BYTES];
        let mut place = 0;
        let mut put = |field: &[u8]| {
            bytes[place..place + field.len()].copy_from_slice(field);
            place += field.len();
        };
        put(&hash_types.to_le_bytes());
        put(&(INDIRECTION_ENTRIES as u16 - 1).to_le_bytes());
        put(&0_u16.to_le_bytes());
        self.table.iter().for_each(|core| put(&(u16::from(core.0) % pairs).to_le_bytes()));
        put(&pairs.to_le_bytes());
        put(&[KEY_BYTES as u8]);
        put(&self.key);
        bytes
    }
}

/// The queue, and the page in which commands are written.
#[derive(Debug)]
pub(super) struct ControlQueue {
    number: u16,
    queue: Queue<()>,
    /// Leaked unless the queue was detached: the card may write its answer late.
    memory: ManuallyDrop<SharedMemory>,
    is_attached: bool,
}

impl ControlQueue {
    /// Sets up queue `number` of the card.
    pub(super) fn new<T: Transport>(
        device: &mut Device<T>,
        number: u16,
        allocate: &mut impl FnMut(usize) -> Option<Region>,
    ) -> Result<ControlQueue, InitError> {
        let region = allocate(PAGE_BYTES)
            .filter(|region| region.length() >= PAGE_BYTES)
            .ok_or(InitError::NoMemory)?;
        let queue = device.set_up_queue(number, QUEUE_SIZE, allocate)?;
        let memory = ManuallyDrop::new(SharedMemory::new(region));
        Ok(ControlQueue { number, queue, memory, is_attached: true })
    }

    /// After a reset: tells the card where the queue is.
    pub(super) fn connect<T: Transport>(
        &mut self,
        device: &mut Device<T>,
    ) -> Result<(), InitError> {
        self.is_attached = true;
        device.connect(self.number, &mut self.queue)
    }

    /// Uses so many pairs. Flows go to the pair that sends them.
    ///
    /// # Errors
    /// If the card refuses, or does not answer.
    pub(super) fn set_pairs<T: Transport>(
        &mut self,
        device: &mut Device<T>,
        pairs: u16,
    ) -> Result<(), InitError> {
        self.execute(device, CLASS_PAIRS, COMMAND_PAIRS_SET, &pairs.to_le_bytes())
    }

    /// Uses so many pairs, among which flows are spread as `rss` says.
    ///
    /// # Errors
    /// If the card refuses, or does not answer.
    pub(super) fn set_rss<T: Transport>(
        &mut self,
        device: &mut Device<T>,
        pairs: u16,
        rss: &Rss,
        supported_types: u32,
    ) -> Result<(), InitError> {
        let bytes = rss.bytes(pairs, HASH_TYPES & supported_types);
        self.execute(device, CLASS_PAIRS, COMMAND_RSS, &bytes)
    }

    fn execute<T: Transport>(
        &mut self,
        device: &mut Device<T>,
        class: u8,
        command: u8,
        data: &[u8],
    ) -> Result<(), InitError> {
        for (offset, byte) in [class, command].iter().chain(data).enumerate() {
            self.memory.u8_at(offset).store(*byte, Ordering::Relaxed);
        }
        self.memory.u8_at(ACK_OFFSET).store(ACK_NONE, Ordering::Relaxed);
        let segment = |offset: usize, length: usize, direction| Segment {
            address: self.memory.device_address(offset),
            length: length as u32,
            direction,
        };
        let chain = [
            segment(0, DATA_OFFSET + data.len(), Direction::DeviceReads),
            segment(ACK_OFFSET, 1, Direction::DeviceWrites),
        ];
        // SAFETY: the segments lie in the page, which is leaked if the card may still use it.
        let added = unsafe { self.queue.add(&chain, ()) };
        added.map_err(|()| InitError::ControlSilent)?;
        if self.queue.publish() {
            device.kick(self.number);
        }
        for _ in 0..POLLS_MAX {
            match self.queue.pop() {
                Ok(Some(_)) => return self.answer(),
                Ok(None) if !device.needs_reset() => core::hint::spin_loop(),
                Ok(None) | Err(_) => break,
            }
        }
        Err(InitError::ControlSilent)
    }

    fn answer(&self) -> Result<(), InitError> {
        match self.memory.u8_at(ACK_OFFSET).load(Ordering::Relaxed) {
            ACK_OK => Ok(()),
            _ => Err(InitError::ControlRefused),
        }
    }

    /// Takes the queue back.
    ///
    /// # Safety
    /// As [`Queue::detach`].
    pub(super) unsafe fn detach(&mut self) {
        // SAFETY: the caller's promise.
        unsafe { self.queue.detach(drop) };
        self.is_attached = false;
    }
}

impl Drop for ControlQueue {
    fn drop(&mut self) {
        if !self.is_attached {
            // SAFETY: it is not used again, and the card does not use it: it was reset.
            unsafe { ManuallyDrop::drop(&mut self.memory) };
        }
    }
}
