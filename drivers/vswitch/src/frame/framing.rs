//! Frames in a stream of bytes, each behind its length (32 bits, big-endian).

/// How many bytes say how long a frame is.
pub const LENGTH_BYTES: usize = 4;
/// A longer frame cannot come from QEMU (its `NET_BUFSIZE`): the lengths are no lengths.
const BELIEVABLE_BYTES: usize = 4096 + 65_536;
/// How much is read at once, and kept, at the most.
pub const INPUT_BYTES: usize = 256 * 1024;

const _: () = assert!(
    INPUT_BYTES > LENGTH_BYTES + BELIEVABLE_BYTES,
    "any frame fits, and has room behind it"
);

/// A length that cannot be one was announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoLength(pub usize);

/// Takes a stream to pieces. It keeps no more than [`INPUT_BYTES`], and what it keeps stays where it is until
/// no whole frame is left: then what has come of the next one is moved to the front, once.
#[derive(Debug, Default)]
pub struct Deframer {
    bytes: Vec<u8>,
    /// How much of that is dealt with, and how much has come.
    taken: usize,
    come: usize,
}

impl Deframer {
    /// The length of the next frame, if that has come.
    fn length(&self) -> Result<Option<usize>, NoLength> {
        let come = &self.bytes[self.taken..self.come];
        let Some(length) = come.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        match u32::from_be_bytes(*length) as usize {
            length @ 1..=BELIEVABLE_BYTES => Ok(Some(length)),
            length => Err(NoLength(length)),
        }
    }

    /// Whether [`Deframer::take`] has something to say: then nothing need be read yet.
    pub fn is_ready(&self) -> bool {
        let is_whole = |length| self.come - self.taken >= LENGTH_BYTES + length;
        self.length().map_or(true, |length| length.is_some_and(is_whole))
    }

    /// Room for what comes next, of which there is some unless a frame is ready; see [`Deframer::note`].
    pub fn room(&mut self) -> &mut [u8] {
        // Once: its memory is there for good, and has to be written to only once.
        self.bytes.resize(INPUT_BYTES, 0);
        if self.taken > 0 {
            self.bytes.copy_within(self.taken..self.come, 0);
            (self.taken, self.come) = (0, self.come - self.taken);
        }
        &mut self.bytes[self.come..]
    }

    /// So much has come into the room.
    ///
    /// # Panics
    /// If there was less.
    pub fn note(&mut self, count: usize) {
        assert!(count <= self.bytes.len() - self.come, "there was room for it");
        self.come += count;
    }

    /// The next frame, if it has come whole.
    ///
    /// # Errors
    /// If the next length cannot be one: where a frame begins is not known any more.
    pub fn take(&mut self) -> Result<Option<&mut [u8]>, NoLength> {
        let Some(length) = self.length()? else { return Ok(None) };
        let start = self.taken + LENGTH_BYTES;
        let frame = &mut self.bytes[start..self.come];
        let Some(frame) = frame.get_mut(..length) else { return Ok(None) };
        self.taken = start + length;
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(frame: &[u8]) -> Vec<u8> {
        [&u32::try_from(frame.len()).unwrap().to_be_bytes(), frame].concat()
    }

    fn fill(deframer: &mut Deframer, bytes: &[u8]) {
        deframer.room()[..bytes.len()].copy_from_slice(bytes);
        deframer.note(bytes.len());
    }

    #[test]
    fn frames_are_the_same_wherever_the_stream_is_cut() {
        let frames = [vec![1], vec![2; 1514], vec![3; BELIEVABLE_BYTES]];
        let stream: Vec<u8> = frames.iter().flat_map(|frame| packed(frame)).collect();
        for cut in [1, 3, 4, 5, 1000, 70_000, stream.len()] {
            let (mut deframer, mut found) = (Deframer::default(), Vec::new());
            for piece in stream.chunks(cut) {
                assert!(!deframer.is_ready());
                fill(&mut deframer, piece);
                while let Some(frame) = deframer.take().unwrap() {
                    found.push(frame.to_vec());
                }
            }
            assert_eq!(found, frames, "cut after {cut}");
        }
    }

    #[test]
    fn there_is_room_until_a_frame_is_ready() {
        let mut deframer = Deframer::default();
        let announced = u32::try_from(BELIEVABLE_BYTES).unwrap().to_be_bytes();
        fill(&mut deframer, &announced);
        for _ in 1..BELIEVABLE_BYTES {
            assert!(!deframer.is_ready() && !deframer.room().is_empty());
            deframer.note(1);
        }
        deframer.note(1);
        assert!(deframer.is_ready());
    }

    #[test]
    fn what_is_no_length_is_said_again_and_again() {
        for length in [0, BELIEVABLE_BYTES as u32 + 1, u32::MAX] {
            let mut deframer = Deframer::default();
            fill(&mut deframer, &packed(b"good"));
            fill(&mut deframer, &length.to_be_bytes());
            assert_eq!(deframer.take(), Ok(Some(&mut b"good".to_owned()[..])));
            for _ in 0..2 {
                assert!(deframer.is_ready());
                assert_eq!(deframer.take(), Err(NoLength(length as usize)));
            }
        }
    }
}
