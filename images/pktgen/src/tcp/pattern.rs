//! What a source sends: a pattern that tells where in the stream a byte belongs.

use alloc::vec::Vec;

use base::Prng;

/// How long it is before it repeats. It divides the windows, and a source gives TCP whole periods only: so
/// the bytes in TCP's buffer never have to be written again.
pub(super) const PERIOD_BYTES: usize = 4096;
const _: () = assert!(super::WINDOW_BYTES.is_multiple_of(PERIOD_BYTES));
const _: () = assert!(super::LARGE_WINDOW_BYTES.is_multiple_of(PERIOD_BYTES));

/// Both ends know it.
const SEED: u64 = 0x7c70_5369_6e6b_0001;
/// How many bytes of a run are looked at.
const SAMPLE_BYTES: usize = 8;

/// One period.
pub(super) fn period() -> Vec<u8> {
    let mut prng = Prng::new(SEED);
    (0..PERIOD_BYTES / 8).flat_map(|_| prng.next_u64().to_le_bytes()).collect()
}

/// Whether a run of bytes seems to be where it belongs in the stream: its first and its last bytes are.
pub(super) fn is_in_place(period: &[u8], offset: u64, run: &[u8]) -> bool {
    let is_right = |start: usize, sample: &[u8]| {
        let start = (offset % PERIOD_BYTES as u64) as usize + start;
        let expected = period.iter().cycle().skip(start % PERIOD_BYTES);
        sample.iter().eq(expected.take(sample.len()))
    };
    let last = run.len().saturating_sub(SAMPLE_BYTES);
    is_right(0, &run[..run.len().min(SAMPLE_BYTES)]) && is_right(last, &run[last..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moved_is_noticed() {
        let period = period();
        let stream: Vec<u8> = period.iter().copied().cycle().take(3 * PERIOD_BYTES).collect();
        for (start, length) in [(0, 1), (1, 7), (4090, 20), (4096, 8000), (5000, 0)] {
            let run = &stream[start..start + length];
            assert!(is_in_place(&period, start as u64, run), "{start} {length}");
            let is_elsewhere = is_in_place(&period, start as u64 + 1460, run);
            assert!(!is_elsewhere || length == 0, "{start} {length}");
        }
        // A piece that is missing in the middle.
        let torn = [&stream[..1460], &stream[2920..5000]].concat();
        assert!(!is_in_place(&period, 0, &torn));
    }
}
