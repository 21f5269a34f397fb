//! The network between the machines: our switch, or a bridge of the kernel in a namespace of its own.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use vswitch::client::Client;
use vswitch::control::Request;

use super::machine::port_socket;
use super::process::{self, Role};
use super::state::{Description, Net};
use crate::clock;

/// Where the switch takes commands.
fn control_socket() -> PathBuf {
    PathBuf::from("switch.sock")
}

fn port_kind(net: Net) -> Option<&'static str> {
    match net {
        Net::Switch => Some("vhost-user"),
        Net::Socket => Some("stream"),
        Net::Bridge => None,
    }
}

/// Starts what joins the machines, unless it runs already.
///
/// # Errors
/// If that is not possible.
pub fn start(description: &Description) -> anyhow::Result<()> {
    let Some(kind) = port_kind(description.net) else { return bridge::start(description) };
    if process::running(Path::new(".")).contains_key(&Role::Switch) {
        return Ok(());
    }
    let program = std::env::current_exe()?.with_file_name("vswitch");
    let mut command = Command::new(program);
    command.arg("--control").arg(control_socket());
    for node in description.node_numbers() {
        let port = format!("{node}={kind}:{}", port_socket(node).display());
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
    let Some(kind) = port_kind(description.net) else { return Ok(()) };
    let (name, path) = (node.to_string(), port_socket(node));
    let request = Request::AddPort { name, kind: kind.into(), path };
    command(description, &request).map(drop)
}

/// Removes the place of a machine that is gone for good.
pub fn remove_port(description: &Description, node: u16) {
    if port_kind(description.net).is_some() {
        // Without a switch, or without that port, there is nothing to do.
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
    if description.net == Net::Bridge {
        bridge::stop(description);
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
        Net::Switch | Net::Socket => Ok(None),
    }
}

/// Gives the switch a command.
///
/// # Errors
/// If there is no switch, or it refuses.
pub fn command(description: &Description, request: &Request) -> anyhow::Result<serde_json::Value> {
    anyhow::ensure!(
        description.net != Net::Bridge,
        "a bridge of the kernel takes no such commands; use --net switch or --net socket"
    );
    Client::connect(&control_socket())?.request(request)
}

mod bridge {
    //! TAP devices on a bridge. All of it is in a network namespace that goes away with the cluster, so that
    //! nothing of it can meet anything else on the host.

    use super::{AsRawFd, Command, Context, Description, File, OwnedFd, Path};
    use nix::sched::{CloneFlags, setns};

    const BRIDGE: &str = "bridge";

    fn namespace(description: &Description) -> String {
        format!("coterie-{}", description.name)
    }

    fn ip(words: &[&str]) -> anyhow::Result<()> {
        let output = Command::new("ip").args(words).output().context("cannot run 'ip'")?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "ip {}: {}", words.join(" "), said.trim());
        Ok(())
    }

    pub(super) fn start(description: &Description) -> anyhow::Result<()> {
        anyhow::ensure!(
            nix::unistd::geteuid().is_root(),
            "--net bridge needs root, for bridges and TAP devices belong to the kernel; \
             --net switch and --net socket do not"
        );
        let namespace = namespace(description);
        if Path::new("/run/netns").join(&namespace).exists() {
            return Ok(());
        }
        ip(&["netns", "add", &namespace])?;
        ip(&["-n", &namespace, "link", "add", BRIDGE, "type", "bridge"])?;
        ip(&["-n", &namespace, "link", "set", BRIDGE, "up"])
    }

    pub(super) fn stop(description: &Description) {
        // With the namespace goes what is in it. There is none if the start failed.
        let _ = ip(&["netns", "del", &namespace(description)]);
    }

    pub(super) fn tap(description: &Description, node: u16) -> anyhow::Result<OwnedFd> {
        let namespace = namespace(description);
        let name = format!("node{node}");
        let tap = std::thread::scope(|scope| {
            // A thread can be in another namespace than its program; it does not come back.
            let opened = scope.spawn(|| {
                let file = File::open(Path::new("/run/netns").join(&namespace))?;
                setns(file, CloneFlags::CLONE_NEWNET)?;
                open(&name)
            });
            opened.join().expect("opening a device does not panic")
        })?;
        ip(&["-n", &namespace, "link", "set", &name, "master", BRIDGE, "up"])?;
        Ok(tap)
    }

    /// Makes a TAP device that lives as long as it is open.
    fn open(name: &str) -> anyhow::Result<OwnedFd> {
        let device = File::options().read(true).write(true).open("/dev/net/tun");
        let device = device.context("/dev/net/tun")?;
        // SAFETY: all zeros is a request without a name or flags.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *place = libc::c_char::try_from(byte)?;
        }
        let flags = libc::IFF_TAP | libc::IFF_NO_PI;
        request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags)?;
        // SAFETY: the descriptor is open, and the request a whole one that outlives the call.
        let result = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
        if result < 0 {
            return Err(std::io::Error::last_os_error()).context(format!("TAP device {name}"));
        }
        Ok(device.into())
    }
}
