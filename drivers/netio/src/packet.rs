//! What travels between a stack and a card.

use pool::Frame;

use crate::{Class, FlowKey};

/// A packet on its way from the stack to a card: its bytes, and what is known of them.
#[derive(Debug)]
pub struct NetworkPacket {
    /// The bytes, as they are on the wire.
    pub frame: Frame,
    /// When its turn is.
    pub class: Class,
    /// Which flow it belongs to, if it is in one.
    pub flow: Option<FlowKey>,
    /// Since when it waits, in nanoseconds.
    pub since_ns: u64,
}

impl NetworkPacket {
    /// A packet that waits from now on. Its flow is read from its headers.
    pub fn new(frame: Frame, class: Class, now_ns: u64) -> NetworkPacket {
        let flow = FlowKey::of_frame(&frame);
        NetworkPacket { frame, class, flow, since_ns: now_ns }
    }
}
