//! Replicas that lie. Each runs the code that all run, with a key of its own; what comes out is tampered
//! with.
//!
//! This is for tests: the simulator makes liars of replicas with it, and an image that is built for tests
//! lets somebody at the shell make one of a node. It exists only with the feature `adversary`.

use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use base::{Duration, Prng};
use bytes::Bytes;
use crypto::{Digest, Keyring, Signature, SigningKey, Statement};

use crate::batch::Batch;
use crate::certificate::{PROTOCOL, QuorumCertificate};
use crate::change::ViewChange;
use crate::message::{Message, Vote};
use crate::numbers::{PhaseState, Sequence, ViewNumber, VoterSet};

mod flood;

/// A liar repeats what it has heard: as many messages as this, old ones and new ones.
const HEARD_MAX: usize = 200;

/// What a replica does instead of what it should.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Lie {
    /// As the primary it proposes one batch to some and another to others, and votes likewise.
    Equivocate,
    /// It says nothing.
    Silent,
    /// It says everything late.
    Delay,
    /// It says again what it, or anybody, said long ago.
    Replay,
    /// It speaks for others with signatures that it makes up, and changes view, number and digest of what it
    /// has signed itself.
    Forge,
    /// It speaks only to the first half.
    Withhold,
    /// It tells one half that it has left the view, and takes part in it with the other.
    Split,
    /// It sends noise, and messages with changed bytes.
    Garbage,
    /// It says everything, all that it has heard, and much that nobody asked for.
    Flood,
}

impl Lie {
    /// All of them.
    pub const ALL: [Lie; 9] = [
        Lie::Equivocate,
        Lie::Silent,
        Lie::Delay,
        Lie::Replay,
        Lie::Forge,
        Lie::Withhold,
        Lie::Split,
        Lie::Garbage,
        Lie::Flood,
    ];

    /// Its name in commands.
    pub const fn name(self) -> &'static str {
        match self {
            Lie::Equivocate => "equivocate",
            Lie::Silent => "silent",
            Lie::Delay => "delay",
            Lie::Replay => "replay",
            Lie::Forge => "forge",
            Lie::Withhold => "withhold",
            Lie::Split => "split",
            Lie::Garbage => "garbage",
            Lie::Flood => "flood",
        }
    }

    /// The lie with this name.
    pub fn parse(name: &str) -> Option<Lie> {
        Lie::ALL.into_iter().find(|lie| lie.name() == name)
    }
}

impl fmt::Display for Lie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something that a liar puts on the wire.
#[derive(Clone, Debug)]
pub struct Said {
    /// The slot of the replica that it claims to be. Links may know better.
    pub from: usize,
    /// To the replica with this slot.
    pub to: usize,
    /// What.
    pub bytes: Bytes,
    /// How much later than now.
    pub late: Duration,
}

/// What makes a liar of a replica: everything that the replica would send goes through it.
#[derive(Debug)]
pub struct Adversary {
    lie: Lie,
    slot: usize,
    key: SigningKey,
    keyring: Keyring,
    heard: Vec<Bytes>,
    /// The last certificate that it has heard.
    certificate: Option<Arc<QuorumCertificate>>,
    /// No two messages that it makes up are the same.
    made_up: u64,
}

fn encoded(message: &Message) -> Bytes {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes.into()
}

impl Adversary {
    /// A liar in the place of the replica with this slot, whose key it has.
    pub fn new(lie: Lie, slot: usize, key: SigningKey, keyring: Keyring) -> Adversary {
        Adversary { lie, slot, key, keyring, heard: Vec::new(), certificate: None, made_up: 0 }
    }

    /// How it lies.
    pub fn lie(&self) -> Lie {
        self.lie
    }

    /// From now on it lies so.
    pub fn change(&mut self, lie: Lie) {
        self.lie = lie;
    }

    /// It hears what is said to the replica.
    pub fn hear(&mut self, bytes: &Bytes, prng: &mut Prng) {
        if let Ok(Message::Certificate(proof)) = Message::decode(bytes) {
            self.certificate = Some(proof);
        }
        if self.heard.len() < HEARD_MAX {
            self.heard.push(bytes.clone());
        } else {
            let at = prng.below(HEARD_MAX as u64) as usize;
            self.heard[at] = bytes.clone();
        }
    }

    fn sign(&self, phase: u8, view: ViewNumber, sequence: Sequence, digest: Digest) -> Signature {
        let (group, view, sequence) = (self.keyring.group(), view.0, sequence.0);
        self.key.sign(&Statement { protocol: PROTOCOL, group, phase, view, sequence, digest })
    }

    /// What becomes of a message that the replica would send.
    pub fn tamper(&mut self, to: usize, message: &Message, prng: &mut Prng) -> Vec<Said> {
        let plain = |bytes: Bytes| Said { from: self.slot, to, bytes, late: Duration::ZERO };
        let said = plain(encoded(message));
        match self.lie {
            Lie::Silent => Vec::new(),
            Lie::Delay => {
                let late = Duration::from_millis(prng.between(100, 900));
                vec![Said { late, ..said }]
            }
            Lie::Withhold if to >= self.keyring.size() / 2 => Vec::new(),
            Lie::Withhold => vec![said],
            Lie::Split if to >= self.keyring.size() / 2 => {
                vec![plain(encoded(&self.left(message)))]
            }
            Lie::Split => vec![said],
            Lie::Replay => self.with_old(said, 2, prng),
            Lie::Flood => self.with_old(said, 12, prng),
            Lie::Garbage => {
                let mut changed = said.bytes.to_vec();
                let at = prng.below(changed.len() as u64) as usize;
                changed[at] ^= 1 << prng.below(8);
                let noise: Vec<u8> = (0..prng.below(64)).map(|_| prng.next_u64() as u8).collect();
                vec![plain(changed.into()), plain(noise.into())]
            }
            Lie::Forge => {
                let mut all = vec![said];
                for from in (0..self.keyring.size()).filter(|from| *from != to) {
                    let bytes = encoded(&forge(message, prng));
                    all.push(Said { from, to, bytes, late: Duration::ZERO });
                }
                let mutated = self.mutate(message, prng).map(|message| encoded(&message));
                all.extend(
                    mutated.into_iter().chain(self.forge_decision(message, prng)).map(plain),
                );
                all
            }
            Lie::Equivocate => vec![plain(encoded(&self.equivocate(to, message)))],
        }
    }

    /// A decision that nobody has made, with a certificate that has the form of one.
    fn forge_decision(&self, message: &Message, prng: &mut Prng) -> Option<Bytes> {
        let (view, sequence) = match message {
            Message::PrePrepare { view, sequence, .. } => (*view, *sequence),
            Message::Vote(vote) => (vote.view, vote.sequence),
            _ => return None,
        };
        let batch = Batch::new(vec![Bytes::from_static(b"nobody decided this")]);
        let signers = VoterSet(u32::MAX >> (32 - self.keyring.size()));
        let signatures = signers.iter().map(|_| made_up(prng)).collect();
        let (phase, digest) = (PhaseState::Commit, batch.digest());
        let certificate = QuorumCertificate { phase, view, sequence, digest, signers, signatures };
        Some(encoded(&Message::Committed { batch, certificate: Arc::new(certificate) }))
    }

    /// A vote for another view, number or digest than the replica's, under its own good signature.
    fn mutate(&self, message: &Message, prng: &mut Prng) -> Option<Message> {
        let Message::Vote(vote) = message else { return None };
        let mut vote = *vote;
        match prng.below(3) {
            0 => vote.view = vote.view.next(),
            1 => vote.sequence = vote.sequence.next(),
            _ => vote.digest = Digest::of(&vote.digest.0),
        }
        vote.signature = self.sign(vote.phase.number(), vote.view, vote.sequence, vote.digest);
        Some(Message::Vote(vote))
    }

    fn with_old(&self, said: Said, copies: usize, prng: &mut Prng) -> Vec<Said> {
        let to = said.to;
        let mut all = vec![said];
        for _ in 0..copies.min(self.heard.len()) {
            let bytes = self.heard[prng.below(self.heard.len() as u64) as usize].clone();
            let late = Duration::from_millis(prng.below(300));
            all.push(Said { from: self.slot, to, bytes, late });
        }
        all
    }

    /// In place of what belongs to a view: that it has left it.
    fn left(&self, message: &Message) -> Message {
        let view = match message {
            Message::PrePrepare { view, .. } => view.next(),
            Message::Vote(vote) => vote.view.next(),
            other => return other.clone(),
        };
        let content = Digest::of(&view.0.to_le_bytes());
        let statement = ViewChange::statement(&self.keyring, view, content);
        Message::Leaving { view, content, signature: self.key.sign(&statement) }
    }

    /// To every second replica the opposite of what it says to the first.
    fn equivocate(&self, to: usize, message: &Message) -> Message {
        if to.is_multiple_of(2) {
            return message.clone();
        }
        match message {
            Message::PrePrepare { view, sequence, batch, .. } => {
                let mut requests = batch.requests().to_vec();
                requests.push(Bytes::from_static(b"nobody asked for this"));
                let batch = Batch::new(requests);
                let phase = PhaseState::PrePrepare.number();
                let signature = self.sign(phase, *view, *sequence, batch.digest());
                Message::PrePrepare { view: *view, sequence: *sequence, batch, signature }
            }
            Message::Vote(vote) => {
                let digest = Digest::of(&vote.digest.0);
                let signature = self.sign(vote.phase.number(), vote.view, vote.sequence, digest);
                Message::Vote(Vote { digest, signature, ..*vote })
            }
            other => other.clone(),
        }
    }
}

fn made_up(prng: &mut Prng) -> Signature {
    let words: [[u8; 8]; 8] = core::array::from_fn(|_| prng.next_u64().to_le_bytes());
    Signature(core::array::from_fn(|at| words[at / 8][at % 8]))
}

/// The same with a signature that is none.
fn forge(message: &Message, prng: &mut Prng) -> Message {
    let signature = made_up(prng);
    match message.clone() {
        Message::PrePrepare { view, sequence, batch, .. } => {
            Message::PrePrepare { view, sequence, batch, signature }
        }
        Message::Vote(vote) => Message::Vote(Vote { signature, ..vote }),
        Message::Leaving { view, content, .. } => Message::Leaving { view, content, signature },
        other => other,
    }
}
