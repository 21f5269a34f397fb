//! Further processors: each runs one task of the kernel's, which waits, halted, for work, and does it to
//! completion with interrupts disabled, as the first does.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU32, Ordering};

use spin::Mutex;
use x86_64::instructions;

use crate::apic;
use crate::clock::Clock;
use crate::idle::Idle;
pub use crate::interrupts::PROCESSORS_MAX;
use crate::interrupts::{self, Message};

/// The stack of the task, as large as a quarter of the first task's.
const STACK_BYTES: usize = 256 * 1024;
/// The kernel's priority of an ordinary task (`NORMAL_PRIO`).
const PRIORITY: u8 = 2;
/// The kernel's vector that makes a processor look for new tasks (`WAKEUP_INTERRUPT_NUMBER`).
const VECTOR_KERNEL_WAKE: u8 = 121;
/// No processor has this number on the interrupt bus, as far as messages of devices reach.
const NOBODY: u32 = u32::MAX;

/// What a processor is to do, with its own way to sleep.
type Work = Box<dyn FnOnce(Idle) + Send>;

struct Place {
    /// The processor's number on the interrupt bus, as soon as it waits for work.
    apic_id: AtomicU32,
    work: Mutex<Option<Work>>,
}

static PLACES: [Place; PROCESSORS_MAX] =
    [const { Place { apic_id: AtomicU32::new(NOBODY), work: Mutex::new(None) } }; PROCESSORS_MAX];

/// The processors of the machine, the first among them. Any beyond [`PROCESSORS_MAX`] halt for ever.
#[derive(Clone, Copy, Debug)]
pub struct Processors {
    count: usize,
}

impl Processors {
    /// Lets each of them wait for work, halted, and returns when all do. Called once, by the first processor,
    /// after [`interrupts::Interrupts::install`].
    pub fn start() -> Processors {
        let all = hermit::syscalls::sys_get_processor_count();
        PLACES[0].apic_id.store(apic::id().into(), Ordering::Release);
        for processor in 1..all {
            let selector = isize::try_from(processor).expect("they are few");
            // SAFETY: the kernel calls `serve` once, with that argument, on a stack of that size.
            unsafe {
                hermit::syscalls::sys_spawn2(serve, processor, PRIORITY, STACK_BYTES, selector);
            }
        }
        if all > 1 {
            // The kernel calls a processor only if it has seen it halt, and not at all where processors wait
            // by MWAIT: one that was about to wait would not hear of its task.
            apic::send_to_others(VECTOR_KERNEL_WAKE);
        }
        let count = all.min(PROCESSORS_MAX);
        for place in &PLACES[..count] {
            while place.apic_id.load(Ordering::Acquire) == NOBODY {
                core::hint::spin_loop();
            }
        }
        Processors { count }
    }

    /// How many there are.
    pub fn count(self) -> usize {
        self.count
    }

    fn apic_id(self, processor: usize) -> u8 {
        // Messages of devices have eight bits for it, and `start` has seen it.
        PLACES[processor].apic_id.load(Ordering::Relaxed) as u8
    }

    /// What a device writes to interrupt a processor.
    ///
    /// # Panics
    /// If there is no such processor.
    pub fn message(self, processor: usize) -> Message {
        assert!(processor < self.count, "there is such a processor");
        interrupts::call_message(processor, self.apic_id(processor))
    }

    /// Ends a processor's wait, as a device does: one that is about to wait does not.
    ///
    /// # Panics
    /// If there is no such processor.
    pub fn call(self, processor: usize) {
        assert!(processor < self.count, "there is such a processor");
        apic::send(self.apic_id(processor), interrupts::call_vector(processor));
    }

    /// Gives work to a processor other than the first. What it was given before it does first.
    ///
    /// # Panics
    /// If there is no such processor, or it has not begun what it was given last.
    pub fn run(self, processor: usize, work: impl FnOnce(Idle) + Send + 'static) {
        assert!((1..self.count).contains(&processor), "there is such a processor");
        let waiting = PLACES[processor].work.lock().replace(Box::new(work));
        assert!(waiting.is_none(), "it has begun what it was given last");
        self.call(processor);
    }
}

/// The task of a further processor.
extern "C" fn serve(processor: usize) {
    interrupts::join();
    let Some(place) = PLACES.get(processor) else {
        loop {
            instructions::hlt();
        }
    };
    place.apic_id.store(apic::id().into(), Ordering::Release);
    loop {
        let work = place.work.lock().take();
        match work {
            Some(work) => work(Idle::on(processor, Clock::new())),
            // A call that came since is pending, and ends the halt.
            None => {
                instructions::interrupts::enable_and_hlt();
                instructions::interrupts::disable();
            }
        }
    }
}
