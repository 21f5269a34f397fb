//! The end of a node that is told to stop: it hands leadership over, so that nobody waits for an election,
//! and answers the writes that are under way.

use base::{Duration, Instant};
use kv::KvService;
use shell::Source;

use super::Node;
use crate::journal::Level;
use crate::output::{Output, Stop};

/// What is not done by then is not waited for: the others notice that the node is gone, and nothing that was
/// acknowledged is lost.
const LEAVE_WITHIN: Duration = Duration::from_millis(500);

/// The node stops soon.
#[derive(Debug)]
pub(super) struct Leaving {
    stop: Stop,
    until: Instant,
}

impl Leaving {
    pub(super) fn until(&self) -> Instant {
        self.until
    }
}

impl Node {
    /// Says farewell, and prepares to stop.
    pub(super) fn leave(&mut self, source: &Source, farewell: &str, stop: Stop, now: Instant) {
        self.console.answer(source, farewell, 0);
        if self.leaving.is_some() {
            return;
        }
        let patience = match self.replica.hand_over(None, now) {
            Ok(to) => {
                let text = format_args!("handing leadership over to node {to}");
                self.journal.note(now, Level::Info, "node", text);
                LEAVE_WITHIN
            }
            Err(_) if self.leads() => Duration::ZERO,
            Err(_) => LEAVE_WITHIN,
        };
        self.leaving = Some(Leaving { stop, until: now + patience });
    }

    /// Hands over if the node was elected after it was told to stop.
    pub(super) fn hand_over_if_leaving(&mut self, now: Instant) {
        if self.leaving.is_some() && self.leads() {
            // If it cannot, or does already, there is nothing more to do.
            let _ = self.replica.hand_over(None, now);
        }
    }

    /// Stops if the node is to stop and there is nothing left to wait for.
    pub(super) fn stop_if_left(&mut self, now: Instant) {
        let is_busy = self.leads() || self.kv.as_ref().is_some_and(KvService::has_writes);
        let Some(leaving) = self.leaving.take_if(|leaving| !is_busy || now >= leaving.until) else {
            return;
        };
        self.is_stopped = true;
        self.outputs.push_back(Output::Stop(leaving.stop));
    }

    fn leads(&self) -> bool {
        self.replica.member().is_some_and(|member| member.raft.is_leader())
    }
}
