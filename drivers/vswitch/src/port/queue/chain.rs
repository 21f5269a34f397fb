//! From a descriptor to the memory that it describes (Virtio 1.3, section 2.7.5).

use vm_memory::{VolatileMemory, VolatileSlice};

use super::shared::{DESCRIPTOR_BYTES, Descriptor, Shared};
use crate::frame::Scatter;
use crate::port::memory::Memory;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// A table of descriptors may have as many as a chain: 2^16 of the ring, or what fits one buffer.
const TABLE_MAX: usize = 1 << 16;

/// Who may write to the memory of a chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Access {
    /// The machine has written, we read.
    Read,
    /// We write.
    Write,
}

/// Adds the memory of the chain that begins at `head`; `None` if part of it is not in the machine's memory,
/// is for the other direction, or if the chain has too many pieces, leads out of its table, or in a circle.
pub(super) fn gather<'m>(
    memory: &'m Memory,
    ring: &Shared<'_>,
    head: u16,
    access: Access,
    scatter: &mut Scatter<'m>,
) -> Option<()> {
    let first = descriptor(&ring.descriptors, head)?;
    if first.flags & INDIRECT == 0 {
        return follow(memory, &ring.descriptors, first, access, scatter);
    }
    // A descriptor has a table or a successor, not both (section 2.7.5.3.1).
    let bytes = first.length as usize;
    let is_table = first.flags & NEXT == 0
        && bytes > 0
        && bytes.is_multiple_of(DESCRIPTOR_BYTES)
        && bytes / DESCRIPTOR_BYTES <= TABLE_MAX;
    let table = memory.whole(first.address, bytes).filter(|_| is_table)?;
    let first = descriptor(&table, 0).filter(|first| first.flags & INDIRECT == 0)?;
    follow(memory, &table, first, access, scatter)
}

fn descriptor(table: &VolatileSlice<'_>, index: u16) -> Option<Descriptor> {
    let offset = usize::from(index) * DESCRIPTOR_BYTES;
    table.get_ref(offset).ok().map(|place| place.load())
}

/// The pieces of [`Scatter`] are bounded, so a circle ends.
fn follow<'m>(
    memory: &'m Memory,
    table: &VolatileSlice<'_>,
    first: Descriptor,
    access: Access,
    scatter: &mut Scatter<'m>,
) -> Option<()> {
    let mut current = first;
    loop {
        let is_writable = current.flags & WRITE != 0;
        if is_writable != (access == Access::Write) || current.flags & INDIRECT != 0 {
            return None;
        }
        add(memory, &current, scatter)?;
        if current.flags & NEXT == 0 {
            return Some(());
        }
        current = descriptor(table, current.next)?;
    }
}

/// A buffer may lie across the border of two regions of the machine's memory.
fn add<'m>(memory: &'m Memory, descriptor: &Descriptor, scatter: &mut Scatter<'m>) -> Option<()> {
    let (mut address, mut rest) = (descriptor.address, descriptor.length as usize);
    if rest == 0 {
        // Else a circle of nothing would have no end.
        return None;
    }
    while rest > 0 {
        let piece = memory.piece(address, rest)?;
        scatter.push(piece)?;
        rest -= piece.len();
        address = address.checked_add(piece.len() as u64)?;
    }
    Some(())
}
