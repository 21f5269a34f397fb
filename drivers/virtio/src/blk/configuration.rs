//! What a disk and its driver agree on (Virtio 1.3, sections 5.2.3 and 5.2.4).

use crate::device::{Device, InitError};
use crate::transport::Transport;

const FEATURE_SIZE_MAX: u64 = 1 << 1;
pub(super) const FEATURE_READ_ONLY: u64 = 1 << 5;
pub(super) const FEATURE_FLUSH: u64 = 1 << 9;
/// What the driver accepts besides what every driver does.
pub(super) const FEATURES: u64 = FEATURE_SIZE_MAX | FEATURE_READ_ONLY | FEATURE_FLUSH;

const OFFSET_CAPACITY: usize = 0;
const OFFSET_SIZE_MAX: usize = 8;

/// What to do with a disk that cannot flush.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WithoutFlush {
    /// Not use it: nothing on it would be durable for certain.
    Refuse,
    /// Use it. A flush succeeds at once, as the standard lets a driver assume (section 5.2.6.1).
    Accept,
}

/// How a disk is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlkConfig {
    /// At most so many descriptors in the ring, three for each request; the disk may allow fewer.
    pub queue_size_max: u16,
    /// What to do with a disk that cannot flush.
    pub without_flush: WithoutFlush,
}

impl Default for BlkConfig {
    /// 42 requests at once, durable.
    fn default() -> BlkConfig {
        BlkConfig { queue_size_max: 128, without_flush: WithoutFlush::Refuse }
    }
}

/// How many sectors the disk has.
pub(super) fn capacity_sectors<T: Transport>(device: &Device<T>) -> Result<u64, InitError> {
    device.configuration_u64(OFFSET_CAPACITY)
}

/// The longest data that one request may have.
pub(super) fn request_bytes_max<T: Transport>(device: &Device<T>) -> Result<usize, InitError> {
    if !device.has(FEATURE_SIZE_MAX) {
        return Ok(usize::MAX);
    }
    device.configuration::<u32>(OFFSET_SIZE_MAX).map(|bytes| bytes as usize)
}
