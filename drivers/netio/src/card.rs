//! What a card tells of itself: what it counts, by cause, and what it takes over.

use core::fmt;
use core::ops::Add;

use crate::OffloadSet;

/// Counts since the card was started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NetStatistics {
    /// How often arrivals were looked for …
    pub receive_polls: u64,
    /// … and how often there were none.
    pub receive_polls_empty: u64,
    /// Frames that arrived.
    pub received_frames: u64,
    /// Their bytes, headers of the card not counted.
    pub received_bytes: u64,
    /// Frames given to the card.
    pub sent_frames: u64,
    /// Their bytes, padding counted.
    pub sent_bytes: u64,
    /// Arrivals that were dropped: shorter than an Ethernet header.
    pub receive_bad_length: u64,
    /// Arrivals that were dropped: their header is none, or says what the card was not asked to do.
    pub receive_bad_header: u64,
    /// Arrivals in several buffers that were dropped: some were missing, empty, or too many.
    pub receive_bad_chain: u64,
    /// How often the card was left with fewer buffers than it should have, because the pool was empty.
    pub receive_pool_empty: u64,
    /// How often frames had to wait because the ring was full.
    pub send_ring_full: u64,
    /// Frames that were dropped: empty, too long, without room for the card's header, or for a card that does
    /// not do what is asked of it.
    pub send_refused: u64,
    /// How often the card was notified.
    pub kicks: u64,
    /// How often the driver asked for interrupts.
    pub interrupts_armed: u64,
    /// How often there was something to do already when it had.
    pub interrupts_overtaken: u64,
    /// How often the card asked for a reset, and was started again.
    pub restarts: u64,
    /// How often the link was found to have come or gone.
    pub link_changes: u64,
    /// The network was there when the card was asked last. Of a card with several pairs the card knows that,
    /// and not a pair.
    pub link_up: bool,
    /// How many buffers wait for frames to arrive, now.
    pub receive_buffers: u16,
    /// How many buffers are being sent, now.
    pub transmit_buffers: u16,
    /// How many descriptors the ring has that brings frames in …
    pub receive_ring: u16,
    /// … and how many that which takes them out.
    pub transmit_ring: u16,
}

impl Add for NetStatistics {
    type Output = NetStatistics;

    fn add(self, other: NetStatistics) -> NetStatistics {
        NetStatistics {
            receive_polls: self.receive_polls + other.receive_polls,
            receive_polls_empty: self.receive_polls_empty + other.receive_polls_empty,
            received_frames: self.received_frames + other.received_frames,
            received_bytes: self.received_bytes + other.received_bytes,
            sent_frames: self.sent_frames + other.sent_frames,
            sent_bytes: self.sent_bytes + other.sent_bytes,
            receive_bad_length: self.receive_bad_length + other.receive_bad_length,
            receive_bad_header: self.receive_bad_header + other.receive_bad_header,
            receive_bad_chain: self.receive_bad_chain + other.receive_bad_chain,
            receive_pool_empty: self.receive_pool_empty + other.receive_pool_empty,
            send_ring_full: self.send_ring_full + other.send_ring_full,
            send_refused: self.send_refused + other.send_refused,
            kicks: self.kicks + other.kicks,
            interrupts_armed: self.interrupts_armed + other.interrupts_armed,
            interrupts_overtaken: self.interrupts_overtaken + other.interrupts_overtaken,
            restarts: self.restarts + other.restarts,
            link_changes: self.link_changes + other.link_changes,
            link_up: self.link_up || other.link_up,
            receive_buffers: self.receive_buffers + other.receive_buffers,
            transmit_buffers: self.transmit_buffers + other.transmit_buffers,
            receive_ring: self.receive_ring + other.receive_ring,
            transmit_ring: self.transmit_ring + other.transmit_ring,
        }
    }
}

/// How often what was negotiated was used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OffloadCounts {
    /// Packets whose checksum the card computed, those that it cut not counted.
    pub sent_partial: u64,
    /// Packets that the card cut.
    pub sent_large: u64,
    /// Arrivals whose checksum nobody had computed.
    pub received_partial: u64,
    /// Arrivals whose checksum the card found right.
    pub received_valid: u64,
    /// Arrivals that stand for several.
    pub received_large: u64,
    /// Arrivals that lay in several buffers.
    pub received_in_several: u64,
}

impl Add for OffloadCounts {
    type Output = OffloadCounts;

    fn add(self, other: OffloadCounts) -> OffloadCounts {
        OffloadCounts {
            sent_partial: self.sent_partial + other.sent_partial,
            sent_large: self.sent_large + other.sent_large,
            received_partial: self.received_partial + other.received_partial,
            received_valid: self.received_valid + other.received_valid,
            received_large: self.received_large + other.received_large,
            received_in_several: self.received_in_several + other.received_in_several,
        }
    }
}

/// What a card offers, what was agreed on, and what came of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CardOffloads {
    /// What the card can do.
    pub offered: OffloadSet,
    /// What it was asked to do.
    pub negotiated: OffloadSet,
    /// How often it did.
    pub used: OffloadCounts,
}

/// The standard's names of what is in a set, or "none".
#[derive(Clone, Copy, Debug)]
pub struct Names(pub OffloadSet);

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = &self.0;
        let names = [
            (set.transmit_checksum, "CSUM"),
            (set.receive_checksum, "GUEST_CSUM"),
            (set.transmit_tso_ipv4, "HOST_TSO4"),
            (set.transmit_tso_ipv6, "HOST_TSO6"),
            (set.receive_tso_ipv4, "GUEST_TSO4"),
            (set.receive_tso_ipv6, "GUEST_TSO6"),
            (set.mergeable_buffers, "MRG_RXBUF"),
        ];
        let mut names = names.iter().filter(|(is_there, _)| *is_there).map(|(_, name)| name);
        f.write_str(names.next().unwrap_or(&"none"))?;
        names.try_for_each(|name| write!(f, " {name}"))
    }
}

impl fmt::Display for CardOffloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "offloads offered: {}; negotiated: {}",
            Names(self.offered),
            Names(self.negotiated)
        )
    }
}
