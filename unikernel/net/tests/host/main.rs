//! The host stack against a plain smoltcp client over a wire in memory.

mod listening;
mod room;

use std::collections::VecDeque;

use base::{Duration, Instant, Prng, limits};
use net::host::{Config, ConnectionId, Event, HostStack};
use pool::{PAGE_BYTES, Pool};
use smoltcp::iface::{Config as ClientConfig, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant as SmolInstant;
use smoltcp::wire::{
    EthernetAddress, Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpAddress, IpCidr,
    IpProtocol, Ipv4Address, Ipv4Packet, Ipv4Repr, Ipv6Address, Ipv6Packet, Ipv6Repr,
    NdiscNeighborFlags, NdiscRepr,
};

#[derive(Default)]
struct Wire {
    to_client: VecDeque<Vec<u8>>,
    to_node: VecDeque<Vec<u8>>,
}

struct Rx(Vec<u8>);
struct Tx<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut bytes = vec![0; length];
        let result = f(&mut bytes);
        self.0.push_back(bytes);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: SmolInstant) -> Option<(Rx, Tx<'_>)> {
        self.to_client.pop_front().map(|bytes| (Rx(bytes), Tx(&mut self.to_node)))
    }

    fn transmit(&mut self, _: SmolInstant) -> Option<Tx<'_>> {
        Some(Tx(&mut self.to_node))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

struct World {
    now: Instant,
    stack: HostStack,
    pool: Pool,
    wire: Wire,
    client: Interface,
    sockets: SocketSet<'static>,
    prng: Prng,
    loss: u64,
    accepted: Vec<ConnectionId>,
    closed: usize,
    /// The port whose frames have to wait.
    shaped: Option<u16>,
}

const NODE: Ipv4Address = Ipv4Address::new(10, 0, 2, 15);
/// Addresses on the link, which follow from those of Ethernet.
const NODE_IPV6: Ipv6Address = Ipv6Address::new(0xfe80, 0, 0, 0, 0x77, 0x1ff, 0xfe00, 1);
const CLIENT_IPV6: Ipv6Address = Ipv6Address::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 9);

fn smol(now: Instant) -> SmolInstant {
    SmolInstant::from_micros(now.as_micros() as i64)
}

impl World {
    fn new(buffers: usize) -> World {
        let pool = Pool::on_heap(buffers, PAGE_BYTES);
        let config = Config {
            mac: EthernetAddress([2, 0x77, 1, 0, 0, 1]),
            address: NODE,
            prefix: 24,
            gateway: None,
            ports: vec![6379, 80],
            mtu: 1500,
        };
        let now = Instant::ORIGIN;
        let stack = HostStack::new(config, pool.clone(), 7, now);
        let mut wire = Wire::default();
        let client_config = ClientConfig::new(EthernetAddress([2, 0, 0, 0, 0, 9]).into());
        let mut client = Interface::new(client_config, &mut wire, smol(now));
        client.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::new(IpAddress::v4(10, 0, 2, 2), 24)).unwrap();
            addresses.push(IpCidr::new(CLIENT_IPV6.into(), 64)).unwrap();
        });
        World {
            now,
            stack,
            pool,
            wire,
            client,
            sockets: SocketSet::new(Vec::new()),
            prng: Prng::new(1),
            loss: 0,
            accepted: Vec::new(),
            closed: 0,
            shaped: None,
        }
    }

    fn connect(&mut self, local: u16) -> SocketHandle {
        self.connect_to((NODE.into(), 6379), local)
    }

    fn connect_to(&mut self, node: (IpAddress, u16), local: u16) -> SocketHandle {
        let buffer = || SocketBuffer::new(vec![0; 65536]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.connect(self.client.context(), node, local).unwrap();
        self.sockets.add(socket)
    }

    /// What the client has to send arrives at the node.
    fn carry(&mut self) {
        self.client.poll(smol(self.now), &mut self.wire, &mut self.sockets);
        while let Some(bytes) = self.wire.to_node.pop_front() {
            if self.prng.chance(self.loss, 1000) {
                continue;
            }
            let Some(mut frame) = self.pool.allocate_frame() else { continue };
            frame.append_copy(&bytes);
            self.stack.handle_frame(frame, self.now);
        }
    }

    /// One step of a tenth of a millisecond; the node echoes what it reads.
    fn step(&mut self) {
        self.now += Duration::from_micros(100);
        self.carry();
        let shaped = self.shaped;
        self.stack.set_room(|port| if Some(port) == shaped { 0 } else { usize::MAX });
        self.stack.poll(self.now);
        while let Some(event) = self.stack.poll_event() {
            match event {
                Event::Accepted(connection, 6379 | 80) => self.accepted.push(connection),
                Event::Accepted(..) => panic!("only these ports listen"),
                Event::Closed(_) => self.closed += 1,
            }
        }
        let connections: Vec<_> = self.stack.connections().collect();
        for connection in connections {
            let mut read = Vec::new();
            self.stack.receive(connection, |bytes| {
                read.extend_from_slice(&bytes[..bytes.len().min(1000)]);
                read.len()
            });
            // The client reads faster than it writes here: everything fits.
            assert_eq!(self.stack.send(connection, &read), read.len());
            if self.stack.is_finished(connection) {
                self.stack.close(connection);
            }
        }
        self.stack.flush(self.now);
        while let Some(frame) = self.stack.poll_transmit() {
            if !self.prng.chance(self.loss, 1000) {
                self.wire.to_client.push_back(frame.to_vec());
            }
        }
    }

    fn echo(&mut self, handle: SocketHandle, length: usize) -> Vec<u8> {
        let sent: Vec<u8> = (0..length).map(|i| (i * 7 % 251) as u8).collect();
        let mut received = Vec::new();
        let mut at = 0;
        for _ in 0..2_000_000 {
            let socket = self.sockets.get_mut::<Socket>(handle);
            // No more than the node's buffers hold is under way.
            let end = sent.len().min(received.len() + 8000);
            if socket.can_send() && at < end {
                at += socket.send_slice(&sent[at..end]).unwrap();
            }
            if socket.can_recv() {
                socket
                    .recv(|bytes| {
                        received.extend_from_slice(bytes);
                        (bytes.len(), ())
                    })
                    .unwrap();
            }
            if received.len() == length {
                break;
            }
            self.step();
        }
        assert_eq!(received, sent);
        received
    }
}

#[test]
fn a_client_is_served_over_a_bad_wire() {
    for loss in [0, 20] {
        let mut world = World::new(64);
        world.loss = loss;
        let handle = world.connect(50_000);
        world.echo(handle, 1 << 20);
        world.sockets.get_mut::<Socket>(handle).close();
        for _ in 0..100_000 {
            world.step();
        }
        assert_eq!((world.accepted.len(), world.closed), (1, 1));
        assert_eq!(world.pool.free(), 64, "no buffer is lost");
    }
}

#[test]
fn a_flush_takes_nothing_that_would_go_unseen() {
    let mut world = World::new(64);
    let handle = world.connect(50_000);
    world.echo(handle, 1000);
    (0..100).for_each(|_| world.step());
    assert!(world.stack.is_at_rest(world.now));
    world.sockets.get_mut::<Socket>(handle).send_slice(b"news").unwrap();
    world.carry();
    let (connection, now) = (world.accepted[0], world.now);
    world.stack.flush(now);
    assert_eq!(world.stack.readable(connection), 0);
    assert!(!world.stack.is_at_rest(now));
    assert_eq!(world.stack.poll_timeout(now), Some(now));
    assert_eq!(world.stack.with_news().count(), 0);
    world.stack.poll(now);
    assert_eq!(world.stack.readable(connection), 4);
    assert_eq!(world.stack.with_news().collect::<Vec<_>>(), [connection]);
    assert!(!world.stack.is_at_rest(now), "it is to be acknowledged");
    world.stack.flush(now);
    assert!(world.stack.is_at_rest(now), "what is readable was to be looked at");
}

#[test]
fn connections_are_bounded_and_come_back() {
    let mut world = World::new(512);
    let most = limits::CONNECTIONS_MAX;
    let handles: Vec<_> = (0..200).map(|i| world.connect(40_000 + i)).collect();
    for _ in 0..30_000 {
        world.step();
    }
    let open = |world: &World, handle: &SocketHandle| {
        world.sockets.get::<Socket>(*handle).state() == State::Established
    };
    let served = handles.iter().filter(|handle| open(&world, handle)).count();
    assert_eq!(served, most);
    assert_eq!(world.stack.connections().count(), served);
    for handle in &handles {
        world.sockets.get_mut::<Socket>(*handle).abort();
    }
    for _ in 0..1000 {
        world.step();
    }
    assert_eq!(world.stack.connections().count(), 0);
    let again = world.connect(60_000);
    world.echo(again, 1000);
}

#[test]
fn an_empty_pool_is_survived() {
    let mut world = World::new(8);
    let handle = world.connect(50_000);
    for _ in 0..100 {
        world.step();
    }
    let held: Vec<_> = std::iter::from_fn(|| world.pool.allocate()).collect();
    for _ in 0..1000 {
        world.step();
    }
    drop(held);
    world.echo(handle, 100_000);
}

#[test]
fn garbage_is_ignored() {
    let mut world = World::new(64);
    let mut prng = Prng::new(3);
    let handle = world.connect(50_000);
    for round in 0..3000 {
        let mut frame = world.pool.allocate_frame().unwrap();
        let length = prng.below(300) as usize;
        let bytes: Vec<u8> = (0..length).map(|_| prng.next_u64() as u8).collect();
        frame.append_copy(&bytes);
        if length > 40 && round % 2 == 0 {
            frame[..14].copy_from_slice(&[2, 0x77, 1, 0, 0, 1, 2, 0, 0, 0, 0, 9, 8, 0]);
            frame[14] = 0x45;
        }
        world.stack.handle_frame(frame, world.now);
        world.step();
    }
    world.echo(handle, 1000);
    assert_eq!(world.pool.free(), 64);
}

/// The address on the link that follows from an Ethernet address.
fn link_local([a, b, c, d, e, f]: [u8; 6]) -> Ipv6Address {
    let pair = |high, low| u16::from_be_bytes([high, low]);
    Ipv6Address::new(0xfe80, 0, 0, 0, pair(a ^ 2, b), pair(c, 0xff), pair(0xfe, d), pair(e, f))
}

/// A frame that asks a station with this Ethernet address for an echo.
fn echo_request(from: [u8; 6], is_ipv6: bool) -> Vec<u8> {
    let mut frame = vec![0; 14];
    frame[..6].copy_from_slice(&[2, 0x77, 1, 0, 0, 1]);
    frame[6..12].copy_from_slice(&from);
    let checksums = ChecksumCapabilities::default();
    if is_ipv6 {
        let (source, node) = (link_local(from), NODE_IPV6);
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        let echo = Icmpv6Repr::EchoRequest { ident: 1, seq_no: 2, data: b"here?" };
        let ip = Ipv6Repr {
            src_addr: source,
            dst_addr: node,
            next_header: IpProtocol::Icmpv6,
            payload_len: echo.buffer_len(),
            hop_limit: 64,
        };
        frame.resize(14 + 40 + echo.buffer_len(), 0);
        ip.emit(&mut Ipv6Packet::new_unchecked(&mut frame[14..]));
        let mut packet = Icmpv6Packet::new_unchecked(&mut frame[54..]);
        echo.emit(&source, &node, &mut packet, &checksums);
        return frame;
    }
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    let echo = Icmpv4Repr::EchoRequest { ident: 1, seq_no: 2, data: b"here?" };
    let ip = Ipv4Repr {
        src_addr: Ipv4Address::new(10, 0, 2, from[5]),
        dst_addr: NODE,
        next_header: IpProtocol::Icmp,
        payload_len: echo.buffer_len(),
        hop_limit: 64,
    };
    frame.resize(14 + 20 + echo.buffer_len(), 0);
    ip.emit(&mut Ipv4Packet::new_unchecked(&mut frame[14..]), &checksums);
    echo.emit(&mut Icmpv4Packet::new_unchecked(&mut frame[34..]), &checksums);
    frame
}

impl World {
    /// What the stack says at once to these frames.
    fn answers(&mut self, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut answers = Vec::new();
        for bytes in frames {
            let mut frame = self.pool.allocate_frame().unwrap();
            frame.append_copy(bytes);
            self.stack.handle_frame(frame, self.now);
            answers.append(&mut self.sent());
        }
        self.stack.poll(self.now);
        self.stack.flush(self.now);
        answers.append(&mut self.sent());
        answers
    }

    fn sent(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.stack.poll_transmit().map(|frame| frame.to_vec())).collect()
    }
}

fn is_of(frame: &[u8], ether_type: [u8; 2]) -> bool {
    frame[12..14] == ether_type
}

#[test]
fn first_contact_with_many_neighbours_takes_no_question() {
    const PEERS: u8 = 63;
    let stations = (16..16 + PEERS).map(|number| [2, 0x77, 0, 0, 0, number]);
    for is_ipv6 in [false, true] {
        let requests: Vec<_> = stations.clone().map(|from| echo_request(from, is_ipv6)).collect();
        // Nobody is known: one neighbour is asked for, and no other before a second has passed.
        let mut world = World::new(256);
        let answers = world.answers(&requests);
        assert_eq!(answers.len(), 1);
        let is_question = match is_ipv6 {
            true => is_of(&answers[0], [0x86, 0xdd]) && answers[0][54] == 135,
            false => is_of(&answers[0], [0x08, 0x06]),
        };
        assert!(is_question, "it asks");

        let mut world = World::new(256);
        let known = |mac: [u8; 6]| (Ipv4Address::new(10, 0, 2, mac[5]), EthernetAddress(mac));
        world.stack.set_neighbours(stations.clone().map(known));
        // At the first time, before they are forgotten, and long after.
        for at in [0, 59, 61, 1_000] {
            world.now = Instant::ORIGIN + Duration::from_secs(at);
            let answers = world.answers(&requests);
            assert_eq!(answers.len(), usize::from(PEERS), "after {at} s");
            let is_reply = |answer: &[u8]| match is_ipv6 {
                true => is_of(answer, [0x86, 0xdd]) && answer[54] == 129,
                false => is_of(answer, [0x08, 0x00]) && answer[34] == 0,
            };
            let is_answer = |(answer, request): (&Vec<u8>, &Vec<u8>)| {
                answer[..6] == request[6..12] && is_reply(answer)
            };
            assert!(
                answers.iter().zip(&requests).all(is_answer),
                "all are answered where they are"
            );
        }
        assert_eq!(world.pool.free(), 256);
    }
}

#[test]
fn ping_is_answered_in_both_families_and_ipv6_neighbours_are_discovered() {
    let mut world = World::new(64);
    let client = [2, 0, 0, 0, 0, 9];
    let asked = world.answers(&[echo_request(client, true)]);
    assert_eq!(asked.len(), 1);
    // A neighbour solicitation (RFC 4861): to the group of the client's address.
    assert!(is_of(&asked[0], [0x86, 0xdd]) && asked[0][54] == 135);
    assert_eq!(asked[0][..6], [0x33, 0x33, 0xff, 0, 0, 9]);

    // The client advertises where it is.
    let (source, node) = (CLIENT_IPV6, NODE_IPV6);
    let advertisement = Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
        flags: NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE,
        target_addr: source,
        lladdr: Some(EthernetAddress(client).into()),
    });
    let ip = Ipv6Repr {
        src_addr: source,
        dst_addr: node,
        next_header: IpProtocol::Icmpv6,
        payload_len: advertisement.buffer_len(),
        hop_limit: 255,
    };
    let mut frame = echo_request(client, true)[..14].to_vec();
    frame.resize(14 + 40 + advertisement.buffer_len(), 0);
    ip.emit(&mut Ipv6Packet::new_unchecked(&mut frame[14..]));
    let mut packet = Icmpv6Packet::new_unchecked(&mut frame[54..]);
    advertisement.emit(&source, &node, &mut packet, &ChecksumCapabilities::default());
    assert!(world.answers(&[frame]).is_empty());

    world.now += Duration::from_secs(2);
    let answers = world.answers(&[echo_request(client, true)]);
    assert_eq!(answers.len(), 1);
    assert_eq!((&answers[0][..6], answers[0][54]), (&client[..], 129), "an echo reply");
    assert!(answers[0].ends_with(b"here?"));
}
