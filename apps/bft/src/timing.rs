//! What happens when nothing comes in.

use base::{Duration, Instant, NodeId, limits};

use crate::message::Message;
use crate::state::{BftNode, Mode};

impl BftNode {
    /// A deadline that [`BftNode::poll_timeout`] gave has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.note_time(now);
        self.begin_turn();
        self.begin_view();
        if self.view_deadline().is_some_and(|at| at <= self.now) {
            match self.mode {
                Mode::Active => self.leave_for(self.view.next()),
                Mode::Changing(_) => self.give_up_view(),
            }
        }
        self.tell_the_rest();
        self.give_up_fast();
        self.relay_requests();
        if self.resend_at <= self.now {
            self.resend_at = self.now + self.config.resend_every;
            self.resend();
        }
        if self.status_at <= self.now {
            self.status_at = self.now + self.status_pace();
            self.tell_one();
        }
        self.retry_transfer();
    }

    /// When [`BftNode::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let resend = self.has_unanswered().then_some(self.resend_at);
        Instant::earliest([
            self.view_deadline(),
            self.requests.relay_due(),
            resend,
            Some(self.status_at),
            self.transfer_deadline(),
            self.audience.deadline(),
            self.fast_deadline(),
            // What is in hand, and what was kept back for it, goes on in the caller's next turn.
            (self.is_busy() || self.is_spent()).then_some(self.now),
        ])
    }

    /// How long a view may bring nothing. It doubles from one fruitless view to the next (OSDI '99, section
    /// 4.5.2), and begins anew once something is executed.
    pub(crate) fn patience(&self) -> Duration {
        let doublings = self.fruitless_views.saturating_sub(1);
        self.config.progress_timeout.times(1 << doublings.min(limits::BFT_TIMEOUT_DOUBLINGS_MAX))
    }

    /// When the view is left, or the next one no longer waited for.
    ///
    /// A replica waits for its oldest request: so long since anything was executed, and a few times so long
    /// whatever else was, because a primary may order all requests but one. If the primary is said to be gone
    /// and does not contradict, it waits for nothing.
    fn view_deadline(&self) -> Option<Instant> {
        if self.abstention.is_some() {
            return None;
        }
        let gone = self.audience.gone_since(self.primary()).map(|at| at + self.config.gone_after);
        match &self.mode {
            // Nobody moves on before a quorum has come so far.
            Mode::Changing(changing) => {
                changing.deadline.map(|at| gone.map_or(at, |gone| gone.min(at)))
            }
            Mode::Active => Instant::earliest([gone, self.impatient_at()]),
        }
    }

    /// A primary that sends so much that is bad that it is not listened to has less time: what it proposes is
    /// lost with the rest. It has some, for the network may lie about who sends that.
    fn impatient_at(&self) -> Option<Instant> {
        let oldest = self.requests.oldest()?;
        let patience = match self.guard.is_muted(self.primary()) {
            true => self.patience().as_nanos() / limits::BFT_MUTED_PATIENCE_SHARE,
            false => self.patience().as_nanos(),
        };
        let patience = Duration::from_nanos(patience);
        let starved = oldest + patience.times(limits::BFT_STARVATION_FACTOR);
        Some((self.progress.max(oldest) + patience).min(starved))
    }

    /// The network says that a replica is gone: it may be wrong, or lying. It is asked last from now on. A
    /// primary is asked for a sign of life, and if there is none its view is left as soon as that may have
    /// come.
    pub fn handle_peer_unreachable(&mut self, peer: NodeId, now: Instant) {
        let Some(slot) = self.config.keyring.slot(peer).filter(|slot| *slot != self.slot) else {
            return;
        };
        self.note_time(now);
        self.audience.note_gone(slot, self.now);
        if slot == self.primary() {
            self.send(slot, Message::AskPosition);
        }
    }

    /// Gives requests that have waited long to all replicas (OSDI '99, section 4.1: a client that waits too
    /// long sends its request to all). They then wait for it too, and leave the view with this one; and if
    /// only this one has left it, they have it ordered: whoever brought it here may have forgotten it.
    fn relay_requests(&mut self) {
        let again = self.now + self.config.progress_timeout.times(2);
        for request in self.requests.relay(self.slot, self.now, again) {
            self.send_to_others(&Message::Request(request));
        }
    }

    /// If the primary is not listened to, all are told at once what this replica waits for, so that they wait
    /// for it too, and leave the view with this one.
    pub(crate) fn hasten_if_muted(&mut self) {
        if self.guard.is_muted(self.primary()) {
            self.requests.hasten(self.slot, self.now);
        }
    }

    /// Whether something was sent that nobody has answered.
    pub(crate) fn has_unanswered(&self) -> bool {
        let is_open = |(_, entry): (_, &crate::log::Entry)| {
            entry.committed.is_none() && entry.accepted_in(self.view).is_some()
                || entry.lacks(self.view).is_some()
        };
        !self.is_active()
            || self.abstention.is_some()
            || !self.states.is_empty()
            || self.log.open().any(is_open)
    }

    fn resend(&mut self) {
        self.ask_positions();
        if !self.is_active() {
            return self.announce_change();
        }
        self.resend_checkpoints();
        self.fetch_batches();
        if self.leads() {
            self.resend_proposals();
        } else if self.has_unanswered() {
            // The primary knows whether this was decided meanwhile, and says so.
            self.send_status(self.primary());
        }
    }

    /// When the next replica is told how far this one is: soon, until each has told each what was executed
    /// last.
    fn status_pace(&self) -> Duration {
        let every = self.config.status_every;
        let round = every.times(self.config.keyring.size() as u64);
        let is_calm =
            self.is_active() && !self.is_behind() && self.now.since(self.progress) > round;
        if is_calm { every.times(limits::BFT_STATUS_CALM_FACTOR) } else { every }
    }

    /// Tells one other replica how far this one is, each in turn.
    fn tell_one(&mut self) {
        self.status_next = (self.status_next + 1) % self.config.keyring.size();
        if self.status_next == self.slot {
            self.status_next = (self.status_next + 1) % self.config.keyring.size();
        }
        self.send_status(self.status_next);
    }
}
