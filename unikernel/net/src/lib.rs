//! How messages get from node to node, and bytes from and to clients.
//!
//! - [`links`]: reliable messages between nodes, straight on Ethernet frames.
//! - [`host`]: everything else that arrives on a card: ARP, ping, and TCP connections of clients (smoltcp).
//! - [`device`]: what smoltcp sends and receives by, and what it leaves to the card.
//! - [`http`]: HTTP/1.1 requests and responses as bytes.
//!
//! All three are values without a card or a clock: frames and bytes go in and come out.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod addresses;
pub mod device;
pub mod host;
pub mod http;
pub mod links;
mod packet;
