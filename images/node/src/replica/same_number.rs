//! Two machines that were given the same number: the commonest mistake of people who start machines by hand.
//! Somebody has to sort that out. It is said once of each number; the frames are counted.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;

use base::{Instant, NodeId};

use super::{Replica, ReplicaOutput};
use crate::journal::Level;

/// What was said.
#[derive(Debug, Default)]
pub(super) struct SameNumber {
    is_superseded: bool,
    twins: BTreeSet<NodeId>,
}

impl Replica {
    /// Peers refuse what this node sends, and it what they send.
    pub(super) fn note_superseded(&mut self) {
        if !self.same_number.is_superseded {
            self.same_number.is_superseded = true;
            let text = "peers know another start of this node: another machine has its number, or its \
                        disk is an old copy";
            self.outputs.push_back(ReplicaOutput::Note(Level::Error, "net", String::from(text)));
        }
    }

    /// A frame came of a machine that has the number of a peer that is known already.
    pub(super) fn note_twins(&mut self, now: Instant) {
        let Some(member) = &self.member else { return };
        let links = member.links.status(now);
        for (peer, _) in links.filter(|(_, link)| link.twins > 0) {
            if self.same_number.twins.insert(peer) {
                let text = format!(
                    "another machine has the number {peer}, and has started as often: it is not heard"
                );
                self.outputs.push_back(ReplicaOutput::Note(Level::Error, "net", text));
            }
        }
    }
}
