//! Machines that run the packet generator, and what joins them: ours for a measurement, gone with it.

use std::fs;
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::Context;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::unistd::Pid;
use serde_json::{Value, json};
use vswitch::client::Client;
use vswitch::control::Request;

use super::guest::kernel;
pub(super) use super::guest::{Backend, Guest, Pace, SMP_IMAGE, mac};
use crate::cluster::network::Bridge;
use crate::cluster::{console, process, qmp};
use crate::{clock, interrupt};

/// How long a machine may take to boot, and a measurement to end.
const BOOTS_WITHIN: Duration = Duration::from_secs(30);
const ENDS_WITHIN: Duration = Duration::from_secs(300);

/// A switch, ours or another's, and machines.
pub(super) struct Rig {
    folder: PathBuf,
    /// `switch` is ours, or stands in its place.
    switch: Option<Child>,
    bridge: Option<Bridge>,
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
        if let Some(bridge) = &self.bridge {
            bridge.remove();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Rig {
    /// A folder for sockets, with nothing running. It is this process's own: others measure at the same time.
    pub(super) fn new() -> anyhow::Result<Rig> {
        let root = std::env::var_os("COTERIE_ROOT").context("run scripts/bench")?;
        let name = format!("target/net-bench.{}", std::process::id());
        let folder = Path::new(&root).join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        Ok(Rig { folder, switch: None, bridge: None, machines: Vec::new() })
    }

    /// What joins them, and so many machines.
    pub(super) fn with_machines(count: usize, pace: Pace, backend: Backend) -> anyhow::Result<Rig> {
        Rig::with_guests(count, Guest::Ours(pace), backend)
    }

    /// What joins them, and so many machines that boot this, which has our shell.
    pub(super) fn with_guests(
        count: usize,
        guest: Guest<'_>,
        backend: Backend,
    ) -> anyhow::Result<Rig> {
        let mut rig = Rig::new()?;
        match backend.port_kind() {
            Some(_) => rig.start_switch(count, backend)?,
            None => {
                rig.bridge = Some(Bridge::make(&format!("coterie-bench-{}", std::process::id()))?)
            }
        }
        for number in 1..=count {
            rig.start_machine(number, guest, backend)?;
        }
        for number in 1..=count {
            rig.wait_until_booted(number)?;
        }
        Ok(rig)
    }

    /// Starts our switch.
    pub(super) fn start_switch(&mut self, ports: usize, backend: Backend) -> anyhow::Result<()> {
        let program = std::env::current_exe()?.with_file_name("vswitch");
        let mut command = Command::new(program);
        command.arg("--control").arg(self.control());
        let kind = backend.port_kind().context("our switch has no such ports")?;
        for number in 1..=ports {
            let port = format!("{number}={kind}:{}", self.port(number).display());
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

    /// Starts a program in the place of our switch. It is there when all ports are.
    pub(super) fn start_other(
        &mut self,
        command: &mut Command,
        ports: usize,
    ) -> anyhow::Result<()> {
        let log = self.folder.join("other.log");
        let mut child = process::start(command, &log)?;
        let give_up = clock::now() + BOOTS_WITHIN;
        while !(1..=ports).all(|number| self.port(number).exists()) {
            interrupt::check()?;
            let is_over = child.try_wait()?.is_some() || clock::now() >= give_up;
            anyhow::ensure!(
                !is_over,
                "{} does not start: {}",
                command.get_program().display(),
                tail(&log)
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        self.switch = Some(child);
        Ok(())
    }

    /// Lets the program in the place of our switch end, and returns all that it has said.
    pub(super) fn end_other(&self) -> anyhow::Result<String> {
        process::end(&[self.switch()?], true)?;
        Ok(self.other_said())
    }

    /// Starts a program that is plugged in as the machine of this number would be.
    pub(super) fn start_in_place(
        &mut self,
        number: usize,
        command: &mut Command,
    ) -> anyhow::Result<()> {
        self.machines.push(process::start(command, &self.log(number))?);
        let give_up = clock::now() + BOOTS_WITHIN;
        while self.ports()?[number - 1]["plugged"] != true {
            interrupt::check()?;
            let said = tail(&self.log(number));
            anyhow::ensure!(clock::now() < give_up, "it is not plugged in: {said}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Lets that program end, and returns all that it has said.
    pub(super) fn end_in_place(&self, number: usize) -> anyhow::Result<String> {
        process::end(&[self.machine(number)?], true)?;
        Ok(fs::read_to_string(self.log(number))?)
    }

    /// What the program in the place of our switch has said.
    pub(super) fn other_said(&self) -> String {
        fs::read_to_string(self.folder.join("other.log")).unwrap_or_default()
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

    /// Where QEMU takes orders for a machine.
    fn qmp(&self, number: usize) -> PathBuf {
        self.folder.join(format!("{number}.qmp"))
    }

    /// The file of what the process of a machine has said itself.
    fn log(&self, number: usize) -> PathBuf {
        self.folder.join(format!("{number}.log"))
    }

    /// The file of everything that a machine has said.
    fn said(&self, number: usize) -> PathBuf {
        self.folder.join(format!("{number}.said"))
    }

    /// Starts a machine, plugged in where somebody listens.
    pub(super) fn start_machine(
        &mut self,
        number: usize,
        guest: Guest<'_>,
        backend: Backend,
    ) -> anyhow::Result<()> {
        let (memory_mib, processors) = (guest.memory_mib(), guest.processors());
        let threads = if processors > 1 { "multi" } else { "single" };
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-accel", &format!("tcg,thread={threads},tb-size=32"), "-cpu", "max"]);
        // The firmware's table of processors, from which the kernel takes them, lists one a socket.
        command.args(["-smp", &format!("{processors},sockets={processors}")]);
        command.args(["-m", &memory_mib.to_string(), "-M", "q35,memory-backend=m"]);
        let memory = format!("memory-backend-memfd,id=m,size={memory_mib}M,share=on");
        command.args(["-object", &memory, "-nodefaults", "-no-user-config"]);
        command.args(["-display", "none", "-no-reboot"]);
        command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]);
        let taps =
            self.bridge.as_ref().map(|bridge| bridge.taps(&format!("card{number}"), processors));
        let taps = taps.transpose()?.unwrap_or_default();
        for tap in &taps {
            // QEMU is to have it.
            fcntl(tap, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        let tap_numbers: Vec<_> = taps.iter().map(AsRawFd::as_raw_fd).collect();
        command.args(self.card(number, guest, backend, &tap_numbers)?);
        let serial = format!(
            "socket,id=serial,path={},server=on,wait=off,logfile={}",
            self.serial(number).display(),
            self.said(number).display()
        );
        let qmp = format!("unix:{},server=on,wait=off", self.qmp(number).display());
        command.args(["-qmp", &qmp]);
        command.args(["-chardev", &serial, "-serial", "chardev:serial"]).args(kernel(guest)?);
        self.machines.push(process::start(&mut command, &self.log(number))?);
        Ok(())
    }

    fn card(
        &self,
        number: usize,
        guest: Guest<'_>,
        backend: Backend,
        taps: &[RawFd],
    ) -> anyhow::Result<Vec<String>> {
        let port = self.port(number);
        let netdev = match backend {
            Backend::VhostUser => {
                format!("vhost-user,id=net,chardev=port,queues={}", guest.processors())
            }
            Backend::Stream => {
                format!("stream,id=net,server=off,addr.type=unix,addr.path={}", port.display())
            }
            Backend::Tap => {
                anyhow::ensure!(!taps.is_empty(), "there is no bridge");
                let taps: Vec<_> = taps.iter().map(RawFd::to_string).collect();
                let option = if taps.len() > 1 { "fds" } else { "fd" };
                format!("tap,id=net,{option}={},vhost=off", taps.join(":"))
            }
        };
        let mut words = vec!["-netdev".into(), netdev, "-device".into()];
        if backend == Backend::VhostUser {
            let chardev = format!("socket,id=port,path={}", port.display());
            words.splice(0..0, ["-chardev".into(), chardev]);
        }
        // Without vectors: see `scripts/xtask/src/cluster/machine.rs`.
        let mut card =
            format!("virtio-net-pci,id=card,netdev=net,mac={},disable-legacy=on", mac(number));
        if let Guest::Ringed(size) = guest {
            card += &format!(",rx_queue_size={size},tx_queue_size={size}");
        }
        if guest == Guest::Packed {
            card += ",packed=on";
        }
        card += match (guest.processors(), backend) {
            (1, _) => "",
            // QEMU's own card spreads flows as it is told.
            (_, Backend::Tap) => ",mq=on,rss=on",
            _ => ",mq=on",
        };
        words.push(card + ",romfile=,vectors=0");
        Ok(words)
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

    /// Waits until a machine has said this.
    pub(super) fn wait_until_said(&self, number: usize, words: &str) -> anyhow::Result<()> {
        let give_up = clock::now() + BOOTS_WITHIN;
        while !self.everything_said(number).contains(words) {
            interrupt::check()?;
            anyhow::ensure!(clock::now() < give_up, "machine {number} does not say '{words}'");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Everything that a machine has said.
    pub(super) fn everything_said(&self, number: usize) -> String {
        String::from_utf8_lossy(&fs::read(self.said(number)).unwrap_or_default()).into_owned()
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
        self.finished(number).with_context(|| command.to_owned())
    }

    /// Waits until what a machine measures has ended, and returns the result.
    pub(super) fn finished(&self, number: usize) -> anyhow::Result<Value> {
        let give_up = clock::now() + ENDS_WITHIN;
        loop {
            std::thread::sleep(Duration::from_millis(200));
            let status = self.ask(number, "status")?;
            if status["busy"] == false {
                return self.ask(number, "result");
            }
            anyhow::ensure!(clock::now() < give_up, "it does not end");
        }
    }

    /// Frames that a machine has sent, as the switch has counted them.
    pub(super) fn frames_in(&self, number: usize) -> anyhow::Result<u64> {
        let ports = self.ports()?;
        ports[number - 1]["statistics"]["frames_in"].as_u64().context("no such port")
    }

    /// What our switch says of its ports, that of the first machine first.
    pub(super) fn ports(&self) -> anyhow::Result<Value> {
        Ok(Client::connect(&self.control())?.request(&Request::Ports)?["ports"].take())
    }

    /// The bridge of the kernel, if that joins the machines.
    pub(super) fn bridge(&self) -> anyhow::Result<&Bridge> {
        self.bridge.as_ref().context("there is no bridge")
    }

    /// What a machine's driver and QEMU's card have agreed on, as QEMU calls it.
    pub(super) fn negotiated(&self, number: usize) -> anyhow::Result<Vec<String>> {
        let card = json!({ "path": "/machine/peripheral/card/virtio-backend" });
        let status = qmp::execute_with(&self.qmp(number), "x-query-virtio-status", &card)?;
        let names = status["guest-features"]["dev-features"].as_array().context("no features")?;
        Ok(names.iter().filter_map(|name| Some(name.as_str()?.to_owned())).collect())
    }

    /// Frames that our switch has taken from all machines, and the system calls that it has made for that: to
    /// wait, to hear a bell and to ring one.
    pub(super) fn switch_work(&self) -> anyhow::Result<(u64, u64)> {
        let answer = Client::connect(&self.control())?.request(&Request::Ports)?;
        let ports = answer["ports"].as_array().context("the switch has no ports")?;
        let sum = |name: &str| {
            ports.iter().filter_map(|port| port["statistics"][name].as_u64()).sum::<u64>()
        };
        let rests = ["waits", "naps"].iter().filter_map(|name| answer[*name].as_u64());
        Ok((sum("frames_in"), rests.sum::<u64>() + sum("kicks") + sum("calls")))
    }

    /// The process of a machine.
    pub(super) fn machine(&self, number: usize) -> anyhow::Result<Pid> {
        let machine = self.machines.get(number - 1).context("there is no such machine")?;
        Ok(Pid::from_raw(i32::try_from(machine.id())?))
    }

    /// The process of the switch.
    pub(super) fn switch(&self) -> anyhow::Result<Pid> {
        let switch = self.switch.as_ref().context("there is no switch")?;
        Ok(Pid::from_raw(i32::try_from(switch.id())?))
    }
}

/// The last line of a log.
fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().last().unwrap_or("it says nothing").to_owned()
}
