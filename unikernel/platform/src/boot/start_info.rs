//! What the hypervisor hands over: `hvm_start_info` of the x86/HVM direct boot ABI.

/// The structure at the address in EBX. Version 1, which has a memory map.
#[repr(C)]
pub struct StartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    module_count: u32,
    modules: u64,
    command_line: u64,
    rsdp: u64,
    memory_map: u64,
    memory_map_entries: u32,
    reserved: u32,
}

#[repr(C)]
struct MemoryMapEntry {
    address: u64,
    size: u64,
    kind: u32,
    reserved: u32,
}

const MAGIC: u32 = 0x336e_c578;
const KIND_RAM: u32 = 1;
/// What `entry.s` maps.
const MAPPED_BYTES: u64 = 4 << 30;

/// A run of usable memory below 4 GiB.
#[derive(Clone, Copy)]
pub struct MemoryRange {
    /// Its first byte.
    pub start: u64,
    /// How many bytes.
    pub size: u64,
}

impl MemoryRange {
    /// The byte behind the last.
    pub fn end(self) -> u64 {
        self.start + self.size
    }

    /// Whether the byte at `address` lies inside.
    pub fn contains(self, address: u64) -> bool {
        self.start <= address && address < self.end()
    }

    /// The part before `end`, which lies inside.
    pub fn until(self, end: u64) -> MemoryRange {
        MemoryRange { start: self.start, size: end - self.start }
    }
}

impl StartInfo {
    /// The kernel command line without its final zero; empty if there is none.
    pub fn command_line(&self) -> &[u8] {
        let address = self.command_line as *const core::ffi::c_char;
        if address.is_null() {
            return &[];
        }
        // SAFETY: the ABI promises a zero-terminated string in mapped memory.
        unsafe { core::ffi::CStr::from_ptr(address) }.to_bytes()
    }

    /// The memory that may be used and that `entry.s` maps, in the hypervisor's order.
    ///
    /// # Panics
    /// If this is not the structure that the ABI describes, in which case nothing can be trusted.
    pub fn usable_memory(&self) -> impl Iterator<Item = MemoryRange> {
        assert!(self.magic == MAGIC && self.version >= 1, "the hypervisor speaks PVH with a memory map");
        // SAFETY: the ABI promises that many entries at that address, in mapped memory.
        let entries = unsafe {
            core::slice::from_raw_parts(
                self.memory_map as *const MemoryMapEntry,
                self.memory_map_entries as usize,
            )
        };
        entries.iter().filter(|entry| entry.kind == KIND_RAM && entry.address < MAPPED_BYTES).map(|entry| {
            let size = entry.size.min(MAPPED_BYTES - entry.address);
            MemoryRange { start: entry.address, size }
        })
    }
}
