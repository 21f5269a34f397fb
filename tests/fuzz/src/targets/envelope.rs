//! The envelope of frames between nodes.

use base::{ClusterId, NodeId};
use wire::{HEADER_BYTES, Packet, Repr};

use crate::input::Input;

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let is_sealed = input.u8() & 1 != 0;
    let mut bytes = input.rest().to_vec();
    // Nobody guesses a checksum: in half of the cases it is filled in.
    if is_sealed && bytes.len() >= HEADER_BYTES {
        let length = bytes.len();
        let mut packet = Packet::new_unchecked(&mut bytes);
        if HEADER_BYTES + packet.content_length() <= length {
            packet.fill_checksum();
        }
    }
    let Ok(packet) = Packet::new_checked(&bytes) else { return };
    let own = NodeId::new(1).expect("1 is a number of a node");
    let admitted = packet.admit(ClusterId(9), own);
    assert_ne!(admitted, Ok(own), "nobody hears itself");
    let Ok(repr) = Repr::parse(&packet) else { return };
    assert_eq!(usize::from(repr.length), packet.content().len());
    let mut written = vec![0; HEADER_BYTES + packet.content().len()];
    let mut again = Packet::new_unchecked(&mut written);
    repr.emit(&mut again);
    again.content_mut().copy_from_slice(packet.content());
    again.fill_checksum();
    let again = Packet::new_checked(&written).expect("what is written is whole");
    assert_eq!(Repr::parse(&again), Ok(repr));
}
