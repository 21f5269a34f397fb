//! What a port has counted.

use serde::Serialize;

/// Counters of one port, since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Statistics {
    /// Frames that its machine sent, and that were switched.
    pub frames_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Frames that its machine was given.
    pub frames_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Frames that its machine sent and whose source was not learnt: it is refused, or there are
    /// [`crate::ADDRESSES_PER_PORT_MAX`] addresses behind this port already.
    pub unlearnt: u64,
    /// Frames that its machine sent and that were refused.
    pub refused: Refused,
    /// Frames for its machine that it did not get.
    pub dropped: Dropped,
    /// Frames for its machine of which something was left to do that its card does not do, and was done here.
    pub completed: u64,
    /// Bytes of frames that were copied beyond the one copy to their receiver: see [`crate::frame`].
    pub copied: u64,
    /// How often its machine rang.
    pub kicks: u64,
    /// How often it had something though it had not rung: see `LOOK_AGAIN_AFTER` in `switch/patience.rs`.
    pub unrung: u64,
    /// How often its machine was rung.
    pub calls: u64,
    /// How often a machine plugged in.
    pub connections: u64,
    /// How often a machine was unplugged because it broke the rules.
    pub faults: u64,
}

/// Frames that a machine sent and that were refused, by cause.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Refused {
    /// Longer than [`crate::FRAME_MAX_BYTES`].
    pub oversized: u64,
    /// Shorter than [`crate::FRAME_MIN_BYTES`].
    pub runt: u64,
    /// In buffers that are not in the machine's memory, or chained wrongly.
    pub malformed: u64,
    /// The source is a group address, or the destination that of the source.
    pub senseless: u64,
    /// The source is pinned to another port, or another station to this one.
    pub spoofed: u64,
}

/// Frames for a machine that it did not get, by cause.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Dropped {
    /// Nobody is plugged in.
    pub unplugged: u64,
    /// It offered no buffers for too long.
    pub backlog: u64,
    /// It offered a buffer that is too small, or not in its memory.
    pub bad_buffer: u64,
    /// Lost on command.
    pub lost: u64,
    /// Cut off on command.
    pub cut: u64,
    /// Too many frames are on delayed ways.
    pub delayed: u64,
    /// What was left to do made no sense, or is not known here: a large segment with a VLAN's tag, say.
    pub senseless: u64,
}
