//! The ledger's part of the disk: the last quarter, with a store of its own, so that neither log stands in
//! the way of the other, and what is wrong with one of them does not end the other.

use block::{BlockCompletion, BlockRequest, Operation};

/// One part in so many of the disk is the ledger's.
const SHARE: u64 = 4;
/// The ledger's requests have this bit in their tag.
const MARK: u64 = 1 << 63;

/// A run of sectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    first: u64,
    sectors: u64,
}

impl Region {
    /// The ledger's part of a disk of so many sectors.
    pub fn of(disk_sectors: u64) -> Region {
        let sectors = disk_sectors / SHARE;
        Region { first: disk_sectors - sectors, sectors }
    }

    /// How many sectors are in front of it: those are the replicated log's.
    pub fn sectors_before(self) -> u64 {
        self.first
    }

    /// How many sectors it has.
    pub fn sectors(self) -> u64 {
        self.sectors
    }

    /// A request of the ledger's store as one to the disk.
    pub(super) fn outward(self, mut request: BlockRequest) -> BlockRequest {
        request.tag |= MARK;
        request.operation = moved(request.operation, |sector| sector + self.first);
        request
    }

    /// A completion of the disk as one for the ledger's store, if it is; else it comes back.
    pub(super) fn inward(
        self,
        mut ended: BlockCompletion,
    ) -> Result<BlockCompletion, BlockCompletion> {
        if ended.tag & MARK == 0 {
            return Err(ended);
        }
        ended.tag &= !MARK;
        ended.operation = moved(ended.operation, |sector| sector - self.first);
        Ok(ended)
    }
}

fn moved(operation: Operation, by: impl Fn(u64) -> u64) -> Operation {
    match operation {
        Operation::Read { sector, sectors } => Operation::Read { sector: by(sector), sectors },
        Operation::Write { sector, sectors } => Operation::Write { sector: by(sector), sectors },
        Operation::Flush => Operation::Flush,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_out_comes_back_and_nothing_else_does() {
        let region = Region::of(4099);
        assert_eq!((region.sectors_before(), region.sectors()), (3075, 1024));
        for operation in [
            Operation::Read { sector: 0, sectors: 2 },
            Operation::Write { sector: 1023, sectors: 1 },
            Operation::Flush,
        ] {
            let out = region.outward(BlockRequest { tag: 5, operation, buffer: None });
            if let Operation::Read { sector, .. } | Operation::Write { sector, .. } = out.operation
            {
                assert!((3075..4099).contains(&sector));
            }
            let (tag, operation_out) = (out.tag, out.operation);
            let ended =
                |tag, operation| BlockCompletion { tag, operation, buffer: None, result: Ok(()) };
            let back = region.inward(ended(tag, operation_out)).expect("it is the ledger's");
            assert_eq!((back.tag, back.operation), (5, operation));
            assert!(region.inward(ended(5, operation)).is_err(), "it is the log's");
        }
    }
}
