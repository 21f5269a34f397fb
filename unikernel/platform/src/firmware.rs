//! Files that the hypervisor gives to the machine (QEMU's `fw_cfg`, its interface by ports), for what does
//! not belong on a command line.

use x86_64::instructions::port::Port;

const SELECTOR: u16 = 0x510;
const DATA: u16 = 0x511;

/// Items of the device.
const SIGNATURE: u16 = 0x0000;
const DIRECTORY: u16 = 0x0019;
const NAME_BYTES: usize = 56;
/// More files than any hypervisor gives.
const FILES_MAX: u32 = 1024;

/// The file does not fit the room for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TooLong;

/// Reads the file of this name to the start of `room`; answers how long it is, `None` if there is none.
///
/// # Errors
/// If it is longer than `room`.
pub fn read_file(name: &str, room: &mut [u8]) -> Result<Option<usize>, TooLong> {
    if select(SIGNATURE).take::<4>() != *b"QEMU" {
        return Ok(None);
    }
    let mut directory = select(DIRECTORY);
    let files = u32::from_be_bytes(directory.take()).min(FILES_MAX);
    for _ in 0..files {
        let length = u32::from_be_bytes(directory.take()) as usize;
        let item = u16::from_be_bytes(directory.take());
        let [_, _] = directory.take();
        let found: [u8; NAME_BYTES] = directory.take();
        if found.split(|byte| *byte == 0).next() != Some(name.as_bytes()) {
            continue;
        }
        let room = room.get_mut(..length).ok_or(TooLong)?;
        let mut file = select(item);
        room.fill_with(|| file.byte());
        return Ok(Some(length));
    }
    Ok(None)
}

/// An item, byte by byte from its start.
struct Item(Port<u8>);

fn select(item: u16) -> Item {
    // SAFETY: selecting an item has no other effect; on a machine without the device nobody listens.
    unsafe { Port::<u16>::new(SELECTOR).write(item) };
    Item(Port::new(DATA))
}

impl Item {
    fn byte(&mut self) -> u8 {
        // SAFETY: reading gives the item's next byte, and zeros or ones where there is none.
        unsafe { self.0.read() }
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        core::array::from_fn(|_| self.byte())
    }
}
