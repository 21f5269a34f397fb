//! The node's image: what the hypervisor starts. It finds the machine's devices, makes a node of them, and
//! runs it. Everything that a node does is in the library `node`; everything here is hardware.
#![no_std]
#![no_main]

extern crate alloc;

mod devices;
mod run;

use core::fmt::{Display, Write};

use node::{Hardware, Node, Settings, SettingsError, Stop};
use platform::clock::Clock;
use platform::interrupts::Interrupts;
use platform::pci::ConfigurationPorts;
use platform::power::{self, Exit};
use platform::serial::Serial;
use platform::{boot, entropy, memory};
use pool::{PAGE_BYTES, Pool};
use virtio::blk::WithoutFlush;
use virtio::transport::Transport;

use block::BlockDevice;
use devices::{DeviceError, Devices};

/// The mission's pool: 512 packet buffers of one page.
const PACKET_BUFFERS: usize = base::limits::PACKET_BUFFERS;
/// Buffers for the disk, and their length: long enough that a batch is a few requests.
const BLOCK_BUFFERS: usize = 32;
const BLOCK_BUFFER_BYTES: usize = 64 * 1024;

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
    let (Some(packets), Some(blocks)) =
        (pool(PACKET_BUFFERS, PAGE_BYTES), pool(BLOCK_BUFFERS, BLOCK_BUFFER_BYTES))
    else {
        refuse(Exit::Device, &"the machine has too little memory: give it 64 MiB")
    };
    let without_flush =
        if settings.without_flush { WithoutFlush::Accept } else { WithoutFlush::Refuse };
    match ConfigurationPorts::take() {
        Some(ports) => {
            let found =
                devices::on_pci(ports, &mut interrupts, &mut arena, &packets, without_flush);
            start(found, settings, packets, blocks, clock)
        }
        None => {
            let line = boot::command_line().unwrap_or_default();
            let found =
                devices::on_board(line, &mut interrupts, &mut arena, &packets, without_flush);
            start(found, settings, packets, blocks, clock)
        }
    }
}

/// Makes a node of the devices, and runs it until it stops.
fn start<T: Transport>(
    found: Result<Devices<T>, DeviceError>,
    mut settings: Settings,
    packets: Pool,
    blocks: Pool,
    clock: Clock,
) -> ! {
    let devices = found.unwrap_or_else(|error| refuse(Exit::Device, &error));
    settings.wall_ms = settings.wall_ms.max(clock.wall_ms());
    let raft = settings.consensus();
    let hardware = Hardware {
        packets,
        blocks,
        disk_sectors: devices.disk.capacity_sectors(),
        has_continuous_clock: clock.is_continuous(),
    };
    let node = Node::new(settings, raft, hardware, entropy::random_u64(), clock.now());
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
