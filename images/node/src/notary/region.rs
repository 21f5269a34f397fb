//! The ledger's part of the disk: the last quarter, so that neither log stands in the way of the other, and
//! what is wrong with one of them does not end the other. A quarter of it is for what this node has signed,
//! the rest for the entries; each has a store of its own.

use block::{BlockCompletion, BlockRequest, Operation};

/// One part in so many of the disk is the ledger's, and one part in so many of that is for what was signed.
const SHARE: u64 = 4;
/// The ledger's requests have this bit in their tag, …
const MARK: u64 = 1 << 63;
/// … and those of the entries this one, too.
const ENTRIES_MARK: u64 = 1 << 62;

/// The sectors that are the ledger's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    first: u64,
    sectors: u64,
}

/// A run of them that one store has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    first: u64,
    sectors: u64,
    mark: u64,
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

    /// The part for what was signed, and the one for the entries.
    pub fn parts(self) -> [Part; 2] {
        let signed = self.sectors / SHARE;
        let (first, sectors) = (self.first + signed, self.sectors - signed);
        [
            Part { first: self.first, sectors: signed, mark: MARK },
            Part { first, sectors, mark: MARK | ENTRIES_MARK },
        ]
    }
}

impl Part {
    /// The first of its sectors on the disk.
    pub fn first(self) -> u64 {
        self.first
    }

    /// How many sectors it has.
    pub fn sectors(self) -> u64 {
        self.sectors
    }

    /// A request of the part's store as one to the disk.
    pub(super) fn outward(self, mut request: BlockRequest) -> BlockRequest {
        request.tag |= self.mark;
        request.operation = moved(request.operation, |sector| sector + self.first);
        request
    }

    /// A completion of the disk as one for the part's store, if it is; else it comes back.
    pub(super) fn inward(
        self,
        mut ended: BlockCompletion,
    ) -> Result<BlockCompletion, BlockCompletion> {
        if ended.tag & (MARK | ENTRIES_MARK) != self.mark {
            return Err(ended);
        }
        ended.tag &= !self.mark;
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
        let [signed, entries] = region.parts();
        assert_eq!(
            (region.sectors_before(), signed.sectors(), entries.sectors()),
            (3075, 256, 768)
        );
        for operation in [
            Operation::Read { sector: 0, sectors: 2 },
            Operation::Write { sector: 255, sectors: 1 },
            Operation::Flush,
        ] {
            for (part, other, range) in
                [(signed, entries, 3075..3331), (entries, signed, 3331..4099)]
            {
                let out = part.outward(BlockRequest { tag: 5, operation, buffer: None });
                if let Operation::Read { sector, .. } | Operation::Write { sector, .. } =
                    out.operation
                {
                    assert!(range.contains(&sector));
                }
                let ended = |tag, operation| {
                    let (buffer, result) = (None, Ok(()));
                    BlockCompletion { tag, operation, buffer, result }
                };
                let back = other.inward(ended(out.tag, out.operation)).expect_err("another's");
                let back = part.inward(back).expect("it is its own");
                assert_eq!((back.tag, back.operation), (5, operation));
                assert!(part.inward(ended(5, operation)).is_err(), "it is the log's");
            }
        }
    }
}
