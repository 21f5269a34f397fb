//! Frames in a stream of bytes: wherever the stream is cut they are the same, and what is kept is bounded.

use vswitch::frame::{Deframer, INPUT_BYTES, LENGTH_BYTES};

use crate::input::Input;

/// The longest frame that is believed: QEMU's `NET_BUFSIZE`.
const LONGEST: usize = 4096 + 65_536;

/// Frames, and whether a length that is none ends them.
type Frames = (Vec<Vec<u8>>, bool);

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let cut = usize::from(input.u16()) + 1;
    let stream = stream(&mut input);
    let whole = expected(&stream);
    assert_eq!(deframe(&stream, cut), whole);
    assert_eq!(deframe(&stream, INPUT_BYTES), whole);
}

/// Frames of any length, and now and then bytes that may be anything.
fn stream(input: &mut Input<'_>) -> Vec<u8> {
    let mut stream = Vec::new();
    while !input.is_empty() {
        let choice = input.u8();
        if choice % 16 == 0 {
            let count = usize::from(input.u8());
            stream.extend_from_slice(input.take(count));
            continue;
        }
        // Short ones are likelier. A length of zero is none.
        let length = u32::from(input.u16() >> (choice % 16)) + u32::from(choice % 32 > 1);
        stream.extend(length.to_be_bytes());
        stream.resize(stream.len() + length as usize, choice);
    }
    stream
}

/// As the format is described.
fn expected(mut stream: &[u8]) -> Frames {
    let mut frames = Vec::new();
    while let Some((length, rest)) = stream.split_first_chunk::<LENGTH_BYTES>() {
        let length = u32::from_be_bytes(*length) as usize;
        if length == 0 || length > LONGEST {
            return (frames, true);
        }
        let Some((frame, rest)) = rest.split_at_checked(length) else { break };
        frames.push(frame.to_vec());
        stream = rest;
    }
    (frames, false)
}

/// Given at most `cut` bytes at once.
fn deframe(mut stream: &[u8], cut: usize) -> Frames {
    let (mut deframer, mut frames) = (Deframer::default(), Vec::new());
    while !stream.is_empty() {
        let room = deframer.room();
        let count = room.len().min(cut).min(stream.len());
        assert!(count > 0 && room.len() <= INPUT_BYTES);
        let (now, later) = stream.split_at(count);
        room[..count].copy_from_slice(now);
        deframer.note(count);
        stream = later;
        while deframer.is_ready() {
            match deframer.take() {
                Ok(frame) => frames.push(frame.expect("it is ready").to_vec()),
                Err(_) => return (frames, true),
            }
        }
        assert_eq!(deframer.take(), Ok(None), "it was not ready");
    }
    (frames, false)
}
