//! The ledger: entries that are only ever appended, each chained to the one before, in an order that replicas
//! which lie cannot change.
//!
//! ```text
//! entries -> Gateway -> request, signed by the node -> (bft) -> decided batch -> Ledger -> Executed
//!               ^                                                                            |
//! answers <-----+----------------------------------------------------------------------------+
//! ```
//!
//! An *entry* is bytes of which the ledger knows nothing. Its *position* is its place among all, counted from
//! 1, and the *head* there is the digest of it and of the head before: whoever knows a head knows all that it
//! stands on. What orders entries is the number of a decided batch; its certificate proves which requests are
//! in it. Positions and heads follow from that, the same at every replica, and certificates of checkpoints
//! prove them.
//!
//! Replicas take entries from each other only in requests that are signed by the node whose client brought
//! them, the *gateway*, or by the client itself: a liar can append in its own name and in nobody else's. A
//! request is executed once, although it may be ordered more than once (`serials`).
//!
//! Everything here is a value without clock or disk. [`Decision`] is what a node keeps on its disk of each
//! batch: it proves itself. [`Archived`] is all that is there.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod archive;
mod clients;
mod decision;
mod gateway;
mod machine;
mod request;
mod serials;
mod verifier;

pub use archive::Archived;
pub use clients::SignedEntry;
pub use decision::{Decision, DecisionError};
pub use gateway::{AppendError, Gateway, Receipt};
pub use machine::{Executed, Ledger, Unfit, chain};
pub use request::{Author, Request};
pub use serials::Stale;
pub use verifier::{Fault, Flaw, Verifier};
