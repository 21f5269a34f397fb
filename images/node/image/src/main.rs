//! The node's image (being assembled).
#![no_std]
#![no_main]
use core::fmt::Write;
use platform::{boot, clock::Clock, entropy, idle::Idle, interrupts::Interrupts, memory, power, serial::Serial};

#[unsafe(no_mangle)]
extern "C" fn main(_argc: i32, _argv: *const *const u8, _env: *const *const u8) {
    let mut interrupts = unsafe { Interrupts::install() };
    let clock = Clock::new();
    let mut serial = Serial::new();
    let _ = writeln!(serial, "hello at {} wall {} cmdline {:?}", clock.now(), clock.wall_ms(), boot::command_line());
    let arena = memory::take_arena().unwrap();
    let _ = writeln!(serial, "arena {:?} random {:x} pci {}", arena, entropy::random_u64(), platform::pci::ConfigurationPorts::take().is_some());
    let mut idle = Idle::new(clock);
    for _ in 0..3 {
        idle.wait(Some(clock.now() + base::Duration::from_millis(100)));
        let _ = writeln!(serial, "now {} interrupts {}", clock.now(), interrupts.count());
    }
    let _ = interrupts.message();
    loop {
        idle.wait(Some(clock.now() + base::Duration::from_secs(5)));
        let mut b = [0; 64];
        let n = serial.read(&mut b);
        let _ = writeln!(serial, "read {n}: {:?} at {}", &b[..n], clock.now());
        match b[0] {
            b'p' => panic!("asked"),
            b'o' => power::exit(power::Exit::PowerOff),
            b'r' => power::reset(),
            b'x' => unsafe { core::ptr::null_mut::<u8>().wrapping_add(0x1_0000_0000_0000).write_volatile(1) },
            b's' => { fn f(n: u64) -> u64 { let a = [n; 512]; core::hint::black_box(&a); f(n + 1) + a[3] } let _ = f(1); }
            _ => {}
        }
    }
}
