//! What a switch tells its machines: what is read is written back.

pub(super) fn run(bytes: &[u8]) {
    if let Some(station) = notice::parse(bytes) {
        let written = notice::link_lost(station);
        assert_eq!(notice::parse(&written), Some(station));
        // But for what nobody reads.
        assert_eq!(bytes[..26], written[..26]);
    }
    // One that differs in at most one place.
    let (&[place, change], rest) = bytes.split_first_chunk().unwrap_or((&[0, 0], &[]));
    let station = rest.first_chunk().copied().unwrap_or([2; 6]);
    let mut frame = notice::link_lost(station);
    let place = usize::from(place) % frame.len();
    frame[place] ^= change;
    let is_same = change == 0 || place >= 26;
    let expected = match place {
        20..26 => Some(frame[20..26].try_into().expect("an address has six bytes")),
        _ => is_same.then_some(station),
    };
    assert_eq!(notice::parse(&frame), expected);
    assert_eq!(notice::parse(&frame[..place]), None, "it is whole or none");
}
