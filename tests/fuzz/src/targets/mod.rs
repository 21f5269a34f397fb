//! The targets, by the layer of what they run.

mod card;
mod connection;
mod console;
mod control;
mod entry;
mod envelope;
mod forward;
mod http;
mod links;
mod member;
mod node;
mod pci;
mod raft;
mod resp;
mod settings;
mod store;
mod vhost;
mod volume;

use crate::Target;

pub(crate) const ALL: &[Target] = &[
    // drivers
    target("card", "a card that lies: no buffer is lost", 2_000, card::run),
    target("volume", "a disk that lies: each request ends once", 2_000, volume::run),
    target("pci", "what a device says of itself: refused, or usable", 3_000, pci::run),
    target(
        "control",
        "commands for the switch: answered, and those that fail change nothing",
        300,
        control::run,
    ),
    target("vhost", "a machine at the switch: it harms nobody else", 30, vhost::run),
    // unikernel
    target("envelope", "frames between nodes: what is read is written back", 20_000, envelope::run),
    target("links", "frames in any order: no buffer is lost, memory is bounded", 1_000, links::run),
    target("http", "requests: cut anywhere they are the same", 20_000, http::run),
    target("store", "a disk image: read back or reported, never anything else", 300, store::run),
    target("console", "keys and requests: the screen stays in order", 3_000, console::run),
    // apps
    target("resp", "commands of clients: cut anywhere they are the same", 10_000, resp::run),
    target(
        "connection",
        "a client: every command has one well-formed answer, in order",
        500,
        connection::run,
    ),
    target(
        "entry",
        "entries of the log: read and written back, and applied alike",
        5_000,
        entry::run,
    ),
    target("raft", "messages of peers: what is read is written back", 20_000, raft::run),
    target(
        "forward",
        "the service, with peers that send anything: it goes on",
        2_000,
        forward::run,
    ),
    target("member", "a member whose peers say anything: it stays sound", 2_000, member::run),
    // images
    target(
        "settings",
        "the kernel's command line: refused by name, or written back",
        10_000,
        settings::run,
    ),
    target("node", "a whole node: frames, keys and pages", 60, node::run),
];

const fn target(name: &'static str, summary: &'static str, rounds: u32, run: fn(&[u8])) -> Target {
    Target { name, summary, rounds, run }
}
