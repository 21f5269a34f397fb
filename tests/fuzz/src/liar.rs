//! The device's end of a ring, as the bytes of an input want it: honest until its first lie.

use virtio::fake::{Chain, FakeDevice};
use virtio::net::HEADER_BYTES;

use crate::input::Input;

/// See the module.
#[derive(Debug)]
pub(crate) struct Liar {
    device: FakeDevice,
    queue: u16,
    held: Vec<Chain>,
    resets: u64,
    /// From then on what it holds and what the driver believes that it holds differ: it only lies, and
    /// touches no memory but the ring.
    pub(crate) has_lied: bool,
}

impl Liar {
    pub(crate) fn new(device: FakeDevice, queue: u16) -> Liar {
        let resets = device.resets();
        Liar { device, queue, held: Vec::new(), resets, has_lied: false }
    }

    /// One step: of honest work if `choice` is small, else a lie.
    pub(crate) fn step(&mut self, choice: u8, input: &mut Input<'_>) {
        if self.device.resets() != self.resets {
            self.resets = self.device.resets();
            self.held.clear();
        }
        let is_lie = choice >= 192;
        if is_lie || self.has_lied {
            self.has_lied = true;
            self.lie(choice, input);
        } else if choice < 96 {
            self.device.with_ring(self.queue, |ring| {
                if ring.available() > 0 {
                    self.held.extend(ring.take());
                }
            });
        } else {
            self.finish(choice, input);
        }
    }

    fn finish(&mut self, choice: u8, input: &mut Input<'_>) {
        if self.held.is_empty() {
            return;
        }
        let chain = self.held.swap_remove(usize::from(input.u8()) % self.held.len());
        let written = usize::from(input.u16()) % (chain.writable_bytes() + 1);
        let mut bytes = vec![choice; written];
        // Where a card has its header anything may be.
        bytes.iter_mut().take(HEADER_BYTES).for_each(|byte| *byte = input.u8());
        self.device.with_ring(self.queue, |ring| {
            ring.write(&chain, 0, &bytes);
            ring.complete(chain, written as u32);
            ring.announce();
        });
    }

    fn lie(&mut self, choice: u8, input: &mut Input<'_>) {
        self.device.with_ring(self.queue, |ring| match choice % 6 {
            0 => ring.raw_complete(input.u32(), input.u32()),
            1 => ring.raw_complete(u32::from(input.below(40)), u32::from(input.u16())),
            2 => ring.raw_announce(input.u16()),
            3 => ring.raw_announce(ring.used().wrapping_add(u16::from(input.below(3)))),
            _ => ring.raw_scribble_descriptors(input.u64()),
        });
        if choice == u8::MAX {
            self.device.demand_reset();
        }
    }
}
