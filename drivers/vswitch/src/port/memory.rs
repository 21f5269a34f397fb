//! The machine's memory as its hypervisor shares it: looked up for every buffer, so kept simple.

mod guard;

use std::fs::File;
use std::sync::Arc;

use nix::sys::statfs::{HUGETLBFS_MAGIC, fstatfs};
use vhost::vhost_user::message::VhostUserMemoryRegion;
use vhost::vhost_user::{Error, Result};
use vm_memory::{
    GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap,
    VolatileSlice,
};

use guard::Guard;

/// A piece of the machine's memory.
#[derive(Clone, Copy, Debug)]
struct Region {
    /// Its address in the machine, in its hypervisor, and how long it is.
    guest: u64,
    user: u64,
    bytes: u64,
    /// Invariant: as long as the region, and not used after the memory's `mapping` is gone.
    content: VolatileSlice<'static>,
}

/// All of it, mapped for as long as somebody holds it.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    /// The longest first: most buffers are there.
    regions: Arc<[Region]>,
    /// Keeps what `content` points to mapped. Whoever clones this memory holds it, too.
    mapping: Arc<Mapping>,
}

/// What keeps memory mapped; it is watched for as long, and no longer.
#[derive(Debug)]
struct Mapping {
    guards: Vec<Guard>,
    _mapped: GuestMemoryMmap,
}

// SAFETY: the memory is mapped until the last clone is gone, wherever that is, and volatile slices are made
// for memory that others write to.
unsafe impl Send for Memory {}

impl Memory {
    /// Maps what a hypervisor shares.
    ///
    /// # Errors
    /// If it cannot be mapped, pieces overlap, or a file is shorter than what is said to be in it.
    pub(super) fn map(shared: &[VhostUserMemoryRegion], files: Vec<File>) -> Result<Memory> {
        let mut mapped = Vec::new();
        for (region, file) in shared.iter().zip(files) {
            if !holds(&file, region) {
                return Err(Error::InvalidParam);
            }
            let guest = GuestAddress(region.guest_phys_addr);
            let piece = GuestRegionMmap::new(region.mmap_region(file)?, guest);
            mapped.push(piece.ok_or(Error::InvalidParam)?);
        }
        let mapped = GuestMemoryMmap::from_regions(mapped)
            .map_err(|error| Error::ReqHandlerError(std::io::Error::other(error)))?;
        let mut regions: Vec<Region> = shared
            .iter()
            .map(|region| Region::of(&mapped, region).ok_or(Error::InvalidParam))
            .collect::<Result<_>>()?;
        let guards = regions.iter().map(|region| Guard::of(&region.content));
        let guards = guards.collect::<std::io::Result<_>>().map_err(Error::ReqHandlerError)?;
        regions.sort_by_key(|region| std::cmp::Reverse(region.bytes));
        let mapping = Arc::new(Mapping { guards, _mapped: mapped });
        Ok(Memory { regions: regions.into(), mapping })
    }

    /// Whether part of it turned out to be gone when it was touched: see [`guard`].
    pub(super) fn is_lost(&self) -> bool {
        self.mapping.guards.iter().any(Guard::is_lost)
    }

    /// The part of a piece that begins at `address`: at most `bytes` of it, fewer only where the piece ends.
    pub(super) fn piece(&self, address: u64, bytes: usize) -> Option<VolatileSlice<'_>> {
        let holds = |region: &&Region| address.wrapping_sub(region.guest) < region.bytes;
        let region = self.regions.iter().find(holds)?;
        let offset = address - region.guest;
        let rest = usize::try_from(region.bytes - offset).ok()?;
        region.content.subslice(usize::try_from(offset).ok()?, bytes.min(rest)).ok()
    }

    /// As [`Memory::piece`], whole or not at all.
    pub(super) fn whole(&self, address: u64, bytes: usize) -> Option<VolatileSlice<'_>> {
        self.piece(address, bytes).filter(|piece| piece.len() == bytes)
    }

    /// An address in the hypervisor's address space, as one in the machine's.
    pub(super) fn to_guest(&self, user: u64) -> Option<u64> {
        let holds = |region: &&Region| user.wrapping_sub(region.user) < region.bytes;
        let region = self.regions.iter().find(holds)?;
        region.guest.checked_add(user - region.user)
    }
}

/// Whether the file is as long as its hypervisor says of it, and the piece is of whole pages: part of a huge
/// one can be mapped, but is not unmapped again.
fn holds(file: &File, region: &VhostUserMemoryRegion) -> bool {
    let end = region.mmap_offset.checked_add(region.memory_size);
    let length = file.metadata().map(|metadata| metadata.len());
    let is_long_enough = end.zip(length.ok()).is_some_and(|(end, length)| end <= length);
    let is_whole = fstatfs(file).is_ok_and(|system| {
        let page = u64::try_from(system.block_size()).unwrap_or(u64::MAX);
        system.filesystem_type() != HUGETLBFS_MAGIC || region.memory_size.is_multiple_of(page)
    });
    is_long_enough && is_whole
}

impl Region {
    fn of(mapping: &GuestMemoryMmap, shared: &VhostUserMemoryRegion) -> Option<Region> {
        let guest = GuestAddress(shared.guest_phys_addr);
        let bytes = usize::try_from(shared.memory_size).ok()?;
        let region = mapping.find_region(guest)?;
        let content = region.as_volatile_slice().ok().filter(|content| content.len() == bytes)?;
        // SAFETY: the memory is mapped as long as `Memory` holds the mapping, which is longer than it gives
        // slices away: theirs borrow from it.
        let content = unsafe { VolatileSlice::new(content.ptr_guard_mut().as_ptr(), bytes) };
        let (guest, user) = (shared.guest_phys_addr, shared.user_addr);
        Some(Region { guest, user, bytes: shared.memory_size, content })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::FromRawFd;

    fn file(bytes: u64) -> File {
        // SAFETY: the call makes a descriptor, which nobody else has.
        let file = unsafe { File::from_raw_fd(libc::memfd_create(c"memory".as_ptr(), 0)) };
        file.set_len(bytes).unwrap();
        file
    }

    fn memory(regions: &[(u64, u64)]) -> Result<Memory> {
        let files = regions.iter().map(|(_, bytes)| file(*bytes));
        let shared = regions.iter().map(|(guest, bytes)| VhostUserMemoryRegion {
            guest_phys_addr: *guest,
            memory_size: *bytes,
            user_addr: 0x7000_0000 + guest,
            mmap_offset: 0,
        });
        Memory::map(&shared.collect::<Vec<_>>(), files.collect())
    }

    #[test]
    fn nothing_is_found_beyond_the_ends() {
        let memory = memory(&[(0, 0x1000), (0x1000, 0x3000), (0x10_0000, 0x1000)]).unwrap();
        for (address, bytes, found) in [
            (0, 0x1000, Some(0x1000)),
            (0xfff, 2, Some(1)),
            (0x1000, 0x3000, Some(0x3000)),
            (0x3fff, usize::MAX, Some(1)),
            (0x4000, 1, None),
            (0xf_ffff, 1, None),
            (0x10_0fff, 1, Some(1)),
            (0x10_1000, 1, None),
            (u64::MAX, 1, None),
        ] {
            let piece = memory.piece(address, bytes);
            assert_eq!(piece.map(|piece| piece.len()), found, "{address:x} {bytes:x}");
        }
        assert!(memory.whole(0xfff, 2).is_none());
        assert_eq!(memory.to_guest(0x7000_3fff), Some(0x3fff));
        assert_eq!((memory.to_guest(0x7000_4000), memory.to_guest(0)), (None, None));
    }

    #[test]
    fn pieces_do_not_overlap() {
        assert!(memory(&[(0, 0x2000), (0x1000, 0x1000)]).is_err());
    }

    #[test]
    fn a_clone_keeps_it_mapped() {
        let memory = memory(&[(0, 0x1000)]).unwrap();
        let clone = memory.clone();
        memory.whole(8, 5).unwrap().copy_from(b"still");
        drop(memory);
        let mut bytes = [0; 5];
        clone.whole(8, 5).unwrap().copy_to(&mut bytes);
        assert_eq!(&bytes, b"still");
    }

    #[test]
    fn a_file_is_as_long_as_what_is_said_to_be_in_it() {
        let map = |mmap_offset, memory_size| {
            let region = VhostUserMemoryRegion {
                guest_phys_addr: 0,
                memory_size,
                user_addr: 0x7000_0000,
                mmap_offset,
            };
            Memory::map(&[region], vec![file(0x3000)]).is_ok()
        };
        assert!(map(0, 0x3000) && map(0x1000, 0x2000));
        for (offset, bytes) in
            [(0, 0x3001), (0x1000, 0x2001), (0x3000, 1), (!0xfff, 0x1000), (0, u64::MAX)]
        {
            assert!(!map(offset, bytes), "{offset:x} {bytes:x}");
        }
    }

    /// Pieces that are well stay as they are, and are not taken for lost.
    #[test]
    fn memory_whose_file_was_cut_is_lost_and_costs_nothing_else() {
        let (cut, well) = (file(0x3000), memory(&[(0, 0x1000)]).unwrap());
        let region = VhostUserMemoryRegion {
            guest_phys_addr: 0,
            memory_size: 0x3000,
            user_addr: 0x7000_0000,
            mmap_offset: 0,
        };
        let lost = Memory::map(&[region], vec![cut.try_clone().unwrap()]).unwrap();
        well.whole(0, 4).unwrap().copy_from(b"well");
        lost.whole(0x2000, 4).unwrap().copy_from(b"lost");
        assert!(!lost.is_lost());
        cut.set_len(0x1000).unwrap();
        lost.whole(0x2000, 4).unwrap().copy_from(b"gone");
        let mut bytes = [7; 4];
        lost.whole(0x1000, 4).unwrap().copy_to(&mut bytes);
        assert_eq!((lost.is_lost(), bytes), (true, [0; 4]));
        well.whole(0, 4).unwrap().copy_to(&mut bytes);
        assert_eq!((well.is_lost(), &bytes), (false, b"well"));
    }
}
