//! A card on a network where the test is everybody else.

use std::vec::Vec;

use virtio_drivers::transport::DeviceType;

use super::{
    EVENT_INDEX, FakeDevice, FakeOptions, FakeTransport, InterruptKind, VERSION_1, device,
};
use crate::net::{HEADER_BYTES, RECEIVE_QUEUE, TRANSMIT_QUEUE};

const FEATURE_MAC: u64 = 1 << 5;
const FEATURE_STATUS: u64 = 1 << 16;
const FEATURE_CONTROL: u64 = 1 << 17;
const FEATURE_PAIRS: u64 = 1 << 22;

/// A well-behaved card.
#[derive(Debug)]
pub struct FakeNetwork {
    device: FakeDevice,
    pair: u16,
}

impl FakeNetwork {
    /// What a usual card is like: event indices, 256 descriptors per ring, link up.
    pub fn options() -> FakeOptions {
        let mut configuration = std::vec![0x52, 0x54, 0, 0, 0, 1];
        configuration.extend_from_slice(&[1, 0, 1, 0, 0, 0]);
        FakeOptions {
            device_type: DeviceType::Network,
            features: VERSION_1 | EVENT_INDEX | FEATURE_MAC | FEATURE_STATUS,
            queue_sizes: std::vec![256, 256],
            configuration,
            interrupts: InterruptKind::Message,
            ignores_reset: false,
            refuses_features: false,
            refuses_queues: false,
            keeps_queues: false,
            is_restless: false,
        }
    }

    /// A card and its driver's end.
    pub fn new(options: FakeOptions) -> (FakeTransport, FakeNetwork) {
        let (transport, device) = device(options);
        (transport, FakeNetwork { device, pair: 0 })
    }

    /// A card with so many pairs of queues, and one for commands behind them.
    pub fn options_with_pairs(pairs: u16) -> FakeOptions {
        let mut options = FakeNetwork::options();
        options.features |= FEATURE_CONTROL | FEATURE_PAIRS;
        options.queue_sizes = std::vec![256; 2 * usize::from(pairs) + 1];
        options.configuration[8..10].copy_from_slice(&pairs.to_le_bytes());
        options
    }

    /// The same card, seen from another pair of its queues.
    pub fn pair(&self, pair: u16) -> FakeNetwork {
        FakeNetwork { device: self.device.clone(), pair }
    }

    /// Takes a command from queue `queue`, if there is one, and answers it. Returns what the driver wrote:
    /// class, command, data.
    pub fn serve_control(&self, queue: u16, answer: u8) -> Option<Vec<u8>> {
        let command = self.device.with_ring(queue, |ring| {
            let chain = ring.take()?;
            let command = ring.read(&chain);
            ring.write(&chain, 0, &[answer]);
            ring.complete(chain, 1);
            ring.announce();
            Some(command)
        });
        command.flatten()
    }

    /// The device itself.
    pub fn device(&self) -> &FakeDevice {
        &self.device
    }

    /// Takes what the driver has sent, at most `frames_max`, without the card's header.
    ///
    /// # Panics
    /// If the driver sends a header that is not all zeros, or too short.
    pub fn take_sent(&self, frames_max: usize) -> Vec<Vec<u8>> {
        let mut frames = self.take_packets(frames_max);
        for frame in &mut frames {
            let header: Vec<u8> = frame.drain(..HEADER_BYTES).collect();
            assert_eq!(header, [0; HEADER_BYTES], "nothing was asked of the card");
        }
        frames
    }

    /// Takes what the driver has sent, at most `packets_max`, each behind the card's header.
    pub fn take_packets(&self, packets_max: usize) -> Vec<Vec<u8>> {
        let taken = self.device.with_ring(2 * self.pair + TRANSMIT_QUEUE, |ring| {
            let mut packets = Vec::new();
            while packets.len() < packets_max {
                let Some(chain) = ring.take() else { break };
                packets.push(ring.read(&chain));
                ring.complete(chain, 0);
            }
            if !packets.is_empty() {
                ring.announce();
            }
            packets
        });
        taken.unwrap_or_default()
    }

    /// Lets frames arrive, as many as the driver has buffers for. Returns how many.
    pub fn deliver(&self, frames: &[Vec<u8>]) -> usize {
        let delivered = self.device.with_ring(2 * self.pair + RECEIVE_QUEUE, |ring| {
            let mut delivered = 0;
            for frame in frames {
                let Some(chain) = ring.take() else { break };
                ring.write(&chain, 0, &[0; HEADER_BYTES]);
                ring.write(&chain, HEADER_BYTES, frame);
                let written = HEADER_BYTES + frame.len();
                ring.complete(chain, written as u32);
                delivered += 1;
            }
            if delivered > 0 {
                ring.announce();
            }
            delivered
        });
        delivered.unwrap_or(0)
    }

    /// Lets a packet arrive, the card's header in front, in as many of the driver's buffers as it needs, all
    /// of them at once. The header is written as it is. Returns how many buffers there were.
    ///
    /// # Panics
    /// If the driver has too few buffers.
    pub fn deliver_packet(&self, bytes: &[u8]) -> usize {
        let delivered = self.device.with_ring(2 * self.pair + RECEIVE_QUEUE, |ring| {
            let (mut rest, mut buffers) = (bytes, 0);
            while !rest.is_empty() {
                let chain = ring.take().expect("the driver has buffers");
                let (now, later) = rest.split_at(rest.len().min(chain.writable_bytes()));
                ring.write(&chain, 0, now);
                ring.complete(chain, now.len() as u32);
                (rest, buffers) = (later, buffers + 1);
            }
            ring.announce();
            buffers
        });
        delivered.unwrap_or(0)
    }

    /// Sends everything back that the driver has sent. Returns how many frames arrived.
    pub fn echo(&self) -> usize {
        let frames = self.take_sent(usize::MAX);
        self.deliver(&frames)
    }
}
