//! The node's image (being assembled).
#![no_std]
#![no_main]
extern crate alloc;
mod devices;
use core::fmt::Write;
use alloc::collections::VecDeque;
use block::{BlockDevice, BlockRequest, Operation};
use pool::{PAGE_BYTES, Pool};
use platform::{boot, clock::Clock, idle::Idle, interrupts::Interrupts, memory, power, serial::Serial};
use virtio::transport::Transport;

#[unsafe(no_mangle)]
extern "C" fn main(_argc: i32, _argv: *const *const u8, _env: *const *const u8) {
    let mut interrupts = unsafe { Interrupts::install() };
    let clock = Clock::new();
    let mut serial = Serial::new();
    let mut arena = memory::take_arena();
    let packets = Pool::new(devices::cut(&mut arena, 512 * PAGE_BYTES).unwrap(), PAGE_BYTES);
    let blocks = Pool::new(devices::cut(&mut arena, 32 * 65536).unwrap(), 65536);
    let _ = writeln!(serial, "{:?}", boot::command_line()); let flush = virtio::blk::WithoutFlush::Refuse;
    match platform::pci::ConfigurationPorts::take() {
        Some(ports) => match devices::on_pci(ports, &mut interrupts, &mut arena, &packets, flush) {
            Ok(d) => go(d, clock, blocks, packets, interrupts),
            Err(e) => { let _ = writeln!(serial, "{e}"); }
        },
        None => match devices::on_board(boot::command_line().unwrap(), &mut interrupts, &mut arena, &packets, flush) {
            Ok(d) => go(d, clock, blocks, packets, interrupts),
            Err(e) => { let _ = writeln!(serial, "{e}"); }
        },
    }
    power::exit(power::Exit::Device)
}

fn go<T: Transport>(mut d: devices::Devices<T>, clock: Clock, blocks: Pool, packets: Pool, interrupts: Interrupts) {
    let mut serial = Serial::new();
    let mut idle = Idle::new(clock);
    let _ = writeln!(serial, "up at {} mac {} sectors {}", clock.now(), d.cluster.mac(), d.disk.capacity_sectors());
    // disk: write, flush, read
    let mut total = 0u64;
    for round in 0..50u64 {
        let start = clock.now();
        let mut b = blocks.allocate().unwrap();
        b.fill(round as u8);
        d.disk.submit(BlockRequest { tag: 1, operation: Operation::Write { sector: round * 8, sectors: 8 }, buffer: Some(b) }).unwrap();
        let mut stage = 1;
        loop {
            if let Some(c) = d.disk.poll() {
                c.result.unwrap();
                stage += 1;
                if stage == 2 { d.disk.submit(BlockRequest { tag: 2, operation: Operation::Flush, buffer: None }).unwrap(); }
                if stage == 3 { d.disk.submit(BlockRequest { tag: 3, operation: Operation::Read { sector: round * 8, sectors: 8 }, buffer: blocks.allocate() }).unwrap(); }
                if stage == 4 { let b = c.buffer.unwrap(); assert!(b[..4096].iter().all(|x| *x == round as u8)); break; }
                continue;
            }
            if !d.disk.arm_interrupts() { idle.wait(None); }
            d.disk.disarm_interrupts();
        }
        total += clock.now().since(start).as_micros();
    }
    let _ = writeln!(serial, "write+flush+read: {} us each, {} interrupts", total / 50, interrupts.count());
    // ARP to the gateway on the outside card
    if let Some(out) = &mut d.outside {
        let start = clock.now();
        for _ in 0..20 {
            let mut f = packets.allocate_frame().unwrap();
            let m = out.mac().0;
            f.append(6).fill(0xff); f.append(6).copy_from_slice(&m); f.append(10).copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
            f.append(6).copy_from_slice(&m); f.append(4).copy_from_slice(&[10, 0, 2, 15]); f.append(6).fill(0); f.append(4).copy_from_slice(&[10, 0, 2, 2]);
            let mut q = VecDeque::from([f]);
            out.send_burst(&mut q);
            let mut got = 0;
            while got == 0 {
                got += out.receive_burst(32, |f| { if f[12] == 8 && f[13] == 6 { assert_eq!(f[21], 2); } });
                if got == 0 { if !out.arm_interrupts() { idle.wait(Some(clock.now() + base::Duration::from_secs(1))); } out.disarm_interrupts(); }
            }
        }
        let _ = writeln!(serial, "20 arps: {} us each, {:?}", clock.now().since(start).as_micros() / 20, out.statistics());
    }
    let _ = writeln!(serial, "{} interrupts, {} free", interrupts.count(), packets.free());
    power::exit(power::Exit::PowerOff)
}
