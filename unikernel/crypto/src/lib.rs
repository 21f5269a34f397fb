//! What nodes that may lie are held to: digests, signatures, and the keys of a group.
//!
//! This crate alone names `sha2` and `ed25519-dalek`, so that there is one answer to "is this signature
//! good?" in all of the cluster. The answer matters more than usual: RFC 8032 leaves room, libraries fill
//! it differently (K. Chalkias and others, "Taming the many EdDSAs", 2020), and two replicas that differ
//! about one signature differ about a certificate, which is a fork. What counts as good here is:
//!
//! - **A key** is admitted if it is in canonical form, and in the subgroup of prime order: then it is not
//!   of small order, so that no signature fits many statements, and it has no part of small order.
//! - **A signature** is good by the rules of dalek's `verify_strict`: `s` is reduced, `R` is canonical and
//!   not of small order, and the equation holds without the cofactor. Whoever checks one by RFC 8032 agrees.
//! - **What is signed** is a [`Statement`] and nothing else: protocol, cluster, epoch, members, phase,
//!   view, sequence and digest, in a form of fixed length. No signature can be taken for one of another
//!   meaning.
//!
//! # Why there is no batch verification
//!
//! `ed25519_dalek::verify_batch` is about twice as fast, and answers another question. It draws a
//! coefficient for each signature and looks at the sum, in which what `R` has of small order can cancel
//! out: with a coefficient that is a multiple of eight one bad signature passes, which `verify_strict`
//! refuses, and the coefficients follow from the batch, so that a liar may try until it is so. Replicas
//! verify different batches, hence they would differ, and a liar would choose where. To make a batch
//! agree, each `R` would have to be shown to lie in the subgroup, which costs as much as is saved; the
//! other way, the cofactored equation for all, would accept what other people's verifiers refuse. A batch
//! that fails proves that a signature is bad, but one that passes proves nothing, so it is no help as a
//! filter either.
//!
//! So each signature is verified by itself, as late as possible and as few as will do: see `apps/bft`,
//! which has votes collected in one place. A bad one names its signer without any search.
//!
//! # Secrets
//!
//! [`SigningKey`] is zeroised when it is dropped, is never shown, and cannot be copied. Signing is
//! deterministic (RFC 8032) and constant-time in the secret. Verification is neither, and need not be.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod digest;
mod hex;
mod key;
mod keyring;
mod small_order;
mod statement;

pub use digest::{DIGEST_BYTES, Digest, Hasher};
pub use key::{
    KEY_BYTES, KeyError, SIGNATURE_BYTES, Signature, SignatureError, SigningKey, VerifyingKey,
};
pub use keyring::{Keyring, KeyringError};
pub use statement::Statement;
