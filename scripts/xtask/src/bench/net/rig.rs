//! Machines that run the packet generator, and what joins them: ours for a measurement, gone with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::Context;
use nix::unistd::Pid;
use serde_json::Value;
use vswitch::client::Client;
use vswitch::control::Request;

use super::super::meter;
use crate::cluster::{console, process};
use crate::{clock, interrupt};

/// How long a machine may take to boot, and a measurement to end.
const BOOTS_WITHIN: Duration = Duration::from_secs(30);
const ENDS_WITHIN: Duration = Duration::from_secs(300);

/// How machines are run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pace {
    /// As fast as it goes.
    Free,
    /// A nanosecond of the machine's time for each instruction: its times are instruction counts.
    Counted,
}

/// A switch and machines.
pub(super) struct Rig {
    folder: PathBuf,
    switch: Option<Child>,
    machines: Vec<Child>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        let children = self.machines.iter_mut().chain(&mut self.switch);
        for child in children {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Rig {
    /// A folder for sockets, with nothing running.
    pub(super) fn new() -> anyhow::Result<Rig> {
        let root = std::env::var_os("COTERIE_ROOT").context("run scripts/bench")?;
        let folder = Path::new(&root).join("target/net-bench");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        Ok(Rig { folder, switch: None, machines: Vec::new() })
    }

    /// Our switch and so many machines.
    pub(super) fn with_machines(count: usize, pace: Pace) -> anyhow::Result<Rig> {
        let mut rig = Rig::new()?;
        rig.start_switch(count)?;
        for number in 1..=count {
            rig.start_machine(number, pace)?;
        }
        for number in 1..=count {
            rig.wait_until_booted(number)?;
        }
        Ok(rig)
    }

    fn start_switch(&mut self, ports: usize) -> anyhow::Result<()> {
        let program = std::env::current_exe()?.with_file_name("vswitch");
        let mut command = Command::new(program);
        command.arg("--control").arg(self.control());
        for number in 1..=ports {
            let port = format!("{number}=vhost-user:{}", self.port(number).display());
            command.args(["--port", &port]);
        }
        self.switch = Some(process::start(&mut command, &self.folder.join("switch.log"))?);
        let give_up = clock::now() + Duration::from_secs(5);
        while Client::connect(&self.control()).is_err() {
            anyhow::ensure!(clock::now() < give_up, "the switch does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn control(&self) -> PathBuf {
        self.folder.join("switch.sock")
    }

    /// Where a machine's card is plugged in.
    pub(super) fn port(&self, number: usize) -> PathBuf {
        self.folder.join(format!("{number}.port"))
    }

    fn serial(&self, number: usize) -> PathBuf {
        self.folder.join(format!("{number}.serial"))
    }

    /// Everything that a machine has said.
    fn said(&self, number: usize) -> PathBuf {
        self.folder.join(format!("{number}.said"))
    }

    /// Starts a machine, plugged in where somebody listens.
    pub(super) fn start_machine(&mut self, number: usize, pace: Pace) -> anyhow::Result<()> {
        let root = std::env::var_os("COTERIE_ROOT").context("run scripts/bench")?;
        let image = Path::new(&root).join("target/coterie-pktgen");
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-accel", "tcg,thread=single,tb-size=32", "-cpu", "max", "-m", "64"]);
        command.args(["-M", "q35,memory-backend=m", "-nodefaults", "-no-user-config"]);
        command.args(["-object", "memory-backend-memfd,id=m,size=64M,share=on"]);
        command.args(["-display", "none", "-no-reboot"]);
        command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]);
        if pace == Pace::Counted {
            command.args(["-icount", "shift=0"]);
        }
        let port = format!("socket,id=port,path={}", self.port(number).display());
        command.args(["-chardev", &port, "-netdev", "vhost-user,id=net,chardev=port"]);
        // Without vectors: see `scripts/xtask/src/cluster/machine.rs`.
        let card = format!("virtio-net-pci,netdev=net,mac={},disable-legacy=on", mac(number));
        command.args(["-device", &(card + ",romfile=,vectors=0")]);
        let serial = format!(
            "socket,id=serial,path={},server=on,wait=off,logfile={}",
            self.serial(number).display(),
            self.said(number).display()
        );
        command.args(["-chardev", &serial, "-serial", "chardev:serial", "-kernel"]).arg(image);
        let log = self.folder.join(format!("{number}.log"));
        self.machines.push(process::start(&mut command, &log)?);
        Ok(())
    }

    /// Waits until a machine answers.
    pub(super) fn wait_until_booted(&self, number: usize) -> anyhow::Result<()> {
        let give_up = clock::now() + BOOTS_WITHIN;
        // What is typed before a machine has said something is lost.
        while fs::metadata(self.said(number)).map_or(0, |said| said.len()) == 0 {
            anyhow::ensure!(clock::now() < give_up, "machine {number} does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        self.ask(number, "status").map(drop)
    }

    /// What a machine answers.
    pub(super) fn ask(&self, number: usize, command: &str) -> anyhow::Result<Value> {
        interrupt::check()?;
        let answer = console::run(&self.serial(number), &format!("{command} --json"))?;
        anyhow::ensure!(answer.status == 0, "machine {number}: {}", answer.output.trim());
        Ok(serde_json::from_str(&answer.output)?)
    }

    /// Lets a machine measure something, and waits for the result.
    pub(super) fn measure(&self, number: usize, command: &str) -> anyhow::Result<Value> {
        self.ask(number, command)?;
        let give_up = clock::now() + ENDS_WITHIN;
        loop {
            std::thread::sleep(Duration::from_millis(200));
            let status = self.ask(number, "status")?;
            if status["busy"] == false {
                return self.ask(number, "result");
            }
            anyhow::ensure!(clock::now() < give_up, "'{command}' does not end");
        }
    }

    /// Frames that a machine has sent, as the switch has counted them.
    pub(super) fn frames_in(&self, number: usize) -> anyhow::Result<u64> {
        let ports = Client::connect(&self.control())?.request(&Request::Ports)?;
        ports["ports"][number - 1]["statistics"]["frames_in"].as_u64().context("no such port")
    }

    /// Processor time that the switch has used.
    pub(super) fn switch_time(&self) -> anyhow::Result<Duration> {
        let switch = self.switch.as_ref().context("there is no switch")?;
        meter::processor_time(Pid::from_raw(i32::try_from(switch.id())?))
    }
}

/// The address of a machine's card.
pub(super) fn mac(number: usize) -> String {
    format!("02:77:00:00:00:{number:02x}")
}
