//! The outside world on one card: ARP, ping, and TCP connections of clients, by smoltcp.
//!
//! Every port has a few sockets that listen, so that several clients may connect at once; when one of them
//! is taken, another is made, until there are as many connections as there may be. Then a further client is
//! refused (RST), which is better than a wait without end. Work per call is bounded: frames that wait are
//! taken a burst at a time.
//!
//! Ping is answered and clients are served in both families of IP: the card's IPv6 address is the one that
//! follows from its Ethernet address.

mod neighbours;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;

use base::{Instant, limits};
use pool::{Frame, Pool};
use smoltcp::iface::{
    Config as InterfaceConfig, Interface, PollIngressSingleResult, SocketHandle, SocketSet,
};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::{Duration as SmolDuration, Instant as SmolInstant};
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv4Address, Ipv4Cidr};

use crate::device::FrameDevice;
use crate::packet;
use neighbours::Neighbours;

/// How many sockets of a port listen at a time.
const LISTENERS_PER_PORT: usize = 8;
/// How many bytes of a connection wait to be read …
const RECEIVE_BYTES: usize = 8 * 1024;
/// … and to be sent.
const SEND_BYTES: usize = 16 * 1024;
/// How many frames are taken in one call.
const INGRESS_MAX: usize = 64;
/// A client that has not answered for so long is gone …
const CLIENT_TIMEOUT: SmolDuration = SmolDuration::from_secs(30);
/// … and is asked so often whether it is there.
const KEEP_ALIVE: SmolDuration = SmolDuration::from_secs(10);

/// What the stack is told when it starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The card's address.
    pub mac: EthernetAddress,
    /// The node's address on this network.
    pub address: Ipv4Address,
    /// The length of the network's prefix.
    pub prefix: u8,
    /// The way to other networks.
    pub gateway: Option<Ipv4Address>,
    /// The ports on which clients are served.
    pub ports: Vec<u16>,
    /// The longest packet that the network carries.
    pub mtu: usize,
}

/// A client's connection. A number is never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId(pub u64);

/// Something that happened to a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A client has connected to this port.
    Accepted(ConnectionId, u16),
    /// The connection is gone; the number means nothing any more.
    Closed(ConnectionId),
}

/// What the stack counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Frames taken.
    pub received: u64,
    /// Frames sent.
    pub sent: u64,
    /// Clients that connected.
    pub accepted: u64,
    /// Frames that were dropped because too many waited, or no buffer was free for an answer.
    pub overrun: u64,
}

/// The stack on one card.
pub struct HostStack {
    interface: Interface,
    device: FrameDevice,
    neighbours: Neighbours,
    sockets: SocketSet<'static>,
    ports: Vec<u16>,
    /// Sockets that listen, and their ports.
    listening: Vec<(SocketHandle, u16)>,
    connections: BTreeMap<ConnectionId, SocketHandle>,
    next_connection: u64,
    events: VecDeque<Event>,
    /// Somebody has tried to connect. On many a card nobody ever does, and no buffers need to wait for them.
    is_called: bool,
    /// Something has happened since the last poll.
    is_dirty: bool,
    /// When smoltcp wants to be polled, by its own clock.
    due: Option<Instant>,
    counters: Counters,
}

impl core::fmt::Debug for HostStack {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("HostStack").field("connections", &self.connections).finish_non_exhaustive()
    }
}

impl HostStack {
    /// A stack that makes its frames in buffers of `pool`. Two stacks with the same `seed` choose the same
    /// sequence numbers: it must differ from node to node.
    pub fn new(config: Config, pool: Pool, seed: u64, now: Instant) -> HostStack {
        let mut device = FrameDevice::new(pool, config.mtu, None);
        let mut interface_config = InterfaceConfig::new(HardwareAddress::Ethernet(config.mac));
        interface_config.random_seed = seed;
        let mut interface = Interface::new(interface_config, &mut device, smol_instant(now));
        interface.update_ip_addrs(|addresses| {
            let cidr = IpCidr::Ipv4(Ipv4Cidr::new(config.address, config.prefix.min(32)));
            addresses.push(cidr).expect("there is room for the first address");
            let cidr = IpCidr::Ipv6(neighbours::link_local(config.mac));
            addresses.push(cidr).expect("there is room for the second address");
        });
        if let Some(gateway) = config.gateway {
            let routes = interface.routes_mut();
            routes.add_default_ipv4_route(gateway).expect("there is room for the first route");
        }
        HostStack {
            interface,
            device,
            neighbours: Neighbours::new(config.mac, config.address),
            sockets: SocketSet::new(Vec::new()),
            ports: config.ports,
            listening: Vec::new(),
            connections: BTreeMap::new(),
            next_connection: 0,
            events: VecDeque::new(),
            is_called: false,
            is_dirty: false,
            due: None,
            counters: Counters::default(),
        }
    }

    /// A frame has arrived; it is looked at by [`HostStack::poll`].
    pub fn handle_frame(&mut self, frame: Frame) {
        if !self.is_called && packet::tcp_port(&frame).is_some() {
            self.is_called = true;
            self.replenish();
        }
        if self.device.waiting() < limits::PACKET_BUFFERS / 4 {
            self.device.push_received(frame, false);
            self.is_dirty = true;
        } else {
            self.counters.overrun += 1;
        }
    }

    /// From now on so many frames to send may wait, those that wait already counted; what does not fit stays
    /// in the connections. At first there is room for any number.
    pub fn set_room(&mut self, frames: usize) {
        self.device.set_room(frames);
    }

    /// These are the neighbours from now on whose addresses are known: nobody asks for them. At most
    /// [`limits::CLUSTER_NODES_MAX`] are taken.
    pub fn set_neighbours(
        &mut self,
        neighbours: impl Iterator<Item = (Ipv4Address, EthernetAddress)>,
    ) {
        self.neighbours.set(neighbours);
    }

    /// Takes what has arrived: a bounded amount of work, none if nothing has. What follows from it is sent by
    /// [`HostStack::flush`].
    pub fn poll(&mut self, now: Instant) {
        if !self.has_work(now) {
            return;
        }
        let at = smol_instant(now);
        self.interface.poll_maintenance(at);
        self.tell_neighbours(now);
        for _ in 0..INGRESS_MAX {
            let result =
                self.interface.poll_ingress_single(at, &mut self.device, &mut self.sockets);
            match result {
                PollIngressSingleResult::None => break,
                PollIngressSingleResult::PacketProcessed => {}
                // Perhaps a client took a listener, and the next frame needs one, or ends what has just begun.
                PollIngressSingleResult::SocketStateChanged => {
                    self.accept();
                    self.replenish();
                }
            }
            self.counters.received += 1;
        }
        self.is_dirty = true;
        self.accept();
        self.bury();
    }

    /// Sends what can be sent. It takes nothing: whoever has looked at all connections knows afterwards that
    /// there is nothing new at any of them, unless [`HostStack::poll_event`] says so.
    pub fn flush(&mut self, now: Instant) {
        if !self.has_work(now) {
            return;
        }
        let at = smol_instant(now);
        self.interface.poll_egress(at, &mut self.device, &mut self.sockets);
        self.accept();
        self.bury();
        self.replenish();
        self.is_dirty = self.device.waiting() > 0;
        let due = self.interface.poll_at(at, &self.sockets);
        self.due = due.map(|due| own_instant(due).max(now));
    }

    /// Lets the interface know its neighbours, before it forgets them.
    fn tell_neighbours(&mut self, now: Instant) {
        if !self.neighbours.are_due(now) {
            return;
        }
        // They are taken at once, and lead to no frame.
        for answer in self.neighbours.tell(now) {
            // Without a buffer they are told next time; until then the interface asks by itself.
            let Some(mut frame) = self.device.pool().allocate_frame() else { break };
            frame.append(answer.len()).copy_from_slice(&answer);
            self.device.received.push_front(frame);
            let at = smol_instant(now);
            self.interface.poll_ingress_single(at, &mut self.device, &mut self.sockets);
        }
    }

    fn has_work(&self, now: Instant) -> bool {
        self.is_dirty || self.due.is_some_and(|due| due <= now)
    }

    /// The next frame to send.
    pub fn poll_transmit(&mut self) -> Option<Frame> {
        let frame = self.device.poll_transmit().map(|outgoing| outgoing.frame);
        self.counters.sent += u64::from(frame.is_some());
        frame
    }

    /// The next thing that happened to a connection.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether there is nothing to poll for or to send, and no event to be taken.
    pub fn is_at_rest(&self, now: Instant) -> bool {
        !self.has_work(now) && self.events.is_empty()
    }

    /// When [`HostStack::poll`] wants to be called: now, unless the stack is at rest.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        if self.is_at_rest(now) { self.due } else { Some(now) }
    }

    /// Connections with something to be read, or with an end to be taken note of.
    pub fn with_news(&self) -> impl Iterator<Item = ConnectionId> {
        let has_news = |handle: &SocketHandle| {
            let socket = self.sockets.get::<Socket<'_>>(*handle);
            socket.can_recv() || !socket.may_recv()
        };
        self.connections.iter().filter(move |(_, handle)| has_news(handle)).map(|(id, _)| *id)
    }

    /// The connections that are open.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionId> {
        self.connections.keys().copied()
    }

    /// Where a connection comes from.
    pub fn remote(&self, connection: ConnectionId) -> Option<SocketAddr> {
        let remote = self.socket(connection)?.remote_endpoint()?;
        Some(SocketAddr::new(remote.addr.into(), remote.port))
    }

    /// How many bytes of a connection wait to be read.
    pub fn readable(&self, connection: ConnectionId) -> usize {
        self.socket(connection).map_or(0, Socket::recv_queue)
    }

    /// Lets `take` read what has arrived; it answers how much it has taken.
    pub fn receive(&mut self, connection: ConnectionId, take: impl FnOnce(&[u8]) -> usize) {
        if self.readable(connection) == 0 {
            return;
        }
        if let Some(socket) = self.socket_mut(connection) {
            let taken = |bytes: &mut [u8]| {
                let count = take(bytes).min(bytes.len());
                (count, ())
            };
            // It can be received from, as was just asked.
            let _ = socket.recv(taken);
        }
    }

    /// Sends as much of `bytes` as there is room for; answers how much that was.
    pub fn send(&mut self, connection: ConnectionId, bytes: &[u8]) -> usize {
        if bytes.is_empty() {
            return 0;
        }
        self.socket_mut(connection).and_then(|socket| socket.send_slice(bytes).ok()).unwrap_or(0)
    }

    /// Whether the client will send nothing more, and everything that it sent was read.
    pub fn is_finished(&self, connection: ConnectionId) -> bool {
        self.socket(connection).is_none_or(|socket| !socket.may_recv() && !socket.can_recv())
    }

    /// Closes a connection, after what was sent has arrived.
    pub fn close(&mut self, connection: ConnectionId) {
        if let Some(socket) = self.socket_mut(connection) {
            socket.close();
        }
    }

    /// Ends a connection at once.
    pub fn abort(&mut self, connection: ConnectionId) {
        if let Some(socket) = self.socket_mut(connection) {
            socket.abort();
        }
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        Counters { overrun: self.counters.overrun + self.device.given_up(), ..self.counters }
    }

    fn socket(&self, connection: ConnectionId) -> Option<&Socket<'static>> {
        self.connections.get(&connection).map(|handle| self.sockets.get::<Socket<'_>>(*handle))
    }

    fn socket_mut(&mut self, connection: ConnectionId) -> Option<&mut Socket<'static>> {
        let handle = self.connections.get(&connection)?;
        self.is_dirty = true;
        Some(self.sockets.get_mut::<Socket<'_>>(*handle))
    }

    /// Sockets that a client has connected to are connections from now on. One whose client was not heard
    /// again in time is given up, and was none.
    fn accept(&mut self) {
        let sockets = &self.sockets;
        let is_taken = |(handle, _): &mut (SocketHandle, u16)| {
            let state = sockets.get::<Socket<'_>>(*handle).state();
            !matches!(state, State::Listen | State::SynReceived)
        };
        let taken: Vec<_> = self.listening.extract_if(.., is_taken).collect();
        for (handle, port) in taken {
            if self.sockets.get::<Socket<'_>>(handle).state() == State::Closed {
                self.sockets.remove(handle);
                continue;
            }
            let connection = ConnectionId(self.next_connection);
            self.next_connection += 1;
            self.counters.accepted += 1;
            self.connections.insert(connection, handle);
            self.events.push_back(Event::Accepted(connection, port));
        }
    }

    /// Sockets of connections that are over are given up. The wait that TCP asks for at the end is cut
    /// short: a listening socket is worth more here.
    fn bury(&mut self) {
        let (sockets, events) = (&mut self.sockets, &mut self.events);
        self.connections.retain(|connection, handle| {
            let state = sockets.get::<Socket<'_>>(*handle).state();
            let is_over = matches!(state, State::Closed | State::TimeWait);
            if is_over {
                sockets.remove(*handle);
                events.push_back(Event::Closed(*connection));
            }
            !is_over
        });
    }

    /// Makes sockets that listen, as many as there may be.
    fn replenish(&mut self) {
        if !self.is_called {
            return;
        }
        for port in &self.ports {
            let sockets = &self.sockets;
            let is_free = |(handle, other): &&(SocketHandle, u16)| {
                other == port && sockets.get::<Socket<'_>>(*handle).state() == State::Listen
            };
            let mut free = self.listening.iter().filter(is_free).count();
            let taken = |port: u16| {
                let pending = self.listening.iter().filter(|(_, other)| *other == port).count();
                self.connections.len() + pending
            };
            let mut taken = taken(*port);
            while free < LISTENERS_PER_PORT && taken < limits::CONNECTIONS_MAX {
                let handle = self.sockets.add(listening_socket(*port));
                self.listening.push((handle, *port));
                (free, taken) = (free + 1, taken + 1);
            }
        }
    }
}

fn listening_socket(port: u16) -> Socket<'static> {
    let receive = SocketBuffer::new(vec![0; RECEIVE_BYTES]);
    let send = SocketBuffer::new(vec![0; SEND_BYTES]);
    let mut socket = Socket::new(receive, send);
    socket.set_nagle_enabled(false);
    socket.set_ack_delay(None);
    socket.set_timeout(Some(CLIENT_TIMEOUT));
    socket.set_keep_alive(Some(KEEP_ALIVE));
    socket.listen(port).expect("a fresh socket can listen on any port but 0");
    socket
}

fn own_instant(at: SmolInstant) -> Instant {
    Instant::from_nanos(u64::try_from(at.total_micros()).unwrap_or(0).saturating_mul(1_000))
}

fn smol_instant(now: Instant) -> SmolInstant {
    SmolInstant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}
