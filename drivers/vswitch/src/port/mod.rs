//! A port: where a machine plugs in, by one of two ways, again and again.

mod backlog;
mod memory;
mod pair;
mod queue;
mod spread;
mod stream;
mod vhost_user;

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use crate::capture::Capture;
use crate::fabric::{MacAddress, PortId};
use crate::frame::Packet;
use crate::statistics::Statistics;
use stream::Stream;
use vhost_user::Session;

const MEMORY_LOST: &str = "its memory was taken away";

/// How frames get in and out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PortKind {
    /// Shared rings.
    VhostUser,
    /// A Unix socket.
    Stream,
}

impl PortKind {
    /// As it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            PortKind::VhostUser => "vhost-user",
            PortKind::Stream => "stream",
        }
    }
}

/// What has happened at a port, as the loop's `epoll` tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// A machine wants to plug in.
    Listener,
    /// The machine has something to say on its socket.
    Session,
    /// The machine has rung: it took frames from its receive ring, or put some into its transmit ring.
    Kick(u8),
}

/// Where `epoll` reports events of one port.
#[derive(Clone, Debug)]
pub struct Watch {
    epoll: Arc<Epoll>,
    port: PortId,
}

impl Watch {
    const LISTENER: u64 = 0;
    const SESSION: u64 = 1;
    const KICK: u64 = 2;

    /// For this port.
    pub fn new(epoll: Arc<Epoll>, port: PortId) -> Watch {
        Watch { epoll, port }
    }

    /// Which port and source an event is about.
    pub fn decode(data: u64) -> (PortId, Source) {
        let port = PortId(u32::try_from(data >> 16 & 0xffff_ffff).expect("32 bits"));
        let source = match data & 0xff {
            Watch::LISTENER => Source::Listener,
            Watch::SESSION => Source::Session,
            kick => Source::Kick(u8::try_from(kick - Watch::KICK).expect("8 bits")),
        };
        (port, source)
    }

    fn encode(&self, source: Source) -> u64 {
        let source = match source {
            Source::Listener => Watch::LISTENER,
            Source::Session => Watch::SESSION,
            Source::Kick(queue) => Watch::KICK + u64::from(queue),
        };
        u64::from(self.port.0) << 16 | source
    }

    fn add(&self, fd: RawFd, source: Source) -> io::Result<()> {
        self.control(ControlOperation::Add, fd, source, EventSet::IN)
    }

    /// Asks also for room to write, or no longer.
    fn set_writable(&self, fd: RawFd, source: Source, is_wanted: bool) -> io::Result<()> {
        let events = if is_wanted { EventSet::IN | EventSet::OUT } else { EventSet::IN };
        self.control(ControlOperation::Modify, fd, source, events)
    }

    fn remove(&self, fd: RawFd) {
        // It may be gone already: the kernel forgets what is closed.
        let _ = self.epoll.ctl(ControlOperation::Delete, fd, EpollEvent::default());
    }

    fn control(
        &self,
        operation: ControlOperation,
        fd: RawFd,
        source: Source,
        events: EventSet,
    ) -> io::Result<()> {
        self.epoll.ctl(operation, fd, EpollEvent::new(events, self.encode(source)))
    }
}

#[derive(Debug)]
enum Plug {
    VhostUser(Session),
    Stream(Stream),
}

/// A port.
#[derive(Debug)]
pub struct Port {
    /// Its name, by which people know it.
    pub name: String,
    /// How frames get in and out.
    pub kind: PortKind,
    /// The station that is pinned to it.
    pub station: Option<MacAddress>,
    /// What it has counted.
    pub statistics: Statistics,
    /// Where what it sees is written.
    pub capture: Option<Capture>,
    /// Why the last machine was unplugged, if it broke the rules.
    pub last_fault: Option<String>,
    path: PathBuf,
    listener: UnixListener,
    watch: Watch,
    plug: Option<Plug>,
    /// A machine was unplugged, and nobody has asked yet.
    is_lost: bool,
}

impl Port {
    /// Listens on `path`; a socket that is left there from before is removed.
    ///
    /// # Errors
    /// If that is not possible, or something else than a socket is there.
    pub fn open(name: &str, kind: PortKind, path: &Path, watch: Watch) -> io::Result<Port> {
        let listener = listen(path)?;
        watch.add(listener.as_raw_fd(), Source::Listener)?;
        Ok(Port {
            name: name.into(),
            kind,
            station: None,
            statistics: Statistics::default(),
            capture: None,
            last_fault: None,
            path: path.into(),
            listener,
            watch,
            plug: None,
            is_lost: false,
        })
    }

    /// Whether a machine was unplugged since this was asked last.
    pub fn take_loss(&mut self) -> bool {
        std::mem::take(&mut self.is_lost)
    }

    /// Whether a machine is plugged in.
    pub fn is_plugged(&self) -> bool {
        self.plug.is_some()
    }

    /// Something has happened. True if there may be frames.
    pub fn handle(&mut self, source: Source, events: EventSet) -> bool {
        let result = match (source, &mut self.plug) {
            (Source::Listener, _) => self.accept(),
            (Source::Session, Some(Plug::VhostUser(session))) => session.handle_request(),
            (Source::Session, Some(Plug::Stream(stream))) => {
                stream.handle(events, &mut self.statistics)
            }
            (Source::Kick(queue), Some(Plug::VhostUser(session))) => {
                self.statistics.kicks += 1;
                session.handle_kick(queue);
                Ok(true)
            }
            // The machine was unplugged since the event was reported.
            (Source::Session | Source::Kick(_), _) => Ok(false),
        };
        self.settle(result)
    }

    /// A machine that breaks the rules is unplugged.
    fn settle(&mut self, result: Result<bool, Unplug>) -> bool {
        match result {
            Ok(may_have_frames) => may_have_frames,
            Err(Unplug::Left) => {
                self.unplug();
                false
            }
            Err(Unplug::Fault(reason)) => {
                // Then all that it wrote reads as zero, and what was found wrong is only what follows.
                let reason = if self.has_lost_memory() { MEMORY_LOST.into() } else { reason };
                eprintln!("vswitch: port {}: unplugged: {reason}", self.name);
                self.statistics.faults += 1;
                self.last_fault = Some(reason);
                self.unplug();
                false
            }
        }
    }

    fn has_lost_memory(&self) -> bool {
        matches!(&self.plug, Some(Plug::VhostUser(session)) if session.has_lost_memory())
    }

    fn check_memory(&self) -> Result<bool, Unplug> {
        if self.has_lost_memory() { Err(Unplug::Fault(MEMORY_LOST.into())) } else { Ok(false) }
    }

    fn unplug(&mut self) {
        self.is_lost = self.plug.take().is_some();
    }

    /// The newest machine has the port: one that died without a word must not keep it.
    fn accept(&mut self) -> Result<bool, Unplug> {
        let (socket, _) = match self.listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => {
                eprintln!("vswitch: port {}: cannot accept: {error}", self.name);
                return Ok(false);
            }
        };
        self.statistics.connections += 1;
        self.plug = None;
        self.plug = Some(match self.kind {
            PortKind::VhostUser => Plug::VhostUser(Session::new(socket, self.watch.clone())?),
            PortKind::Stream => Plug::Stream(Stream::new(socket, self.watch.clone())?),
        });
        Ok(false)
    }

    /// Gives frames that the machine has sent to `forward`, a burst at most. True if there was anything to
    /// do: then there may be more.
    pub fn receive(&mut self, mut forward: impl FnMut(&Packet<'_, '_>, &mut Statistics)) -> bool {
        let Port { plug, statistics, capture, name, .. } = self;
        let mut take = |packet: &Packet<'_, '_>, statistics: &mut Statistics| {
            statistics.frames_in += 1;
            statistics.bytes_in += packet.len() as u64;
            record(name, capture, packet);
            forward(packet, statistics);
        };
        let result = match plug {
            Some(Plug::VhostUser(session)) => session.receive(statistics, &mut take),
            Some(Plug::Stream(stream)) => stream.receive(statistics, &mut take),
            None => Ok(false),
        };
        self.settle(result)
    }

    /// Whether the machine takes a frame of which so much is left to do.
    pub fn accepts(&self, packet: &Packet<'_, '_>) -> bool {
        packet.is_complete()
            || match &self.plug {
                Some(Plug::VhostUser(session)) => session.accepts(&packet.header),
                // On a socket there is no place to say what is left.
                Some(Plug::Stream(_)) => false,
                None => true,
            }
    }

    /// Gives the machine a frame that it accepts. It may wait until [`Port::flush`]. True if it waits for the
    /// machine.
    pub fn send(&mut self, packet: &Packet<'_, '_>) -> bool {
        record(&self.name, &mut self.capture, packet);
        let result = match &mut self.plug {
            Some(Plug::VhostUser(session)) => session.send(packet, &mut self.statistics),
            Some(Plug::Stream(stream)) => {
                stream.send(packet, &mut self.statistics);
                Ok(false)
            }
            None => {
                self.statistics.dropped.unplugged += 1;
                Ok(false)
            }
        };
        self.settle(result)
    }

    /// Asks the machine to ring when it has something. True if it has something already.
    pub fn arm(&mut self) -> bool {
        let result = match &mut self.plug {
            Some(Plug::VhostUser(session)) => session.arm(),
            // The kernel tells when more has come.
            Some(Plug::Stream(_)) | None => Ok(false),
        };
        self.settle(result)
    }

    /// Tells the machine of everything that was taken and given since the last time.
    pub fn flush(&mut self) {
        let result = match &mut self.plug {
            Some(Plug::VhostUser(session)) => {
                session.flush(&mut self.statistics);
                self.check_memory()
            }
            Some(Plug::Stream(stream)) => stream.flush(),
            None => Ok(false),
        };
        self.settle(result);
        if let Some(Err(error)) = self.capture.as_mut().map(Capture::flush) {
            end_capture(&self.name, &mut self.capture, &error);
        }
    }
}

fn record(name: &str, capture: &mut Option<Capture>, packet: &Packet<'_, '_>) {
    if let Some(Err(error)) = capture.as_mut().map(|capture| capture.add(&packet.to_checked_vec()))
    {
        end_capture(name, capture, &error);
    }
}

fn end_capture(name: &str, capture: &mut Option<Capture>, error: &io::Error) {
    eprintln!("vswitch: port {name}: the capture ends: {error}");
    *capture = None;
}

impl Drop for Port {
    fn drop(&mut self) {
        self.watch.remove(self.listener.as_raw_fd());
        // Somebody may have tidied up already.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Listens on a Unix socket; one that is left from before is removed, but nothing else.
///
/// # Errors
/// If that is not possible.
pub(crate) fn listen(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::FileTypeExt;
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Why a machine is no longer plugged in.
#[derive(Debug)]
pub(crate) enum Unplug {
    /// It closed its socket.
    Left,
    /// It broke the rules: how.
    Fault(String),
}

impl From<io::Error> for Unplug {
    fn from(error: io::Error) -> Unplug {
        Unplug::Fault(error.to_string())
    }
}
