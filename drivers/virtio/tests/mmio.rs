//! Devices that are not on a bus: what is no device, or too old, is refused.

use std::cell::Cell;
use std::ptr::NonNull;

use virtio::transport::{DeviceType, MMIO_BYTES, MmioError, Transport, open_mmio};
use virtio_drivers::transport::Transport as _;

const MAGIC: u32 = 0x7472_6976;

/// Registers that remember what is written.
fn registers(magic: u32, version: u32, device: u32) -> Vec<Cell<u32>> {
    let words = vec![Cell::new(0); MMIO_BYTES / 4];
    words[0].set(magic);
    words[1].set(version);
    words[2].set(device);
    words
}

fn place(registers: &[Cell<u32>]) -> NonNull<u8> {
    NonNull::from(registers).cast()
}

fn refusal(magic: u32, version: u32, device: u32) -> MmioError {
    let registers = registers(magic, version, device);
    // SAFETY: the registers outlive the call, and it gives nothing back.
    unsafe { open_mmio(place(&registers)) }.map(|_| ()).unwrap_err()
}

#[test]
fn a_disk_is_found_and_kicked_with_one_store() {
    let registers = registers(MAGIC, 2, 2);
    registers[0x100 / 4].set(77);
    // SAFETY: the registers outlive the transport.
    let (device_type, mut transport) = unsafe { open_mmio(place(&registers)) }.unwrap();
    assert_eq!(device_type, DeviceType::Block);
    assert_eq!(transport.read_config_space::<u32>(0), Ok(77));
    assert!(!transport.resets_queues(), "its queues are never forgotten one by one");
    transport.notify(3);
    assert_eq!(registers[0x50 / 4].get(), 3);
    registers[0x60 / 4].set(1);
    assert!(!transport.ack_interrupt().is_empty());
    assert_eq!(registers[0x64 / 4].get(), 1, "the line may fall");
}

#[test]
fn what_is_not_there_or_too_old_is_refused() {
    assert_eq!(refusal(0, 2, 2), MmioError::BadMagic(0));
    assert_eq!(refusal(MAGIC, 1, 2), MmioError::UnsupportedVersion(1));
    assert_eq!(refusal(MAGIC, 3, 2), MmioError::UnsupportedVersion(3));
    assert!(matches!(refusal(MAGIC, 2, 0), MmioError::InvalidDeviceID(_)), "an empty place");
}
