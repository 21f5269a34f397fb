//! Captures (pcap), and whether every frame in one is what it says it is: lengths that fit, checksums that
//! are right. It knows what is spoken between nodes; another protocol there would be a finding.

use std::ops::Range;

use anyhow::{Context, ensure};

/// Of a file with nanoseconds, as little-endian machines write it; the kind of link is Ethernet.
const MAGIC: [u8; 4] = 0xa1b2_3c4d_u32.to_le_bytes();
const FILE_HEADER_BYTES: usize = 24;
const RECORD_HEADER_BYTES: usize = 16;
const LINK_TYPE: Range<usize> = 20..24;
const ETHERNET: u32 = 1;

/// The shortest frame, without its checksum.
const FRAME_BYTES_MIN: usize = 60;
const ETHERNET_BYTES: usize = 14;

/// What a frame carries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    Arp,
    Icmp,
    Tcp,
    Udp,
    /// What our switch tells the machines itself, of an experimental type (IEEE 802, local experiments).
    Notice,
}

/// The frames of a file.
///
/// # Errors
/// If it is no capture, or ends in the middle of a frame.
pub fn frames(file: &[u8]) -> anyhow::Result<Vec<&[u8]>> {
    ensure!(file.len() >= FILE_HEADER_BYTES && file[..4] == MAGIC, "this is no capture");
    ensure!(word(file, LINK_TYPE.start) == ETHERNET, "this is no capture of Ethernet");
    let (mut rest, mut frames) = (&file[FILE_HEADER_BYTES..], Vec::new());
    while !rest.is_empty() {
        let (header, after) =
            rest.split_at_checked(RECORD_HEADER_BYTES).context("half of a header")?;
        let (captured, length) = (word(header, 8), word(header, 12));
        ensure!(captured == length, "a frame was cut");
        let (frame, after) = after.split_at_checked(length as usize).context("half of a frame")?;
        frames.push(frame);
        rest = after;
    }
    Ok(frames)
}

fn word(bytes: &[u8], start: usize) -> u32 {
    u32::from_le_bytes(bytes[start..start + 4].try_into().expect("there are four"))
}

/// A number of two bytes in the order of networks.
fn short(bytes: &[u8], start: usize) -> usize {
    usize::from(bytes[start]) << 8 | usize::from(bytes[start + 1])
}

/// What a frame carries.
///
/// # Errors
/// What is wrong with it.
pub fn kind(frame: &[u8]) -> anyhow::Result<Kind> {
    ensure!(frame.len() >= FRAME_BYTES_MIN, "it has {} bytes only", frame.len());
    ensure!(frame[6] & 1 == 0, "its source is a group");
    let payload = &frame[ETHERNET_BYTES..];
    match short(frame, 12) {
        0x0806 => arp(payload),
        0x0800 => ipv4(payload),
        0x88b5 => Ok(Kind::Notice),
        other => anyhow::bail!("its type is {other:#06x}"),
    }
}

/// RFC 826, of Ethernet and IPv4.
fn arp(packet: &[u8]) -> anyhow::Result<Kind> {
    let is_known = packet[..6] == [0, 1, 8, 0, 6, 4] && matches!(short(packet, 6), 1 | 2);
    ensure!(is_known, "ARP that is not understood: {:02x?}", &packet[..8]);
    Ok(Kind::Arp)
}

/// RFC 791; what is behind the packet's end is padding.
fn ipv4(packet: &[u8]) -> anyhow::Result<Kind> {
    let header_bytes = usize::from(packet[0] & 15) * 4;
    ensure!(packet[0] >> 4 == 4 && header_bytes >= 20, "its first byte is {:#04x}", packet[0]);
    let length = short(packet, 2);
    ensure!(header_bytes <= length && length <= packet.len(), "it says that it has {length} bytes");
    let (header, payload) = packet[..length].split_at(header_bytes);
    ensure!(sum(header, 0) == 0xffff, "the checksum of its header is wrong");
    ensure!(short(header, 6) & 0x3fff == 0, "it is a fragment");
    // Of UDP and TCP, addresses, protocol and length are summed, too.
    let pseudo = sum(&header[12..20], u32::from(header[9]) + u32::try_from(payload.len())?);
    let is_right = |pseudo: u32| sum(payload, pseudo) == 0xffff;
    match header[9] {
        1 if payload.len() >= 8 => {
            ensure!(is_right(0), "the checksum of ICMP is wrong");
            Ok(Kind::Icmp)
        }
        6 if payload.len() >= 20 => {
            ensure!(is_right(pseudo), "the checksum of TCP is wrong");
            Ok(Kind::Tcp)
        }
        17 if payload.len() >= 8 => {
            ensure!(short(payload, 4) == payload.len(), "UDP has another length than IP");
            // Zero stands for none.
            ensure!(short(payload, 6) == 0 || is_right(pseudo), "the checksum of UDP is wrong");
            Ok(Kind::Udp)
        }
        other => anyhow::bail!("protocol {other} with {} bytes", payload.len()),
    }
}

/// The sum of RFC 1071, with all carries added, from `start` on.
fn sum(bytes: &[u8], start: u32) -> u32 {
    let pairs = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or_default()));
    let mut sum = pairs.fold(start, |sum, pair| sum + pair);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// UDP from 10.77.0.1 to 10.77.0.2 with two bytes, and padding.
    fn datagram() -> Vec<u8> {
        let mut frame = vec![2, 0x77, 0, 0, 0, 2, 2, 0x77, 0, 0, 0, 1, 8, 0];
        frame.extend([0x45, 0, 0, 30, 0, 0, 0x40, 0, 64, 17, 0x26, 0x33]);
        frame.extend([10, 77, 0, 1, 10, 77, 0, 2]);
        frame.extend([0x12, 0x34, 0x12, 0x34, 0, 10, 0x65, 0x73, 0x61, 0x62]);
        frame.resize(FRAME_BYTES_MIN, 0);
        frame
    }

    #[test]
    fn a_datagram_is_whole_and_every_flipped_bit_is_found() {
        assert_eq!(kind(&datagram()).unwrap(), Kind::Udp);
        for place in ETHERNET_BYTES..ETHERNET_BYTES + 30 {
            let mut frame = datagram();
            frame[place] ^= 1;
            assert!(kind(&frame).is_err(), "byte {place}");
        }
        assert!(kind(&datagram()[..59]).is_err());
    }

    #[test]
    fn frames_are_found_in_a_file() {
        let frame = datagram();
        let header = [0xa1b2_3c4d, 0x0004_0002, 0, 0, 262_144, 1_u32];
        let record = [1, 2, frame.len() as u32, frame.len() as u32];
        let words = header.into_iter().chain(record).flat_map(u32::to_le_bytes);
        let file: Vec<u8> = words.chain(frame.iter().copied()).collect();
        assert_eq!(frames(&file).unwrap(), [&frame[..]]);
        assert!(frames(&file[..file.len() - 1]).is_err());
        assert!(frames(&file[..30]).is_err());
        assert!(frames(&file[4..]).is_err());
    }
}
