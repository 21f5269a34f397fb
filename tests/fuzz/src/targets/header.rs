//! The header in front of every packet of a card: what is read is written back.

use virtio::net::{HEADER_BYTES, Header};

pub(super) fn run(bytes: &[u8]) {
    for bytes in bytes.as_chunks::<HEADER_BYTES>().0 {
        let Ok(header) = Header::parse(bytes) else { continue };
        let mut written = [0xff; HEADER_BYTES];
        header.emit(&mut written);
        assert_eq!(Header::parse(&written), Ok(header));
    }
}
