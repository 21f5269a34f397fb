//! The node's image: what the hypervisor starts. It finds the machine's devices, makes a node of them, and
//! runs it. Everything that a node does is in the library `node`; everything here is hardware.
#![no_std]
#![no_main]

extern crate alloc;

mod devices;
mod run;

use core::fmt::{Display, Write};

use base::limits::{RING_SIZE_MAX, packet_buffers};
use node::{Hardware, Identity, Node, Region, Settings, SettingsError, Stop};
use platform::clock::Clock;
use platform::interrupts::Interrupts;
use platform::pci::ConfigurationPorts;
use platform::power::{self, Exit};
use platform::serial::Serial;
use platform::{boot, entropy, firmware, memory};
use pool::{PAGE_BYTES, Pool};
use virtio::transport::Transport;

use block::BlockDevice;
use devices::{DeviceError, Devices};

const _: () = assert!(RING_SIZE_MAX <= virtio::queue::SIZE_MAX);

/// Buffers for the disk, and their length: long enough that a batch is a few requests.
const BLOCK_BUFFERS: usize = 32;
const BLOCK_BUFFER_BYTES: usize = 64 * 1024;
/// Buffers of the same length for the ledger's part of the disk.
const LEDGER_BUFFERS: usize = 4;

/// The file that the hypervisor gives a node's keys in.
const KEYS_FILE: &str = "opt/coterie/keys";

/// Called by the kernel on its first task.
#[unsafe(no_mangle)]
extern "C" fn main(_argc: i32, _argv: *const *const u8, _env: *const *const u8) {
    // SAFETY: this is the first task, and this its first statement.
    let mut interrupts = unsafe { Interrupts::install() };
    let clock = Clock::new();
    let settings = boot::command_line()
        .ok_or(SettingsError::Unreadable)
        .and_then(Settings::parse)
        .unwrap_or_else(|error| refuse(Exit::Settings, &error));
    let mut arena = memory::take_arena();
    let mut pool = |buffers: usize, buffer_bytes: usize| {
        let region = platform::devices::cut(&mut arena, buffers * buffer_bytes);
        region.map(|region| Pool::new(region, buffer_bytes))
    };
    let identity = identity(&settings);
    let ledger_buffers = if identity.is_some() { LEDGER_BUFFERS } else { 1 };
    let (Some(packets), Some(blocks), Some(signed), Some(entries)) = (
        // The mission's pool: 512 packet buffers of one page, and more for longer rings.
        pool(packet_buffers(settings.ring_size), PAGE_BYTES),
        pool(BLOCK_BUFFERS, BLOCK_BUFFER_BYTES),
        pool(ledger_buffers, BLOCK_BUFFER_BYTES),
        pool(ledger_buffers, BLOCK_BUFFER_BYTES),
    ) else {
        refuse(Exit::Device, &"the machine has too little memory: give it 64 MiB")
    };
    let ledger = identity.map(|identity| (identity, [signed, entries]));
    match ConfigurationPorts::take() {
        Some(ports) => {
            let found = devices::on_pci(ports, &mut interrupts, &mut arena, &packets, &settings);
            start(found, settings, (packets, blocks), ledger, clock)
        }
        None => {
            let line = boot::command_line().unwrap_or_default();
            let found = devices::on_board(line, &mut interrupts, &mut arena, &packets, &settings);
            start(found, settings, (packets, blocks), ledger, clock)
        }
    }
}

/// The node's keys for the ledger, if it is to take part in it.
fn identity(settings: &Settings) -> Option<Identity> {
    if settings.ledger == Some(false) {
        return None;
    }
    let mut file = [0; Identity::FILE_MAX_BYTES];
    match firmware::read_file(KEYS_FILE, &mut file) {
        Ok(Some(length)) => {
            let taken = Identity::take(settings.id, settings.cluster, &mut file[..length]);
            Some(taken.unwrap_or_else(|error| refuse(Exit::Settings, &error)))
        }
        Ok(None) if settings.ledger == Some(true) => refuse(
            Exit::Settings,
            &"coterie.services names bft, and the hypervisor gives no keys for it",
        ),
        Ok(None) => None,
        Err(firmware::TooLong) => refuse(Exit::Settings, &"the file with the keys is too long"),
    }
}

/// Makes a node of the devices, and runs it until it stops.
fn start<T: Transport>(
    found: Result<Devices<T>, DeviceError>,
    mut settings: Settings,
    (packets, blocks): (Pool, Pool),
    ledger: Option<(Identity, [Pool; 2])>,
    clock: Clock,
) -> ! {
    let devices = found.unwrap_or_else(|error| refuse(Exit::Device, &error));
    settings.wall_ms = settings.wall_ms.max(clock.wall_ms());
    let raft = settings.consensus();
    let all_sectors = devices.disk.capacity_sectors();
    let region = Region::of(all_sectors);
    let hardware = Hardware {
        packets,
        blocks,
        disk_sectors: if ledger.is_some() { region.sectors_before() } else { all_sectors },
        has_continuous_clock: clock.is_continuous(),
    };
    let node = Node::new(settings, raft, hardware, entropy::random_u64(), clock.now());
    let node = node.and_then(|mut node| {
        if let Some((identity, blocks)) = ledger {
            node.join_ledger(identity, region, blocks, entropy::random_u64())?;
        }
        Ok(node)
    });
    let stop = match node {
        Ok(node) => run::run(node, devices, clock),
        Err(stop) => stop,
    };
    match stop {
        Stop::PowerOff => power::exit(Exit::PowerOff),
        Stop::Restart => power::reset(),
        Stop::Disk(reason) => refuse(Exit::Disk, &reason),
        Stop::Device(reason) => refuse(Exit::Device, &reason),
        Stop::Settings(reason) => refuse(Exit::Settings, &reason),
    }
}

/// Says why the node does not run, in one line, and ends the machine.
fn refuse(exit: Exit, reason: &dyn Display) -> ! {
    // The port takes what it can: there is nobody left to tell of a failure.
    let _ = writeln!(Serial::new(), "coterie: {reason}");
    power::exit(exit)
}
