//! Random bits from the kernel, which seeds itself from the processor's generator.

/// 64 random bits.
///
/// # Panics
/// If the processor has no generator: a node without randomness would repeat another's choices.
pub fn random_u64() -> u64 {
    let mut bytes = [0u8; 8];
    // SAFETY: the kernel writes `bytes.len()` bytes through the pointer; 0 asks for the default source.
    let count = unsafe { hermit::syscalls::sys_read_entropy(bytes.as_mut_ptr(), bytes.len(), 0) };
    assert_eq!(usize::try_from(count), Ok(bytes.len()), "the processor has no random number generator");
    u64::from_le_bytes(bytes)
}
