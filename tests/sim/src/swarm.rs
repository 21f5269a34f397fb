//! Many seeds on several threads, with the same output whatever the number of threads; and panics that are
//! kept to be told.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Once, mpsc};
use std::thread;

thread_local! {
    /// The last panic of a run on this thread; `None` outside runs, which may panic as usual.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics within runs are kept to be told, not printed.
fn keep_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let is_kept = PANIC.with_borrow_mut(|kept| {
                let Some(text) = kept else { return false };
                let what = info.payload_as_str().unwrap_or("a panic without a text");
                let place = info.location().map(|place| format!(" ({place})"));
                *text = format!("{what}{}", place.unwrap_or_default());
                true
            });
            if !is_kept {
                usual(info);
            }
        }));
    });
}

/// Does something that may panic.
///
/// # Errors
/// If it does: what it said, and where.
pub fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    keep_panics();
    PANIC.set(Some(String::new()));
    let ran = panic::catch_unwind(AssertUnwindSafe(run));
    let said = PANIC.take().unwrap_or_default();
    ran.map_err(|_| said)
}

/// Runs seeds on so many threads, and tells of each in ascending order. After one that `is_bad` no further
/// seeds are begun, unless all are wanted; so the first that is told is that of the lowest bad seed.
pub fn run_all<T: Send>(
    seeds: Range<u64>,
    (jobs, wants_all): (usize, bool),
    run: impl Fn(u64) -> T + Sync,
    is_bad: impl Fn(&T) -> bool + Sync,
    mut tell: impl FnMut(T),
) {
    let next = AtomicU64::new(seeds.start);
    let has_failed = AtomicBool::new(false);
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let sender = sender.clone();
            scope.spawn(|| {
                let sender = sender;
                while wants_all || !has_failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let ran = run(seed);
                    has_failed.fetch_or(is_bad(&ran), Ordering::Relaxed);
                    if sender.send((seed, ran)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut waiting = BTreeMap::new();
        let mut wanted = seeds.start;
        for (seed, ran) in receiver {
            waiting.insert(seed, ran);
            while let Some(ran) = waiting.remove(&wanted) {
                tell(ran);
                wanted += 1;
            }
        }
    });
}
