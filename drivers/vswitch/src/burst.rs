//! Frames that came in together.

/// Frames, one behind the other.
#[derive(Debug, Default)]
pub struct Burst {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Burst {
    /// How many frames there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Forgets all, and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Adds a frame.
    pub fn push(&mut self, frame: &[u8]) {
        self.bytes.extend_from_slice(frame);
        self.ends.push(self.bytes.len());
    }

    /// Adds a frame of `length` bytes that `fill` writes; nothing is added if that fails.
    ///
    /// # Errors
    /// Those of `fill`.
    pub fn push_with<E>(
        &mut self,
        length: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.bytes.len();
        self.bytes.resize(start + length, 0);
        match fill(&mut self.bytes[start..]) {
            Ok(()) => self.ends.push(self.bytes.len()),
            Err(error) => {
                self.bytes.truncate(start);
                return Err(error);
            }
        }
        Ok(())
    }

    /// The frames in the order in which they came.
    pub fn frames(&self) -> impl Iterator<Item = &[u8]> {
        let starts = [0].into_iter().chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in() {
        let mut burst = Burst::default();
        burst.push(b"one");
        assert_eq!(burst.push_with(9, |_| Err("no")), Err("no"));
        let two = |room: &mut [u8]| {
            room.copy_from_slice(b"two");
            Ok::<_, ()>(())
        };
        burst.push_with(3, two).unwrap();
        assert_eq!(burst.frames().collect::<Vec<_>>(), [b"one", b"two"]);
        burst.clear();
        assert!(burst.is_empty() && burst.frames().next().is_none());
    }
}
