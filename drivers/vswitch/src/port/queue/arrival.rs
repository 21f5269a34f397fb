//! Room for a frame in a receive ring: one chain, or as many as it takes where buffers are merged
//! (Virtio 1.3, section 5.1.6.3.2).

use heapless::Vec as Chains;

use super::chain::{self, Access};
use super::cursor::Cursor;
use super::shared::{Mapped, Shared};
use crate::frame::{PIECES_MAX, Packet, Scatter};
use crate::port::Unplug;
use virtio::net::{HEADER_BYTES, Header};

/// A chain that was taken, and how many bytes it holds.
#[derive(Clone, Copy, Debug)]
struct Chain {
    head: u16,
    room: usize,
}

/// Chains that were taken for a frame.
#[derive(Debug, Default)]
pub(super) struct Room<'m> {
    chains: Chains<Chain, PIECES_MAX>,
    memory: Scatter<'m>,
    /// Part of it cannot be written to.
    is_bad: bool,
}

impl<'m> Room<'m> {
    /// Takes room for `bytes` bytes; false if the machine offers less, and nothing is taken then. An empty
    /// room is filled where it is: it is too large to be moved for every frame.
    pub(super) fn take(
        &mut self,
        bytes: usize,
        is_mergeable: bool,
        mapped: &'m Mapped,
        cursor: &mut Cursor,
    ) -> Result<bool, Unplug> {
        let shared = mapped.shared();
        let offered = usize::from(cursor.offered(shared)?);
        let before = *cursor;
        loop {
            if self.chains.len() == offered {
                *cursor = before;
                return Ok(false);
            }
            // No more are taken than can be given back.
            if self.chains.is_full() {
                self.is_bad = true;
                return Ok(true);
            }
            let head = cursor.take(shared)?;
            let had = self.memory.len();
            let gathered =
                chain::gather(&mapped.memory, shared, head, Access::Write, &mut self.memory);
            self.is_bad |= gathered.is_none();
            let chain = Chain { head, room: self.memory.len() - had };
            self.chains.push(chain).expect("there was room for it");
            let is_enough = self.memory.len() >= bytes;
            if is_enough || self.is_bad || !is_mergeable {
                return Ok(true);
            }
        }
    }

    /// Writes header and frame, and gives the chains back. False if they are too short, or not in the
    /// machine's memory: then they come back empty.
    #[must_use]
    pub(super) fn write(
        &mut self,
        packet: &Packet<'_, '_>,
        shared: &Shared<'_>,
        cursor: &mut Cursor,
    ) -> bool {
        let length = HEADER_BYTES + packet.len();
        let mut bytes = [0; HEADER_BYTES];
        let buffers = u16::try_from(self.chains.len()).expect("they are few");
        Header { buffers, ..packet.header }.emit(&mut bytes);
        let is_long_enough = !self.is_bad && self.memory.len() >= length;
        let written = is_long_enough.then(|| self.memory.write(&bytes));
        let copied = written.flatten().and_then(|()| packet.content.copy_into(&self.memory));
        let mut rest = if copied.is_some() { length } else { 0 };
        for chain in &self.chains {
            let count = rest.min(chain.room);
            rest -= count;
            cursor.give_back(shared, chain.head, u32::try_from(count).expect("frames are short"));
        }
        copied.is_some()
    }
}
