//! The trace of consensus, while somebody wants it.

use alloc::boxed::Box;

use base::Instant;

use super::{Replica, ReplicaOutput};
use crate::transitions::Transitions;

/// Whether there is a trace.
#[derive(Debug, Default)]
pub(crate) enum Tracing {
    #[default]
    Off,
    /// It begins when the disk is read.
    Wanted,
    On(Box<Transitions>),
}

impl Replica {
    /// Begins or ends the trace.
    pub(crate) fn set_trace(&mut self, is_on: bool, now: Instant) {
        self.tracing = match (&self.member, is_on) {
            (_, false) => Tracing::Off,
            (None, true) => Tracing::Wanted,
            (Some(member), true) => {
                let transitions = Transitions::new(self.config.raft.id, &member.raft, now);
                Tracing::On(Box::new(transitions))
            }
        };
    }

    /// Notes what the last step has changed.
    pub(super) fn trace_step(&mut self, now: Instant) {
        let Some(member) = &self.member else { return };
        match &mut self.tracing {
            Tracing::Off => {}
            Tracing::Wanted => self.set_trace(true, now),
            Tracing::On(transitions) => transitions.observe(&member.raft, now),
        }
    }

    /// Hands out the lines that there are.
    pub(super) fn take_trace(&mut self) {
        if let Tracing::On(transitions) = &mut self.tracing {
            let lines = core::iter::from_fn(|| transitions.poll_line());
            self.outputs.extend(lines.map(ReplicaOutput::Trace));
        }
    }
}
