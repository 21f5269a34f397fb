//! One replica: what it is made of, and what must hold of it.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use base::{Duration, Instant, NodeId, Prng, limits};
use crypto::{Digest, Signature, SigningKey};

use crate::abstention::Abstention;
use crate::audience::Audience;
use crate::certificate::{QuorumCertificate, vote};
use crate::change::NewView;
use crate::collecting::Collected;
use crate::config::{Config, Mutant};
use crate::departures::Departures;
use crate::examination::{Examination, ProvenView};
use crate::guard::Guard;
use crate::leaving::Changing;
use crate::liars::Liars;
use crate::log::MessageLog;
use crate::message::{Message, Vote};
use crate::numbers::{PhaseState, Sequence, ViewNumber};
use crate::output::{Event, Output};
use crate::persist::{Persistence, Recipient};
use crate::record::Record;
use crate::requests::Requests;
use crate::status::Counters;
use crate::transfer::Transfer;
use crate::votes::Votes;

/// Whether the view has begun.
#[derive(Clone, Debug)]
pub(crate) enum Mode {
    /// It has: proposals and votes of this view count.
    Active,
    /// All views before are left, and a new view is waited for.
    Changing(Box<Changing>),
}

/// One replica of the group.
#[derive(Debug)]
pub struct BftNode {
    pub(crate) config: Config,
    pub(crate) key: SigningKey,
    /// This replica's own slot.
    pub(crate) slot: usize,
    pub(crate) prng: Prng,
    /// The view that it is in, or moves to. It never decreases.
    pub(crate) view: ViewNumber,
    pub(crate) mode: Mode,
    /// The proof of the view, for whoever has not seen it; none in view 0.
    pub(crate) new_view: Option<Arc<NewView>>,
    pub(crate) log: MessageLog,
    /// The proof of the low watermark; none at 0.
    pub(crate) stable: Option<Arc<QuorumCertificate>>,
    /// The last number that was given to the caller to execute, and the last that the caller has executed.
    pub(crate) executed: Sequence,
    pub(crate) applied: Sequence,
    /// The next number that this replica proposes as the primary of its view.
    pub(crate) next_sequence: Sequence,
    pub(crate) requests: Requests,
    /// The digests of this replica's state at checkpoints that are not stable.
    pub(crate) states: BTreeMap<Sequence, Digest>,
    /// Votes for them, which the primary collects.
    pub(crate) checkpoints: BTreeMap<Sequence, Votes>,
    /// Who has left which view.
    pub(crate) departures: Departures,
    /// What others said to this replica as the primary of a view that is to come.
    pub(crate) collected: Collected,
    /// How many views in a row have brought nothing.
    pub(crate) fruitless_views: u32,
    pub(crate) transfer: Transfer,
    pub(crate) abstention: Option<Abstention>,
    pub(crate) guard: Guard,
    /// Who is known to lie, and how that is known.
    pub(crate) liars: Liars,
    pub(crate) audience: Audience,
    pub(crate) persistence: Persistence,
    /// Certificates that were verified lately.
    pub(crate) verified: Remembered,
    /// What is being verified, and how many signatures may be in this turn.
    pub(crate) examining: Option<Box<Examination>>,
    pub(crate) turn_ends: u64,
    /// The new view that was verified last.
    pub(crate) proven_view: Option<ProvenView>,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) counters: Counters,
    /// The time, as the latest call told it.
    pub(crate) now: Instant,
    /// When something was last executed, or a view began.
    pub(crate) progress: Instant,
    /// When what has not been answered is sent again.
    pub(crate) resend_at: Instant,
    pub(crate) status_at: Instant,
    /// The peer that is told next how far this replica is.
    pub(crate) status_next: usize,
    /// When each peer was last sent the new view: it is long.
    pub(crate) helped: Vec<Option<Instant>>,
}

/// The identities of certificates, the latest ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remembered {
    set: BTreeSet<Digest>,
    order: VecDeque<Digest>,
}

impl Remembered {
    pub(crate) fn contains(&self, identity: &Digest) -> bool {
        self.set.contains(identity)
    }

    pub(crate) fn insert(&mut self, identity: Digest) {
        if !self.set.insert(identity) {
            return;
        }
        self.order.push_back(identity);
        if self.order.len() > limits::BFT_VERIFIED_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
    }
}

/// When a request that another replica brought is given to all: each replica has its time for that, and most
/// are spared it by those before.
fn relay_of_others_after(config: &Config, slot: usize) -> Duration {
    let turns = limits::BFT_RELAY_TURNS_PER_TIMEOUT;
    let turn = Duration::from_nanos(config.progress_timeout.as_nanos() / turns);
    turn.times(2 * turns + slot as u64)
}

impl BftNode {
    /// A replica at the beginning of its group's history.
    pub(crate) fn blank(config: Config, key: SigningKey, seed: u64, now: Instant) -> BftNode {
        let slot = config.keyring.slot(config.id).expect("the configuration was validated");
        let replicas = config.keyring.size();
        let mut prng = Prng::new(seed);
        let status_at = now + prng.duration_between(Duration::ZERO, config.status_every);
        BftNode {
            slot,
            view: ViewNumber(0),
            mode: Mode::Active,
            new_view: None,
            log: MessageLog::new(config.window),
            stable: None,
            executed: Sequence(0),
            applied: Sequence(0),
            next_sequence: Sequence(1),
            requests: Requests::new(
                replicas,
                [config.relay_after, relay_of_others_after(&config, slot)],
            ),
            states: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            departures: Departures::new(replicas),
            collected: Collected::default(),
            fruitless_views: 0,
            transfer: Transfer::default(),
            abstention: None,
            guard: Guard::new(replicas, now),
            liars: Liars::default(),
            audience: Audience::new(replicas),
            persistence: Persistence::default(),
            verified: Remembered::default(),
            examining: None,
            proven_view: None,
            turn_ends: limits::BFT_CHECKS_PER_TURN,
            outputs: VecDeque::new(),
            counters: Counters::default(),
            now,
            progress: now,
            resend_at: now + config.resend_every,
            status_at,
            status_next: slot,
            helped: vec![None; replicas],
            prng,
            key,
            config,
        }
    }

    /// The slot of the primary of the present view.
    pub(crate) fn primary(&self) -> usize {
        self.view.primary(self.config.keyring.size())
    }

    /// Whether this replica is the primary, and its view has begun.
    pub(crate) fn leads(&self) -> bool {
        self.is_active() && self.primary() == self.slot
    }

    pub(crate) fn is_active(&self) -> bool {
        matches!(self.mode, Mode::Active)
    }

    pub(crate) fn member(&self, slot: usize) -> NodeId {
        self.config.keyring.member(slot).expect("slots are those of the keyring")
    }

    pub(crate) fn quorum(&self) -> usize {
        self.config.quorums.quorum()
    }

    /// The slots of the other replicas.
    pub(crate) fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let own = self.slot;
        (0..self.config.keyring.size()).filter(move |slot| *slot != own)
    }

    /// Sends at once: for what depends on nothing that this replica has signed.
    pub(crate) fn send(&mut self, to: usize, message: Message) {
        if to != self.slot {
            let to = self.member(to);
            self.outputs.push_back(Output::Send { to, message });
        }
    }

    pub(crate) fn send_to_others(&mut self, message: &Message) {
        for to in self.others() {
            self.send(to, message.clone());
        }
    }

    /// Sends when everything that was recorded until now is on the disk.
    pub(crate) fn send_when_durable(&mut self, to: Recipient, message: Message) {
        self.persistence.withhold(to, message);
    }

    pub(crate) fn record(&mut self, record: Record) {
        self.persistence.note(record);
    }

    pub(crate) fn note(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// This replica's vote.
    pub(crate) fn signed_vote(
        &mut self,
        phase: PhaseState,
        view: ViewNumber,
        sequence: Sequence,
        digest: Digest,
    ) -> Vote {
        self.counters.signed += 1;
        let statement = vote(&self.config.keyring, phase, view, sequence, digest, self.slot);
        let vote = Vote { phase, view, sequence, digest, signature: self.key.sign(&statement) };
        if let Some(entry) = self.log.entry(sequence).filter(|_| phase != PhaseState::Checkpoint) {
            entry.note_own(&vote);
        }
        vote
    }

    /// Whether a certificate that this peer sent is good.
    pub(crate) fn is_proven(&mut self, from: usize, proof: &QuorumCertificate) -> bool {
        let identity = proof.identity();
        if self.verified.contains(&identity) {
            return true;
        }
        let is_good = self.config.has_bug(Mutant::TrustCertificates) || self.verify(from, proof);
        if is_good {
            self.verified.insert(identity);
        } else {
            self.blame(from);
        }
        is_good
    }

    /// Verifies what is not known of a certificate that this peer brings.
    fn verify(&mut self, from: usize, proof: &QuorumCertificate) -> bool {
        let (keyring, quorums) = (&self.config.keyring, self.config.quorums);
        let is_known = |slot: usize, signature: &Signature| self.knows(proof, slot, signature);
        let (checked, result) = proof.verify_but(keyring, quorums, is_known);
        self.counters.verified += checked;
        if result.is_err() {
            self.guard.note_wasted(from, checked);
        }
        result.is_ok()
    }

    /// Whether a signature of a certificate is known to be good, or this replica's own.
    pub(crate) fn knows(
        &self,
        proof: &QuorumCertificate,
        slot: usize,
        signature: &Signature,
    ) -> bool {
        let places = (proof.view.primary(self.config.keyring.size()), self.slot);
        let entry = self.log.get(proof.sequence);
        entry.is_some_and(|entry| entry.knows(proof, places, slot, signature))
    }

    /// Asserts everything that must hold between calls.
    ///
    /// # Panics
    /// If something does not: a bug.
    pub fn check_invariants(&self) {
        self.log.check_invariants();
        self.persistence.check_invariants();
        self.requests.check_invariants();
        self.audience.check_invariants();
        self.collected.check_invariants();
        assert!(self.applied <= self.executed, "what is executed was given to the caller");
        let low = self.log.low();
        match &self.stable {
            Some(proof) => assert_eq!(proof.sequence, low, "the watermark is proven"),
            None => assert_eq!(low, Sequence(0)),
        }
        // Whoever has lost its record knows no checkpoint until it is told of one.
        let is_within = self.executed <= self.log.high() || self.abstention.is_some();
        assert!(is_within, "nothing is executed beyond the window");
        assert!(self.states.len() as u64 <= self.config.window / self.config.checkpoint_every + 1);
        for (sequence, entry) in self.log.open() {
            let view = |proof: &Arc<QuorumCertificate>| proof.view <= self.view;
            assert!(entry.prepared.as_ref().is_none_or(view), "number {sequence}");
            assert!(entry.accepted.is_none_or(|accepted| accepted.view <= self.view));
        }
        if let Mode::Changing(changing) = &self.mode {
            changing.check_invariants(self.view);
        }
    }
}
