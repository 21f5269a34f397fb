//! The targets, by the layer of what they run.

mod bft;
mod card;
mod connection;
mod console;
mod control;
mod entry;
mod envelope;
mod flow;
mod forward;
mod header;
mod http;
mod links;
mod member;
mod members;
mod node;
mod notice;
mod offload;
mod pci;
mod raft;
mod resp;
mod settings;
mod store;
mod stream;
mod vhost;
mod volume;

use crate::Target;

pub(crate) const ALL: &[Target] = &[
    // drivers
    target("card", "a card that lies: no buffer is lost", 10_000, card::run),
    target(
        "header",
        "headers of a card's packets: what is read is written back",
        100_000,
        header::run,
    ),
    target("volume", "a disk that lies: each request ends once", 10_000, volume::run),
    target("pci", "what a device says of itself: refused, or usable", 15_000, pci::run),
    target(
        "control",
        "commands for the switch: answered, and those that fail change nothing",
        1_500,
        control::run,
    ),
    target(
        "stream",
        "frames in a stream: cut anywhere they are the same, memory is bounded",
        5_000,
        stream::run,
    ),
    target("vhost", "a machine at the switch: it harms nobody else", 150, vhost::run),
    target("flow", "which flow a frame is of: its beginning says so", 100_000, flow::run),
    target(
        "offload",
        "segments, cut and merged: the same bytes, and no buffer is lost",
        3_000,
        offload::run,
    ),
    target("notice", "words of the switch: what is read is written back", 100_000, notice::run),
    // unikernel
    target(
        "envelope",
        "frames between nodes: what is read is written back",
        100_000,
        envelope::run,
    ),
    target("links", "frames in any order: no buffer is lost, memory is bounded", 5_000, links::run),
    target("http", "requests: cut anywhere they are the same", 100_000, http::run),
    target("store", "a disk image: read back or reported, never anything else", 1_500, store::run),
    target("console", "keys and requests: the screen stays in order", 15_000, console::run),
    // apps
    target("resp", "commands of clients: cut anywhere they are the same", 50_000, resp::run),
    target(
        "connection",
        "a client: every command has one well-formed answer, in order",
        2_500,
        connection::run,
    ),
    target(
        "entry",
        "entries of the log: read and written back, and applied alike",
        25_000,
        entry::run,
    ),
    target("bft", "messages of replicas that lie: what is read is written back", 50_000, bft::run),
    target("raft", "messages of peers: what is read is written back", 100_000, raft::run),
    target(
        "forward",
        "the service, with peers that send anything: it goes on",
        10_000,
        forward::run,
    ),
    target(
        "members",
        "questions about members: what is read is written back",
        100_000,
        members::run,
    ),
    target("member", "a member whose peers say anything: it stays sound", 10_000, member::run),
    // images
    target(
        "settings",
        "the kernel's command line: refused by name, or written back",
        50_000,
        settings::run,
    ),
    target("node", "a whole node: frames, keys and pages", 300, node::run),
];

const fn target(name: &'static str, summary: &'static str, rounds: u32, run: fn(&[u8])) -> Target {
    Target { name, summary, rounds, run }
}
