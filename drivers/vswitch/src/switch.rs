//! The loop: what happens at the ports and on the control socket, frames on their way, time.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use crate::PORTS_MAX;
use crate::burst::Burst;
use crate::capture::Capture;
use crate::clock::Clock;
use crate::control::{self, ControlSocket};
use crate::fabric::{AddressTable, DelayQueue, Destination, Fate, Faults, PortId};
use crate::port::{Port, PortKind, Watch};

/// Of `epoll`'s 64 bits the lowest 48 are a port's. These mark the rest.
const CONTROL: u64 = 1 << 48;
const SIGNAL: u64 = 2 << 48;
const OWNER: u64 = 0xffff << 48;

/// Of a machine that used many addresses no more than so many are announced when it is gone.
const STATIONS_ANNOUNCED_MAX: usize = 16;
/// How many events are taken at once.
const EVENTS: usize = 64;

/// What a switch is told when it starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens for commands.
    pub control: PathBuf,
    /// Its first ports.
    pub ports: Vec<(String, PortKind, PathBuf)>,
    /// What all chance follows from.
    pub seed: u64,
    /// A descriptor that becomes readable when the switch is to end, such as a signal's.
    pub stop: Option<std::os::fd::RawFd>,
}

/// A switch.
#[derive(Debug)]
pub struct Switch {
    epoll: Arc<Epoll>,
    ports: BTreeMap<PortId, Port>,
    next_port: u32,
    addresses: AddressTable,
    faults: Faults,
    delayed: DelayQueue,
    /// Ports that may have frames.
    ready: BTreeSet<PortId>,
    /// Ports whose machines are to be told something.
    touched: BTreeSet<PortId>,
    control: Option<ControlSocket>,
    clock: Clock,
    is_stopping: bool,
}

impl Switch {
    /// Opens the ports and the control socket.
    ///
    /// # Errors
    /// If one cannot be opened, or another switch listens on the control socket.
    pub fn new(config: &Config) -> anyhow::Result<Switch> {
        let epoll = Arc::new(Epoll::new()?);
        let control = ControlSocket::open(&config.control, epoll.clone(), CONTROL)?;
        if let Some(stop) = config.stop {
            epoll.ctl(ControlOperation::Add, stop, EpollEvent::new(EventSet::IN, SIGNAL))?;
        }
        let mut switch = Switch {
            epoll,
            ports: BTreeMap::new(),
            next_port: 0,
            addresses: AddressTable::default(),
            faults: Faults::new(config.seed),
            delayed: DelayQueue::default(),
            ready: BTreeSet::new(),
            touched: BTreeSet::new(),
            control: Some(control),
            clock: Clock::start(),
            is_stopping: false,
        };
        for (name, kind, path) in &config.ports {
            switch.add_port(name, *kind, path)?;
        }
        Ok(switch)
    }

    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// If `epoll` fails.
    pub fn run(&mut self) -> io::Result<()> {
        let mut events = [EpollEvent::default(); EVENTS];
        let mut burst = Burst::default();
        while !self.is_stopping {
            let timeout = self.timeout();
            match self.epoll.wait(timeout, &mut events) {
                Ok(count) => events[..count].iter().for_each(|event| self.handle(event)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            self.switch_bursts(&mut burst);
            self.announce_losses();
            self.release_delayed();
            self.flush();
        }
        Ok(())
    }

    /// How long nothing need be done: for ever, unless frames are on delayed ways or were left in a ring.
    fn timeout(&self) -> i32 {
        if !self.ready.is_empty() {
            return 0;
        }
        let Some(at) = self.delayed.next_at() else { return -1 };
        let wait = at.saturating_sub(self.now());
        // Rounded up: a frame that is half a millisecond early would be waited for in a hot loop.
        i32::try_from(wait.as_micros().div_ceil(1_000)).unwrap_or(i32::MAX)
    }

    fn now(&self) -> Duration {
        self.clock.now()
    }

    fn handle(&mut self, event: &EpollEvent) {
        let data = event.data();
        match data & OWNER {
            CONTROL => {
                let Some(mut control) = self.control.take() else { return };
                control.handle(data & !OWNER, |request| control::execute(request, self));
                self.control = Some(control);
            }
            SIGNAL => self.is_stopping = true,
            _ => {
                let (id, source) = Watch::decode(data);
                let Some(port) = self.ports.get_mut(&id) else { return };
                if port.handle(source, event.event_set()) {
                    self.ready.insert(id);
                }
                self.touched.insert(id);
            }
        }
    }

    /// Moves one burst from each port that may have frames.
    fn switch_bursts(&mut self, burst: &mut Burst) {
        for id in std::mem::take(&mut self.ready) {
            let Some(port) = self.ports.get_mut(&id) else { continue };
            burst.clear();
            if port.receive(burst) {
                self.ready.insert(id);
            }
            self.touched.insert(id);
            for frame in burst.frames() {
                self.forward(id, frame);
            }
        }
    }

    fn forward(&mut self, from: PortId, frame: &[u8]) {
        match self.addresses.route(from, frame, self.now()) {
            Destination::Port(to) => self.send(from, to, frame),
            Destination::Flood => {
                let others: Vec<_> = self.ports.keys().copied().filter(|to| *to != from).collect();
                others.into_iter().for_each(|to| self.send(from, to, frame));
            }
            Destination::Stay => {}
            Destination::Senseless => {
                if let Some(port) = self.ports.get_mut(&from) {
                    port.statistics.refused.senseless += 1;
                }
            }
        }
    }

    fn send(&mut self, from: PortId, to: PortId, frame: &[u8]) {
        let fate = self.faults.fate(from, to);
        let now = self.now();
        let Some(port) = self.ports.get_mut(&to) else { return };
        match fate {
            Fate::Cut => port.statistics.dropped.cut += 1,
            Fate::Lost => port.statistics.dropped.lost += 1,
            Fate::Arrives(delay, copies) => {
                for _ in 0..copies {
                    if delay.is_zero() {
                        port.send(frame);
                        self.touched.insert(to);
                    } else if !self.delayed.push(now + delay, to, frame) {
                        port.statistics.dropped.delayed += 1;
                    }
                }
            }
        }
    }

    fn announce_losses(&mut self) {
        let touched = self.touched.iter();
        let is_lost = |id: &&PortId| self.ports.get_mut(id).is_some_and(Port::take_loss);
        let lost: Vec<_> = touched.filter(is_lost).copied().collect();
        lost.into_iter().for_each(|id| self.announce_loss(id));
    }

    /// The machine at a port is gone: the others are told which stations are, on the ways that frames from
    /// there take. Nobody else would tell them before a timeout.
    fn announce_loss(&mut self, lost: PortId) {
        let stations = self.addresses.lose(lost);
        let others: Vec<_> = self.ports.keys().copied().filter(|to| *to != lost).collect();
        for station in stations.iter().take(STATIONS_ANNOUNCED_MAX) {
            let frame = notice::link_lost(station.0);
            others.iter().for_each(|to| self.send(lost, *to, &frame));
        }
    }

    fn release_delayed(&mut self) {
        let now = self.now();
        while let Some(delayed) = self.delayed.pop(now) {
            if let Some(port) = self.ports.get_mut(&delayed.to) {
                port.send(&delayed.frame);
                self.touched.insert(delayed.to);
            }
        }
    }

    fn flush(&mut self) {
        for id in std::mem::take(&mut self.touched) {
            if let Some(port) = self.ports.get_mut(&id) {
                port.flush();
            }
        }
    }

    /// Adds a port.
    ///
    /// # Errors
    /// If there is one of that name, there are too many, or its socket cannot be made.
    pub fn add_port(&mut self, name: &str, kind: PortKind, path: &Path) -> anyhow::Result<()> {
        let is_name = !name.is_empty()
            && name.len() <= 64
            && name.chars().all(|character| character.is_ascii_graphic());
        anyhow::ensure!(is_name, "a port's name is 1 to 64 printable characters without blanks");
        anyhow::ensure!(self.find(name).is_err(), "there is a port '{name}' already");
        anyhow::ensure!(self.ports.len() < PORTS_MAX, "a switch has at most {PORTS_MAX} ports");
        let id = PortId(self.next_port);
        let watch = Watch::new(self.epoll.clone(), id);
        let port = Port::open(name, kind, path, watch)
            .map_err(|error| anyhow::anyhow!("port '{name}' at {}: {error}", path.display()))?;
        self.next_port += 1;
        self.ports.insert(id, port);
        Ok(())
    }

    /// Removes a port; a machine that is plugged in is unplugged.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn remove_port(&mut self, name: &str) -> anyhow::Result<()> {
        let id = self.find(name)?;
        self.announce_loss(id);
        self.addresses.forget(id);
        self.ports.remove(&id);
        self.faults.forget(id);
        Ok(())
    }

    /// The port of that name.
    ///
    /// # Errors
    /// If there is none.
    pub fn find(&self, name: &str) -> anyhow::Result<PortId> {
        let found = self.ports.iter().find(|(_, port)| port.name == name);
        found.map(|(id, _)| *id).ok_or_else(|| anyhow::anyhow!("there is no port '{name}'"))
    }

    /// Begins to write what a port sees, or ends it.
    ///
    /// # Errors
    /// If there is no such port, or the file cannot be written.
    pub fn capture(&mut self, name: &str, path: Option<&Path>) -> anyhow::Result<()> {
        let id = self.find(name)?;
        let port = self.ports.get_mut(&id).expect("it was found");
        port.capture = match path {
            Some(path) => Some(
                Capture::begin(path)
                    .map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?,
            ),
            None => None,
        };
        Ok(())
    }

    /// All ports.
    pub fn ports(&self) -> impl Iterator<Item = &Port> {
        self.ports.values()
    }

    /// All addresses: which, behind which port, how long ago it was heard.
    pub fn addresses(&self) -> impl Iterator<Item = (String, &str, Duration)> {
        let now = self.now();
        self.addresses.iter().filter_map(move |(address, port, heard)| {
            let port = self.ports.get(&port)?;
            Some((address.to_string(), port.name.as_str(), now.saturating_sub(heard)))
        })
    }

    /// All trouble.
    pub fn faults_mut(&mut self) -> &mut Faults {
        &mut self.faults
    }

    /// Ends [`Switch::run`].
    pub fn stop(&mut self) {
        self.is_stopping = true;
    }
}
