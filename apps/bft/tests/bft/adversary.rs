//! Replicas that lie. Each runs the code that all run, with a key of its own; what comes out is tampered
//! with.

use std::sync::Arc;

use base::{Duration, Prng};
use bft::{Batch, Message, PhaseState, QuorumCertificate, Vote, VoterSet};
use bytes::Bytes;
use crypto::{Digest, Keyring, Signature, SigningKey, Statement};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lie {
    /// As the primary it proposes one batch to some and another to others; it votes for whatever it hears
    /// of.
    Equivocate,
    /// It says nothing.
    Silent,
    /// It says everything late.
    Delay,
    /// It says again what it, or anybody, said long ago.
    Replay,
    /// It speaks for others, with signatures that it makes up.
    Forge,
    /// It speaks only to the first half.
    Withhold,
    /// It sends noise, and messages with changed bytes.
    Garbage,
    /// It says everything, and all that it has heard, a hundred times.
    Flood,
}

impl Lie {
    pub const ALL: [Lie; 8] = [
        Lie::Equivocate,
        Lie::Silent,
        Lie::Delay,
        Lie::Replay,
        Lie::Forge,
        Lie::Withhold,
        Lie::Garbage,
        Lie::Flood,
    ];
}

/// Something that a liar puts on the wire: from whom it claims to be, to whom, what, and how late.
pub struct Said {
    pub from: usize,
    pub to: usize,
    pub bytes: Bytes,
    pub late: Duration,
}

pub struct Adversary {
    pub lie: Lie,
    slot: usize,
    key: SigningKey,
    keyring: Keyring,
    heard: Vec<Bytes>,
}

fn encoded(message: &Message) -> Bytes {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes.into()
}

impl Adversary {
    pub fn new(lie: Lie, slot: usize, key: SigningKey, keyring: Keyring) -> Adversary {
        Adversary { lie, slot, key, keyring, heard: Vec::new() }
    }

    pub fn hear(&mut self, bytes: &Bytes, prng: &mut Prng) {
        if self.heard.len() < 200 {
            self.heard.push(bytes.clone());
        } else {
            let at = prng.below(200) as usize;
            self.heard[at] = bytes.clone();
        }
    }

    fn sign(&self, phase: u8, view: u64, sequence: u64, digest: Digest) -> Signature {
        let group = self.keyring.group();
        let protocol = *b"cot-bft\x01";
        self.key.sign(&Statement { protocol, group, phase, view, sequence, digest })
    }

    /// What becomes of a message that the replica would send.
    pub fn tamper(&mut self, to: usize, message: &Message, prng: &mut Prng) -> Vec<Said> {
        let bytes = encoded(message);
        let plain = |bytes: Bytes| Said { from: self.slot, to, bytes, late: Duration::ZERO };
        match self.lie {
            Lie::Silent => Vec::new(),
            Lie::Delay => {
                let late = Duration::from_millis(prng.between(100, 900));
                vec![Said { late, ..plain(bytes) }]
            }
            Lie::Withhold if to >= self.keyring.size() / 2 => Vec::new(),
            Lie::Withhold => vec![plain(bytes)],
            Lie::Replay => self.with_old(plain(bytes), to, 2, prng),
            Lie::Flood => self.with_old(plain(bytes), to, 12, prng),
            Lie::Garbage => {
                let mut changed = bytes.to_vec();
                let at = prng.below(changed.len() as u64) as usize;
                changed[at] ^= 1 << prng.below(8);
                let noise: Vec<u8> = (0..prng.below(64)).map(|_| prng.next_u64() as u8).collect();
                vec![plain(changed.into()), plain(noise.into())]
            }
            Lie::Forge => {
                let mut said = vec![plain(bytes.clone())];
                for from in (0..self.keyring.size()).filter(|from| *from != to) {
                    let bytes = encoded(&forge(message, prng));
                    said.push(Said { from, to, bytes, late: Duration::ZERO });
                }
                said.extend(self.forge_decision(message, prng).map(plain));
                said
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

    fn with_old(&self, said: Said, to: usize, copies: usize, prng: &mut Prng) -> Vec<Said> {
        let mut all = vec![said];
        for _ in 0..copies.min(self.heard.len()) {
            let bytes = self.heard[prng.below(self.heard.len() as u64) as usize].clone();
            let late = Duration::from_millis(prng.below(300));
            all.push(Said { from: self.slot, to, bytes, late });
        }
        all
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
                let signature = self.sign(phase, view.0, sequence.0, batch.digest());
                Message::PrePrepare { view: *view, sequence: *sequence, batch, signature }
            }
            Message::Vote(vote) => {
                let digest = Digest::of(&vote.digest.0);
                let signature =
                    self.sign(vote.phase.number(), vote.view.0, vote.sequence.0, digest);
                Message::Vote(Vote { digest, signature, ..*vote })
            }
            other => other.clone(),
        }
    }
}

fn made_up(prng: &mut Prng) -> Signature {
    Signature(core::array::from_fn(|_| prng.next_u64() as u8))
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
