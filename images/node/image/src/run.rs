//! The node's loop: one thread, to completion. Receive, work, send; when there is nothing to do, halt.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use base::limits::{CLUSTER_TRANSMIT_FRAMES_MAX, OUTSIDE_TRANSMIT_FRAMES_MAX};
use base::{Duration, Instant};
use block::{BlockDevice, BlockRequest};
use node::{CardReport, MachineReport, Node, Output, Port, Stop};
use platform::clock::Clock;
use platform::idle::Idle;
use platform::interrupts;
use platform::serial::Serial;
use platform::{heap, memory};
use pool::Frame;
use virtio::VirtioNet;
use virtio::transport::Transport;

use crate::devices::Devices;

/// How many frames are taken from a card before anything else is looked at.
const BURST: usize = 32;
/// How many bytes the console may have waiting; the oldest go first. A person who does not read must not
/// stop a node.
const CONSOLE_MAX_BYTES: usize = 64 * 1024;
/// How often the devices are asked whether they need a reset, and the cards for their links, if they say
/// nothing themselves.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// A loop that turns more often than this between two checks is under load.
const BUSY_TURNS: u32 = 500;

/// What waits for a device to take it.
#[derive(Default)]
struct Waiting {
    cluster: VecDeque<Frame>,
    outside: VecDeque<Frame>,
    disk: VecDeque<BlockRequest>,
    console: VecDeque<u8>,
}

/// Runs the node until it stops.
pub fn run<T: Transport>(mut node: Node, mut devices: Devices<T>, clock: Clock) -> Stop {
    let mut idle = Idle::new(clock);
    let mut serial = Serial::new();
    let mut waiting = Waiting::default();
    let mut check_at = clock.now() + CHECK_EVERY;
    let mut changes = interrupts::changes();
    let mut turns = 0_u32;
    loop {
        turns = turns.saturating_add(1);
        let now = clock.now();
        let received = take_input(&mut node, &mut devices, &mut serial, now);
        tell_room(&mut node, &mut devices, &waiting);
        while let Some(output) = node.poll_output(now) {
            match output {
                Output::Transmit(Port::Cluster, frame) => waiting.cluster.push_back(frame),
                Output::Transmit(Port::Outside, frame) => waiting.outside.push_back(frame),
                Output::Disk(request) => waiting.disk.push_back(request),
                Output::Console(bytes) => waiting.console.extend(bytes),
                // Only the simulator asks for answers.
                Output::Answer(..) => {}
                Output::Stop(stop) => {
                    serial.write_all(waiting.console.make_contiguous());
                    return stop;
                }
            }
        }
        let sent = give_output(&node, &mut devices, &mut serial, &mut waiting);
        if received + sent > 0 {
            node.handle_turn((received + sent) as u64, clock.now().since(now));
        }
        if now >= check_at || changes != interrupts::changes() || is_changed(&devices) {
            check_at = now + CHECK_EVERY;
            changes = interrupts::changes();
            if let Some(stop) = check(&mut devices) {
                return stop;
            }
            tell_of_machine(&mut node);
            tell_of_cards(&mut node, &devices, now);
            if turns > BUSY_TURNS {
                memory::flush_translations();
            }
            turns = 0;
        }
        if has_input(&devices) {
            continue;
        }
        let console_at = (!waiting.console.is_empty()).then(|| now + Duration::from_millis(1));
        let next = Instant::earliest([node.poll_timeout(now), console_at, Some(check_at)]);
        if next.is_some_and(|next| next > now) {
            rest(&mut devices, &mut idle, next);
        }
    }
}

/// Halts until a device has something, at the latest at `deadline`. Interrupts are asked for only here: while
/// there is work, and each time that it is finished, a look into memory tells as much, and one that is not
/// wanted would end the next halt.
fn rest<T: Transport>(devices: &mut Devices<T>, idle: &mut Idle, deadline: Option<Instant>) {
    if !arm(devices) {
        idle.wait(deadline);
    }
    disarm(devices);
}

/// Everything that has come since the last time, a burst from each device. Answers how many frames.
fn take_input<T: Transport>(
    node: &mut Node,
    devices: &mut Devices<T>,
    serial: &mut Serial,
    now: Instant,
) -> usize {
    let mut frames =
        devices.cluster.receive_burst(BURST, |frame| node.handle_frame(Port::Cluster, frame, now));
    if let Some(outside) = &mut devices.outside {
        frames +=
            outside.receive_burst(BURST, |frame| node.handle_frame(Port::Outside, frame, now));
    }
    while let Some(completion) = devices.disk.poll() {
        node.handle_completion(completion, now);
    }
    let mut bytes = [0; 64];
    let count = serial.read(&mut bytes);
    if count > 0 {
        // A person, or a script, who may ask for them.
        tell_of_machine(node);
        tell_of_cards(node, devices, now);
        node.handle_console(&bytes[..count], now);
    }
    if node.poll_timeout(now).is_some_and(|at| at <= now) {
        node.handle_timeout(now);
    }
    frames
}

/// Tells the node how many frames the cards take now. Buffers that were sent are wanted back before the pool
/// runs dry.
fn tell_room<T: Transport>(node: &mut Node, devices: &mut Devices<T>, waiting: &Waiting) {
    let mut tell = |port, card: &mut VirtioNet<T>, frames_max: usize, waiting: usize| {
        card.reclaim();
        let taken = usize::from(card.in_flight()) + waiting;
        node.handle_room(port, frames_max.saturating_sub(taken));
    };
    let waits = waiting.cluster.len();
    tell(Port::Cluster, &mut devices.cluster, CLUSTER_TRANSMIT_FRAMES_MAX, waits);
    if let Some(outside) = &mut devices.outside {
        tell(Port::Outside, outside, OUTSIDE_TRANSMIT_FRAMES_MAX, waiting.outside.len());
    }
}

/// Tells the node what the cards have counted.
fn tell_of_machine(node: &mut Node) {
    let (device_interrupts, timer_interrupts) = interrupts::counts();
    let heap_bytes = heap::in_use() as u64;
    node.handle_machine(MachineReport { heap_bytes, device_interrupts, timer_interrupts });
}

fn tell_of_cards<T: Transport>(node: &mut Node, devices: &Devices<T>, now: Instant) {
    let report = |card: &VirtioNet<T>| CardReport {
        statistics: card.statistics(),
        offloads: card.offloads(),
    };
    node.handle_card(Port::Cluster, report(&devices.cluster), now);
    if let Some(outside) = &devices.outside {
        node.handle_card(Port::Outside, report(outside), now);
    }
}

/// Hands over what the devices take now. Answers how many frames that is.
fn give_output<T: Transport>(
    node: &Node,
    devices: &mut Devices<T>,
    serial: &mut Serial,
    waiting: &mut Waiting,
) -> usize {
    devices.disk.submit_burst(&mut waiting.disk);
    let mut sent =
        send(&mut devices.cluster, &mut waiting.cluster, node.is_congested(Port::Cluster));
    if let Some(outside) = &mut devices.outside {
        sent += send(outside, &mut waiting.outside, node.is_congested(Port::Outside));
    }
    let excess = waiting.console.len().saturating_sub(CONSOLE_MAX_BYTES);
    waiting.console.drain(..excess);
    let bytes: Vec<u8> = waiting.console.iter().copied().take(256).collect();
    let written = serial.write(&bytes);
    waiting.console.drain(..written);
    sent
}

fn send<T: Transport>(
    card: &mut VirtioNet<T>,
    frames: &mut VecDeque<Frame>,
    is_congested: bool,
) -> usize {
    let sent = if frames.is_empty() { 0 } else { card.send_burst(frames) };
    if is_congested {
        card.await_departures();
    }
    sent
}

/// Whether a device has something to do already. No register is read for it, and nothing asked for.
fn has_input<T: Transport>(devices: &Devices<T>) -> bool {
    let outside = devices.outside.as_ref().is_some_and(VirtioNet::has_input);
    devices.cluster.has_input() || outside || devices.disk.has_completions()
}

/// Asks for interrupts, then looks once more: true if there is something to do.
fn arm<T: Transport>(devices: &mut Devices<T>) -> bool {
    let cluster = devices.cluster.arm_interrupts();
    let outside = devices.outside.as_mut().is_some_and(VirtioNet::arm_interrupts);
    let disk = devices.disk.arm_interrupts();
    cluster || outside || disk
}

fn disarm<T: Transport>(devices: &mut Devices<T>) {
    devices.cluster.disarm_interrupts();
    if let Some(outside) = &mut devices.outside {
        outside.disarm_interrupts();
    }
    devices.disk.disarm_interrupts();
}

/// Whether a card has said by its line that it has changed.
fn is_changed<T: Transport>(devices: &Devices<T>) -> bool {
    devices.cluster.is_changed() || devices.outside.as_ref().is_some_and(VirtioNet::is_changed)
}

/// A device that has failed ends the node: its peers do better without it.
fn check<T: Transport>(devices: &mut Devices<T>) -> Option<Stop> {
    devices.cluster.check_link();
    if let Some(outside) = &mut devices.outside {
        outside.check_link();
    }
    devices.disk.check_device();
    let outside = devices.outside.as_ref().and_then(VirtioNet::fault);
    let card = devices.cluster.fault().or(outside);
    let card = card.map(|fault| Stop::Device(alloc::format!("a network card failed: {fault}")));
    let disk = devices.disk.fault();
    disk.map(|fault| Stop::Device(alloc::format!("the disk failed: {fault}"))).or(card)
}
