//! The loop: what happens at the ports and on the control socket, frames on their way, time.

mod forward;
mod patience;
mod ports;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use crate::PORTS_MAX;
use crate::capture::Capture;
use crate::clock::Clock;
use crate::control::{self, ControlSocket};
use crate::fabric::{AddressTable, DelayQueue, Faults, MacAddress, PortId};
use crate::frame::Completer;
use crate::port::{Port, PortKind, Watch};
use patience::NAP;
use ports::Ports;

/// Of `epoll`'s 64 bits the lowest 48 are a port's. These mark the rest.
const CONTROL: u64 = 1 << 48;
const SIGNAL: u64 = 2 << 48;
const OWNER: u64 = 0xffff << 48;

/// How many events are taken at once.
const EVENTS: usize = 64;
/// While ports are looked at in every turn, sockets and the bells of the others are in every so many.
const TURNS_BETWEEN_EVENTS: u32 = 32;

/// What a switch is told when it starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens for commands.
    pub control: PathBuf,
    /// Its first ports.
    pub ports: Vec<PortConfig>,
    /// What all chance follows from.
    pub seed: u64,
    /// A descriptor that becomes readable when the switch is to end, such as a signal's.
    pub stop: Option<std::os::fd::RawFd>,
}

/// What a port is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortConfig {
    /// How people call it.
    pub name: String,
    /// How frames get in and out.
    pub kind: PortKind,
    /// The socket on which it listens.
    pub path: PathBuf,
    /// The only station that is there, and nowhere else, if that is known before.
    pub station: Option<MacAddress>,
}

/// A switch.
#[derive(Debug)]
pub struct Switch {
    epoll: Arc<Epoll>,
    ports: Ports,
    addresses: AddressTable,
    faults: Faults,
    delayed: DelayQueue,
    completer: Completer,
    /// Ports that are looked at in every turn.
    active: Vec<PortId>,
    /// Ports whose machines are to be told something at the end of this turn.
    touched: Vec<PortId>,
    /// When ports that were left in peace are looked at again.
    look_again_at: Option<Duration>,
    /// How many frames came in this turn.
    frames: usize,
    /// How many threads can run at once.
    processors: usize,
    /// When frames came last, the machines that they were of, and the switch, were more than that.
    is_crowded: bool,
    control: Option<ControlSocket>,
    /// How often it has asked the kernel for events, and how often it has slept while frames gathered.
    waits: u64,
    naps: u64,
    clock: Clock,
    /// The time at which this turn began.
    now: Duration,
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
            ports: Ports::default(),
            addresses: AddressTable::default(),
            faults: Faults::new(config.seed),
            delayed: DelayQueue::default(),
            completer: Completer::default(),
            active: Vec::new(),
            touched: Vec::new(),
            look_again_at: None,
            frames: 0,
            processors: std::thread::available_parallelism()?.get(),
            is_crowded: false,
            control: Some(control),
            waits: 0,
            naps: 0,
            clock: Clock::start(),
            now: Duration::ZERO,
            is_stopping: false,
        };
        for port in &config.ports {
            switch.add_port(port)?;
        }
        Ok(switch)
    }

    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// If `epoll` fails.
    pub fn run(&mut self) -> io::Result<()> {
        let mut turns = 0_u32;
        while !self.is_stopping {
            turns = turns.wrapping_add(1);
            if self.active.is_empty() || turns.is_multiple_of(TURNS_BETWEEN_EVENTS) {
                self.take_events()?;
            }
            self.now = self.clock.now();
            self.look_again();
            self.switch_bursts();
            self.announce_losses();
            self.release_delayed();
            let frames = std::mem::take(&mut self.frames);
            self.look_for_a_crowd(frames);
            self.expect_answers(frames);
            self.flush();
            if self.is_time_for_a_nap(frames) {
                self.naps += 1;
                std::thread::sleep(NAP);
            }
        }
        Ok(())
    }

    /// Waits for events if there is nothing else to do, and deals with them.
    fn take_events(&mut self) -> io::Result<()> {
        let mut events = [EpollEvent::default(); EVENTS];
        let timeout = self.timeout();
        self.waits += 1;
        let count = match self.epoll.wait(timeout, &mut events) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        self.now = self.clock.now();
        events[..count].iter().for_each(|event| self.handle(event));
        Ok(())
    }

    /// How long nothing need be done, in milliseconds: for ever, unless ports are looked at in every turn, or
    /// again, or frames are on delayed ways.
    fn timeout(&self) -> i32 {
        if !self.active.is_empty() {
            return 0;
        }
        let next = self.delayed.next_at().into_iter().chain(self.look_again_at).min();
        let Some(at) = next else { return -1 };
        let wait = at.saturating_sub(self.clock.now());
        // Rounded up: a frame that is half a millisecond early would be waited for in a hot loop.
        i32::try_from(wait.as_micros().div_ceil(1_000)).unwrap_or(i32::MAX)
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
                let Some(port) = self.ports.get_mut(id) else { return };
                if port.handle(source, event.event_set()) {
                    self.activate(id);
                }
                self.touch(id);
            }
        }
    }

    /// Adds a port.
    ///
    /// # Errors
    /// If there is one of that name, there are too many, its station has another, or its socket cannot be
    /// made.
    pub fn add_port(&mut self, config: &PortConfig) -> anyhow::Result<()> {
        let PortConfig { name, kind, path, station } = config;
        let is_name = !name.is_empty()
            && name.len() <= 64
            && name.chars().all(|character| character.is_ascii_graphic());
        anyhow::ensure!(is_name, "a port's name is 1 to 64 printable characters without blanks");
        anyhow::ensure!(self.find(name).is_err(), "there is a port '{name}' already");
        anyhow::ensure!(self.ports.len() < PORTS_MAX, "a switch has at most {PORTS_MAX} ports");
        let id = self.ports.next_id();
        let watch = Watch::new(self.epoll.clone(), id);
        let mut port = Port::open(name, *kind, path, watch)
            .map_err(|error| anyhow::anyhow!("port '{name}' at {}: {error}", path.display()))?;
        if let Some(station) = *station {
            self.addresses.pin(id, station, self.now)?;
            port.station = Some(station);
        }
        self.ports.add(port);
        Ok(())
    }

    /// Lets a port's machine send as anybody, and others as the station that was pinned to it.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn unpin(&mut self, name: &str) -> anyhow::Result<()> {
        let id = self.find(name)?;
        self.addresses.unpin(id);
        self.ports.get_mut(id).expect("it was found").station = None;
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
        self.ports.take(id);
        self.faults.forget(id);
        Ok(())
    }

    /// The port of that name.
    ///
    /// # Errors
    /// If there is none.
    pub fn find(&self, name: &str) -> anyhow::Result<PortId> {
        let found = self.ports.iter().find(|(_, port)| port.name == name);
        found.map(|(id, _)| id).ok_or_else(|| anyhow::anyhow!("there is no port '{name}'"))
    }

    /// Begins to write what a port sees, or ends it.
    ///
    /// # Errors
    /// If there is no such port, or the file cannot be written.
    pub fn capture(&mut self, name: &str, path: Option<&Path>) -> anyhow::Result<()> {
        let id = self.find(name)?;
        let port = self.ports.get_mut(id).expect("it was found");
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
        self.ports.iter().map(|(_, port)| port)
    }

    /// How often it has asked the kernel for events, waiting for them or not, and how often it has slept
    /// while frames gathered: the system calls of its loop that no port is counted for.
    pub fn rests(&self) -> (u64, u64) {
        (self.waits, self.naps)
    }

    /// All addresses: which, behind which port, how long ago it was heard.
    pub fn addresses(&self) -> impl Iterator<Item = (String, &str, Duration)> {
        let now = self.now;
        self.addresses.iter().filter_map(move |(address, port, heard)| {
            let port = self.ports.get(port)?;
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
