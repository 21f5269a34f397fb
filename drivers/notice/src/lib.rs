//! What a switch tells its machines: a station has lost its link.
//!
//! A machine that dies says nothing any more, and its peers would wait for a timeout. The switch knows at
//! once: the machine's end of the port is closed. It tells the others in one frame.
//!
//! ```text
//!  0  destination ff:ff:ff:ff:ff:ff   6  source, the switch's   12  EtherType 88b5 (IEEE 802: local use)
//! 14  "CTRY"   18  version 1   19  kind 1, link lost   20  the station's address   26  zeros up to 60
//! ```
//!
//! A notice is word of mouth: whoever acts upon one must survive that it is false.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

/// How long a notice is: the shortest frame of Ethernet, its checksum not counted.
pub const NOTICE_BYTES: usize = 60;

/// The address that notices come from. It is administered locally, and no machine's.
pub const SWITCH_ADDRESS: [u8; 6] = [0x02, 0x77, 0xff, 0x00, 0x00, 0x00];

const BROADCAST: [u8; 6] = [0xff; 6];
const ETHER_TYPE: [u8; 2] = [0x88, 0xb5];
const MAGIC: [u8; 4] = *b"CTRY";
const VERSION: u8 = 1;
const LINK_LOST: u8 = 1;

mod field {
    use core::ops::Range;

    pub(super) const DESTINATION: Range<usize> = 0..6;
    pub(super) const SOURCE: Range<usize> = 6..12;
    pub(super) const ETHER_TYPE: Range<usize> = 12..14;
    pub(super) const MAGIC: Range<usize> = 14..18;
    pub(super) const VERSION: usize = 18;
    pub(super) const KIND: usize = 19;
    pub(super) const STATION: Range<usize> = 20..26;
}

/// The frame that says that this station has lost its link.
pub fn link_lost(station: [u8; 6]) -> [u8; NOTICE_BYTES] {
    let mut frame = [0; NOTICE_BYTES];
    frame[field::DESTINATION].copy_from_slice(&BROADCAST);
    frame[field::SOURCE].copy_from_slice(&SWITCH_ADDRESS);
    frame[field::ETHER_TYPE].copy_from_slice(&ETHER_TYPE);
    frame[field::MAGIC].copy_from_slice(&MAGIC);
    frame[field::VERSION] = VERSION;
    frame[field::KIND] = LINK_LOST;
    frame[field::STATION].copy_from_slice(&station);
    frame
}

/// The station that has lost its link, if that is what the frame says.
pub fn parse(frame: &[u8]) -> Option<[u8; 6]> {
    let frame = frame.first_chunk::<NOTICE_BYTES>()?;
    let is_notice = frame[field::DESTINATION] == BROADCAST
        && frame[field::SOURCE] == SWITCH_ADDRESS
        && frame[field::ETHER_TYPE] == ETHER_TYPE
        && frame[field::MAGIC] == MAGIC
        && frame[field::VERSION] == VERSION
        && frame[field::KIND] == LINK_LOST;
    is_notice.then(|| frame[field::STATION].try_into().expect("an address has six bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let station = [2, 0x77, 0, 0, 0, 9];
        let frame = link_lost(station);
        assert_eq!(parse(&frame), Some(station));
        assert_eq!(parse(&[&frame[..], &[0; 40]].concat()), Some(station), "padding is none of it");
    }

    #[test]
    fn anything_else_is_no_notice() {
        let frame = link_lost([2, 0x77, 0, 0, 0, 9]);
        assert_eq!(parse(&frame[..NOTICE_BYTES - 1]), None);
        for place in 0..field::STATION.start {
            let mut changed = frame;
            changed[place] ^= 1;
            assert_eq!(parse(&changed), None, "byte {place}");
        }
    }
}
