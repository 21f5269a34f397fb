//! Commands over a Unix socket: one JSON object a line, and one line back for each.
//!
//! ```text
//! {"op":"ports"}                                    {"ok":true,"waits":…,"naps":…,"ports":[{"name":"1",…}]}
//! {"op":"macs"}                                     {"ok":true,"macs":[{"mac":…,"port":…,"heard_ms_ago":…}]}
//! {"op":"add_port","name":"4","kind":"vhost-user","path":"/run/4.sock","mac":"02:77:00:00:00:04"}
//! {"op":"unpin","port":"4"}                         as if no address had been given
//! {"op":"remove_port","name":"4"}
//! {"op":"partition","groups":[["1","2"],["3"]]}     ports in no group are a group of their own
//! {"op":"link","from":"1","to":"2","loss_per_mille":50,"delay_ms":20,"jitter_ms":5,"duplicate_per_mille":10,
//!  "one_way":false}
//! {"op":"heal"}
//! {"op":"capture","port":"1","file":"/tmp/1.pcap"}  {"op":"capture_stop","port":"1"}
//! {"op":"shutdown"}
//! ```
//!
//! What fails is answered with `{"ok":false,"error":"…"}`, and changes nothing.

mod connection;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use connection::Connection;

use crate::fabric::LinkFault;
use crate::port::{self, PortKind};
use crate::switch::{PortConfig, Switch};

/// How many may talk at once.
const CONNECTIONS_MAX: usize = 64;

/// A command.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// All ports and what they have counted.
    Ports,
    /// All addresses.
    Macs,
    /// A new port.
    AddPort {
        /// Its name.
        name: String,
        /// `vhost-user` or `stream`.
        kind: String,
        /// Where it listens.
        path: PathBuf,
        /// The address of the only station that is there, and nowhere else.
        #[serde(default)]
        mac: Option<String>,
    },
    /// The station that is pinned to a port is not any longer.
    Unpin {
        /// Which port.
        port: String,
    },
    /// A port less.
    RemovePort {
        /// Its name.
        name: String,
    },
    /// Parts the ports.
    Partition {
        /// Groups of names.
        groups: Vec<Vec<String>>,
    },
    /// Spoils the way between two ports.
    Link {
        /// From this one …
        from: String,
        /// … to this one.
        to: String,
        /// Of 1000 frames so many are lost.
        #[serde(default)]
        loss_per_mille: u16,
        /// Of 1000 frames so many come twice.
        #[serde(default)]
        duplicate_per_mille: u16,
        /// So much later.
        #[serde(default)]
        delay_ms: u32,
        /// And at most so much more, at random.
        #[serde(default)]
        jitter_ms: u32,
        /// Only this way, not the way back.
        #[serde(default)]
        one_way: bool,
    },
    /// Ends all trouble.
    Heal,
    /// Writes what a port sees to a file.
    Capture {
        /// Which port.
        port: String,
        /// Which file.
        file: PathBuf,
    },
    /// No longer.
    CaptureStop {
        /// Which port.
        port: String,
    },
    /// Ends the switch.
    Shutdown,
}

/// Executes a command, given as text.
pub fn execute(line: &str, switch: &mut Switch) -> Value {
    let request = serde_json::from_str(line).map_err(anyhow::Error::from);
    match request.and_then(|request: Request| perform(request, switch)) {
        Ok(reply) => reply,
        Err(error) => json!({ "ok": false, "error": error.to_string() }),
    }
}

fn perform(request: Request, switch: &mut Switch) -> anyhow::Result<Value> {
    match request {
        Request::Ports => return Ok(ports(switch)),
        Request::Macs => return Ok(macs(switch)),
        Request::AddPort { name, kind, path, mac } => {
            let kind = parse_kind(&kind)?;
            let station = mac.map(|mac| mac.parse()).transpose()?;
            switch.add_port(&PortConfig { name, kind, path, station })?
        }
        Request::Unpin { port } => switch.unpin(&port)?,
        Request::RemovePort { name } => switch.remove_port(&name)?,
        Request::Partition { groups } => partition(&groups, switch)?,
        Request::Link {
            from,
            to,
            loss_per_mille,
            duplicate_per_mille,
            delay_ms,
            jitter_ms,
            one_way,
        } => {
            anyhow::ensure!(
                loss_per_mille <= 1_000 && duplicate_per_mille <= 1_000,
                "of 1000 frames at most 1000 can be lost or doubled"
            );
            let (from, to) = (switch.find(&from)?, switch.find(&to)?);
            let fault = LinkFault {
                loss_per_mille,
                duplicate_per_mille,
                delay: Duration::from_millis(delay_ms.into()),
                jitter: Duration::from_millis(jitter_ms.into()),
            };
            switch.faults_mut().spoil(from, to, fault);
            if !one_way {
                switch.faults_mut().spoil(to, from, fault);
            }
        }
        Request::Heal => switch.faults_mut().heal(),
        Request::Capture { port, file } => switch.capture(&port, Some(&file))?,
        Request::CaptureStop { port } => switch.capture(&port, None)?,
        Request::Shutdown => switch.stop(),
    }
    Ok(json!({ "ok": true }))
}

/// The kind of port of that name.
///
/// # Errors
/// If there is none.
pub fn parse_kind(kind: &str) -> anyhow::Result<PortKind> {
    let kinds = [PortKind::VhostUser, PortKind::Stream];
    let found = kinds.into_iter().find(|known| known.name() == kind);
    found.ok_or_else(|| anyhow::anyhow!("a port is vhost-user or stream, not '{kind}'"))
}

fn partition(groups: &[Vec<String>], switch: &mut Switch) -> anyhow::Result<()> {
    let mut found = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for group in groups {
        let ports = group.iter().map(|name| switch.find(name)).collect::<Result<Vec<_>, _>>()?;
        for (port, name) in ports.iter().zip(group) {
            anyhow::ensure!(seen.insert(*port), "port '{name}' is in two groups");
        }
        found.push(ports);
    }
    switch.faults_mut().part(&found);
    Ok(())
}

fn ports(switch: &Switch) -> Value {
    let port = |port: &port::Port| {
        json!({
            "name": port.name,
            "kind": port.kind.name(),
            "mac": port.station.map(|station| station.to_string()),
            "plugged": port.is_plugged(),
            "last_fault": port.last_fault,
            "captured_frames": port.capture.as_ref().map(crate::capture::Capture::frames),
            "statistics": port.statistics,
        })
    };
    let (waits, naps) = switch.rests();
    let ports: Vec<_> = switch.ports().map(port).collect();
    json!({ "ok": true, "waits": waits, "naps": naps, "ports": ports })
}

fn macs(switch: &Switch) -> Value {
    let address = |(mac, port, heard): (String, &str, Duration)| {
        let heard = u64::try_from(heard.as_millis()).unwrap_or(u64::MAX);
        json!({ "mac": mac, "port": port, "heard_ms_ago": heard })
    };
    json!({ "ok": true, "macs": switch.addresses().map(address).collect::<Vec<_>>() })
}

/// The socket on which commands come in.
#[derive(Debug)]
pub struct ControlSocket {
    epoll: Arc<Epoll>,
    owner: u64,
    path: PathBuf,
    listener: UnixListener,
    connections: BTreeMap<u64, Connection>,
    next: u64,
}

impl ControlSocket {
    /// The listener's number; connections have higher ones.
    const LISTENER: u64 = 0;

    /// Listens. Events are reported with `owner` in their data.
    ///
    /// # Errors
    /// If another switch listens there, or that is not possible.
    pub fn open(path: &Path, epoll: Arc<Epoll>, owner: u64) -> anyhow::Result<ControlSocket> {
        anyhow::ensure!(
            UnixStream::connect(path).is_err(),
            "another switch listens at {}",
            path.display()
        );
        let listener = port::listen(path)
            .map_err(|error| anyhow::anyhow!("control socket {}: {error}", path.display()))?;
        let event = EpollEvent::new(EventSet::IN, owner | ControlSocket::LISTENER);
        epoll.ctl(ControlOperation::Add, listener.as_raw_fd(), event)?;
        let (connections, next) = (BTreeMap::new(), ControlSocket::LISTENER);
        Ok(ControlSocket { epoll, owner, path: path.into(), listener, connections, next })
    }

    /// Something has happened at the listener or at a connection.
    pub fn handle(&mut self, number: u64, mut execute: impl FnMut(&str) -> Value) {
        if number == ControlSocket::LISTENER {
            self.accept();
        } else if let Some(connection) = self.connections.get_mut(&number) {
            let result = connection.handle(&mut execute);
            if result.and_then(|()| self.await_more(number)).is_err() {
                self.connections.remove(&number);
            }
        }
    }

    /// Who has not taken all of an answer has no say before.
    fn await_more(&self, number: u64) -> io::Result<()> {
        let connection = &self.connections[&number];
        let events = if connection.has_answer() { EventSet::OUT } else { EventSet::IN };
        let event = EpollEvent::new(events, self.owner | number);
        self.epoll.ctl(ControlOperation::Modify, connection.as_raw_fd(), event)
    }

    fn accept(&mut self) {
        let Ok((socket, _)) = self.listener.accept() else { return };
        if self.connections.len() == CONNECTIONS_MAX || socket.set_nonblocking(true).is_err() {
            return;
        }
        self.next += 1;
        let event = EpollEvent::new(EventSet::IN, self.owner | self.next);
        if self.epoll.ctl(ControlOperation::Add, socket.as_raw_fd(), event).is_ok() {
            self.connections.insert(self.next, Connection::new(socket));
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Somebody may have tidied up already.
        let _ = std::fs::remove_file(&self.path);
    }
}
