//! The image of a packet generator: one network card, a console, and a station of the library `pktgen`.
#![no_std]
#![no_main]

extern crate alloc;

use core::fmt::{Display, Write};

use base::Duration;
use pktgen::{BURST, Station, commands};
use platform::clock::Clock;
use platform::devices::{self, DiscoveryError};
use platform::idle::Idle;
use platform::interrupts::Interrupts;
use platform::pci::ConfigurationPorts;
use platform::power::{self, Exit};
use platform::serial::Serial;
use platform::{boot, memory};
use pool::{PAGE_BYTES, Pool};
use shell::Console;
use virtio::VirtioNet;
use virtio::net::NetConfig;
use virtio::transport::{DeviceType, Transport};

/// As many packet buffers as a node has, and as many of them wait for frames.
const PACKET_BUFFERS: usize = base::limits::PACKET_BUFFERS;
const CARD: NetConfig = NetConfig { receive_buffers: 256, ..NetConfig::DEFAULT };
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
    let [pool, templates] =
        core::array::from_fn(|_| match devices::cut(&mut arena, PACKET_BUFFERS * PAGE_BYTES) {
            Some(region) => Pool::new(region, PAGE_BYTES),
            None => refuse(&"the machine has too little memory: give it 64 MiB"),
        });
    let pools = [&pool, &templates];
    match ConfigurationPorts::take() {
        Some(ports) => {
            let mut first = None;
            let found = devices::on_pci(ports, &mut interrupts, |kind, device| {
                keep_card(kind, device, &mut first)
            });
            start(found, first, pools, &mut arena, clock)
        }
        None => {
            let mut first = None;
            let line = boot::command_line().unwrap_or_default();
            let found = devices::on_board(line, &mut interrupts, |kind, device| {
                keep_card(kind, device, &mut first)
            });
            start(found, first, pools, &mut arena, clock)
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

fn start<T: Transport>(
    found: Result<(), DiscoveryError>,
    card: Option<T>,
    [pool, templates]: [&Pool; 2],
    arena: &mut Option<pool::Region>,
    clock: Clock,
) -> ! {
    if let Err(error) = found {
        refuse(&error);
    }
    let Some(card) = card else { refuse(&"there is no network card") };
    let card = VirtioNet::new(card, CARD, pool.clone(), |bytes| devices::cut(arena, bytes));
    match card {
        Ok(card) => run(card, [pool, templates], clock),
        Err(error) => refuse(&error),
    }
}

/// Takes a burst, does what is to be done, gives a burst; sleeps when there is nothing.
fn run<T: Transport>(mut card: VirtioNet<T>, [pool, templates]: [&Pool; 2], clock: Clock) -> ! {
    let mut station = Station::new(card.mac().0, pool.clone(), templates.clone());
    let (mut console, mut serial) = (commands::console(), Serial::new());
    console.print_log(&alloc::format!(
        "pktgen: the card is {}; 'help' lists what it can do",
        card.mac()
    ));
    if let Some(output) = console.poll_output() {
        serial.write_all(&output);
    }
    let mut idle = Idle::new(clock);
    let mut turns = 0_u32;
    let mut check_at = clock.now() + CHECK_EVERY;
    loop {
        turns = turns.wrapping_add(1);
        let now = clock.now();
        let received = card.receive_burst(BURST, |frame| station.handle_frame(frame, now));
        if station.is_short_of_buffers() {
            // The next burst is made of buffers that have left.
            card.reclaim();
        }
        station.poll(now);
        let sent = card.send_burst(station.outgoing());
        let moved = received.max(sent);
        if moved > 0 {
            let end = clock.now();
            station.note_turn(moved, end.since(now), end);
        }
        let is_awake = station.is_awake(now);
        if is_awake && !turns.is_multiple_of(TURNS_BETWEEN_KEYS) {
            continue;
        }
        let is_console_quiet = serve_console(&mut console, &mut serial, &mut station, clock);
        if now >= check_at {
            check_at = now + CHECK_EVERY;
            if is_awake {
                // Every buffer is a page of its own: more than QEMU remembers at first.
                memory::flush_translations();
            }
            card.check_link();
            if let Some(fault) = card.fault() {
                refuse(&fault);
            }
        }
        if !is_awake && is_console_quiet && !card.arm_interrupts() {
            idle.wait(Some(check_at));
            card.disarm_interrupts();
        }
    }
}

/// Answers what was typed. True if nothing waits to be shown.
fn serve_console(
    console: &mut Console,
    serial: &mut Serial,
    station: &mut Station,
    clock: Clock,
) -> bool {
    let mut bytes = [0; 64];
    let count = serial.read(&mut bytes);
    console.handle_bytes(&bytes[..count]);
    while let Some(line) = console.poll_line() {
        let is_over = commands::execute(&line, console, station, clock.now());
        if let Some(output) = console.poll_output() {
            serial.write_all(&output);
        }
        if is_over {
            serial.flush();
            power::exit(Exit::PowerOff)
        }
    }
    if let Some(output) = console.poll_output() {
        serial.write_all(&output);
    }
    count == 0
}

/// Says why the station does not run, in one line, and ends the machine.
fn refuse(reason: &dyn Display) -> ! {
    // The port takes what it can: there is nobody left to tell of a failure.
    let _ = writeln!(Serial::new(), "pktgen: {reason}");
    power::exit(Exit::Device)
}
