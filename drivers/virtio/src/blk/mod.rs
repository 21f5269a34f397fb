//! The disk (Virtio 1.3, section 5.2): many requests under way at once, completed in any order.
//!
//! A request is a chain of three: a header that says what to do, the data in the caller's buffer, and a byte
//! in which the device says how it went. Headers and status bytes lie in memory of the driver's own.
//!
//! Durability is the point: a disk without a flush is refused, unless the caller accepts the loss. A request
//! that makes no sense never reaches the device; it completes with an error, like one that the device
//! refuses. When the device breaks the rules it is reset, and every request completes with
//! [`BlockError::Device`].

mod area;
mod configuration;

use alloc::collections::VecDeque;

use block::{BlockCompletion, BlockDevice, BlockError, BlockRequest, Operation, SECTOR_BYTES};
use pool::{PacketBuffer, Region};

use crate::device::{Device, Fault, InitError};
use crate::queue::{Completion, Direction, Queue, Segment};
use crate::transport::{DeviceType, Transport};
use area::{RequestArea, SlotIndex};
pub use configuration::{BlkConfig, WithoutFlush};

/// The number of the queue that takes requests.
pub const REQUEST_QUEUE: u16 = 0;

/// The longest chain: header, data, status.
const SEGMENTS_MAX: u16 = 3;

/// What a disk counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BlkStatistics {
    /// Sectors that were read.
    pub sectors_read: u64,
    /// Sectors that were written.
    pub sectors_written: u64,
    /// Flushes that were done.
    pub flushes: u64,
    /// Requests that the device could not do.
    pub errors: u64,
    /// Requests that made no sense, and never reached the device.
    pub refused: u64,
    /// How often a request had to wait because the ring was full.
    pub ring_full: u64,
    /// How often the device was notified.
    pub kicks: u64,
}

/// A request in the device's hands.
#[derive(Debug)]
struct InFlight {
    tag: u64,
    operation: Operation,
    buffer: Option<PacketBuffer>,
    slot: SlotIndex,
}

/// A disk.
#[derive(Debug)]
pub struct VirtioBlk<T: Transport> {
    device: Device<T>,
    queue: Queue<InFlight>,
    area: RequestArea,
    /// Requests that ended without the device: at most as many as the ring has descriptors, and once, when
    /// the device is given up, those that were in its hands.
    ended: VecDeque<BlockCompletion>,
    capacity_sectors: u64,
    request_bytes_max: usize,
    has_flush: bool,
    fault: Option<Fault>,
    statistics: BlkStatistics,
}

impl<T: Transport> VirtioBlk<T> {
    /// Starts the disk behind `transport`. `allocate` gives memory for the ring and for the headers, of the
    /// length that it is asked for or more.
    ///
    /// # Errors
    /// If the disk cannot be used; it is reset then.
    pub fn new(
        transport: T,
        config: BlkConfig,
        mut allocate: impl FnMut(usize) -> Option<Region>,
    ) -> Result<VirtioBlk<T>, InitError> {
        let mut device = Device::new(transport, DeviceType::Block);
        device.negotiate(|_| configuration::FEATURES)?;
        if device.has(configuration::FEATURE_READ_ONLY) {
            return Err(InitError::ReadOnly);
        }
        let has_flush = device.has(configuration::FEATURE_FLUSH);
        if !has_flush && config.without_flush == WithoutFlush::Refuse {
            return Err(InitError::NoFlush);
        }
        let capacity_sectors = configuration::capacity_sectors(&device)?;
        let request_bytes_max = configuration::request_bytes_max(&device)?;
        let queue: Queue<InFlight> =
            device.set_up_queue(REQUEST_QUEUE, config.queue_size_max, &mut allocate)?;
        let queue_size = usize::from(queue.size());
        let requests = queue.size() / SEGMENTS_MAX;
        if requests == 0 {
            return Err(InitError::NoQueue(REQUEST_QUEUE));
        }
        let region = allocate(RequestArea::bytes(requests))
            .filter(|region| region.length() >= RequestArea::bytes(requests))
            .ok_or(InitError::NoMemory)?;
        device.start();
        Ok(VirtioBlk {
            device,
            queue,
            area: RequestArea::new(region, requests),
            ended: VecDeque::with_capacity(queue_size + usize::from(requests)),
            capacity_sectors,
            request_bytes_max,
            has_flush,
            fault: None,
            statistics: BlkStatistics::default(),
        })
    }

    /// Whether a flush makes writes durable. If not, the caller has accepted that nothing does.
    pub fn has_flush(&self) -> bool {
        self.has_flush
    }

    /// Why the disk was given up, if it was.
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// What was counted so far.
    pub fn statistics(&self) -> BlkStatistics {
        BlkStatistics { kicks: self.device.kicks(), ..self.statistics }
    }

    /// How many requests are in the device's hands.
    pub fn outstanding(&self) -> u16 {
        self.queue.outstanding()
    }

    /// Hands over requests from the front of `requests`, as many as there is room for, with one notification
    /// at most. Returns how many.
    pub fn submit_burst(&mut self, requests: &mut VecDeque<BlockRequest>) -> usize {
        let mut taken = 0;
        while let Some(request) = requests.pop_front() {
            if let Err(request) = self.add(request) {
                requests.push_front(request);
                break;
            }
            taken += 1;
        }
        self.publish();
        taken
    }

    /// Whether there is a completion to be polled for. Only memory is looked at: while this is so there is no
    /// need to ask for interrupts.
    pub fn has_completions(&self) -> bool {
        self.fault.is_none() && self.queue.has_completions() || !self.ended.is_empty()
    }

    /// Asks for an interrupt at the next completion. True if there is one already: then poll before you halt.
    #[must_use = "a completion that is there already causes no interrupt"]
    pub fn arm_interrupts(&mut self) -> bool {
        if self.fault.is_none() {
            let is_overtaken = self.queue.arm();
            // Acknowledged before the last look: what happens after it makes the line rise again. And the
            // access to a register is a fence where `full_fence` is none.
            self.device.acknowledge_interrupt();
            if is_overtaken {
                return true;
            }
        }
        self.has_completions()
    }

    /// Declines interrupts while the caller looks by itself.
    pub fn disarm_interrupts(&mut self) {
        self.queue.disarm();
    }

    /// Asks the disk how it is: a slow register access, for once in a while. A disk that needs a reset is
    /// given up. One that has something to do, and has done nothing, is notified again.
    pub fn check_device(&mut self) -> Option<Fault> {
        if self.fault.is_none() && self.device.needs_reset() {
            self.fail(Fault::NeedsReset);
        }
        if self.fault.is_none() && self.queue.outstanding() > 0 && !self.queue.has_completions() {
            // It may have missed the first time: see `memory::full_fence`.
            self.device.kick(REQUEST_QUEUE);
        }
        self.fault
    }

    /// Takes a request for the device, or ends it here; the device does not see it before `publish`.
    fn add(&mut self, request: BlockRequest) -> Result<(), BlockRequest> {
        let refusal = match self.fault {
            Some(_) => Err(BlockError::Device),
            None => self.check(&request),
        };
        let is_without_effect = request.operation == Operation::Flush && !self.has_flush;
        if refusal.is_err() || is_without_effect {
            return self.end(request, refusal);
        }
        let free = self.queue.free();
        let slot = if free < SEGMENTS_MAX { None } else { self.area.take() };
        let Some(slot) = slot else {
            self.statistics.ring_full += 1;
            return Err(request);
        };
        self.area.prepare(&slot, request.operation);
        let header = self.area.header_segment(&slot);
        let status = self.area.status_segment(&slot);
        let BlockRequest { tag, operation, buffer } = request;
        let data = buffer.as_ref().and_then(|buffer| data_segment(operation, buffer));
        let in_flight = InFlight { tag, operation, buffer, slot };
        // SAFETY: the data lie in the buffer, which the token owns; header and status lie in the area,
        // whose slot the token holds, and which is leaked if the device may still use it.
        let added = unsafe {
            match data {
                Some(data) => self.queue.add(&[header, data, status], in_flight),
                None => self.queue.add(&[header, status], in_flight),
            }
        };
        added.map_err(|InFlight { tag, operation, buffer, slot }| {
            // The device has broken the rules, which the next `poll` finds.
            self.area.give_back(slot);
            BlockRequest { tag, operation, buffer }
        })
    }

    /// Whether a request makes sense.
    fn check(&self, request: &BlockRequest) -> Result<(), BlockError> {
        let (sector, sectors) = match request.operation {
            Operation::Read { sector, sectors } | Operation::Write { sector, sectors } => {
                (sector, sectors)
            }
            Operation::Flush => return Ok(()),
        };
        let end = sector.checked_add(sectors.into()).ok_or(BlockError::OutOfRange)?;
        let bytes = data_bytes(sectors).ok_or(BlockError::OutOfRange)?;
        let room = request.buffer.as_ref().map_or(0, |buffer| buffer.len());
        if sectors == 0 || end > self.capacity_sectors || bytes > room {
            Err(BlockError::OutOfRange)
        } else if bytes > self.request_bytes_max {
            Err(BlockError::Unsupported)
        } else {
            Ok(())
        }
    }

    /// Ends a request without the device.
    fn end(
        &mut self,
        request: BlockRequest,
        result: Result<(), BlockError>,
    ) -> Result<(), BlockRequest> {
        if self.ended.len() >= usize::from(self.queue.size()) {
            return Err(request);
        }
        self.statistics.refused += u64::from(result.is_err());
        let BlockRequest { tag, operation, buffer } = request;
        self.ended.push_back(BlockCompletion { tag, operation, buffer, result });
        Ok(())
    }

    fn publish(&mut self) {
        if self.queue.publish() {
            self.device.kick(REQUEST_QUEUE);
        }
    }

    fn complete(&mut self, completion: Completion<InFlight>) -> BlockCompletion {
        let InFlight { tag, operation, buffer, slot } = completion.token;
        let mut result = self.area.status(&slot);
        self.area.give_back(slot);
        match operation {
            Operation::Read { sectors, .. } => {
                // A device that claims success and has not filled the buffer must not pass for a disk.
                let is_whole =
                    data_bytes(sectors).is_some_and(|bytes| completion.written as usize >= bytes);
                result = result.and(if is_whole { Ok(()) } else { Err(BlockError::Device) });
                self.statistics.sectors_read += result.map_or(0, |()| u64::from(sectors));
            }
            Operation::Write { sectors, .. } => {
                self.statistics.sectors_written += result.map_or(0, |()| u64::from(sectors));
            }
            Operation::Flush => self.statistics.flushes += u64::from(result.is_ok()),
        }
        self.statistics.errors += u64::from(result.is_err());
        BlockCompletion { tag, operation, buffer, result }
    }

    /// Gives the disk up: it is reset, and everything under way ends with an error. If it does not confirm
    /// its reset it keeps the buffers, for it may still write to them.
    fn fail(&mut self, fault: Fault) {
        self.fault = Some(fault);
        self.statistics.errors += u64::from(self.queue.outstanding());
        let ended = &mut self.ended;
        let mut end = |tag, operation, buffer| {
            let result = Err(BlockError::Device);
            ended.push_back(BlockCompletion { tag, operation, buffer, result });
        };
        if self.device.reset() {
            let give_back = |request: InFlight| end(request.tag, request.operation, request.buffer);
            // SAFETY: the disk has just confirmed its reset.
            unsafe { self.queue.detach(give_back) };
            self.area.release();
        } else {
            self.queue.for_each_token(|request| end(request.tag, request.operation, None));
        }
    }
}

impl<T: Transport> BlockDevice for VirtioBlk<T> {
    fn capacity_sectors(&self) -> u64 {
        self.capacity_sectors
    }

    fn submit(&mut self, request: BlockRequest) -> Result<(), BlockRequest> {
        self.add(request)?;
        self.publish();
        Ok(())
    }

    fn poll(&mut self) -> Option<BlockCompletion> {
        if let Some(ended) = self.ended.pop_front() {
            return Some(ended);
        }
        if self.fault.is_some() {
            return None;
        }
        match self.queue.pop() {
            Ok(completion) => completion.map(|completion| self.complete(completion)),
            Err(error) => {
                self.fail(Fault::Queue(error));
                self.ended.pop_front()
            }
        }
    }
}

impl<T: Transport> Drop for VirtioBlk<T> {
    fn drop(&mut self) {
        if self.device.reset() {
            // SAFETY: the disk has just confirmed its reset.
            unsafe { self.queue.detach(drop) };
            self.area.release();
        }
    }
}

/// How many bytes so many sectors have, if a segment can have them.
fn data_bytes(sectors: u32) -> Option<usize> {
    let bytes = sectors.checked_mul(SECTOR_BYTES as u32)?;
    usize::try_from(bytes).ok()
}

/// The part of a buffer that a request is about; none for a flush.
fn data_segment(operation: Operation, buffer: &PacketBuffer) -> Option<Segment> {
    let (sectors, direction) = match operation {
        Operation::Read { sectors, .. } => (sectors, Direction::DeviceWrites),
        Operation::Write { sectors, .. } => (sectors, Direction::DeviceReads),
        Operation::Flush => return None,
    };
    let length = u32::try_from(data_bytes(sectors)?).ok()?;
    Some(Segment { address: buffer.device_address(), length, direction })
}
