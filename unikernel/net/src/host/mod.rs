//! The outside world on one card: ARP, ping, and TCP connections of clients, by smoltcp.
//!
//! Every port has a few sockets that listen, so that several clients may connect at once; when one of them
//! is taken, another is made, until there are as many connections as there may be. Then a further client is
//! refused (RST), which is better than a wait without end. Work per call is bounded: frames that wait are
//! taken a burst at a time. So are buffers: a stack keeps few frames that it has not looked at, and few
//! answers, or nothing might arrive any more that concerns others.
//!
//! Ping is answered and clients are served in both families of IP: the card's IPv6 address is the one that
//! follows from its Ethernet address.

mod neighbours;
mod service;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::net::SocketAddr;

use base::{Instant, limits};
use pool::{Frame, Pool};
use smoltcp::iface::{
    Config as InterfaceConfig, Interface, PollIngressSingleResult, SocketHandle, SocketSet,
};
use smoltcp::socket::tcp::Socket;
use smoltcp::time::Instant as SmolInstant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv4Address, Ipv4Cidr};

use crate::device::FrameDevice;
use crate::packet;
use neighbours::Neighbours;
use service::Service;

/// How many frames are taken in one call.
const INGRESS_MAX: usize = 64;

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
    /// Answers that were dropped because too many waited, and frames for whose answer no buffer was free.
    pub overrun: u64,
    /// Frames that were dropped because a checksum of IPv4 or TCP was wrong. smoltcp verifies that of ICMP,
    /// and keeps to itself what it finds.
    pub bad_checksum: u64,
}

/// Where a connection's socket is.
#[derive(Clone, Copy, Debug)]
struct Place {
    service: usize,
    handle: SocketHandle,
}

/// The stack on one card.
pub struct HostStack {
    interface: Interface,
    device: FrameDevice,
    neighbours: Neighbours,
    services: Vec<Service>,
    /// None: those of all other ports.
    no_sockets: SocketSet<'static>,
    connections: BTreeMap<ConnectionId, Place>,
    next_connection: u64,
    events: VecDeque<Event>,
    /// Somebody has tried to connect. On many a card nobody ever does, and no buffers need to wait for them.
    is_called: bool,
    /// Something has happened since the last poll.
    is_dirty: bool,
    /// Something waits until there is room for more frames.
    is_short_of_room: bool,
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
            services: config.ports.into_iter().map(Service::new).collect(),
            no_sockets: SocketSet::new(Vec::new()),
            connections: BTreeMap::new(),
            next_connection: 0,
            events: VecDeque::new(),
            is_called: false,
            is_dirty: false,
            is_short_of_room: false,
            due: None,
            counters: Counters::default(),
        }
    }

    /// A frame has arrived; it is looked at by [`HostStack::poll`], or now, if enough wait.
    pub fn handle_frame(&mut self, frame: Frame, now: Instant) {
        if !self.is_called && packet::tcp_port(&frame).is_some() {
            self.is_called = true;
            self.replenish();
        }
        self.device.push_received(frame, false);
        self.is_dirty = true;
        if self.device.waiting() + self.device.outgoing.len() >= limits::STACK_FRAMES_MAX {
            self.poll(now);
        }
    }

    /// So many frames may be made from now on for connections with each port; what does not fit stays in
    /// them. At first there is room for any number. What is answered to others has room of its own, which is
    /// small.
    pub fn set_room(&mut self, of_port: impl Fn(u16) -> usize) {
        for service in &mut self.services {
            service.room = of_port(service.port);
        }
        self.is_dirty |= self.is_short_of_room;
    }

    /// Whether something waits for [`HostStack::set_room`].
    pub fn is_short_of_room(&self) -> bool {
        self.is_short_of_room
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
        self.device.set_room(usize::MAX);
        let most = self.device.outgoing.len().max(limits::STACK_FRAMES_MAX);
        for _ in 0..INGRESS_MAX {
            match self.take_frame(at) {
                PollIngressSingleResult::None => break,
                PollIngressSingleResult::PacketProcessed => {}
                // Perhaps a client took a listener, and the next frame needs one, or ends what has begun.
                PollIngressSingleResult::SocketStateChanged => {
                    self.accept();
                    self.replenish();
                }
            }
            self.counters.received += 1;
        }
        let excess = self.device.outgoing.len().saturating_sub(most);
        self.device.outgoing.truncate(most);
        self.counters.overrun += excess as u64;
        self.is_dirty = true;
        self.accept();
        self.bury();
    }

    /// Takes the frame that came first, if there is one.
    fn take_frame(&mut self, at: SmolInstant) -> PollIngressSingleResult {
        let port = self.device.received.front().and_then(|frame| packet::tcp_port(frame));
        let service = self.services.iter_mut().find(|service| Some(service.port) == port);
        let sockets = service.map_or(&mut self.no_sockets, |service| &mut service.sockets);
        self.interface.poll_ingress_single(at, &mut self.device, sockets)
    }

    /// Sends what can be sent. It takes nothing: whoever has looked at all connections knows afterwards that
    /// there is nothing new at any of them, unless [`HostStack::poll_event`] says so.
    pub fn flush(&mut self, now: Instant) {
        if !self.has_work(now) {
            return;
        }
        let at = smol_instant(now);
        for service in &mut self.services {
            let made = self.device.give_room(service.room);
            self.interface.poll_egress(at, &mut self.device, &mut service.sockets);
            service.room -= self.device.outgoing.len() - made;
        }
        self.accept();
        self.bury();
        self.replenish();
        self.look_ahead(now);
    }

    /// Finds out what is to be done next, and whether that takes more room than there is.
    fn look_ahead(&mut self, now: Instant) {
        self.is_dirty = self.device.waiting() > 0;
        (self.due, self.is_short_of_room) = (None, false);
        for service in &self.services {
            let due = self.interface.poll_at(smol_instant(now), &service.sockets);
            if service.room > 0 {
                let due = due.map(|due| own_instant(due).max(now));
                self.due = Instant::earliest([self.due, due]);
            } else {
                self.is_short_of_room |= due.is_some();
            }
        }
    }

    /// Lets the interface know its neighbours, before it forgets them.
    fn tell_neighbours(&mut self, now: Instant) {
        if !self.neighbours.are_due(now) {
            return;
        }
        // They are taken at once, and lead to no frame.
        self.device.set_room(usize::MAX);
        for answer in self.neighbours.tell(now) {
            // Without buffers they are told next time; until then the interface asks by itself.
            let has_buffers = self.device.pool().free() > 1;
            let frame = has_buffers.then(|| self.device.pool().allocate_frame()).flatten();
            let Some(mut frame) = frame else { break };
            frame.append(answer.len()).copy_from_slice(&answer);
            self.device.received.push_front(frame);
            let at = smol_instant(now);
            self.interface.poll_ingress_single(at, &mut self.device, &mut self.no_sockets);
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
        let has_news = |place: &Place| {
            let socket = self.services[place.service].socket(place.handle);
            socket.can_recv() || !socket.may_recv()
        };
        self.connections.iter().filter(move |(_, place)| has_news(place)).map(|(id, _)| *id)
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
        Counters {
            overrun: self.counters.overrun + self.device.given_up(),
            bad_checksum: self.device.bad_checksums(),
            ..self.counters
        }
    }

    fn socket(&self, connection: ConnectionId) -> Option<&Socket<'static>> {
        let place = self.connections.get(&connection)?;
        Some(self.services[place.service].socket(place.handle))
    }

    fn socket_mut(&mut self, connection: ConnectionId) -> Option<&mut Socket<'static>> {
        let place = self.connections.get(&connection)?;
        self.is_dirty = true;
        Some(self.services[place.service].sockets.get_mut(place.handle))
    }

    /// Sockets that a client has connected to are connections from now on.
    fn accept(&mut self) {
        for (index, service) in self.services.iter_mut().enumerate() {
            for handle in service.accept() {
                let connection = ConnectionId(self.next_connection);
                self.next_connection += 1;
                self.counters.accepted += 1;
                self.connections.insert(connection, Place { service: index, handle });
                self.events.push_back(Event::Accepted(connection, service.port));
            }
        }
    }

    /// Sockets of connections that are over are given up.
    fn bury(&mut self) {
        let (services, events) = (&mut self.services, &mut self.events);
        self.connections.retain(|connection, place| {
            let is_over = services[place.service].bury(place.handle);
            if is_over {
                events.push_back(Event::Closed(*connection));
            }
            !is_over
        });
    }

    /// Makes sockets that listen, as many as there may be.
    fn replenish(&mut self) {
        if self.is_called {
            let connections = self.connections.len();
            self.services.iter_mut().for_each(|service| service.replenish(connections));
        }
    }
}

fn own_instant(at: SmolInstant) -> Instant {
    Instant::from_nanos(u64::try_from(at.total_micros()).unwrap_or(0).saturating_mul(1_000))
}

fn smol_instant(now: Instant) -> SmolInstant {
    SmolInstant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}
