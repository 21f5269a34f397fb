//! Byzantine agreement: a group of replicas executes requests in one order, although some of them lie.
//!
//! The protocol is PBFT (M. Castro and B. Liskov, "Practical Byzantine fault tolerance", OSDI '99, and
//! "Practical Byzantine fault tolerance and proactive recovery", TOCS 20(4), 2002; section numbers are
//! those of the two papers), with the fast path of SBFT (G. Golan Gueta et al., "SBFT: a scalable and
//! decentralized trust infrastructure", DSN 2019). Three things are done otherwise, and the sections below
//! say why: votes are collected in one place, view changes carry claims instead of proofs, and quorums are
//! those of N and f, not 2f + 1.
//!
//! [`BftNode`] is one replica as a value. Messages, deadlines, completions and requests go in;
//! [`Output`]s come out, and each of them may be carried out at once: the replica itself keeps back what
//! must wait until something is on its disk. In reading order, one question each:
//!
//! | module | question |
//! |---|---|
//! | `numbers`, `batch`, `message`, `codec` | what do replicas say to each other? |
//! | `quorum`, `certificate` | how many must say so, and how is that proven to others? |
//! | `config`, `output`, `record` | what do a replica and its caller say to each other? |
//! | `input` | what came in, and whose business is it? |
//! | `state`, `log`, `status` | what does a replica know? |
//! | `transition`, `votes` | how does a number come from a proposal to a decision? |
//! | `fast` | when is one phase enough, and how long is that waited for? |
//! | `audience`, `resending` | who is told first, who later, and who again? |
//! | `examination` | how much is verified at a time? |
//! | `requests` | what waits to be executed? |
//! | `checkpoint` | what may be forgotten? |
//! | `leaving`, `departures`, `change`, `collecting` | how does one view end? |
//! | `order`, `entering` | how does the next one begin? |
//! | `timing`, `guard` | what if nobody answers, or somebody asks too much? |
//! | `liars` | who is known to lie? |
//! | `transfer` | how does a replica catch up? |
//! | `persist`, `restore` | what is on the disk, and what if a replica starts again? |
//! | `abstention` | what if it does not know what it signed? |
//! | `adversary` | how are liars made, for tests? |
//!
//! # Messages
//!
//! If F replicas answer soon, 30 of 32 or all of 4, their prepares are the decision (`fast`):
//!
//! ```text
//! gateway          primary                 backups
//!   │ request ──────►│ pre-prepare ─────────►│   verify 1, record the proposal                 (N - 1)
//!   │                │◄───────────── prepare │
//!   │   verify F - 1 │                       │
//!   │◄── certificate │ certificate ─────────►│   verify F - 2, execute            (all, a moment later)
//! ```
//!
//! and if not, a quorum goes on, or is asked from the start when the others are known to be silent:
//!
//! ```text
//! gateway          primary                 backups
//!   │ request ──────►│ pre-prepare ─────────►│   verify 1, record the proposal     (q - 1 of them)
//!   │                │◄───────────── prepare │
//!   │   verify q - 1 │ certificate ─────────►│   verify q - 2, record the certificate      (q - 1)
//!   │                │◄────────────── commit │
//!   │   verify q - 1 │                       │
//!   │◄── certificate │ certificate ─────────►│   verify q - 1, execute            (all, a moment later)
//! ```
//!
//! PBFT sends each vote to everybody: 2 N (N - 1) messages for a decision, 1,984 for 32 replicas. Here
//! votes go to the primary, which collects them and sends the certificate (as SBFT and HotStuff do):
//! 3 (N - 1) messages and a request, which is 94; or with a quorum, for two more hops and no more replicas
//! than that needs (`audience`), 4 (q - 1) + N, which is 112. What a group on one machine pays for is
//! messages and signatures, not hops. A client with 32 replicas waits for (N - 1) + 2 (F - 1) signatures to
//! be verified, 89, or (q - 1)(q + 2), 460, where all-to-all it is 1,343: 31 proposals, and 32 times two
//! quorums less what is one's own. What is verified after the decision is not waited for.
//!
//! Nothing of the argument changes. `prepared` and `committed-local` (OSDI '99, section 4.2) are about a
//! quorum's signatures, and it does not matter who brings them; a primary that does not is one that is
//! silent, and is replaced. A replica that a lying primary leaves out learns decisions from any other,
//! since they prove themselves. `quorum` and `order` say why a fast quorum's decision is found again.
//!
//! Each signature is verified by itself, when it is needed and not before: `crypto` says why not in
//! batches. A vote that is one too many is never looked at, and nothing is verified twice.
//!
//! # What is signed
//!
//! | statement | of | means |
//! |---|---|---|
//! | pre-prepare | view, number, batch | the primary proposes it: its prepare, too |
//! | prepare | view, number, batch | no other batch in this view |
//! | commit | view, number, batch | a quorum has prepared it, and I shall say so in every view change |
//! | checkpoint | number, state | this is what came of everything up to here |
//! | view change | view, claims | I vote in none before, and this is what I have prepared and voted for |
//! | new view | view, claims of q, proposals | this follows from them |
//!
//! All with protocol, cluster, epoch and members (`crypto::Statement`). Requests are opaque; the state
//! machine must be able to tell a client's request from one that a liar made up, and execute none twice.
//!
//! # What is on the disk
//!
//! A vote leaves when the [`Record`] that binds it is durable: the proposal before the prepare, the
//! certificate before the commit, the claims before the view change. After a crash the replica says the
//! same or nothing. One that has lost its record abstains until nothing can contradict what it may have
//! signed (`abstention`).
//!
//! # Numbers
//!
//! N replicas, f liars at most: a quarter of N, or with [`FaultBound::Third`] as many as can be. A quorum
//! is q = (N + f) / 2 + 1, the least in which two meet in an honest replica; f + 1 are enough to hear an
//! honest one; and F, the least with 2 F > 2 N + 2 f - q, decide at once.
//!
//! # What a flood costs
//!
//! Limits are those of [`base::limits`]. In each span of `BFT_ALLOWANCE_EVERY_MS` a replica verifies in vain,
//! for one peer, `BFT_BAD_SIGNATURES_MAX` bad signatures and the good ones beside them: at most
//! `BFT_WASTED_CHECKS_MAX`, and a certificate's more. Then the peer is not listened to. It answers
//! `BFT_ANSWERS_MAX` questions, the last of them with `BFT_FETCH_BATCHES_MAX` decisions. Of a peer's requests
//! `BFT_PENDING_PER_PEER_MAX` wait, more are not even verified, and a batch takes one of each replica's in
//! turn. In a turn of the caller `BFT_CHECKS_PER_TURN` signatures are verified before the next message is
//! asked for. Whose that is, is the caller's choice: with a queue for each peer, and turns, a message waits
//! for one of each other peer.
//!
//! # What it does not do
//!
//! Replicas do not change within an epoch. Requests are visible to all replicas. There are no reads but of
//! what is executed. With N = 4 one replica that is gone leaves no fast path: all four would have to vote.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod abstention;
#[cfg(feature = "adversary")]
mod adversary;
mod audience;
mod batch;
mod certificate;
mod change;
mod checkpoint;
mod codec;
mod collecting;
mod config;
mod departures;
mod entering;
mod examination;
mod fast;
mod guard;
mod input;
mod leaving;
mod liars;
mod log;
mod message;
mod numbers;
mod order;
mod output;
mod persist;
mod quorum;
mod record;
mod requests;
mod resending;
mod restore;
mod state;
mod status;
mod timing;
mod transfer;
mod transition;
mod votes;

#[cfg(feature = "adversary")]
pub use adversary::{Adversary, Lie, Said};
pub use batch::Batch;
pub use certificate::{CertificateError, QuorumCertificate};
pub use change::{Claim, NewView, ViewChange};
pub use config::{Config, ConfigError, Mutant};
pub use input::ProposeError;
pub use liars::Liars;
pub use log::MessageLog;
pub use message::{Message, Vote};
pub use numbers::{PhaseState, Sequence, ViewNumber, VoterSet};
pub use output::{Event, Output, Persist, Ticket};
pub use quorum::{FaultBound, QuorumError, Quorums};
pub use record::Record;
pub use restore::{Restored, SigningRecord};
pub use state::BftNode;
pub use status::{Counters, Status};
