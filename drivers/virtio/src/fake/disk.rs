//! A disk in memory, whose requests a test completes when and how it likes.

use std::vec::Vec;

use block::SECTOR_BYTES;
use virtio_drivers::transport::DeviceType;

use super::{
    Chain, DeviceRing, EVENT_INDEX, FakeDevice, FakeOptions, FakeTransport, InterruptKind,
    VERSION_1, device,
};
use crate::blk::REQUEST_QUEUE;

/// The request was done.
pub const STATUS_OK: u8 = 0;
/// The request failed.
pub const STATUS_IO_ERROR: u8 = 1;
/// The request is not known.
pub const STATUS_UNSUPPORTED: u8 = 2;

const FEATURE_FLUSH: u64 = 1 << 9;
const HEADER_BYTES: usize = 16;
const TYPE_READ: u32 = 0;
const TYPE_WRITE: u32 = 1;
const TYPE_FLUSH: u32 = 4;

/// A disk that does what it is asked.
#[derive(Debug)]
pub struct FakeDisk {
    device: FakeDevice,
    bytes: Vec<u8>,
    /// Requests that were taken and not completed, in the order of their arrival.
    pending: Vec<Chain>,
    flushes: u64,
}

impl FakeDisk {
    /// What a usual disk is like: event indices, flush, 128 descriptors.
    pub fn options(sectors: u64) -> FakeOptions {
        FakeOptions {
            device_type: DeviceType::Block,
            features: VERSION_1 | EVENT_INDEX | FEATURE_FLUSH,
            queue_sizes: std::vec![128],
            configuration: [sectors.to_le_bytes(), 512_u64.to_le_bytes()].concat(),
            interrupts: InterruptKind::Message,
            ignores_reset: false,
            refuses_features: false,
            refuses_queues: false,
            keeps_queues: false,
            is_restless: false,
        }
    }

    /// A disk full of zeros, and its driver's end.
    ///
    /// # Panics
    /// If the configuration has no capacity.
    pub fn new(options: FakeOptions) -> (FakeTransport, FakeDisk) {
        let capacity = options.configuration.first_chunk::<8>().expect("a disk has a capacity");
        let bytes = std::vec![0; u64::from_le_bytes(*capacity) as usize * SECTOR_BYTES];
        let (transport, device) = device(options);
        (transport, FakeDisk { device, bytes, pending: Vec::new(), flushes: 0 })
    }

    /// The device itself.
    pub fn device(&self) -> &FakeDevice {
        &self.device
    }

    /// Everything on the disk.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many flushes were done.
    pub fn flushes(&self) -> u64 {
        self.flushes
    }

    /// Takes what the driver has submitted, without completing it. Returns how many requests are pending.
    pub fn fetch(&mut self) -> usize {
        let pending = &mut self.pending;
        self.device.with_ring(REQUEST_QUEUE, |ring| {
            while let Some(chain) = ring.take() {
                pending.push(chain);
            }
        });
        self.pending.len()
    }

    /// Does the pending request at `position` and completes it with `status`; only [`STATUS_OK`] has an
    /// effect.
    ///
    /// # Panics
    /// If there is no such request, or it is malformed.
    pub fn complete(&mut self, position: usize, status: u8) {
        let chain = self.pending.remove(position);
        let device = self.device.clone();
        device.with_ring(REQUEST_QUEUE, |ring| {
            if status == STATUS_OK {
                self.perform(ring, &chain);
            }
            let written = chain.writable_bytes();
            ring.write(&chain, written - 1, &[status]);
            ring.complete(chain, written as u32);
            ring.announce();
        });
    }

    /// Does everything that the driver has submitted, in order. Returns how many requests.
    pub fn serve(&mut self) -> usize {
        let pending = self.fetch();
        for _ in 0..pending {
            self.complete(0, STATUS_OK);
        }
        pending
    }

    fn perform(&mut self, ring: &DeviceRing, chain: &Chain) {
        let request = ring.read(chain);
        let (header, data) = request.split_at(HEADER_BYTES);
        let word = |at: usize| u32::from_le_bytes(*header[at..].first_chunk().expect("16 bytes"));
        let start = word(8) as usize * SECTOR_BYTES;
        match word(0) {
            TYPE_READ => {
                let length = chain.writable_bytes() - 1;
                ring.write(chain, 0, &self.bytes[start..start + length]);
            }
            TYPE_WRITE => self.bytes[start..start + data.len()].copy_from_slice(data),
            TYPE_FLUSH => {
                assert_eq!(chain.segments(), (1, 1), "a flush has no data");
                self.flushes += 1;
            }
            other => panic!("the driver sends a request of type {other}"),
        }
    }
}
