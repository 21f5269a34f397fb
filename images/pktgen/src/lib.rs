//! A packet generator, and what stands at the other end: a sink that counts, a reflector, a forwarder.
//!
//! It is a value, as a node is: frames and lines of the shell go in, with the time; frames and answers come
//! out. Two machines of it measure a network: what counts is what has *arrived*, and the sender asks the
//! receiver for that over the same network.
//!
//! - [`probe`] is what frames carry, [`template`] makes them.
//! - [`pace`] says how many are due, [`meter`] counts those that come.
//! - [`trial`] sends for a while, then asks what arrived; [`search`] looks for the highest rate without loss
//!   (RFC 2544, section 26.1) by such trials; [`echo`] takes the time of single frames there and back.
//! - [`rfc2544`] does both for all frame sizes of that document.
//! - [`tcp`] is a sink and a source of TCP, in the manner of iperf3.
//! - [`settings`] is what a station is told when it boots.
//! - [`card`] is what it knows of the card below.
//! - [`station`] is the whole; [`commands`] are its shell.
//! - [`team`] is for a card with several pairs of queues: a station for each, which share the work and know
//!   together what has come; [`recall`] brings together what they have of the card, for its restart.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod card;
pub mod commands;
pub mod echo;
pub mod meter;
pub mod pace;
pub mod probe;
pub mod recall;
pub mod rfc2544;
pub mod search;
pub mod settings;
pub mod station;
pub mod tcp;
pub mod team;
pub mod template;
pub mod trial;

pub use station::Station;

/// How many frames are sent, and taken, together.
pub const BURST: usize = 32;
/// The checksum of Ethernet, which cards add: a "64-byte frame" has 60 bytes in memory.
pub const FCS_BYTES: usize = 4;
/// The shortest frame, and the longest without jumbo frames, in bytes with their checksum.
pub const SIZES: core::ops::RangeInclusive<usize> = 64..=1518;
/// The frame sizes of RFC 2544, section 9.1.
pub const SIZES_RFC2544: [usize; 7] = [64, 128, 256, 512, 1024, 1280, 1518];
/// At most so many flows: as many as a node keeps account of.
pub const FLOWS_MAX: u16 = 1024;
