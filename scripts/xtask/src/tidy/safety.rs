//! Where `unsafe` may be, and what must do without the standard library.

use super::Finding;
use super::manifest::{Manifests, Package};
use super::source::code_lines;
use super::tree::{File, Tree};

/// Where `unsafe` may be, and why. A crate without any of these places forbids it.
const UNSAFE_PLACES: &[(&str, &str)] = &[
    ("drivers/pool/src/", "memory that a device may touch is handed out by it"),
    ("drivers/virtio/", "rings are shared with a device"),
    ("drivers/vswitch/src/port/", "file descriptors come from another process"),
    ("drivers/vswitch/src/scheduler.rs", "no crate has these system calls"),
    ("drivers/vswitch/tests/switch/guest.rs", "the other side of the same"),
    ("images/node/image/src/", "the entry point, and devices at addresses that are found"),
    ("images/pktgen/image/src/", "the entry point"),
    ("scripts/xtask/src/cluster/network/bridge.rs", "a TAP device is made by an ioctl"),
    ("scripts/xtask/src/cluster/process.rs", "what a child does before it becomes another program"),
    ("scripts/xtask/src/interrupt.rs", "signal handlers"),
    ("tests/fuzz/src/targets/pci.rs", "a device at an address that is ours"),
    ("unikernel/mem/", "memory is copied by address"),
    ("unikernel/platform/", "the machine itself"),
];

/// Crates on the host, which have the standard library. All others do without.
const HOSTED: &[&str] = &["drivers/vswitch/", "scripts/", "tests/"];

/// How far above `unsafe` its reason may begin: a statement may be long.
const REASON_LINES: usize = 8;

pub(super) fn check(tree: &Tree, manifests: &Manifests, findings: &mut Vec<Finding>) {
    for package in &manifests.packages {
        check_attributes(tree, package, findings);
    }
    for file in tree.files.iter().filter(|file| file.is_rust()) {
        check_unsafe(file, findings);
    }
}

/// Whether a source belongs to what runs in the image, where there is no standard library.
pub(super) fn is_without_std(path: &str) -> bool {
    let is_hosted = HOSTED.iter().any(|place| path.starts_with(place));
    // Tests, examples and build scripts run on the host.
    !is_hosted && path.contains("/src/")
}

fn check_attributes(tree: &Tree, package: &Package, findings: &mut Vec<Finding>) {
    let place = format!("{}/", package.folder);
    let has_unsafe =
        UNSAFE_PLACES.iter().any(|(path, _)| path.starts_with(&place) || place.starts_with(path));
    for root in ["src/lib.rs", "src/main.rs"] {
        let path = format!("{place}{root}");
        let Some(file) = tree.file(&path) else { continue };
        let says = |attribute: &str| file.text.lines().any(|line| line == attribute);
        if !has_unsafe && !says("#![forbid(unsafe_code)]") {
            findings.push(Finding::new(&path, 1, "add #![forbid(unsafe_code)]"));
        }
        let no_std = says("#![no_std]") || says("#![cfg_attr(not(test), no_std)]");
        if is_without_std(&path) && !no_std {
            findings.push(Finding::new(
                &path,
                1,
                "runs in the image: add #![cfg_attr(not(test), no_std)]",
            ));
        }
    }
}

fn check_unsafe(file: &File, findings: &mut Vec<Finding>) {
    let may = UNSAFE_PLACES.iter().any(|(place, _)| file.path.starts_with(place));
    let lines: Vec<_> = file.text.lines().collect();
    for (code, number) in code_lines(&file.text).iter().zip(1..) {
        if !has_word(code, "unsafe") {
            continue;
        }
        let mut report = |advice: &str| findings.push(Finding::new(&file.path, number, advice));
        if !may {
            report("'unsafe' may not be here: see the list in scripts/xtask/src/tidy/safety.rs");
        }
        let needs_reason = code.contains("unsafe {") || code.contains("unsafe impl");
        let above = number.saturating_sub(REASON_LINES)..number;
        if needs_reason && !lines[above].iter().any(|line| line.contains("// SAFETY:")) {
            report("say in a comment '// SAFETY: …' why this is sound");
        }
    }
}

fn has_word(code: &str, word: &str) -> bool {
    let is_inside = |character: char| character.is_alphanumeric() || character == '_';
    code.split(|character| !is_inside(character)).any(|found| found == word)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_one, found};

    const KV: (&str, &str) = ("apps/kv/Cargo.toml", "[package]\nname = \"kv\"\n");

    fn check(files: &[(&str, &str)]) -> Vec<String> {
        found(files, super::check)
    }

    #[test]
    fn a_crate_forbids_unsafe_unless_it_is_in_the_list() {
        let found = check(&[KV, ("apps/kv/src/lib.rs", "#![no_std]\n")]);
        assert_one(&found, "apps/kv/src/lib.rs:1", "forbid(unsafe_code)");
        let pool = ("drivers/pool/Cargo.toml", "[package]\nname = \"pool\"\n");
        assert!(check(&[pool, ("drivers/pool/src/lib.rs", "#![no_std]\n")]).is_empty());
    }

    #[test]
    fn what_runs_in_the_image_does_without_the_standard_library() {
        let forbids = "#![forbid(unsafe_code)]\n";
        let found = check(&[KV, ("apps/kv/src/lib.rs", forbids)]);
        assert_one(&found, "apps/kv/src/lib.rs:1", "no_std");
        let sim = ("tests/sim/Cargo.toml", "[package]\nname = \"sim\"\n");
        assert!(check(&[sim, ("tests/sim/src/lib.rs", forbids)]).is_empty());
    }

    #[test]
    fn unsafe_is_only_where_the_list_says() {
        let text = "// SAFETY: no.\nlet a = unsafe { b() };\n";
        assert_one(&check(&[("apps/kv/src/a.rs", text)]), "apps/kv/src/a.rs:2", "may not be here");
        assert!(check(&[("drivers/pool/src/a.rs", text)]).is_empty());
    }

    #[test]
    fn unsafe_is_explained() {
        for text in ["let a = unsafe { b() };\n", "unsafe impl Send for A {}\n"] {
            let found = check(&[("drivers/pool/src/a.rs", text)]);
            assert_one(&found, "drivers/pool/src/a.rs:1", "SAFETY");
        }
    }

    #[test]
    fn words_about_unsafe_are_not_unsafe() {
        assert!(
            check(&[("apps/kv/src/a.rs", "// unsafe\nlet a = \"unsafe\"; let unsafer = 1;\n")])
                .is_empty()
        );
    }
}
