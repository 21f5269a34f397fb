//! Open vSwitch with DPDK between the machines: theirs if somebody runs one and says where its database is,
//! else one of the cluster's own, in its folder and in a network namespace that go away with it.
//!
//! Each port is of the type `dpdkvhostuserclient` (ovs-vswitchd.conf.db(5)): the machine listens, and the
//! switch may come, go, and come again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use super::namespace;
use crate::cluster::machine::port_socket;
use crate::cluster::process::{self, Role};
use crate::cluster::state::Description;
use crate::{clock, interrupt};

/// Where Debian has the switch that was built with DPDK, and the form of its database.
const SWITCH: &str = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk";
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

/// Where the cluster's own has its files, and what is in there.
const FOLDER: &str = "ovs";
const DATABASE: &str = "ovs/conf.db";
const DATABASE_SOCKET: &str = "ovs/db.sock";
const SWITCH_SOCKET: &str = "ovs/switch.ctl";
const LOG: &str = "ovs/log";

/// DPDK without huge pages, devices or a part in anything else, and as many MiB as its 262,144 buffers take:
/// it wants them at once, or starts no port.
const MEMORY: &str = "--no-huge --legacy-mem --no-pci --no-telemetry -m 1024";
/// A thread that finds nothing to do sleeps for up to so many microseconds. Without, it burns its core.
const SLEEP_US: u32 = 200;
/// A command of `ovs-vsctl` waits so many seconds for the switch.
const PATIENCE_S: &str = "10";
/// The names of network devices are no longer than this.
const DEVICE_NAME_MAX: usize = 15;

/// Starts it, unless it runs already, with a port for each node.
pub(super) fn start(description: &Description) -> anyhow::Result<()> {
    match &description.ovs_db {
        Some(database) => anyhow::ensure!(
            database.exists(),
            "no Open vSwitch has its database at {}; without --ovs-db the cluster runs its own",
            database.display()
        ),
        None => run_own(description)?,
    }
    let bridge = bridge(description);
    let words = ["--may-exist", "add-br", &bridge, "--", "set", "bridge", &bridge];
    control(
        description,
        &[&words[..], &["datapath_type=netdev", "fail_mode=standalone"]].concat(),
    )?;
    for node in description.node_numbers() {
        add_port(description, node)?;
    }
    Ok(())
}

/// Ends it, or leaves it as it was.
pub(super) fn stop(description: &Description) -> anyhow::Result<()> {
    if let Some(database) = &description.ovs_db {
        if !database.exists() {
            return Ok(());
        }
        return control(description, &["--if-exists", "del-br", &bridge(description)]);
    }
    let running = process::running(Path::new("."));
    for role in [Role::OvsSwitch, Role::OvsDatabase] {
        if let Some(pid) = running.get(&role) {
            process::end(&[*pid], true)?;
        }
    }
    namespace::remove(&namespace::name(description));
    // What the next start needs is in the cluster's description.
    let _ = std::fs::remove_dir_all(FOLDER);
    Ok(())
}

pub(super) fn add_port(description: &Description, node: u16) -> anyhow::Result<()> {
    let (bridge, port) = (bridge(description), port(description, node));
    let socket = socket(description, node)?;
    let path = format!("options:vhost-server-path={}", socket.display());
    let words = ["--may-exist", "add-port", &bridge, &port, "--", "set", "interface", &port];
    control(description, &[&words[..], &["type=dpdkvhostuserclient", &path]].concat())
}

pub(super) fn remove_port(description: &Description, node: u16) -> anyhow::Result<()> {
    let (bridge, port) = (bridge(description), port(description, node));
    control(description, &["--if-exists", "del-port", &bridge, &port])
}

/// The bridge is a network device too.
fn bridge(description: &Description) -> String {
    format!("cot-{}", description.name).chars().take(DEVICE_NAME_MAX).collect()
}

fn port(description: &Description, node: u16) -> String {
    format!("{}-{node}", bridge(description))
}

/// Another's switch works in another folder.
fn socket(description: &Description, node: u16) -> anyhow::Result<PathBuf> {
    let socket = port_socket(node);
    Ok(if description.ovs_db.is_some() { std::path::absolute(socket)? } else { socket })
}

fn control(description: &Description, words: &[&str]) -> anyhow::Result<()> {
    let own = Path::new(DATABASE_SOCKET);
    let database = std::path::absolute(description.ovs_db.as_deref().unwrap_or(own))?;
    let mut command = Command::new("ovs-vsctl");
    command.arg(format!("--db=unix:{}", database.display()));
    command.args(["--retry", "--timeout", PATIENCE_S]).args(words);
    namespace::run(&mut command)
        .context("Open vSwitch; its own words, if it is the cluster's, are in ovs/log")
}

fn run_own(description: &Description) -> anyhow::Result<()> {
    for file in [SWITCH, SCHEMA] {
        anyhow::ensure!(
            Path::new(file).exists(),
            "there is no {file}: --net ovs needs Open vSwitch with DPDK, as 'scripts/setup --ovs' installs it"
        );
    }
    namespace::make(&namespace::name(description))?;
    let running = process::running(Path::new("."));
    if !running.contains_key(&Role::OvsDatabase) {
        // Nothing in an older one is needed.
        let _ = std::fs::remove_dir_all(FOLDER);
        std::fs::create_dir(FOLDER)?;
        namespace::run(Command::new("ovsdb-tool").args(["create", DATABASE, SCHEMA]))?;
        let mut command = Command::new("ovsdb-server");
        command.args([DATABASE, "--remote=punix:db.sock", "--unixctl=db.ctl"]);
        run_until(&mut command, DATABASE_SOCKET)?;
        configure(description)?;
    }
    if !running.contains_key(&Role::OvsSwitch) {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &namespace::name(description), SWITCH]);
        run_until(command.args(["unix:db.sock", "--unixctl=switch.ctl"]), SWITCH_SOCKET)?;
    }
    Ok(())
}

/// Starts one of Open vSwitch's programs, which goes on when its socket is there. Its own relative paths are
/// below `OVS_RUNDIR`.
fn run_until(command: &mut Command, socket: &str) -> anyhow::Result<()> {
    let mut child =
        process::start(command.env("OVS_RUNDIR", std::path::absolute(FOLDER)?), Path::new(LOG))?;
    let give_up = clock::now() + Duration::from_secs(10);
    while !Path::new(socket).exists() {
        interrupt::check()?;
        let is_late = clock::now() >= give_up;
        if is_late || child.try_wait()?.is_some() {
            let log = std::fs::read_to_string(LOG).unwrap_or_default();
            let last = log.lines().last().unwrap_or("it says nothing");
            anyhow::bail!("Open vSwitch does not start: {last}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// What the switch finds in its database when it starts.
fn configure(description: &Description) -> anyhow::Result<()> {
    let memory =
        format!("other_config:dpdk-extra={MEMORY} --file-prefix=coterie-{}", description.name);
    let sleep = format!("other_config:pmd-maxsleep={SLEEP_US}");
    let start =
        ["--no-wait", "init", "--", "set", "Open_vSwitch", ".", "other_config:dpdk-init=true"];
    control(description, &[&start[..], &[&memory, &sleep]].concat())
}
