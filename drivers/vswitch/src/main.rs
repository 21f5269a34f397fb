//! The program `vswitch`: reads its command line and runs a switch until it is told to stop.

use std::os::fd::AsRawFd;
use std::path::PathBuf;

use lexopt::prelude::*;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use vswitch::control::parse_kind;
use vswitch::scheduler;
use vswitch::switch::{Config, PortConfig, Switch};

const HELP: &str = "\
vswitch: an Ethernet switch for virtual machines

Usage: vswitch --control PATH [--port NAME=KIND:PATH[,mac=ADDRESS]]... [--seed N]

  --control PATH          a Unix socket for commands: one JSON object a line, such as {\"op\":\"ports\"};
                          ports, macs, add_port, unpin, remove_port, partition, link, heal, capture,
                          capture_stop, shutdown
  --port NAME=KIND:PATH[,mac=ADDRESS]
                          a port, and the Unix socket on which it listens. KIND is
                            vhost-user  (-chardev socket,id=c,path=PATH -netdev vhost-user,chardev=c)
                            stream      (-netdev stream,server=off,addr.type=unix,addr.path=PATH)
                          With an address, that station is there and nowhere else, and no other is
                          there: frames that say otherwise are dropped
  --seed N                what the chance of lost frames follows from (default 1)
  --help                  this text

It stops on SIGINT and SIGTERM, and removes its sockets.
";

fn parse() -> anyhow::Result<Option<Config>> {
    let mut parser = lexopt::Parser::from_env();
    let (mut control, mut ports, mut seed) = (None, Vec::new(), 1);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("control") => control = Some(PathBuf::from(parser.value()?)),
            Long("port") => ports.push(parse_port(&parser.value()?.string()?)?),
            Long("seed") => seed = parser.value()?.parse()?,
            Long("help") | Short('h') => return Ok(None),
            _ => return Err(argument.unexpected().into()),
        }
    }
    let control = control.ok_or_else(|| anyhow::anyhow!("--control PATH is missing"))?;
    Ok(Some(Config { control, ports, seed, stop: None }))
}

fn parse_port(text: &str) -> anyhow::Result<PortConfig> {
    let (port, mac) = match text.rsplit_once(",mac=") {
        Some((port, mac)) => (port, Some(mac)),
        None => (text, None),
    };
    let parts = port.split_once('=').and_then(|(name, place)| Some((name, place.split_once(':')?)));
    let (name, (kind, path)) = parts
        .ok_or_else(|| anyhow::anyhow!("a port is NAME=KIND:PATH[,mac=ADDRESS], not '{text}'"))?;
    let station = mac.map(str::parse).transpose()?;
    Ok(PortConfig { name: name.into(), kind: parse_kind(kind)?, path: path.into(), station })
}

/// A descriptor that becomes readable when somebody wants the program to end.
fn stop_signals() -> anyhow::Result<SignalFd> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;
    Ok(SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC)?)
}

fn run() -> anyhow::Result<()> {
    let Some(mut config) = parse().map_err(|error| {
        eprintln!("vswitch: {error}\nvswitch --help explains the command line");
        std::process::exit(2)
    })?
    else {
        print!("{HELP}");
        return Ok(());
    };
    let signals = stop_signals()?;
    config.stop = Some(signals.as_raw_fd());
    if let Err(error) = scheduler::ask_for_short_turns() {
        eprintln!("vswitch: frames may wait longer than they need to: {error}");
    }
    Switch::new(&config)?.run()?;
    Ok(())
}

fn main() {
    if let Err(error) = run() {
        eprintln!("vswitch: {error}");
        std::process::exit(1);
    }
}
