//! The image of a packet generator: one network card, a console, and a station of the library `pktgen`.
#![no_std]
#![no_main]

extern crate alloc;

mod terminal;
#[cfg(feature = "smp")]
mod workers;

use alloc::collections::VecDeque;
use core::fmt::{Display, Write};

use base::limits::packet_buffers;
use base::{Duration, Instant};
use net::device::{FrameDevice, Offloads};
use pktgen::card::{Card, Polls};
use pktgen::settings::{Offloading, Settings};
use pktgen::station::Seed;
use pktgen::tcp::Tcp;
use pktgen::{BURST, Station};
use platform::clock::Clock;
use platform::devices::{self, DiscoveryError};
use platform::idle::Idle;
use platform::interrupts::Interrupts;
use platform::pci::ConfigurationPorts;
use platform::power::{self, Exit};
use platform::serial::Serial;
use platform::{boot, entropy, memory};
use pool::{LARGE_BUFFER_BYTES, PAGE_BYTES, Pool, Region};
use virtio::VirtioNet;
use virtio::net::{Checksum, LinkState, NetConfig, Packet};
use virtio::queue::RingFormat;
use virtio::transport::{DeviceType, Transport};

use crate::terminal::Terminal;

/// Buffers for segments of 64 KiB: what is left of the memory that devices can reach, less the rings …
const LARGE_BUFFERS: usize = 56;
/// … and so many of them wait for arrivals, none of which then has to be put together.
const LARGE_RECEIVE_BUFFERS: u16 = 36;
/// While frames come and go, the console is looked at in one of so many turns.
const TURNS_BETWEEN_KEYS: u32 = 1024;
/// How often the card is asked whether it needs a reset, and the processor to look at what it remembers.
const CHECK_EVERY: Duration = Duration::from_millis(250);

/// Called by the kernel on its first task.
#[unsafe(no_mangle)]
extern "C" fn main(_argc: i32, _argv: *const *const u8, _env: *const *const u8) {
    // SAFETY: this is the first task, and this its first statement.
    let mut interrupts = unsafe { Interrupts::install() };
    let clock = Clock::new();
    let mut arena = memory::take_arena();
    let line = boot::command_line().unwrap_or_default();
    let settings = Settings::parse(line).unwrap_or_else(|word| refuse(&word));
    match ConfigurationPorts::take() {
        Some(ports) => {
            let mut first = None;
            let found = devices::on_pci(ports, &mut interrupts, |kind, device| {
                keep_card(kind, device, &mut first)
            });
            #[cfg(feature = "smp")]
            if found.is_ok() && settings.offloading == Offloading::None {
                workers::start_several(&mut first, settings.ring_size, &mut arena);
            }
            start(found, first, settings, &mut arena, clock)
        }
        None => {
            let mut first = None;
            let found = devices::on_board(line, &mut interrupts, |kind, device| {
                keep_card(kind, device, &mut first)
            });
            start(found, first, settings, &mut arena, clock)
        }
    }
}

/// The first network card is the one that is measured.
fn keep_card<T>(kind: DeviceType, device: T, first: &mut Option<T>) -> Result<(), DiscoveryError> {
    if kind == DeviceType::Network && first.is_none() {
        *first = Some(device);
    }
    Ok(())
}

/// Memory for packets.
struct Pools {
    settings: Settings,
    packets: Pool,
    templates: Pool,
    /// For segments of 64 KiB, if TCP leaves something to the card.
    large: Option<Pool>,
}

impl Pools {
    fn cut(arena: &mut Option<Region>, settings: Settings) -> Pools {
        let mut pool = |buffers, bytes| cut_pool(arena, buffers, bytes);
        // As many as a node has.
        let buffers = packet_buffers(settings.ring_size);
        Pools {
            settings,
            packets: pool(buffers, PAGE_BYTES),
            templates: pool(buffers, PAGE_BYTES),
            large: (settings.offloading != Offloading::None)
                .then(|| pool(LARGE_BUFFERS, LARGE_BUFFER_BYTES)),
        }
    }

    /// What the card is asked for, and the pool that it takes buffers for arrivals from.
    fn card(&self) -> (NetConfig, &Pool) {
        let Settings { offloading, ring_size: queue_size_max } = self.settings;
        let (receive_buffers, pool) = match (offloading, &self.large) {
            (Offloading::All, Some(large)) => (LARGE_RECEIVE_BUFFERS, large),
            _ => (queue_size_max, &self.packets),
        };
        (NetConfig { queue_size_max, receive_buffers, offloads: offloading.wanted() }, pool)
    }

    /// The stack of this card.
    fn tcp<T: Transport>(&self, card: &VirtioNet<T>, now: Instant) -> Tcp {
        let offered = card.offloads().offered;
        let Settings { offloading, .. } = self.settings;
        let is_large = offloading == Offloading::All;
        let offloads = self.large.clone().map(|large| {
            let wanted = offloading.wanted();
            Offloads::new(offered, wanted, self.packets.clone(), large, is_large)
        });
        let device = FrameDevice::new(self.packets.clone(), card.mtu().into(), offloads);
        Tcp::new(card.mac().0, device, entropy::random_u64(), now)
    }
}

fn cut_pool(arena: &mut Option<Region>, buffers: usize, bytes: usize) -> Pool {
    match devices::cut(arena, buffers * bytes) {
        Some(region) => Pool::new(region, bytes),
        None => refuse(&"the machine has too little memory: give it 64 MiB, or 128 for long rings"),
    }
}

fn start<T: Transport>(
    found: Result<(), DiscoveryError>,
    card: Option<T>,
    settings: Settings,
    arena: &mut Option<Region>,
    clock: Clock,
) -> ! {
    if let Err(error) = found {
        refuse(&error);
    }
    let Some(card) = card else { refuse(&"there is no network card") };
    let pools = Pools::cut(arena, settings);
    let (config, pool) = pools.card();
    let card = VirtioNet::new(card, config, pool.clone(), |bytes| devices::cut(arena, bytes));
    match card {
        Ok(card) => run(card, &pools, clock),
        Err(error) => refuse(&error),
    }
}

/// A station of the same address that ran before had another.
fn seed() -> Seed {
    let [run, hash_key @ ..] = [(); 3].map(|()| entropy::random_u64());
    Seed { run: run as u32, hash_key }
}

/// Gives what has arrived to the station. A card that was asked for nothing hands up plain frames, which is
/// faster.
fn receive<T: Transport>(
    card: &mut VirtioNet<T>,
    station: &mut Station,
    offloading: Offloading,
    now: Instant,
) -> usize {
    match offloading {
        Offloading::None => card.receive_burst(BURST, |frame| station.handle_frame(frame, now)),
        Offloading::Checksums | Offloading::All => card.receive_packets(BURST, |packet| {
            let is_vouched_for = packet.checksum != Checksum::Unknown;
            station.handle_packet(packet.frames, is_vouched_for, now);
        }),
    }
}

/// Sends what the station has: first its own frames, then those of TCP.
fn send<T: Transport>(
    card: &mut VirtioNet<T>,
    station: &mut Station,
    waiting: &mut VecDeque<Packet>,
) -> usize {
    let sent = card.send_burst(station.outgoing());
    while waiting.len() < BURST {
        let Some(outgoing) = station.poll_tcp() else { break };
        waiting.push_back(outgoing.into());
    }
    if waiting.is_empty() { sent } else { sent + card.send_packets(waiting) }
}

/// Takes a burst, does what is to be done, gives a burst; sleeps when there is nothing.
fn run<T: Transport>(mut card: VirtioNet<T>, pools: &Pools, clock: Clock) -> ! {
    let tcp = pools.tcp(&card, clock.now());
    let (packets, templates) = (pools.packets.clone(), pools.templates.clone());
    let mut station = Station::new(card.mac().0, packets, templates, tcp, seed());
    let (mut link, mut polls) = (card.check_link(), Polls::default());
    let mut waiting = VecDeque::with_capacity(BURST);
    let mut terminal = Terminal::new(&format_args!("the card is {}", card.mac()));
    let mut idle = Idle::new(clock);
    let mut turns = 0_u32;
    let mut check_at = clock.now() + CHECK_EVERY;
    loop {
        turns = turns.wrapping_add(1);
        let now = clock.now();
        let received = receive(&mut card, &mut station, pools.settings.offloading, now);
        polls.note(received);
        if station.is_short_of_buffers() {
            // The next burst is made of buffers that have left.
            card.reclaim();
        }
        station.poll(now);
        let sent = send(&mut card, &mut station, &mut waiting);
        let moved = received.max(sent);
        if moved > 0 {
            let end = clock.now();
            station.note_turn(moved, end.since(now), end);
        }
        let is_awake = station.is_awake(now);
        if is_awake && !turns.is_multiple_of(TURNS_BETWEEN_KEYS) {
            continue;
        }
        station.note_card(told(&card, link, polls));
        let is_console_quiet = terminal.serve(&mut station, clock);
        if now >= check_at {
            check_at = now + CHECK_EVERY;
            if is_awake {
                // Every buffer is a page of its own: more than QEMU remembers at first.
                memory::flush_translations();
            }
            link = card.check_link();
            if let Some(fault) = card.fault() {
                refuse(&fault);
            }
        }
        if !is_awake && is_console_quiet && !card.arm_interrupts() {
            let due = [station.poll_timeout(now), terminal.poll_timeout(now), Some(check_at)];
            idle.wait(Instant::earliest(due));
            card.disarm_interrupts();
        }
    }
}

/// What the station is told of its card.
fn told<T: Transport>(card: &VirtioNet<T>, link: LinkState, polls: Polls) -> Card {
    Card {
        statistics: polls.within(card.statistics()),
        is_link_up: Some(link == LinkState::Up),
        is_packed: Some(card.ring_format() == RingFormat::Packed),
    }
}

/// Says why the station does not run, in one line, and ends the machine.
fn refuse(reason: &dyn Display) -> ! {
    // The port takes what it can: there is nobody left to tell of a failure.
    let _ = writeln!(Serial::new(), "pktgen: {reason}");
    power::exit(Exit::Device)
}
