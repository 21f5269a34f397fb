//! Segments that are cut and merged again: those that are well-formed carry the same bytes, and whatever
//! comes no buffer is lost.

use netio::limits::{MERGE_BUFFER_BYTES, MERGED_FLOWS_MAX};
use netio::{OffloadEngine, OffloadSet};
use pool::{Frame, PAGE_BYTES, Pool};

use crate::input::Input;
use crate::ip::{self, ACK, FIN};

/// A well-formed frame has so many bytes in front of its content.
const HEADERS_BYTES: usize = 14 + 20 + 20;
const PIECES_MAX: usize = 64;

struct Bench {
    engine: OffloadEngine,
    pieces: Pool,
    long: Pool,
    now_ns: u64,
}

pub(super) fn run(bytes: &[u8]) {
    let nothing = OffloadSet::default();
    let pieces = Pool::on_heap(PIECES_MAX, PAGE_BYTES);
    // What is merged, what waits to be, and what goes in.
    let long = Pool::on_heap(2 * MERGED_FLOWS_MAX + 2, MERGE_BUFFER_BYTES);
    let engine = OffloadEngine::new(nothing, nothing, pieces.clone(), long.clone());
    let mut bench = Bench { engine, pieces, long, now_ns: 0 };
    let free = (bench.pieces.free(), bench.long.free());
    let mut input = Input::new(bytes);
    while !input.is_empty() {
        bench.step(&mut input);
    }
    bench.engine.flush(drop);
    assert_eq!((bench.pieces.free(), bench.long.free()), free, "no buffer is lost");
}

impl Bench {
    fn step(&mut self, input: &mut Input<'_>) {
        let choice = input.u8();
        let length = usize::from(input.u16() >> (choice % 8)).min(60_000);
        let content: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
        let flags = if choice & 0x80 == 0 { ACK } else { ACK | FIN };
        let mut frame = ip::tcp(80, input.u32(), 1, flags, &content);
        let changes = (choice >> 4) % 4;
        for _ in 0..changes {
            let place = usize::from(input.u8()) % (HEADERS_BYTES + 6);
            if let Some(byte) = frame.get_mut(place) {
                *byte ^= input.u8();
            }
        }
        let is_sound = changes == 0;
        let cut = self.cut(&frame, input.u16());
        if let Some(pieces) = &cut
            && is_sound
        {
            let got: Vec<u8> =
                pieces.iter().flat_map(|piece| piece[HEADERS_BYTES..].to_vec()).collect();
            assert!(got == content, "what is cut is the same");
        }
        self.merge(cut.unwrap_or_default(), is_sound.then_some(&content));
    }

    /// The pieces of a frame, if it can be cut.
    fn cut(&mut self, bytes: &[u8], segment_bytes: u16) -> Option<Vec<Vec<u8>>> {
        let frame = self.frame(bytes);
        let mut pieces = Vec::new();
        let count =
            self.engine.transmit(frame, segment_bytes, |piece| pieces.push(piece.frame.to_vec()));
        count.ok().map(|count| {
            assert_eq!(count, pieces.len());
            pieces
        })
    }

    /// Frames that arrive together.
    fn merge(&mut self, pieces: Vec<Vec<u8>>, content: Option<&Vec<u8>>) {
        let mut merged: Vec<u8> = Vec::new();
        let mut note = |frame: Frame| {
            if content.is_some() {
                merged.extend(&frame[HEADERS_BYTES..]);
            }
        };
        // What waits of earlier steps has nothing to do with it.
        self.engine.flush(drop);
        let has_any = !pieces.is_empty();
        for piece in pieces {
            self.now_ns += 1_000;
            let frame = self.frame(&piece);
            self.engine.receive(frame, self.now_ns, &mut note);
        }
        self.engine.handle_timeout(self.now_ns, &mut note);
        self.engine.flush(&mut note);
        if has_any {
            assert!(content.is_none_or(|content| *content == merged), "what is merged is the same");
        }
    }

    fn frame(&self, bytes: &[u8]) -> Frame {
        let mut frame = self.long.allocate_frame().expect("few are in use");
        frame.append_copy(bytes);
        frame
    }
}
