//! Memory in pieces.

use heapless::Vec as Pieces;
use vm_memory::VolatileSlice;

/// In how many pieces a frame may be: a large one in receive buffers of 1526 bytes, the shortest that a card
/// may have, is in 43; Linux sends at most 17, its headers, and the card's.
pub const PIECES_MAX: usize = 64;

/// Pieces of somebody's memory, one behind the other, of which the front is used up bit by bit.
///
/// Whoever owns the memory may write to it at any time: what was read once may read differently next time.
#[derive(Debug, Default)]
pub struct Scatter<'m> {
    pieces: Pieces<VolatileSlice<'m>, PIECES_MAX>,
    /// The pieces before this one are used up.
    first: usize,
    length: usize,
}

impl<'m> Scatter<'m> {
    /// Adds a piece; `None` if there are too many.
    #[must_use]
    pub fn push(&mut self, piece: VolatileSlice<'m>) -> Option<()> {
        let length = self.length.checked_add(piece.len())?;
        self.pieces.push(piece).ok()?;
        self.length = length;
        Some(())
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.pieces.clear();
        (self.first, self.length) = (0, 0);
    }

    /// How many bytes are left.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether none are.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    fn rest(&self) -> &[VolatileSlice<'m>] {
        &self.pieces[self.first..]
    }

    /// Reads the front, and leaves it.
    pub fn peek<const N: usize>(&self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        let mut count = 0;
        for piece in self.rest() {
            count += piece.copy_to(&mut bytes[count..]);
            if count == N {
                return Some(bytes);
            }
        }
        None
    }

    /// Reads as much of the front as there is room for, and leaves it; how many bytes that is.
    pub fn read(&self, bytes: &mut [u8]) -> usize {
        let mut count = 0;
        for piece in self.rest() {
            count += piece.copy_to(&mut bytes[count..]);
        }
        count
    }

    /// Uses up `count` bytes of the front, or all that there are.
    pub fn advance(&mut self, count: usize) {
        let mut rest = count.min(self.length);
        self.length -= rest;
        while let Some(piece) = self.pieces.get_mut(self.first) {
            if rest < piece.len() {
                *piece = piece.offset(rest).expect("it is longer");
                return;
            }
            rest -= piece.len();
            self.first += 1;
        }
    }

    /// Writes to the front, and uses it up; nothing is written if there is too little.
    #[must_use]
    pub fn write(&mut self, bytes: &[u8]) -> Option<()> {
        if bytes.len() > self.length {
            return None;
        }
        let mut written = 0;
        for piece in self.rest() {
            piece.copy_from(&bytes[written..]);
            written = bytes.len().min(written + piece.len());
            if written == bytes.len() {
                break;
            }
        }
        self.advance(bytes.len());
        Some(())
    }

    /// Copies everything that is left to the front of `destination`; nothing if there is too little room.
    #[must_use]
    pub fn copy_into(&self, destination: &Scatter<'_>) -> Option<()> {
        if self.length > destination.length {
            return None;
        }
        let mut places = destination.rest().iter().copied();
        let mut place = places.next();
        for piece in self.rest() {
            let mut piece = *piece;
            while !piece.is_empty() {
                let room = place?;
                piece.copy_to_volatile_slice(room);
                let count = piece.len().min(room.len());
                piece = piece.offset(count).ok()?;
                place = match count < room.len() {
                    true => room.offset(count).ok(),
                    false => places.next(),
                };
            }
        }
        Some(())
    }

    /// Copies everything that is left behind what `bytes` holds.
    pub fn append_to(&self, bytes: &mut Vec<u8>) {
        for piece in self.rest() {
            let start = bytes.len();
            bytes.resize(start + piece.len(), 0);
            piece.copy_to(&mut bytes[start..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces of the given lengths over `memory`.
    fn cut<'m>(memory: &'m mut [u8], lengths: &[usize]) -> Scatter<'m> {
        let whole = VolatileSlice::from(memory);
        let mut scatter = Scatter::default();
        let mut start = 0;
        for length in lengths {
            scatter.push(whole.subslice(start, *length).unwrap()).unwrap();
            start += length;
        }
        scatter
    }

    fn content(scatter: &Scatter<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        scatter.append_to(&mut bytes);
        bytes
    }

    #[test]
    fn any_cut_reads_the_same() {
        let text = *b"Byzantine generals";
        for lengths in [&[18][..], &[0, 1, 17], &[9, 0, 9], &[3, 3, 3, 3, 3, 3]] {
            let mut memory = text;
            let mut scatter = cut(&mut memory, lengths);
            assert_eq!(scatter.peek::<9>().as_ref(), Some(b"Byzantine"));
            assert_eq!(scatter.peek::<19>(), None);
            scatter.advance(10);
            assert_eq!((scatter.len(), content(&scatter)), (8, b"generals".to_vec()));
            scatter.advance(99);
            assert!(scatter.is_empty() && content(&scatter).is_empty());
        }
    }

    #[test]
    fn any_cut_copies_to_any_other() {
        let cuts = [&[12][..], &[1, 11], &[5, 0, 7], &[4, 4, 4]];
        for (from, to) in cuts.iter().flat_map(|from| cuts.iter().map(move |to| (from, to))) {
            let mut source = *b"twelve bytes";
            let mut target = [b'-'; 12];
            cut(&mut source, from).copy_into(&cut(&mut target, to)).unwrap();
            assert_eq!(&target, b"twelve bytes");
            let mut short = [b'-'; 11];
            assert_eq!(cut(&mut source, from).copy_into(&cut(&mut short, &[11])), None);
            assert_eq!(short, [b'-'; 11]);
        }
    }

    #[test]
    fn writes_use_up_the_front() {
        let mut memory = [b'-'; 8];
        let mut scatter = cut(&mut memory, &[2, 3, 3]);
        scatter.write(b"abc").unwrap();
        assert_eq!(scatter.write(b"123456"), None);
        scatter.write(b"de").unwrap();
        assert_eq!((scatter.len(), content(&scatter)), (3, b"---".to_vec()));
        drop(scatter);
        assert_eq!(&memory, b"abcde---");
    }

    #[test]
    fn there_are_not_too_many_pieces() {
        let mut memory = [0; 4];
        let whole = VolatileSlice::from(&mut memory[..]);
        let mut scatter = Scatter::default();
        (0..PIECES_MAX).for_each(|_| scatter.push(whole).unwrap());
        assert_eq!((scatter.push(whole), scatter.len()), (None, 4 * PIECES_MAX));
        scatter.clear();
        assert!(scatter.is_empty() && scatter.push(whole).is_some());
    }
}
