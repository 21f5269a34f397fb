//! A node of the cluster: the services of `apps` and `unikernel`, and which output of one is whose input.
//!
//! [`Node`] is a value like every service: frames, completions of the disk, bytes of the console and the time
//! go in; frames, requests, bytes and deadlines come out. The image's loop gives it hardware, the simulator
//! gives it a seed; it cannot tell which.
//!
//! A node starts by reading its disk. Until that is done it answers nobody; then it has a log, joins the
//! cluster, and opens its ports. Reading in order: [`Settings`], `node`, then one file for each neighbour of
//! the services: `replica` (Raft, the log and the links), `notary` (the ledger and its consensus), `clients`
//! (TCP connections), `traffic` (what waits for the cards, and what was seen of frames), `web` and `metrics`
//! (pages), `commands` (the shell), `views` (what pages and shell show), `transitions` (the trace for outside
//! specifications).
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod budget;
mod clients;
mod commands;
mod journal;
pub mod members;
mod metrics;
mod node;
mod notary;
mod output;
mod replica;
mod settings;
mod traffic;
mod transitions;
mod views;
mod web;

pub use clients::{HTTP_PORT, RESP_PORT};
pub use journal::{Journal, Level, Line};
pub use node::{Hardware, MachineReport, Node};
pub use notary::{Identity, IdentityError, Part, Region};
pub use output::{Output, Port, RequestId, Stop};
pub use replica::SnapshotCounts;
pub use settings::{Beginning, Outside, Reads, Settings, SettingsError};
pub use traffic::CardReport;
