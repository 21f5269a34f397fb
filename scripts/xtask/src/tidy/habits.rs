//! Habits of writing: lines, files, words, and the heads of modules and scripts.

use super::Finding;
use super::source::{code_lines, tests_start};
use super::tree::{File, Tree};

/// How long a line of Rust may be: what rustfmt makes of code, and a little more for comments.
const COLUMNS_MAX: usize = 110;

/// How long a source may be, not counting the tests at its foot.
const LINES_MAX: usize = 500;

/// What is not left in code, and what to do instead. The compiler's lints find some of it, in some crates.
const UNFINISHED: &[(&str, &str)] = &[
    ("todo!", "write it, or return an error"),
    ("unimplemented!", "write it, or return an error"),
    ("dbg!", "remove it"),
    ("#[ignore", "make the test quick, or a step of scripts/test"),
];

/// What belongs to one person's machine; in pieces, so that this file does not contain it.
const PERSONAL: &[(&str, &str)] =
    &[("/ho", "me/"), ("/ro", "ot/"), ("/wo", "rk/"), ("/Us", "ers/")];

/// Where crates come from is for whoever builds to say.
const REGISTRIES: &[(&str, &str)] = &[
    ("sparse", "+http"),
    ("index.", "crates.io"),
    ("static.", "crates.io"),
    ("replace", "-with"),
    ("[source", "."),
    ("arti", "factory"),
];

/// The registry that every lock file names.
const LOCKED_SOURCE: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";

/// Files in which every byte is data.
const DATA: &[&str] = &["/transcripts/", "tests/fuzz/seeds/"];

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    for file in tree.files.iter().filter(|file| !DATA.iter().any(|part| file.path.contains(part))) {
        check_text(file, findings);
        check_places(file, findings);
        if file.is_rust() {
            check_rust(file, findings);
        } else if file.text.starts_with("#!") {
            check_script(file, findings);
        }
    }
}

fn check_text(file: &File, findings: &mut Vec<Finding>) {
    let mut report =
        |line: usize, advice: &str| findings.push(Finding::new(&file.path, line, advice));
    for (number, line) in file.lines() {
        if line.contains('\t') {
            report(number, "a tab: use spaces");
        }
        if line.ends_with([' ', '\r']) {
            report(number, "white space at the end of the line: remove it");
        }
        if line.contains(concat!("FIX", "ME")) {
            report(number, "do it now, or put it into README's list of what is not there yet");
        }
    }
    let last = file.text.lines().count().max(1);
    if !file.text.ends_with('\n') || file.text.ends_with("\n\n") || file.text == "\n" {
        report(last, "end the file with one newline");
    }
}

/// Neither folders of whoever wrote it, nor the registry that they build with.
fn check_places(file: &File, findings: &mut Vec<Finding>) {
    for (number, line) in file.lines() {
        let has = |pieces: &&(&str, &str)| line.contains(&format!("{}{}", pieces.0, pieces.1));
        if PERSONAL.iter().any(|pieces| has(&pieces)) {
            findings.push(Finding::new(
                &file.path,
                number,
                "a folder of one machine: make it relative",
            ));
        }
        let is_foreign = line.starts_with("source = ") && line != LOCKED_SOURCE;
        if REGISTRIES.iter().any(|pieces| has(&pieces))
            || file.path.ends_with(".lock") && is_foreign
        {
            findings.push(Finding::new(
                &file.path,
                number,
                "names a registry: that is for ~/.cargo/config.toml",
            ));
        }
    }
}

fn check_rust(file: &File, findings: &mut Vec<Finding>) {
    let mut report =
        |line: usize, advice: String| findings.push(Finding::new(&file.path, line, advice));
    if !file.text.starts_with("//!") {
        report(1, "begin with a line '//! …' that says what this module is for".into());
    }
    let before_tests = tests_start(&file.text) - 1;
    if before_tests > LINES_MAX {
        report(
            before_tests,
            format!(
                "more than {LINES_MAX} lines without tests: split it by the questions it answers"
            ),
        );
    }
    for (number, line) in file.lines() {
        if line.chars().count() > COLUMNS_MAX {
            report(number, format!("more than {COLUMNS_MAX} columns: break the line"));
        }
    }
    for (code, number) in code_lines(&file.text).iter().zip(1..) {
        if let Some((word, advice)) = UNFINISHED.iter().find(|(word, _)| code.contains(word)) {
            report(number, format!("'{word}': {advice}"));
        }
    }
}

/// A script stops at the first failure, or says beside its own `set` why it does not.
fn check_script(file: &File, findings: &mut Vec<Finding>) {
    if !file.text.lines().next().is_some_and(|line| line.ends_with("sh")) {
        return;
    }
    let set = file.lines().find(|(_, line)| line.starts_with("set "));
    let has_reason = |line: &str| line.starts_with("set -") && line.contains(" # ");
    match set {
        Some((_, line)) if line == "set -euo pipefail" || has_reason(line) => {}
        Some((number, _)) => findings.push(Finding::new(
            &file.path,
            number,
            "say 'set -euo pipefail', or why not, in a comment on the same line",
        )),
        None => findings.push(Finding::new(&file.path, 1, "add 'set -euo pipefail'")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_one, found};
    use super::*;

    fn check(path: &str, text: &str) -> Vec<String> {
        found(&[(path, text)], |tree, _, findings| super::check(tree, findings))
    }

    #[test]
    fn what_is_well_written_is_not_found() {
        assert!(check("a.rs", "//! A.\n\nfn a() {}\n").is_empty());
        assert!(check("a", "#!/usr/bin/env bash\n# A.\nset -euo pipefail\n").is_empty());
        assert!(check("Cargo.lock", &format!("{LOCKED_SOURCE}\n")).is_empty());
    }

    #[test]
    fn white_space_is_plain() {
        assert_one(&check("a.md", "a\n\tb\n"), "a.md:2", "tab");
        assert_one(&check("a.md", "a \nb\n"), "a.md:1", "end of the line");
        assert_one(&check("a.md", "a\r\nb\n"), "a.md:1", "end of the line");
    }

    #[test]
    fn a_file_ends_with_one_newline() {
        for text in ["a\nb", "a\n\n", "\n", ""] {
            assert_eq!(check("a.md", text).len(), 1, "{text:?}");
        }
    }

    #[test]
    fn nothing_is_left_for_later() {
        assert_one(&check("a.md", concat!("a\nFIX", "ME b\n")), "a.md:2", "do it now");
        for (word, advice) in UNFINISHED {
            assert_one(
                &check("a.rs", &format!("//! A.\nfn a() {{ {word}]() }}\n")),
                "a.rs:2",
                advice,
            );
        }
    }

    #[test]
    fn nobodys_folders_are_named() {
        for (first, second) in PERSONAL {
            assert_one(&check("a.md", &format!("a\n{first}{second}b\n")), "a.md:2", "one machine");
        }
    }

    #[test]
    fn nobodys_registry_is_named() {
        for (first, second) in REGISTRIES {
            assert_one(&check("a.toml", &format!("a\n{first}{second}\n")), "a.toml:2", "registry");
        }
        let lock = "source = \"registry+https://example.org/index\"\n";
        assert_one(&check("Cargo.lock", lock), "Cargo.lock:1", "registry");
    }

    #[test]
    fn a_module_says_what_it_is_for() {
        assert_one(&check("a.rs", "fn a() {}\n"), "a.rs:1", "what this module is for");
    }

    #[test]
    fn lines_are_short() {
        let line = |length| format!("//! A.\n// {}\n", "ä".repeat(length - 3));
        assert!(check("a.rs", &line(COLUMNS_MAX)).is_empty());
        assert_one(&check("a.rs", &line(COLUMNS_MAX + 1)), "a.rs:2", "columns");
    }

    #[test]
    fn files_are_short_without_their_tests() {
        let text =
            |lines| format!("//! A.\n{}#[cfg(test)]\nmod tests {{}}\n", "a;\n".repeat(lines - 1));
        assert!(check("a.rs", &text(LINES_MAX)).is_empty());
        assert_one(&check("a.rs", &text(LINES_MAX + 1)), "a.rs:501", "split it");
    }

    #[test]
    fn a_script_stops_at_the_first_failure_or_says_why_not() {
        let script = |set: &str| check("a", &format!("#!/bin/bash\n{set}\n"));
        assert!(script("set -uo pipefail # Not -e: a step may fail.").is_empty());
        assert_one(&script("set -u"), "a:2", "why not");
        assert_one(&script("echo"), "a:1", "set -euo pipefail");
        assert!(check("a", "#!/usr/bin/env python3\n").is_empty());
    }

    #[test]
    fn data_is_not_looked_at() {
        assert!(check("apps/kv/tests/transcripts/a.txt", "a \n").is_empty());
    }
}
