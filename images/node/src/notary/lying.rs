//! A node that lies because somebody at its shell says so: only in images that are built for tests.
//!
//! The replica itself stays honest. Everything that it sends goes through [`bft::Adversary`], which says
//! something else in its place; a flood is made up here, as much of it as the links take.

use alloc::collections::BTreeMap;

use base::{Duration, Instant, NodeId, Prng};
use bft::{Adversary, Lie, Message, Said};
use bytes::Bytes;
use crypto::{Keyring, SigningKey};

use super::{Notary, NotaryOutput};

/// How often a flood is given to the links, and how many messages for each peer at once: more than a link
/// carries in that time. What it does not take is lost.
const FLOOD_EVERY: Duration = Duration::from_millis(1);
const FLOOD_MESSAGES: usize = 32;
/// Every second message that is no longer than this does not wait for the peer to have taken those before:
/// whoever lies does not keep to the window of a link either.
const UNBIDDEN_MAX_BYTES: usize = 1024;
/// So many messages may be late at once.
const LATE_MAX: usize = 4096;

/// The liar in the node.
#[derive(Debug)]
pub(super) struct Lying {
    adversary: Adversary,
    is_on: bool,
    prng: Prng,
    /// What is said later, and when.
    late: BTreeMap<(Instant, u64), (NodeId, Bytes)>,
    next: u64,
    flood_at: Option<Instant>,
}

impl Lying {
    /// A liar that does not lie yet.
    pub(super) fn new((id, keyring): (NodeId, &Keyring), key: SigningKey, seed: u64) -> Lying {
        // A node that is no member says nothing that anybody listens to.
        let slot = keyring.slot(id).unwrap_or_default();
        Lying {
            adversary: Adversary::new(Lie::Silent, slot, key, keyring.clone()),
            is_on: false,
            prng: Prng::new(!seed),
            late: BTreeMap::new(),
            next: 0,
            flood_at: None,
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    pub(super) fn hear(&mut self, content: &Bytes) {
        if self.is_on {
            self.adversary.hear(content, &mut self.prng);
        }
    }

    /// When there is something to say.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let late = self.late.first_key_value().map(|((at, _), _)| *at);
        Instant::earliest([late, self.flood_at])
    }
}

impl Notary {
    /// From now on the node lies so, or not at all.
    pub(crate) fn set_lie(&mut self, lie: Option<Lie>, now: Instant) {
        self.lying.is_on = lie.is_some();
        if let Some(lie) = lie {
            self.lying.adversary.change(lie);
        }
        self.lying.flood_at = (lie == Some(Lie::Flood)).then_some(now);
    }

    /// Says something else in place of this message.
    pub(super) fn lie(&mut self, to: NodeId, message: &Message, now: Instant) {
        let Some(to) = self.keyring.slot(to) else { return };
        let Lying { adversary, prng, .. } = &mut self.lying;
        for said in adversary.tamper(to, message, prng) {
            self.say(said, now);
        }
    }

    /// The links say who speaks, so that whatever is said in another's name is said in this node's.
    fn say(&mut self, said: Said, now: Instant) {
        let Some(to) = self.keyring.member(said.to).filter(|to| *to != self.id) else { return };
        if said.late == Duration::ZERO {
            return self.outputs.push_back(NotaryOutput::Send { to, content: said.bytes });
        }
        if self.lying.late.len() < LATE_MAX {
            self.lying.next += 1;
            self.lying.late.insert((now + said.late, self.lying.next), (to, said.bytes));
        }
    }

    /// Says what was to be late, and goes on with a flood.
    pub(super) fn lie_on(&mut self, now: Instant) {
        while let Some(entry) = self.lying.late.first_entry().filter(|one| one.key().0 <= now) {
            let (to, content) = entry.remove();
            self.outputs.push_back(NotaryOutput::Send { to, content });
        }
        if self.lying.flood_at.is_none_or(|at| at > now) {
            return;
        }
        self.lying.flood_at = Some(now + FLOOD_EVERY);
        for to in 0..self.keyring.size() {
            let Some(peer) = self.keyring.member(to).filter(|peer| *peer != self.id) else {
                continue;
            };
            for at in 0..FLOOD_MESSAGES {
                let Lying { adversary, prng, .. } = &mut self.lying;
                let content = adversary.make_up(to, prng).bytes;
                let is_unbidden = at % 2 == 0 && content.len() <= UNBIDDEN_MAX_BYTES;
                self.outputs.push_back(match is_unbidden {
                    true => NotaryOutput::SendUnbidden { to: peer, content },
                    false => NotaryOutput::Send { to: peer, content },
                });
            }
        }
    }
}
