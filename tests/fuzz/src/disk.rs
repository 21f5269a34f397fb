//! A disk in memory that does at once what it is asked.

use std::collections::BTreeMap;

use block::{BlockCompletion, BlockError, BlockRequest, Operation, SECTOR_BYTES};

pub(crate) type Sector = [u8; SECTOR_BYTES];

/// The sectors that were ever written; all others are zero.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) sectors: BTreeMap<u64, Sector>,
    pub(crate) capacity: u64,
}

impl Disk {
    pub(crate) fn new(capacity: u64) -> Disk {
        Disk { sectors: BTreeMap::new(), capacity }
    }

    /// # Panics
    /// If the request does not fit its own buffer.
    pub(crate) fn serve(&mut self, request: BlockRequest) -> BlockCompletion {
        let BlockRequest { tag, operation, mut buffer } = request;
        let result = self.perform(operation, buffer.as_deref_mut());
        BlockCompletion { tag, operation, buffer, result }
    }

    fn perform(
        &mut self,
        operation: Operation,
        buffer: Option<&mut [u8]>,
    ) -> Result<(), BlockError> {
        let (Operation::Read { sector, sectors } | Operation::Write { sector, sectors }) =
            operation
        else {
            return Ok(());
        };
        let bytes = &mut buffer.expect("a buffer comes along")[..sectors as usize * SECTOR_BYTES];
        let end = sector.checked_add(sectors.into()).filter(|end| *end <= self.capacity);
        let places = sector..end.ok_or(BlockError::OutOfRange)?;
        for (place, bytes) in places.zip(bytes.chunks_exact_mut(SECTOR_BYTES)) {
            match operation {
                Operation::Read { .. } => bytes.copy_from_slice(&self.read(place)),
                Operation::Write { .. } | Operation::Flush => {
                    let sector = Sector::try_from(&*bytes).expect("a chunk is a sector");
                    self.sectors.insert(place, sector);
                }
            }
        }
        Ok(())
    }

    fn read(&self, sector: u64) -> Sector {
        self.sectors.get(&sector).copied().unwrap_or([0; SECTOR_BYTES])
    }
}
