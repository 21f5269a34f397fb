//! A device that works honestly for a while and then does whatever comes to its mind, from a seed.

use std::vec::Vec;

use super::{Chain, FakeDevice};

/// Honest work, and then every lie that a ring allows. The same seed tells the same lies.
#[derive(Debug)]
pub struct Liar {
    device: FakeDevice,
    queue: u16,
    state: u64,
    held: Vec<Chain>,
    resets: u64,
    /// What it holds, and what the driver believes that it holds, are no longer the same: from its first
    /// lie on it only lies, and touches no more memory than the ring.
    has_lied: bool,
}

impl Liar {
    /// A liar at one queue of `device`.
    pub fn new(device: FakeDevice, queue: u16, seed: u64) -> Liar {
        let resets = device.resets();
        Liar { device, queue, state: seed, held: Vec::new(), resets, has_lied: false }
    }

    /// The next number of the sequence (SplitMix64).
    fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One step of work, in one of `lie_every` cases a lie, and after that only lies. Nothing once the driver
    /// has reset the device.
    ///
    /// # Panics
    /// If `lie_every` is zero.
    pub fn step(&mut self, lie_every: u64) {
        if self.device.resets() != self.resets {
            self.resets = self.device.resets();
            self.held.clear();
        }
        self.has_lied |= self.draw().is_multiple_of(lie_every);
        if self.has_lied { self.lie() } else { self.work() }
    }

    /// Takes a chain, or writes something into one and completes it, of whatever length.
    fn work(&mut self) {
        let (choice, pick, length) = (self.draw(), self.draw() as usize, self.draw() as usize);
        self.device.with_ring(self.queue, |ring| {
            if choice % 3 < 2 && ring.available() > 0 {
                self.held.extend(ring.take());
            } else if !self.held.is_empty() {
                let chain = self.held.swap_remove(pick % self.held.len());
                let written = length % (chain.writable_bytes() + 1);
                ring.write(&chain, 0, &std::vec![choice as u8; written]);
                ring.complete(chain, written as u32);
                ring.announce();
            }
        });
    }

    fn lie(&mut self) {
        let (choice, first, second) = (self.draw(), self.draw(), self.draw());
        self.device.with_ring(self.queue, |ring| match choice % 5 {
            0 => ring.raw_complete(first as u32, second as u32),
            1 => ring.raw_complete((first % 40) as u32, (second % 8192) as u32),
            2 => ring.raw_announce(first as u16),
            3 => ring.raw_announce(ring.used().wrapping_add((first % 3) as u16)),
            _ => ring.raw_scribble_descriptors(first),
        });
        if choice.is_multiple_of(64) {
            self.device.demand_reset();
        }
    }
}
