//! Which flow a frame is of: any bytes have one or none, and only their beginning says so.

use netio::FlowKey;

/// Ethernet, the longest header of IPv4, and ports.
const BEGINNING_BYTES: usize = 14 + 60 + 4;

pub(super) fn run(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let mut frame = rest.to_vec();
    // Most noise is no IP packet.
    if let Some([high, low, version]) = frame.get_mut(12..15) {
        match kind % 4 {
            0 => (*high, *low, *version) = (0x08, 0x00, 0x40 | *version & 0xf),
            1 => (*high, *low, *version) = (0x86, 0xdd, 0x60 | *version & 0xf),
            _ => {}
        }
    }
    let beginning = &frame[..frame.len().min(BEGINNING_BYTES)];
    let key = FlowKey::of_beginning(&frame);
    assert_eq!(FlowKey::of_beginning(beginning), key, "only the beginning matters");
    for key in [key, FlowKey::of_frame(&frame)].into_iter().flatten() {
        assert_eq!(key.reversed().reversed(), key);
        assert_eq!(key.source.is_ipv4(), key.destination.is_ipv4());
    }
}
