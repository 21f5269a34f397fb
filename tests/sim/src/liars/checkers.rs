//! What must hold whatever liars do, as long as there are no more of them than may be.

use std::collections::BTreeMap;

use bft::{Batch, Message, PhaseState, QuorumCertificate, Quorums, Record, Sequence, ViewNumber};
use crypto::{Digest, Keyring};

use super::machine::{self, Machine};

/// The vote that a statement is: phase, view, number.
type Subject = (PhaseState, ViewNumber, Sequence);

/// What was seen of honest replicas so far.
#[derive(Debug, Default)]
pub struct Checkers {
    /// What honest replicas have executed.
    decided: BTreeMap<Sequence, Digest>,
    /// The state of honest replicas after each number.
    chains: BTreeMap<Sequence, Digest>,
    /// What each honest replica has voted for, over all its lives.
    voted: BTreeMap<(usize, Subject), Digest>,
    /// How many requests clients have made.
    pub submitted: u64,
    /// How many decisions were checked, each with its certificate …
    pub certificates: u64,
    /// … and how many votes.
    pub votes: u64,
}

impl Checkers {
    /// Agreement; certificates are sound; nothing is executed twice or out of turn.
    ///
    /// # Panics
    /// If not.
    pub fn applies(
        &mut self,
        machine: &Machine,
        sequence: Sequence,
        batch: &Batch,
        certificate: &QuorumCertificate,
        group: (&Keyring, Quorums),
    ) {
        assert_eq!(sequence, machine.applied.next(), "numbers come in order, each once");
        let digest = *self.decided.entry(sequence).or_insert(batch.digest());
        assert_eq!(digest, batch.digest(), "agreement on number {sequence}");
        assert_eq!((certificate.sequence, certificate.digest), (sequence, digest));
        assert!(certificate.is_decision(group.1), "{certificate:?}");
        assert_eq!(certificate.verify(group.0, group.1), Ok(()), "anybody can check it");
        self.certificates += 1;
    }

    /// Validity: what is executed was submitted by a client. States are the same after the same number.
    ///
    /// # Panics
    /// If not.
    pub fn applied(&mut self, machine: &Machine) {
        assert!(machine.executed.last().is_none_or(|last| *last < self.submitted), "validity");
        let chain = *self.chains.entry(machine.applied).or_insert(machine.chain);
        assert_eq!(chain, machine.chain, "the state after number {}", machine.applied);
    }

    /// An honest replica votes once, over all its lives, and what it says is on its disk.
    ///
    /// # Panics
    /// If not.
    pub fn sends(&mut self, slot: usize, message: &Message, disk: &[Record]) {
        let (subject, digest) = match message {
            Message::PrePrepare { view, sequence, batch, .. } => {
                ((PhaseState::Prepare, *view, *sequence), batch.digest())
            }
            Message::Vote(vote) => ((vote.phase, vote.view, vote.sequence), vote.digest),
            Message::Leaving { view, .. } => {
                let is_it = |record: &Record| matches!(record, Record::Left(c) if c.view == *view);
                assert!(disk.iter().any(is_it), "it is not on the disk: leaving for {view}");
                return;
            }
            _ => return,
        };
        self.votes += 1;
        let said = *self.voted.entry((slot, subject)).or_insert(digest);
        assert_eq!(said, digest, "replica {slot} votes twice: {subject:?}");
        let (phase, view, sequence) = subject;
        let is_recorded = |record: &Record| match record {
            Record::Accepted { view: v, sequence: s, batch, .. } => {
                phase == PhaseState::Prepare && (*v, *s, batch.digest()) == (view, sequence, digest)
            }
            Record::Prepared(proof) => {
                phase == PhaseState::Commit
                    && (proof.view, proof.sequence, proof.digest) == (view, sequence, digest)
            }
            Record::Checkpoint { sequence: s, digest: d } => {
                phase == PhaseState::Checkpoint && (*s, *d) == (sequence, digest)
            }
            Record::Committed(_) | Record::Stable(_) | Record::Left(_) | Record::Entered(_) => {
                false
            }
        };
        assert!(disk.iter().rev().any(is_recorded), "it is not on the disk: {subject:?}");
    }

    /// A request that nobody has made before.
    pub fn request(&mut self) -> bytes::Bytes {
        self.submitted += 1;
        machine::request(self.submitted - 1)
    }
}
