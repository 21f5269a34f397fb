//! What is known of each sequence number between the watermarks, and of some before (OSDI '99, section
//! 4.3).

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use base::Instant;
use crypto::{Digest, Signature};

use crate::batch::Batch;
use crate::certificate::QuorumCertificate;
use crate::message::Vote;
use crate::numbers::{PhaseState, Sequence, ViewNumber, VoterSet};
use crate::votes::Votes;

/// A proposal that this replica has taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Accepted {
    pub(crate) view: ViewNumber,
    pub(crate) digest: Digest,
    /// The primary's.
    pub(crate) signature: Signature,
    /// Whether that was verified. What a new view orders is under the signature for all of it, and the one
    /// for each number is looked at with the certificate that has it.
    pub(crate) is_verified: bool,
}

/// What this replica has voted for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ballot {
    pub(crate) view: ViewNumber,
    pub(crate) digest: Digest,
}

/// What is known of one number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entry {
    /// The latest proposal: in each view there is one at most.
    pub(crate) accepted: Option<Accepted>,
    /// What it last took a vote for, as the disk knows or is about to: a fast quorum may have decided that.
    pub(crate) voted: Option<Ballot>,
    /// The certificate of the latest view in which it was prepared.
    pub(crate) prepared: Option<Arc<QuorumCertificate>>,
    /// The proof that it is decided.
    pub(crate) committed: Option<Arc<QuorumCertificate>>,
    /// What the digests above stand for, as far as it is known.
    pub(crate) batches: Vec<Batch>,
    /// What the primary has collected in its view.
    pub(crate) prepares: Option<Votes>,
    pub(crate) commits: Option<Votes>,
    /// Whom the primary has sent its proposal to, when it last asked them for something, and when one of them
    /// last answered.
    pub(crate) asked: VoterSet,
    pub(crate) asked_at: Option<Instant>,
    pub(crate) heard_at: Option<Instant>,
    /// Whether the primary waits for a fast quorum, and since when it has had one that is not.
    pub(crate) is_fast: bool,
    pub(crate) quorum_at: Option<Instant>,
    /// This replica's latest votes: what it signed itself it need not verify.
    pub(crate) own: [Option<Vote>; 2],
}

impl Entry {
    pub(crate) fn accepted_in(&self, view: ViewNumber) -> Option<&Accepted> {
        self.accepted.as_ref().filter(|accepted| accepted.view == view)
    }

    pub(crate) fn prepared_in(&self, view: ViewNumber) -> Option<&Arc<QuorumCertificate>> {
        self.prepared.as_ref().filter(|proof| proof.view == view)
    }

    /// Whether this replica has voted in this view, as the disk knows or is about to.
    pub(crate) fn has_voted_in(&self, view: ViewNumber) -> bool {
        self.voted.is_some_and(|ballot| ballot.view == view)
    }

    /// The proof of the latest view before this one in which the number was prepared. What was decided in a
    /// view was prepared in it: whoever knows the decision has nothing to verify, and whoever does not has
    /// it then.
    pub(crate) fn prepared_before(&self, view: ViewNumber) -> Option<&Arc<QuorumCertificate>> {
        let proofs = [&self.prepared, &self.committed].into_iter().flatten();
        // Of two of one view the last.
        proofs.filter(|proof| proof.view < view).max_by_key(|proof| proof.view)
    }

    /// What was voted for in a later view than it was prepared in.
    pub(crate) fn voted_since(&self, prepared: Option<ViewNumber>) -> Option<Ballot> {
        self.voted.filter(|ballot| prepared.is_none_or(|view| view < ballot.view))
    }

    /// Remembers a vote of one's own.
    pub(crate) fn note_own(&mut self, vote: &Vote) {
        self.own[usize::from(vote.phase == PhaseState::Commit)] = Some(*vote);
    }

    /// Whether a signature in this certificate was verified before, as the proposal of the primary with this
    /// slot, or is one's own.
    pub(crate) fn knows(
        &self,
        proof: &QuorumCertificate,
        (primary, own): (usize, usize),
        slot: usize,
        signature: &Signature,
    ) -> bool {
        let said = (proof.phase, proof.view, proof.digest);
        let is_own = |vote: &Vote| {
            (vote.phase, vote.view, vote.digest) == said && vote.signature == *signature
        };
        let is_proposal = self.accepted.is_some_and(|accepted| {
            (PhaseState::Prepare, accepted.view, accepted.digest) == said
                && accepted.signature == *signature
                && accepted.is_verified
        });
        slot == primary && is_proposal || slot == own && self.own.iter().flatten().any(is_own)
    }

    pub(crate) fn batch(&self, digest: Digest) -> Option<&Batch> {
        self.batches.iter().find(|batch| batch.digest() == digest)
    }

    /// The batch that is decided, if both are known.
    pub(crate) fn decided(&self) -> Option<(&Batch, &Arc<QuorumCertificate>)> {
        let certificate = self.committed.as_ref()?;
        Some((self.batch(certificate.digest)?, certificate))
    }

    fn needs(&self, digest: Digest) -> bool {
        let proofs = [&self.prepared, &self.committed];
        self.accepted.is_some_and(|accepted| accepted.digest == digest)
            || self.voted.is_some_and(|ballot| ballot.digest == digest)
            || proofs.into_iter().flatten().any(|proof| proof.digest == digest)
    }

    /// Keeps a batch that a digest stands for, and lets go of those that none does.
    pub(crate) fn keep(&mut self, batch: Batch) {
        if self.batch(batch.digest()).is_none() {
            self.batches.push(batch);
        }
        let mut batches = core::mem::take(&mut self.batches);
        batches.retain(|batch| self.needs(batch.digest()));
        self.batches = batches;
    }

    /// A digest that is known, and not what it stands for.
    pub(crate) fn lacks(&self, view: ViewNumber) -> Option<Digest> {
        let accepted = self.accepted_in(view).map(|accepted| accepted.digest);
        let committed = self.committed.as_ref().map(|proof| proof.digest);
        [committed, accepted].into_iter().flatten().find(|digest| self.batch(*digest).is_none())
    }

    /// How far the number has come in this view.
    pub(crate) fn phase(&self, view: ViewNumber) -> Option<PhaseState> {
        if self.committed.is_some() || self.prepared_in(view).is_some() {
            return Some(PhaseState::Commit);
        }
        self.accepted_in(view).map(|accepted| match self.has_voted_in(accepted.view) {
            true => PhaseState::Prepare,
            false => PhaseState::PrePrepare,
        })
    }
}

/// The log of a replica: sequence numbers in the window, of which it may vote, and those that the stable
/// checkpoint before settled, which others may still ask for.
#[derive(Clone, Debug)]
pub struct MessageLog {
    entries: BTreeMap<Sequence, Entry>,
    /// The low watermark (h): the stable checkpoint.
    low: Sequence,
    /// What is decided is kept from here on: the checkpoint before.
    kept: Sequence,
    window: u64,
}

impl MessageLog {
    pub(crate) fn new(window: u64) -> MessageLog {
        let (low, kept) = (Sequence(0), Sequence(0));
        MessageLog { entries: BTreeMap::new(), low, kept, window }
    }

    /// The low watermark (h): everything up to here is settled.
    pub fn low(&self) -> Sequence {
        self.low
    }

    /// The high watermark (H = h + L): the last number that may be voted on.
    pub fn high(&self) -> Sequence {
        self.low.plus(self.window)
    }

    /// The phase that a number has reached in this view; none if nothing is known of it.
    pub fn phase(&self, sequence: Sequence, view: ViewNumber) -> Option<PhaseState> {
        self.get(sequence).and_then(|entry| entry.phase(view))
    }

    /// The certificate that a number is decided, as far back as they are kept.
    pub fn certificate(&self, sequence: Sequence) -> Option<&Arc<QuorumCertificate>> {
        self.get(sequence)?.committed.as_ref()
    }

    pub(crate) fn kept(&self) -> Sequence {
        self.kept
    }

    pub(crate) fn contains(&self, sequence: Sequence) -> bool {
        self.low < sequence && sequence <= self.high()
    }

    pub(crate) fn get(&self, sequence: Sequence) -> Option<&Entry> {
        self.entries.get(&sequence)
    }

    /// The entry of a number in the window.
    pub(crate) fn entry(&mut self, sequence: Sequence) -> Option<&mut Entry> {
        self.contains(sequence).then(|| self.entries.entry(sequence).or_default())
    }

    /// What is known of the numbers in the window.
    pub(crate) fn open(&self) -> impl Iterator<Item = (Sequence, &Entry)> {
        self.entries.range(self.low.next()..).map(|(sequence, entry)| (*sequence, entry))
    }

    /// The votes of another view count no more.
    pub(crate) fn forget_votes(&mut self) {
        for entry in self.entries.values_mut() {
            entry.prepares = None;
            entry.commits = None;
            entry.asked = VoterSet::default();
            (entry.asked_at, entry.heard_at) = (None, None);
            (entry.is_fast, entry.quorum_at) = (false, None);
        }
    }

    /// A checkpoint is stable: the window moves (OSDI '99, section 4.3).
    pub(crate) fn advance(&mut self, stable: Sequence) {
        self.kept = self.low;
        self.low = stable;
        self.entries.retain(|sequence, _| *sequence > self.kept);
    }

    pub(crate) fn check_invariants(&self) {
        assert!(self.kept <= self.low);
        let bounds = self.entries.first_key_value().zip(self.entries.last_key_value());
        if let Some(((first, _), (last, _))) = bounds {
            assert!(self.kept < *first && *last <= self.high(), "the log is bounded");
        }
        for (sequence, entry) in &self.entries {
            assert!(entry.batches.len() <= 4, "number {sequence} keeps what it needs");
            let proofs = [&entry.prepared, &entry.committed];
            assert!(proofs.into_iter().flatten().all(|proof| proof.sequence == *sequence));
        }
    }
}
