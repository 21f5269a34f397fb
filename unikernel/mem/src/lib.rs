//! Copying and filling memory, eight bytes at a time.
//!
//! The compiler's own `memcpy` for a processor without vector registers uses `rep movs`, which is quick on
//! hardware but is translated element by element by QEMU: 185 MB/s, and slow for the dozen bytes that
//! most copies have. Plain moves are as quick on hardware for what a node copies, and far quicker where QEMU
//! translates.
//!
//! It is written in assembly because the compiler recognises such a loop in Rust, and calls `memcpy` for it.
//! The names here are our own; `unikernel/platform` gives them those that the compiler calls.
#![cfg_attr(not(test), no_std)]
#![cfg(target_arch = "x86_64")]

core::arch::global_asm!(include_str!("mem.s"));

unsafe extern "C" {
    /// Copies `count` bytes; answers `to`.
    ///
    /// # Safety
    /// Both ranges are valid, and do not overlap.
    pub fn coterie_memcpy(to: *mut u8, from: *const u8, count: usize) -> *mut u8;

    /// Copies `count` bytes between ranges that may overlap; answers `to`.
    ///
    /// # Safety
    /// Both ranges are valid.
    pub fn coterie_memmove(to: *mut u8, from: *const u8, count: usize) -> *mut u8;

    /// Sets `count` bytes to the lowest byte of `value`; answers `to`.
    ///
    /// # Safety
    /// The range is valid.
    pub fn coterie_memset(to: *mut u8, value: i32, count: usize) -> *mut u8;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Longer than all unrolled steps together, by some.
    const LONGEST: usize = 300;
    const ROOM: usize = 2 * LONGEST + 32;

    fn pattern() -> [u8; ROOM] {
        core::array::from_fn(|index| (index * 7 + 1) as u8)
    }

    /// Moves within one array, and compares with what the language does.
    fn check_move(from: usize, to: usize, count: usize) {
        let (mut ours, mut theirs) = (pattern(), pattern());
        theirs.copy_within(from..from + count, to);
        let start = ours.as_mut_ptr();
        // SAFETY: both ranges are in the array.
        let answer = unsafe { coterie_memmove(start.add(to), start.add(from), count) };
        assert_eq!(answer as usize, start as usize + to);
        assert_eq!(ours, theirs, "{count} bytes from {from} to {to}");
    }

    #[test]
    fn every_length_is_copied_and_nothing_around_it() {
        for count in 0..=LONGEST {
            for (from, to) in [(0, 1), (3, 8), (7, 7)] {
                let source = pattern();
                let mut target = [0xee; ROOM];
                // SAFETY: both ranges are in their arrays.
                unsafe {
                    coterie_memcpy(target[to..].as_mut_ptr(), source[from..].as_ptr(), count)
                };
                assert_eq!(target[to..to + count], source[from..from + count], "{count}");
                let around = target[..to].iter().chain(&target[to + count..]);
                assert!(around.into_iter().all(|byte| *byte == 0xee), "{count}");
            }
        }
    }

    #[test]
    fn every_length_is_moved_over_itself_by_every_distance() {
        for count in 0..=130 {
            for distance in 0..=80 {
                check_move(0, distance, count);
                check_move(distance, 0, count);
            }
        }
    }

    #[test]
    fn every_length_is_set_and_nothing_around_it() {
        for count in 0..=LONGEST {
            let mut target = [0xee; ROOM];
            // SAFETY: the range is in the array.
            unsafe { coterie_memset(target[5..].as_mut_ptr(), 0x7fff_ff5a, count) };
            assert!(target[5..5 + count].iter().all(|byte| *byte == 0x5a), "{count}");
            let around = target[..5].iter().chain(&target[5 + count..]);
            assert!(around.into_iter().all(|byte| *byte == 0xee), "{count}");
        }
    }

    proptest! {
        #[test]
        fn any_move(from in 0..LONGEST, to in 0..LONGEST, count in 0..=LONGEST) {
            check_move(from, to, count);
        }
    }
}
