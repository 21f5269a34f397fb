//! A disk image that is only read: what is written to it stays in memory, and is read back from there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Context;
use block::{BlockCompletion, BlockError, BlockRequest, Operation, SECTOR_BYTES};
use nix::fcntl::{FcntlArg, fcntl};

/// The bytes of a sector.
pub type Sector = [u8; SECTOR_BYTES];

/// See the module.
#[derive(Debug)]
pub struct Disk {
    file: File,
    sectors: u64,
    written: BTreeMap<u64, Sector>,
}

impl Disk {
    /// The image at this path: a file, or a disk of the host.
    ///
    /// # Errors
    /// If it cannot be read, or a machine has it, and may write to it meanwhile.
    pub fn open(path: &Path) -> anyhow::Result<Disk> {
        let name = || format!("{}", path.display());
        let mut file = File::open(path).with_context(name)?;
        anyhow::ensure!(
            !is_in_use(&file).with_context(name)?,
            "{}: a machine is using this disk; stop it, or give a copy",
            path.display()
        );
        let bytes = file.seek(SeekFrom::End(0)).with_context(name)?;
        let sectors = bytes / SECTOR_BYTES as u64;
        Ok(Disk { file, sectors, written: BTreeMap::new() })
    }

    /// How many whole sectors it has.
    pub fn sectors(&self) -> u64 {
        self.sectors
    }

    /// So many bytes from the start of a sector on, as they are in the image; fewer, if it ends before.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn front(&self, sector: u64, sectors: u64) -> io::Result<Vec<u8>> {
        let sectors = sectors.min(self.sectors.saturating_sub(sector));
        let mut bytes = vec![0; sectors as usize * SECTOR_BYTES];
        self.file.read_exact_at(&mut bytes, sector * SECTOR_BYTES as u64)?;
        Ok(bytes)
    }

    /// Does what a store wants whose disk begins at the sector `first` of this one.
    ///
    /// # Errors
    /// If the image cannot be read.
    pub fn carry_out(&mut self, first: u64, request: BlockRequest) -> io::Result<BlockCompletion> {
        let BlockRequest { tag, operation, mut buffer } = request;
        let result = match (operation, &mut buffer) {
            (Operation::Read { sector, sectors }, Some(buffer)) => {
                let length = sectors as usize * SECTOR_BYTES;
                self.read(first + sector, buffer.get_mut(..length))?
            }
            (Operation::Write { sector, sectors }, Some(buffer)) => {
                let length = sectors as usize * SECTOR_BYTES;
                self.keep(first + sector, buffer.get(..length))
            }
            (Operation::Flush, _) => Ok(()),
            (Operation::Read { .. } | Operation::Write { .. }, None) => Err(BlockError::OutOfRange),
        };
        Ok(BlockCompletion { tag, operation, buffer, result })
    }

    fn read(&self, first: u64, room: Option<&mut [u8]>) -> io::Result<Result<(), BlockError>> {
        let Some(room) = room.filter(|room| self.has(first, room.len())) else {
            return Ok(Err(BlockError::OutOfRange));
        };
        self.file.read_exact_at(room, first * SECTOR_BYTES as u64)?;
        let last = first + (room.len() / SECTOR_BYTES) as u64;
        for (sector, bytes) in self.written.range(first..last) {
            let start = (sector - first) as usize * SECTOR_BYTES;
            room[start..start + SECTOR_BYTES].copy_from_slice(bytes);
        }
        Ok(Ok(()))
    }

    fn keep(&mut self, first: u64, bytes: Option<&[u8]>) -> Result<(), BlockError> {
        let bytes = bytes.filter(|bytes| self.has(first, bytes.len()));
        let (sectors, _) = bytes.ok_or(BlockError::OutOfRange)?.as_chunks();
        self.written.extend((first..).zip(sectors.iter().copied()));
        Ok(())
    }

    fn has(&self, first: u64, bytes: usize) -> bool {
        let end = first.checked_add((bytes / SECTOR_BYTES) as u64);
        end.is_some_and(|end| end <= self.sectors)
    }

    /// What was written to it, as it would be there.
    #[cfg(test)]
    pub fn written(&self) -> &BTreeMap<u64, Sector> {
        &self.written
    }
}

/// Whether somebody else holds a lock on it: QEMU does, on every image that it uses.
fn is_in_use(file: &File) -> anyhow::Result<bool> {
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok(lock.l_type != libc::F_UNLCK as libc::c_short)
}
