//! What a card counts, by cause.

use core::ops::Add;

/// Counts since the card was started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NetStatistics {
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
    /// How many buffers wait for frames to arrive, now.
    pub receive_buffers: u16,
    /// How many buffers are being sent, now.
    pub transmit_buffers: u16,
}

impl Add for NetStatistics {
    type Output = NetStatistics;

    fn add(self, other: NetStatistics) -> NetStatistics {
        NetStatistics {
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
            receive_buffers: self.receive_buffers + other.receive_buffers,
            transmit_buffers: self.transmit_buffers + other.transmit_buffers,
        }
    }
}
