//! The command line of `scripts/cluster`.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::*;
use vswitch::control::Request;

use super::state::{Machine, Net, Reads, Services};
use super::up::{AccelWish, Wishes};
use super::{absolute, config};

pub(super) const HELP: &str = "\
Launches virtual machines that are a cluster, and drives them.

Usage: scripts/cluster [--name NAME] COMMAND

  up [--nodes N] [--net switch|socket|bridge|ovs] [--disk-dir D] [--image I|--adversary]
     [--machine q35|microvm] [--accel auto|kvm|tcg] [--memory MIB] [--disk-size MIB] [--port-base P]
     [--services raft|bft|both] [--reads index|lease] [--ring-size N] [--packed]
     [--append 'WORD...'] [--ovs-db SOCKET] [--config FILE]
                        builds what is missing, boots N nodes (3), waits until they serve
  status [--json]       which nodes run, who leads, where they answer
  shell I               the serial shell of node I; Ctrl-] detaches
  sh I 'COMMAND'        one shell command on node I; exit status 0 if it succeeded
  logs I [-f]           what node I has said; -f goes on
  kill I                ends the machine of node I, as a power failure would
  add [--json]          boots a node more, with an empty disk, and waits until it votes
  remove I [--keep-disk]
                        removes node I from the cluster for ever, its machine and its disk
  stop I, start I       tells node I to stop; starts it again, with its disk
  pause I, resume I     stops time for node I, and lets it go on
  partition '1,2|3'     parts the network; nodes in no group are a group of their own
  link I J [--drop P] [--delay MS] [--jitter MS] [--duplicate P] [--one-way]
                        loses (P: 0.05 or 5%) and delays what I and J send each other
  heal                  ends all trouble in the network
  net [--json]          what the switch has counted for each node
  capture I FILE        writes what node I sends and receives to FILE (pcap); 'capture I --stop' ends it
  down [--wipe]         ends all machines; their disks stay, unless they are to be wiped
  list                  all clusters

Node I answers Redis clients at 127.0.0.1:7100+I and HTTP at 127.0.0.1:8100+I. Clusters with other names
(--name, or COTERIE_CLUSTER) run side by side, at other ports. State is kept in target/cluster/NAME.
--config reads options from a file, such as images/bft.toml: by the same names, and what is said here wins.
--services says what the nodes are for: the store (raft), the ledger, without which none boots (bft), or both.
--adversary boots the image that tests boot, whose nodes 'bft adversary' makes lie.
--ring-size says how many descriptors the rings of the cards between the nodes have: 1 to 1024 (256).
--packed gives all devices packed rings in the place of split ones, with a --net other than switch.
--append gives every node further settings, such as coterie.snapshot=1000 (see README). --reads lease needs
a clock that goes on while a machine is paused: KVM's, or '--append coterie.clock=continuous'.
'bridge' and 'ovs' need root; 'switch' and 'socket' do not. With 'ovs' (also: --switch ovs) the cluster runs
an Open vSwitch of its own (scripts/setup --ovs installs it), or is a bridge of the one at --ovs-db.
";

/// What is to be done, with which cluster.
#[derive(Debug)]
pub(super) struct Invocation {
    pub(super) name: String,
    pub(super) action: Action,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Action {
    Help,
    List,
    Up(Wishes),
    Down { wipe: bool },
    Status { is_json: bool },
    Shell { node: String },
    Run { node: String, command: String },
    Logs { node: String, follow: bool },
    Kill { node: String },
    Stop { node: String },
    Start { node: String },
    Add { is_json: bool },
    Remove { node: String, keeps_disk: bool },
    Pause { node: String },
    Resume { node: String },
    Fault(Request),
    Net { is_json: bool },
}

/// The words and options of one command.
#[derive(Debug, Default)]
struct Words {
    words: Vec<String>,
    wishes: Wishes,
    config: Option<PathBuf>,
    wipe: bool,
    is_json: bool,
    keeps_disk: bool,
    follow: bool,
    stop: bool,
    one_way: bool,
    drop_per_mille: u16,
    duplicate_per_mille: u16,
    delay_ms: u32,
    jitter_ms: u32,
}

pub(super) fn parse(arguments: Vec<OsString>) -> anyhow::Result<Invocation> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut name = std::env::var("COTERIE_CLUSTER").unwrap_or_else(|_| "default".into());
    let mut command = None;
    let mut words = Words::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("name") => name = parser.value()?.string()?,
            Long("help") | Short('h') => return Ok(Invocation { name, action: Action::Help }),
            Value(word) if command.is_none() => command = Some(word.string()?),
            Value(word) => words.words.push(word.string()?),
            Long(option) => {
                let option = option.to_owned();
                words.take_option(command.as_deref(), &option, &mut parser)?;
            }
            Short('f') if command.as_deref() == Some("logs") => words.follow = true,
            Short(_) => return Err(argument.unexpected().into()),
        }
    }
    let Some(command) = command else { return Ok(Invocation { name, action: Action::Help }) };
    Ok(Invocation { name, action: words.into_action(&command)? })
}

impl Words {
    fn take_option(
        &mut self,
        command: Option<&str>,
        option: &str,
        parser: &mut lexopt::Parser,
    ) -> anyhow::Result<()> {
        match (command, option) {
            (Some("up"), "nodes") => self.wishes.nodes = Some(parser.value()?.parse()?),
            // Who thinks of switches says --switch.
            (Some("up"), "net" | "switch") => {
                self.wishes.net = Some(parser.value()?.parse_with(parse_net)?);
            }
            (Some("up"), "ovs-db") => {
                self.wishes.ovs_db = Some(absolute(&PathBuf::from(parser.value()?))?);
            }
            (Some("up"), "machine") => {
                self.wishes.machine = Some(parser.value()?.parse_with(parse_machine)?);
            }
            (Some("up"), "accel") => {
                self.wishes.accel = Some(parser.value()?.parse_with(parse_accel)?);
            }
            (Some("up"), "services") => {
                self.wishes.services = Some(parser.value()?.parse_with(parse_services)?);
            }
            (Some("up"), "config") => self.config = Some(PathBuf::from(parser.value()?)),
            (Some("up"), "memory") => self.wishes.memory_mib = Some(parser.value()?.parse()?),
            (Some("up"), "disk-size") => self.wishes.disk_mib = Some(parser.value()?.parse()?),
            (Some("up"), "port-base") => self.wishes.port_base = Some(parser.value()?.parse()?),
            (Some("up"), "reads") => {
                self.wishes.reads = Some(parser.value()?.parse_with(parse_reads)?);
            }
            (Some("up"), "ring-size") => self.wishes.ring_size = Some(parser.value()?.parse()?),
            (Some("up"), "packed") => self.wishes.is_packed = Some(true),
            (Some("up"), "adversary") => self.wishes.is_adversary = true,
            (Some("up"), "append") => self.wishes.append = Some(parser.value()?.string()?),
            (Some("up"), "disk-dir") => {
                self.wishes.disk_dir = Some(absolute(&PathBuf::from(parser.value()?))?);
            }
            (Some("up"), "image") => {
                self.wishes.image = Some(absolute(&PathBuf::from(parser.value()?))?);
            }
            (Some("down"), "wipe") => self.wipe = true,
            (Some("remove"), "keep-disk") => self.keeps_disk = true,
            (Some("status" | "net" | "add"), "json") => self.is_json = true,
            (Some("logs"), "follow") => self.follow = true,
            (Some("capture"), "stop") => self.stop = true,
            (Some("link"), "one-way") => self.one_way = true,
            (Some("link"), "drop") => {
                self.drop_per_mille = parser.value()?.parse_with(parse_share)?;
            }
            (Some("link"), "duplicate") => {
                self.duplicate_per_mille = parser.value()?.parse_with(parse_share)?;
            }
            (Some("link"), "delay") => self.delay_ms = parser.value()?.parse()?,
            (Some("link"), "jitter") => self.jitter_ms = parser.value()?.parse()?,
            _ => return Err(Long(option).unexpected().into()),
        }
        Ok(())
    }

    /// The words that follow a command, as many as it takes.
    fn exactly<const N: usize>(&mut self, meaning: &str) -> anyhow::Result<[String; N]> {
        let words = std::mem::take(&mut self.words);
        words.try_into().map_err(|_| {
            lexopt::Error::Custom(format!("what is wanted is {meaning}").into()).into()
        })
    }

    fn into_action(mut self, command: &str) -> anyhow::Result<Action> {
        let action = match command {
            "sh" => {
                let [node, command] = self.exactly("sh I 'COMMAND'")?;
                Action::Run { node, command }
            }
            "partition" => {
                let [groups] = self.exactly("partition '1,2|3'")?;
                Action::Fault(Request::Partition { groups: parse_groups(&groups) })
            }
            "link" => {
                let [from, to] = self.exactly("link I J [--drop P] [--delay MS]")?;
                Action::Fault(self.link(from, to))
            }
            "capture" if self.stop => {
                let [port] = self.exactly("capture I --stop")?;
                Action::Fault(Request::CaptureStop { port })
            }
            "capture" => {
                let [port, file] = self.exactly("capture I FILE")?;
                Action::Fault(Request::Capture { port, file: absolute(&PathBuf::from(file))? })
            }
            "shell" | "logs" | "kill" | "stop" | "start" | "pause" | "resume" | "remove" => {
                let [node] = self.exactly(&format!("{command} I, the number of a node"))?;
                self.of_node(command, node)
            }
            _ => {
                let [] = self.exactly(&format!("'{command}' alone"))?;
                self.of_cluster(command)?
            }
        };
        Ok(action)
    }

    fn of_node(&self, command: &str, node: String) -> Action {
        match command {
            "shell" => Action::Shell { node },
            "logs" => Action::Logs { node, follow: self.follow },
            "kill" => Action::Kill { node },
            "stop" => Action::Stop { node },
            "start" => Action::Start { node },
            "remove" => Action::Remove { node, keeps_disk: self.keeps_disk },
            "pause" => Action::Pause { node },
            _ => Action::Resume { node },
        }
    }

    fn of_cluster(self, command: &str) -> anyhow::Result<Action> {
        Ok(match command {
            "up" => Action::Up(match &self.config {
                Some(file) => self.wishes.or(config::read(file)?),
                None => self.wishes,
            }),
            "down" => Action::Down { wipe: self.wipe },
            "status" => Action::Status { is_json: self.is_json },
            "net" => Action::Net { is_json: self.is_json },
            "heal" => Action::Fault(Request::Heal),
            "add" => Action::Add { is_json: self.is_json },
            "list" => Action::List,
            "help" => Action::Help,
            _ => {
                let text = format!("there is no command '{command}'");
                return Err(lexopt::Error::Custom(text.into()).into());
            }
        })
    }

    fn link(&self, from: String, to: String) -> Request {
        Request::Link {
            from,
            to,
            loss_per_mille: self.drop_per_mille,
            duplicate_per_mille: self.duplicate_per_mille,
            delay_ms: self.delay_ms,
            jitter_ms: self.jitter_ms,
            one_way: self.one_way,
        }
    }
}

fn parse_groups(text: &str) -> Vec<Vec<String>> {
    let group = |group: &str| {
        let names = group.split(',').map(str::trim).filter(|name| !name.is_empty());
        names.map(String::from).collect()
    };
    text.split('|').map(group).collect()
}

/// A share, such as `0.05` or `5%`, in thousandths.
fn parse_share(text: &str) -> Result<u16, String> {
    let refused = || "a share is a number from 0 to 1, or from 0% to 100%".to_string();
    let share: f64 = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().map_err(|_| refused())? / 100.0,
        None => text.parse().map_err(|_| refused())?,
    };
    if !(0.0..=1.0).contains(&share) {
        return Err(refused());
    }
    // Between 0 and 1000.
    Ok((share * 1_000.0).round() as u16)
}

fn parse_net(text: &str) -> Result<Net, String> {
    match text {
        "switch" => Ok(Net::Switch),
        "socket" => Ok(Net::Socket),
        "bridge" => Ok(Net::Bridge),
        "ovs" => Ok(Net::Ovs),
        _ => Err("a network is switch, bridge, socket or ovs".into()),
    }
}

fn parse_services(text: &str) -> Result<Services, String> {
    match text {
        "raft" => Ok(Services::Raft),
        "bft" => Ok(Services::Bft),
        "both" => Ok(Services::Both),
        _ => Err("services are raft, bft or both".into()),
    }
}

fn parse_accel(text: &str) -> Result<AccelWish, String> {
    match text {
        "auto" => Ok(AccelWish::Auto),
        "kvm" => Ok(AccelWish::Kvm),
        "tcg" => Ok(AccelWish::Tcg),
        _ => Err("an accelerator is auto, kvm or tcg".into()),
    }
}

fn parse_reads(text: &str) -> Result<Reads, String> {
    match text {
        "index" => Ok(Reads::Index),
        "lease" => Ok(Reads::Lease),
        _ => Err("reads are answered by index or by lease".into()),
    }
}

fn parse_machine(text: &str) -> Result<Machine, String> {
    match text {
        "q35" => Ok(Machine::Q35),
        "microvm" => Ok(Machine::Microvm),
        _ => Err("a machine is q35 or microvm".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(line: &str) -> anyhow::Result<Action> {
        let words = line.split(' ').map(OsString::from).collect();
        parse(words).map(|invocation| invocation.action)
    }

    #[test]
    fn commands_and_their_options() {
        let Action::Up(wishes) = action("up --nodes 5 --net socket --machine microvm").unwrap()
        else {
            panic!("not up");
        };
        assert_eq!((wishes.nodes, wishes.net), (Some(5), Some(Net::Socket)));
        let Action::Up(wishes) = action("up --switch ovs").unwrap() else { panic!("not up") };
        assert_eq!(wishes.net, Some(Net::Ovs));
        let Action::Up(wishes) = action("up --ring-size 1024").unwrap() else { panic!("not up") };
        assert_eq!(wishes.ring_size, Some(1024));
        let Action::Up(wishes) = action("up --packed").unwrap() else { panic!("not up") };
        assert_eq!(wishes.is_packed, Some(true));
        let Action::Up(wishes) = action("up --reads lease").unwrap() else { panic!("not up") };
        assert_eq!(wishes.reads, Some(Reads::Lease));
        let Action::Up(wishes) = action("up --services bft --accel tcg").unwrap() else {
            panic!("not up");
        };
        assert_eq!(wishes.services, Some(Services::Bft));
        assert_eq!(wishes.accel, Some(AccelWish::Tcg));
        let Action::Fault(Request::Partition { groups }) = action("partition 1,2|3").unwrap()
        else {
            panic!("not a partition");
        };
        assert_eq!(groups, [vec!["1".to_string(), "2".into()], vec!["3".into()]]);
        let Action::Fault(Request::Link { loss_per_mille, delay_ms, .. }) =
            action("link 1 2 --drop 5% --delay 20").unwrap()
        else {
            panic!("not a link");
        };
        assert_eq!((loss_per_mille, delay_ms), (50, 20));
        let removal = action("remove 4 --keep-disk").unwrap();
        assert!(matches!(removal, Action::Remove { keeps_disk: true, .. }));
        assert!(matches!(action("add --json").unwrap(), Action::Add { is_json: true }));
        assert!(matches!(action("logs 2 -f").unwrap(), Action::Logs { follow: true, .. }));
    }

    #[test]
    fn mistakes() {
        for line in [
            "dance",
            "up --nodes many",
            "up --net tin-cans",
            "up --reads minds",
            "up --services tea",
            "up --accel now",
            "up --ring-size 65536",
            "down --config images/bft.toml",
            "up --wipe",
            "down --nodes 3",
            "kill",
            "kill 1 2",
            "link 1 2 --drop 2",
            "link 1",
            "status extra",
            "add 4",
            "remove",
            "remove 4 --json",
            "logs 1 -x",
        ] {
            let error = action(line).expect_err(line);
            assert!(error.downcast_ref::<lexopt::Error>().is_some(), "{line}: {error}");
        }
    }

    #[test]
    fn shares() {
        assert_eq!(parse_share("0.5"), Ok(500));
        assert_eq!(parse_share("100%"), Ok(1_000));
        assert_eq!(parse_share("0"), Ok(0));
        assert!(parse_share("-1").is_err() && parse_share("nan").is_err());
    }
}
