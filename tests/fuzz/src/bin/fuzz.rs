//! The program that `scripts/fuzz` runs: libFuzzer with the target that `COTERIE_FUZZ` names.
#![no_main]

use std::sync::OnceLock;

use fuzz::{TARGETS, Target, find};
use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<&'static Target> = OnceLock::new();

fn choose() -> &'static Target {
    let name = std::env::var("COTERIE_FUZZ").unwrap_or_default();
    find(&name).unwrap_or_else(|| {
        for target in TARGETS {
            println!("{:<12} {}", target.name, target.summary);
        }
        std::process::exit(if name.is_empty() { 0 } else { 2 });
    })
}

fuzz_target!(
    init: {
        TARGET.get_or_init(choose);
    },
    |bytes: &[u8]| {
        (TARGET.get_or_init(choose).run)(bytes);
    }
);
