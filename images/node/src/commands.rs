//! The commands of the shell: which there are, and what each answers.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use base::NodeId;
use base::limits::FLOWS_LISTED;
use bytes::Bytes;
use kv::Reply;
use shell::{Command, CommandTable, Report};

use crate::journal::Journal;
use crate::node::View;
use crate::traffic::views::FlowOrder;
use crate::{traffic, views};

/// What the shell can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CommandId {
    Raft(RaftView),
    RaftTransfer,
    RaftTrace,
    RaftRemove,
    Bft(BftView),
    #[cfg(feature = "adversary")]
    BftAdversary,
    LedgerAppend,
    LedgerGet,
    LedgerProof,
    Net,
    Netio(NetioView),
    NetioShape,
    Disk,
    Log,
    KvGet,
    KvSet,
    Reboot,
    PowerOff,
}

/// What of consensus is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RaftView {
    Status,
    Nodes,
    Elections,
    Replication,
    Snapshots,
}

/// What of the ledger's consensus is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BftView {
    Status,
    Views,
    Consensus,
    Checkpoints,
    Verify,
}

/// What of the way of frames is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NetioView {
    Status,
    Packets,
    Flows,
    Offloads,
    Stats,
}

/// All commands, in the order of `help`.
pub(crate) const COMMANDS: CommandTable<CommandId> = CommandTable::new(&[
    Command::new(
        "raft status",
        CommandId::Raft(RaftView::Status),
        "",
        "role, term, leader, indexes, followers",
    ),
    Command::new("raft nodes", CommandId::Raft(RaftView::Nodes), "", "the members of the cluster"),
    Command::new(
        "raft elections",
        CommandId::Raft(RaftView::Elections),
        "",
        "the last elections that were seen",
    ),
    Command::new(
        "raft replication",
        CommandId::Raft(RaftView::Replication),
        "",
        "how far each follower is (leader)",
    ),
    Command::new(
        "raft snapshots",
        CommandId::Raft(RaftView::Snapshots),
        "",
        "what stands for the log's start",
    ),
    Command::new(
        "raft transfer",
        CommandId::RaftTransfer,
        "[NODE]",
        "hands leadership over (leader)",
    ),
    Command::new(
        "raft trace",
        CommandId::RaftTrace,
        "on|off",
        "writes each step of Raft to this console, as JSON",
    ),
    Command::new("raft remove", CommandId::RaftRemove, "NODE", "removes a member, for ever"),
    Command::new(
        "bft status",
        CommandId::Bft(BftView::Status),
        "",
        "this node's part in the ledger",
    ),
    Command::new(
        "bft views",
        CommandId::Bft(BftView::Views),
        "",
        "the view, and whose turn is next",
    ),
    Command::new(
        "bft consensus",
        CommandId::Bft(BftView::Consensus),
        "",
        "numbers under way, and how far each has come",
    ),
    Command::new(
        "bft checkpoints",
        CommandId::Bft(BftView::Checkpoints),
        "",
        "states that are kept for others",
    ),
    Command::new(
        "bft verify",
        CommandId::Bft(BftView::Verify),
        "[again]",
        "proves the whole ledger on this node's disk, and how far that is",
    ),
    #[cfg(feature = "adversary")]
    Command::new(
        "bft adversary",
        CommandId::BftAdversary,
        "LIE|off",
        "makes this node lie: equivocate, …",
    ),
    Command::new("ledger append", CommandId::LedgerAppend, "ENTRY", "appends an entry, for ever"),
    Command::new("ledger get", CommandId::LedgerGet, "POSITION", "reads an entry"),
    Command::new(
        "ledger proof",
        CommandId::LedgerProof,
        "POSITION",
        "an entry and its certificate",
    ),
    Command::new(
        "netio status",
        CommandId::Netio(NetioView::Status),
        "",
        "packets and gigabits a second, what a packet costs",
    ),
    Command::new(
        "netio packets",
        CommandId::Netio(NetioView::Packets),
        "",
        "packet buffers, and the classes of traffic",
    ),
    Command::new(
        "netio flows",
        CommandId::Netio(NetioView::Flows),
        "[COUNT] [by=bytes|packets|latency]",
        "who talks to whom (32, those of late first)",
    ),
    Command::new(
        "netio offloads",
        CommandId::Netio(NetioView::Offloads),
        "",
        "what the cards take over: offered, negotiated, used",
    ),
    Command::new(
        "netio stats",
        CommandId::Netio(NetioView::Stats),
        "",
        "all that the cards count, and drops by cause",
    ),
    Command::new(
        "netio shape",
        CommandId::NetioShape,
        "CLASS MBIT|off",
        "bounds what a class of traffic may send",
    ),
    Command::new("net", CommandId::Net, "", "packet buffers, links to the peers, what was refused"),
    Command::new("disk", CommandId::Disk, "", "the durable log"),
    Command::new("log", CommandId::Log, "[COUNT]", "the last lines of the log (20)"),
    Command::new("kv get", CommandId::KvGet, "KEY", "reads a value"),
    Command::new("kv set", CommandId::KvSet, "KEY VALUE", "writes a value"),
    Command::new("reboot", CommandId::Reboot, "", "starts the node afresh; its disk stays"),
    Command::new("poweroff", CommandId::PowerOff, "", "stops the node; its disk stays"),
]);

/// How many lines `log` shows if nothing else is said.
const LOG_LINES: usize = 20;

/// What a command leads to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// An answer at once.
    Report(Report),
    /// A command for the key-value service, whose reply is the answer.
    Ask(Vec<Bytes>),
    /// Another leader: this one, or the best.
    Transfer(Option<NodeId>),
    /// The trace of consensus begins or ends.
    Trace(bool),
    /// The node lies so, or not at all.
    #[cfg(feature = "adversary")]
    Lie(Option<bft::Lie>),
    /// A member less.
    Remove(NodeId),
    /// A class of traffic sends at most so many megabits a second, or what it can.
    Shape(u8, Option<u64>),
    /// The end of the node, after a farewell.
    Reboot,
    /// The end of the node, after a farewell.
    PowerOff,
    /// It cannot be done now: a sentence that says why.
    Failed(&'static str),
    /// It was called wrongly: a sentence that says how it is called.
    Usage(String),
}

/// Executes a command.
pub(crate) fn execute(
    id: CommandId,
    arguments: Vec<Vec<u8>>,
    view: &View<'_>,
    journal: &Journal,
) -> Outcome {
    let usage = || Outcome::Usage(COMMANDS.usage(|command| command == id));
    match (id, arguments.as_slice()) {
        (CommandId::Log, [count]) => match parse(count) {
            Some(count) => listing(views::log(journal, count)),
            None => usage(),
        },
        (CommandId::Log, []) => listing(views::log(journal, LOG_LINES)),
        (CommandId::KvGet, [_]) => ask(b"GET", arguments),
        (CommandId::KvSet, [_, _]) => ask(b"SET", arguments),
        (CommandId::LedgerAppend, [_]) => ask(b"LEDGER.APPEND", arguments),
        (CommandId::LedgerGet, [_]) => ask(b"LEDGER.GET", arguments),
        (CommandId::LedgerProof, [_]) => ask(b"LEDGER.PROOF", arguments),
        (CommandId::RaftTransfer, []) => Outcome::Transfer(None),
        (CommandId::RaftTransfer, [node]) => match parse_node(node) {
            Some(node) => Outcome::Transfer(Some(node)),
            None => usage(),
        },
        (CommandId::RaftTrace, [word]) => match word.as_slice() {
            b"on" => Outcome::Trace(true),
            b"off" => Outcome::Trace(false),
            _ => usage(),
        },
        (CommandId::NetioShape, [class, rate]) => match (parse(class), rate.as_slice()) {
            (Some(class), b"off") => Outcome::Shape(class, None),
            (Some(class), rate) => match parse(rate) {
                Some(rate) => Outcome::Shape(class, Some(rate)),
                None => usage(),
            },
            (None, _) => usage(),
        },
        (CommandId::Netio(NetioView::Flows), arguments @ [_, ..]) => {
            flows(arguments, view).unwrap_or_else(usage)
        }
        #[cfg(feature = "adversary")]
        (CommandId::BftAdversary, arguments) => parse_lie(arguments).unwrap_or_else(usage),
        (CommandId::RaftRemove, [node]) => match parse_node(node) {
            Some(node) => Outcome::Remove(node),
            None => usage(),
        },
        (CommandId::Bft(BftView::Verify), [word]) if word == b"again" => bft(BftView::Verify, view),
        (
            CommandId::KvGet
            | CommandId::KvSet
            | CommandId::LedgerAppend
            | CommandId::LedgerGet
            | CommandId::LedgerProof
            | CommandId::RaftTrace
            | CommandId::RaftRemove
            | CommandId::NetioShape,
            _,
        )
        | (_, [_, ..]) => usage(),
        (CommandId::Reboot, []) => Outcome::Reboot,
        (CommandId::PowerOff, []) => Outcome::PowerOff,
        (CommandId::Net, []) => {
            record(views::network(view.links, view.packets, view.clients, view.now))
        }
        (CommandId::Disk, []) => record(views::disk(view.store)),
        (CommandId::Netio(what), []) => netio(what, view),
        (CommandId::Raft(what), []) => raft(what, view),
        (CommandId::Bft(what), []) => bft(what, view),
    }
}

fn netio(what: NetioView, view: &View<'_>) -> Outcome {
    let traffic = view.traffic;
    match what {
        NetioView::Status => {
            record(traffic::views::status(traffic, view.settings.path, view.machine))
        }
        NetioView::Packets => record(traffic::views::packets(traffic, view.packets)),
        NetioView::Flows => {
            let now_ns = view.now.as_nanos();
            record(traffic::views::flows(traffic, FLOWS_LISTED, FlowOrder::Recent, now_ns))
        }
        NetioView::Offloads => listing(traffic::views::offloads(traffic)),
        NetioView::Stats => listing(traffic::views::stats(traffic, view.clients, view.links)),
    }
}

/// So many flows, in this order; `None` if it was called otherwise.
fn flows(arguments: &[Vec<u8>], view: &View<'_>) -> Option<Outcome> {
    let (mut count, mut order) = (FLOWS_LISTED, FlowOrder::Recent);
    for word in arguments {
        match word.as_slice() {
            b"by=bytes" => order = FlowOrder::Bytes,
            b"by=packets" => order = FlowOrder::Packets,
            b"by=latency" => order = FlowOrder::Latency,
            number => count = parse(number)?,
        }
    }
    Some(record(traffic::views::flows(view.traffic, count, order, view.now.as_nanos())))
}

/// How a node is to lie.
#[cfg(feature = "adversary")]
fn parse_lie(arguments: &[Vec<u8>]) -> Option<Outcome> {
    let [word] = arguments else { return None };
    if word == b"off" {
        return Some(Outcome::Lie(None));
    }
    let lie = core::str::from_utf8(word).ok().and_then(bft::Lie::parse)?;
    Some(Outcome::Lie(Some(lie)))
}

fn bft(what: BftView, view: &View<'_>) -> Outcome {
    let Some(notary) = view.notary else {
        return Outcome::Failed(
            "this node has no part in the ledger: only founders that were given keys have",
        );
    };
    let report = match what {
        BftView::Status => Some(Report::Record(notary.show_status())),
        BftView::Views => notary.show_views().map(Report::Record),
        BftView::Consensus => notary.show_consensus().map(Report::Listing),
        BftView::Verify => notary.show_verification().map(Report::Record),
        BftView::Checkpoints => notary.show_checkpoints().map(Report::Listing),
    };
    match report {
        Some(report) => Outcome::Report(report),
        None => Outcome::Failed("there is no ledger on this node now: see 'bft status'"),
    }
}

fn raft(what: RaftView, view: &View<'_>) -> Outcome {
    let (Some(raft), Some(links), Some(members)) = (view.raft, view.links, view.members) else {
        return Outcome::Failed("this node is still reading its disk");
    };
    match what {
        RaftView::Status => record(views::raft_status(raft, members, view.links, view.now)),
        RaftView::Nodes => listing(views::raft_nodes(raft, links, view.now)),
        RaftView::Elections => listing(views::raft_elections(raft)),
        RaftView::Replication if raft.leader() != Some(view.settings.id) => {
            Outcome::Failed("only the leader knows: see 'raft status' for who leads")
        }
        RaftView::Replication => listing(views::raft_replication(raft, view.now)),
        RaftView::Snapshots => record(views::raft_snapshots(view)),
    }
}

fn listing(listing: shell::Listing) -> Outcome {
    Outcome::Report(Report::Listing(listing))
}

fn record(record: shell::Record) -> Outcome {
    Outcome::Report(Report::Record(record))
}

fn ask(name: &'static [u8], arguments: Vec<Vec<u8>>) -> Outcome {
    let arguments = arguments.into_iter().map(Bytes::from);
    Outcome::Ask([Bytes::from_static(name)].into_iter().chain(arguments).collect())
}

fn parse<T: core::str::FromStr>(word: &[u8]) -> Option<T> {
    core::str::from_utf8(word).ok()?.parse().ok()
}

fn parse_node(word: &[u8]) -> Option<NodeId> {
    NodeId::new(parse(word)?)
}

/// A reply of the key-value service as the shell shows it, and whether it is a good one.
pub(crate) fn show_reply(reply: &Reply, is_json: bool) -> (String, bool) {
    let is_good = !matches!(reply, Reply::Error(_));
    let text = if is_json { json(reply).to_string() } else { plain(reply) };
    (text + "\n", is_good)
}

fn plain(reply: &Reply) -> String {
    match reply {
        Reply::Ok => "OK".into(),
        Reply::Simple(text) => String::from(*text),
        Reply::Error(text) => alloc::format!("error: {}", String::from_utf8_lossy(text)),
        Reply::Integer(value) => alloc::format!("{value}"),
        Reply::Bulk(value) => String::from_utf8_lossy(value).into_owned(),
        Reply::Nil => "(nil)".into(),
        Reply::Array(replies) => replies.iter().map(plain).collect::<Vec<_>>().join("\n"),
    }
}

fn json(reply: &Reply) -> serde_json::Value {
    match reply {
        Reply::Ok => "OK".into(),
        Reply::Simple(text) => (*text).into(),
        Reply::Error(text) => serde_json::json!({ "error": String::from_utf8_lossy(text) }),
        Reply::Integer(value) => (*value).into(),
        Reply::Bulk(value) => String::from_utf8_lossy(value).into_owned().into(),
        Reply::Nil => serde_json::Value::Null,
        Reply::Array(replies) => replies.iter().map(json).collect(),
    }
}

#[cfg(test)]
mod tests {
    use shell::Match;

    use super::*;

    /// Only images that are built for tests have a node that can be made to lie.
    #[test]
    fn nobody_makes_a_shipped_node_lie() {
        let found = COMMANDS.find("bft adversary silent");
        let is_command = matches!(found, Match::Command { .. });
        assert_eq!(is_command, cfg!(feature = "adversary"));
        assert!(matches!(COMMANDS.find("bft status"), Match::Command { .. }));
    }
}
