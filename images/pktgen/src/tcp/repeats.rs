//! What a source sends again, seen from outside: smoltcp does not count it.

use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Packet, TcpPacket, TcpSeqNumber,
};

/// What was sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RepeatCounts {
    /// How many segments, as they were given to the card.
    pub segments: u64,
    /// How many bytes of them had been sent before.
    pub bytes: u64,
}

/// Looks at what the source's connection, the only one that sends data, gives to the card.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Repeats {
    /// The end of what was sent so far.
    end: Option<TcpSeqNumber>,
    counts: RepeatCounts,
}

impl Repeats {
    pub(super) fn counts(&self) -> RepeatCounts {
        self.counts
    }

    /// Notes a frame that is being sent.
    pub(super) fn record(&mut self, frame: &[u8]) {
        let Some((start, length)) = data(frame) else { return };
        let end = start + length;
        let Some(before) = self.end else {
            self.end = Some(end);
            return;
        };
        if start < before {
            self.counts.segments += 1;
            self.counts.bytes += (before.min(end) - start) as u64;
        }
        self.end = Some(before.max(end));
    }
}

/// Where the data of a TCP segment starts in its stream, and how long it is, if it has any.
fn data(frame: &[u8]) -> Option<(TcpSeqNumber, usize)> {
    let ethernet = EthernetFrame::new_checked(frame).ok()?;
    if ethernet.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let ip = Ipv4Packet::new_checked(ethernet.payload()).ok()?;
    if ip.next_header() != IpProtocol::Tcp {
        return None;
    }
    let tcp = TcpPacket::new_checked(ip.payload()).ok()?;
    let length = tcp.payload().len();
    (length > 0).then_some((tcp.seq_number(), length))
}
