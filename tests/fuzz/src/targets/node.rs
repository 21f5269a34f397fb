//! A whole node that leads alone: keys on its console, frames at both cards, clients over TCP, time.

use base::{Duration, Instant};
use node::{HTTP_PORT, Hardware, Node, Output, Port, RESP_PORT, Settings, Stop};
use pool::{PAGE_BYTES, Pool};

use super::console::check_output;
use crate::disk::Disk;
use crate::input::Input;
use crate::ip::{self, ACK, FIN, SYN};

const PACKETS: usize = 64;
const BLOCKS: usize = 4;
const SECTORS: u64 = 2048;
const STEPS_MAX: usize = 100;
/// More than a node puts out for anything.
const OUTPUTS_MAX: usize = 100_000;

/// One TCP connection, as far as a client without losses needs it.
#[derive(Debug)]
struct Client {
    port: u16,
    sequence: u32,
    acknowledged: u32,
    received: Vec<u8>,
}

struct World {
    node: Node,
    packets: Pool,
    disk: Disk,
    now: Instant,
    clients: [Client; 2],
    is_stopped: bool,
}

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut world = World::start();
    for _ in 0..STEPS_MAX {
        if input.is_empty() || world.is_stopped {
            break;
        }
        world.step(&mut input);
    }
    let World { node, packets, clients: [_, http], .. } = world;
    assert!(http.received.is_empty() || http.received.starts_with(b"HTTP/1.1 "));
    drop(node);
    assert_eq!(packets.free(), PACKETS, "no buffer is lost");
}

impl World {
    /// A node that has read its empty disk, and leads.
    fn start() -> World {
        let line = "coterie.id=1 coterie.cluster=1 coterie.peers=1 coterie.format=yes \
                    coterie.wall_ms=1700000000000";
        let settings = Settings::parse(line).expect("the settings are good");
        let raft = settings.consensus();
        let packets = Pool::on_heap(PACKETS, PAGE_BYTES);
        let blocks = Pool::on_heap(BLOCKS, 4 * PAGE_BYTES);
        let hardware = Hardware {
            packets: packets.clone(),
            blocks,
            disk_sectors: SECTORS,
            has_continuous_clock: false,
        };
        let now = Instant::from_millis(1);
        let node = Node::new(settings, raft, hardware, 1, now).expect("the settings work");
        let client = |port| Client { port, sequence: 1, acknowledged: 0, received: Vec::new() };
        let clients = [client(RESP_PORT), client(HTTP_PORT)];
        let disk = Disk::new(SECTORS);
        let mut world = World { node, packets, disk, now, clients, is_stopped: false };
        world.pass(Duration::from_secs(5));
        assert!(world.node.raft().is_some_and(|raft| raft.leader().is_some()), "it leads");
        world.deliver(Port::Outside, &ip::arp());
        for which in 0..2 {
            world.segment(which, SYN, &[]);
            world.segment(which, ACK, &[]);
        }
        world
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let choice = input.u8();
        let length = usize::from(input.u8());
        let bytes = input.take(length);
        match choice % 8 {
            0 => {
                self.node.handle_console(bytes, self.now);
                self.drain();
            }
            1 => {
                self.node.handle_console(&[bytes, b"\r"].concat(), self.now);
                self.drain();
            }
            2 => self.deliver(Port::Outside, bytes),
            3 => self.deliver(Port::Cluster, bytes),
            4 => self.pass(Duration::from_millis(length as u64)),
            5 => self.segment(usize::from(choice >> 7), choice & FIN | ACK, bytes),
            6 => self.segment(1, ACK, bytes),
            _ => self.segment(0, ACK, &[bytes, b"\r\n"].concat()),
        }
    }

    fn deliver(&mut self, port: Port, bytes: &[u8]) {
        let Some(mut frame) = self.packets.allocate_frame() else { panic!("no buffer is free") };
        frame.append_copy(bytes);
        self.node.handle_frame(port, frame, self.now);
        self.drain();
    }

    /// The client sends something, and acknowledges what it got in return.
    fn segment(&mut self, which: usize, flags: u8, content: &[u8]) {
        let client = &mut self.clients[which];
        let (port, sequence) = (client.port, client.sequence);
        let frame = ip::tcp(port, sequence, client.acknowledged, flags, content);
        let marks = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        client.sequence = sequence.wrapping_add(content.len() as u32 + marks);
        let before = client.acknowledged;
        self.deliver(Port::Outside, &frame);
        let client = &self.clients[which];
        if client.acknowledged != before {
            let frame = ip::tcp(port, client.sequence, client.acknowledged, ACK, &[]);
            self.deliver(Port::Outside, &frame);
        }
    }

    /// Time passes, and every deadline is kept.
    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        for _ in 0..OUTPUTS_MAX {
            self.drain();
            match self.node.poll_timeout(self.now).filter(|at| *at <= end) {
                Some(at) => self.now = self.now.max(at),
                None => {
                    self.now = end;
                    return;
                }
            }
            self.node.handle_timeout(self.now);
        }
        panic!("a deadline never passes");
    }

    fn drain(&mut self) {
        for _ in 0..OUTPUTS_MAX {
            let Some(output) = self.node.poll_output(self.now) else {
                return self.node.check_invariants();
            };
            match output {
                Output::Transmit(Port::Outside, frame) => self.hear(&frame),
                Output::Transmit(Port::Cluster, _) | Output::Answer(..) => {}
                Output::Disk(request) => {
                    let completion = self.disk.serve(request);
                    self.node.handle_completion(completion, self.now);
                }
                Output::Console(bytes) => check_output(&bytes),
                Output::Stop(Stop::PowerOff | Stop::Restart) => self.is_stopped = true,
                Output::Stop(stop) => panic!("it stops: {stop:?}"),
            }
        }
        panic!("a node never rests");
    }

    fn hear(&mut self, frame: &[u8]) {
        let Some((sequence, end, content)) = ip::parse_tcp(frame) else { return };
        let port = u16::from_be_bytes([frame[34], frame[35]]);
        let Some(client) = self.clients.iter_mut().find(|client| client.port == port) else {
            return;
        };
        if client.acknowledged == 0 || client.acknowledged == sequence {
            client.acknowledged = end;
            client.received.extend_from_slice(content);
        }
    }
}
