//! The network between the machines: our switch, a bridge of the kernel, or Open vSwitch.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use vswitch::client::Client;
use vswitch::control::Request;

use super::machine::port_socket;
use super::process::{self, Role};
use super::state::{Description, Net};
use crate::clock;

mod bridge;
mod namespace;
mod ovs;

pub use bridge::Bridge;

/// Where the switch takes commands.
fn control_socket() -> PathBuf {
    PathBuf::from("switch.sock")
}

/// How our switch meets the machines, if it is ours.
fn port_kind(net: Net) -> Option<&'static str> {
    match net {
        Net::Switch => Some("vhost-user"),
        Net::Socket => Some("stream"),
        Net::Bridge | Net::Ovs => None,
    }
}

/// The networks that a node has a card on, as their Ethernet addresses say.
pub const CLUSTER: u8 = 0;
/// See there.
pub const CLIENTS: u8 = 1;

/// The Ethernet address of a node's card on a network.
pub fn mac(network: u8, node: u16) -> String {
    let [high, low] = node.to_be_bytes();
    format!("02:77:{network:02x}:00:{high:02x}:{low:02x}")
}

/// Starts what joins the machines, unless it runs already.
///
/// # Errors
/// If that is not possible.
pub fn start(description: &Description) -> anyhow::Result<()> {
    match (description.net, port_kind(description.net)) {
        (Net::Ovs, _) => ovs::start(description),
        (_, Some(kind)) => start_switch(description, kind),
        (_, None) => bridge::start(description),
    }
}

fn start_switch(description: &Description, kind: &str) -> anyhow::Result<()> {
    if process::running(Path::new(".")).contains_key(&Role::Switch) {
        return Ok(());
    }
    let program = std::env::current_exe()?.with_file_name("vswitch");
    let mut command = Command::new(program);
    command.arg("--control").arg(control_socket());
    for node in description.node_numbers() {
        let socket = port_socket(node);
        let port = format!("{node}={kind}:{},mac={}", socket.display(), mac(CLUSTER, node));
        command.args(["--port", &port]);
    }
    let mut child = process::start(&mut command, Path::new("switch.log"))?;
    let give_up = clock::now() + Duration::from_secs(5);
    loop {
        if Client::connect(&control_socket()).is_ok() {
            return Ok(());
        }
        if let Some(status) = child.try_wait()? {
            let log = std::fs::read_to_string("switch.log").unwrap_or_default();
            let last = log.lines().last().unwrap_or_default();
            anyhow::bail!("the switch ended with {status}: {last}");
        }
        anyhow::ensure!(clock::now() < give_up, "the switch does not answer; see switch.log");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Makes a place for a machine more while the others run.
///
/// # Errors
/// If that is not possible.
pub fn add_port(description: &Description, node: u16) -> anyhow::Result<()> {
    if description.net == Net::Ovs {
        return ovs::add_port(description, node);
    }
    let Some(kind) = port_kind(description.net) else { return Ok(()) };
    let (name, path) = (node.to_string(), port_socket(node));
    // No other machine may send as that node.
    let mac = Some(mac(CLUSTER, node));
    let request = Request::AddPort { name, kind: kind.into(), path, mac };
    command(description, &request).map(drop)
}

/// Removes the place of a machine that is gone for good.
pub fn remove_port(description: &Description, node: u16) {
    // Without a switch, or without that port, there is nothing to do.
    if description.net == Net::Ovs {
        let _ = ovs::remove_port(description, node);
    } else if port_kind(description.net).is_some() {
        let _ = command(description, &Request::RemovePort { name: node.to_string() });
    }
}

/// Removes what joined the machines.
///
/// # Errors
/// If that is not possible.
pub fn stop(description: &Description) -> anyhow::Result<()> {
    if let Some(pid) = process::running(Path::new(".")).get(&Role::Switch) {
        process::end(&[*pid], true)?;
    }
    match description.net {
        Net::Ovs => ovs::stop(description)?,
        Net::Bridge => namespace::remove(&namespace::name(description)),
        Net::Switch | Net::Socket => {}
    }
    Ok(())
}

/// An open TAP device for a node, if the machines are joined by a bridge.
///
/// # Errors
/// If it cannot be made.
pub fn tap(description: &Description, node: u16) -> anyhow::Result<Option<OwnedFd>> {
    match description.net {
        Net::Bridge => bridge::tap(description, node).map(Some),
        Net::Switch | Net::Socket | Net::Ovs => Ok(None),
    }
}

/// Gives the switch a command.
///
/// # Errors
/// If there is no switch, or it refuses.
pub fn command(description: &Description, request: &Request) -> anyhow::Result<serde_json::Value> {
    let other = match description.net {
        Net::Switch | Net::Socket => None,
        Net::Bridge => Some("a bridge of the kernel"),
        Net::Ovs => Some("Open vSwitch"),
    };
    if let Some(other) = other {
        anyhow::bail!("{other} takes no such commands; use --net switch or --net socket");
    }
    Client::connect(&control_socket())?.request(request)
}
