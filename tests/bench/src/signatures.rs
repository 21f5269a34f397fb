//! What the signatures of a certificate cost: each by itself, as `crypto` verifies them, and all in a batch,
//! which accepts other signatures and is therefore not used.

use std::time::Instant;

use base::{ClusterId, NodeId};
use crypto::{Digest, Keyring, Signature, SigningKey, Statement};

/// A quorum of 32 replicas of which 8 may lie.
pub const QUORUM: usize = 21;
const ROUNDS: usize = 200;

/// Microseconds for each signature.
pub struct Cost {
    pub sign: f64,
    pub verify: f64,
    pub verify_in_batch: f64,
}

fn per_signature(mut run: impl FnMut()) -> f64 {
    run();
    #[allow(clippy::disallowed_methods, reason = "here time is what is measured")]
    let started = Instant::now();
    (0..ROUNDS).for_each(|_| run());
    started.elapsed().as_secs_f64() * 1e6 / (ROUNDS * QUORUM) as f64
}

pub fn cost() -> Cost {
    let seeds = (0..QUORUM).map(|slot| [u8::try_from(slot).expect("below 32") + 1; 32]);
    let keys: Vec<SigningKey> = seeds.map(|mut seed| SigningKey::take(&mut seed)).collect();
    let members = (1..).filter_map(NodeId::new).zip(keys.iter().map(SigningKey::verifying_key));
    let keyring = Keyring::new(ClusterId(1), 1, members.collect()).expect("keys differ");
    let (group, digest) = (keyring.group(), Digest::of(b"batch"));
    let (phase, view, sequence) = (3, 1, 2);
    let statement = Statement { protocol: *b"bench\0\0\x01", group, phase, view, sequence, digest };
    let signatures: Vec<Signature> = keys.iter().map(|key| key.sign(&statement)).collect();
    let sign = per_signature(|| {
        for key in &keys {
            std::hint::black_box(key.sign(&statement));
        }
    });
    let verify = per_signature(|| {
        for (slot, signature) in signatures.iter().enumerate() {
            keyring.verify(slot, &statement, signature).expect("they are good");
        }
    });
    let message = statement.to_bytes();
    let messages = vec![&message[..]; QUORUM];
    let theirs: Vec<_> =
        signatures.iter().map(|one| ed25519_dalek::Signature::from_bytes(&one.0)).collect();
    let public: Vec<_> = keys
        .iter()
        .map(|key| ed25519_dalek::VerifyingKey::from_bytes(&key.verifying_key().to_bytes()))
        .collect::<Result<_, _>>()
        .expect("they were admitted");
    let verify_in_batch = per_signature(|| {
        ed25519_dalek::verify_batch(&messages, &theirs, &public).expect("they are good");
    });
    Cost { sign, verify, verify_in_batch }
}
