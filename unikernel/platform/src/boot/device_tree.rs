//! Just enough of a flattened device tree to carry the memory map: the kernel takes its memory from one.
//!
//! The format is the Devicetree Specification's, version 17: big-endian words, a structure block of
//! tokens and a block of property names. There is no heap yet, hence no library.

use super::start_info::MemoryRange;

/// The whole tree fits in here with room to spare: a node takes about 80 bytes.
pub const SIZE_MAX_BYTES: usize = 4096;

const MAGIC: u32 = 0xd00d_feed;
const VERSION: u32 = 17;
const COMPATIBLE_VERSION: u32 = 16;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const END: u32 = 9;

const HEADER_BYTES: usize = 40;
/// One empty entry ends the list of reserved memory.
const RESERVATIONS_BYTES: usize = 16;
const STRUCTURE_START: usize = HEADER_BYTES + RESERVATIONS_BYTES;

/// All property names, each with its end; a property refers to its name by the offset in here.
const NAMES: &[u8] = b"#address-cells\0#size-cells\0device_type\0reg\0khz\0compatible\0";
const ADDRESS_CELLS: u32 = 0;
const SIZE_CELLS: u32 = 15;
const DEVICE_TYPE: u32 = 27;
const REG: u32 = 39;
const KHZ: u32 = 43;
const COMPATIBLE: u32 = 47;

/// A tree under construction, in place.
pub struct DeviceTree<'a> {
    bytes: &'a mut [u8; SIZE_MAX_BYTES],
    end: usize,
}

impl<'a> DeviceTree<'a> {
    /// A tree with an open root.
    pub fn new(bytes: &'a mut [u8; SIZE_MAX_BYTES]) -> DeviceTree<'a> {
        let mut tree = DeviceTree { bytes, end: STRUCTURE_START };
        tree.begin_node(b"\0");
        tree.property(ADDRESS_CELLS, &2u32.to_be_bytes());
        tree.property(SIZE_CELLS, &2u32.to_be_bytes());
        tree.property(COMPATIBLE, b"hermit,pvh\0");
        tree
    }

    /// The rate of the time-stamp counter, which the kernel would otherwise measure at the cost of 40 ms.
    pub fn tsc_frequency(&mut self, khz: u32) {
        self.begin_node(b"hermit,tsc\0");
        self.property(KHZ, &khz.to_be_bytes());
        self.word(END_NODE);
    }

    /// A run of memory that the kernel may use.
    pub fn memory(&mut self, range: MemoryRange) {
        self.begin_node(b"memory\0");
        self.property(DEVICE_TYPE, b"memory\0");
        let mut reg = [0; 16];
        reg[..8].copy_from_slice(&range.start.to_be_bytes());
        reg[8..].copy_from_slice(&range.size.to_be_bytes());
        self.property(REG, &reg);
        self.word(END_NODE);
    }

    /// Closes the root and writes the header.
    pub fn finish(mut self) {
        self.begin_node(b"chosen\0");
        self.word(END_NODE);
        self.word(END_NODE);
        self.word(END);
        let names_start = self.end;
        self.put(NAMES);
        let header = [
            MAGIC,
            self.end as u32,
            STRUCTURE_START as u32,
            names_start as u32,
            HEADER_BYTES as u32,
            VERSION,
            COMPATIBLE_VERSION,
            0,
            NAMES.len() as u32,
            (names_start - STRUCTURE_START) as u32,
        ];
        for (place, word) in self.bytes.chunks_exact_mut(4).zip(header) {
            place.copy_from_slice(&word.to_be_bytes());
        }
    }

    fn begin_node(&mut self, name: &[u8]) {
        self.word(BEGIN_NODE);
        self.put(name);
    }

    fn property(&mut self, name: u32, value: &[u8]) {
        self.word(PROPERTY);
        self.word(value.len() as u32);
        self.word(name);
        self.put(value);
    }

    fn word(&mut self, word: u32) {
        self.put(&word.to_be_bytes());
    }

    /// Appends bytes and pads them to a word; the buffer is zeroed.
    ///
    /// # Panics
    /// If the tree is full, which takes more memory ranges than any hypervisor reports.
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len().next_multiple_of(4);
    }
}
