//! Messages from their parts, which come in order.

use alloc::vec::Vec;

use base::limits;
use bytes::Bytes;
use wire::{Refusal, ServiceId, TraceContext};

/// A part of a message, as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) service: ServiceId,
    pub(super) trace: TraceContext,
    pub(super) is_first: bool,
    pub(super) is_last: bool,
    pub(super) message_length: u32,
    pub(super) place: u32,
    pub(super) content: Bytes,
}

/// A whole message.
#[derive(Clone, Debug)]
pub(super) struct Incoming {
    pub(super) service: ServiceId,
    pub(super) trace: TraceContext,
    pub(super) content: Bytes,
    /// It was put together, which was another copy.
    pub(super) is_assembled: bool,
}

/// The message that is being put together.
#[derive(Clone, Debug, Default)]
pub(super) struct Assembly {
    begun: Option<(ServiceId, TraceContext, u32)>,
    content: Vec<u8>,
}

impl Assembly {
    /// Whether a part makes sense by itself.
    pub(super) fn check(part: &Part) -> Result<(), Refusal> {
        let length = part.message_length as usize;
        let end = part.place as usize + part.content.len();
        let is_whole = length > 0
            && length <= limits::MESSAGE_MAX_BYTES
            && !part.content.is_empty()
            && end <= length
            && part.is_first == (part.place == 0)
            && part.is_last == (end == length);
        if is_whole { Ok(()) } else { Err(Refusal::Malformed) }
    }

    /// Takes the next part; answers the message if that was the last. A part that does not continue what was
    /// begun drops it: the sender is not one of ours.
    pub(super) fn take(&mut self, part: Part) -> Option<Incoming> {
        let (service, trace) = (part.service, part.trace);
        if part.is_first {
            self.begun = None;
            self.content.clear();
            if part.is_last {
                let content = part.content;
                return Some(Incoming { service, trace, content, is_assembled: false });
            }
            self.begun = Some((service, trace, part.message_length));
        }
        let continues = self.begun == Some((service, trace, part.message_length))
            && self.content.len() == part.place as usize;
        if !continues {
            self.begun = None;
            return None;
        }
        self.content.extend_from_slice(&part.content);
        part.is_last.then(|| {
            self.begun = None;
            let content = core::mem::take(&mut self.content).into();
            Incoming { service, trace, content, is_assembled: true }
        })
    }

    /// Forgets what was begun.
    pub(super) fn clear(&mut self) {
        self.begun = None;
        self.content = Vec::new();
    }
}
