//! What runs in the image is a function of its inputs: no clock, no random order, no standard output.

use super::Finding;
use super::safety::is_without_std;
use super::source::{code_lines, tests_start};
use super::tree::Tree;

/// What may not be said, and what to say instead.
const BANNED: &[(&str, &str)] = &[
    ("HashMap", "its order differs from run to run: use BTreeMap"),
    ("HashSet", "its order differs from run to run: use BTreeSet"),
    ("Instant::now", "time is an argument: take `now`"),
    ("SystemTime", "time is an argument: take `now`"),
    ("println!", "there is no standard output: make it an output, or log it"),
    ("print!", "there is no standard output: make it an output, or log it"),
];

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    for file in tree.files.iter().filter(|file| file.is_rust() && is_without_std(&file.path)) {
        let before_tests = tests_start(&file.text) - 1;
        for (code, number) in code_lines(&file.text).iter().zip(1..).take(before_tests) {
            if let Some((word, advice)) = BANNED.iter().find(|(word, _)| code.contains(word)) {
                findings.push(Finding::new(&file.path, number, format!("'{word}': {advice}")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_one, found};
    use super::BANNED;

    fn check(path: &str, text: &str) -> Vec<String> {
        found(&[(path, text)], |tree, _, findings| super::check(tree, findings))
    }

    #[test]
    fn nothing_banned_is_in_the_image() {
        for (word, advice) in BANNED {
            let found = check("apps/kv/src/a.rs", &format!("fn a() {{\n    {word}(1);\n}}\n"));
            assert_one(&found, "apps/kv/src/a.rs:2", advice);
        }
    }

    #[test]
    fn programs_on_the_host_and_tests_are_free() {
        for path in ["scripts/xtask/src/a.rs", "drivers/vswitch/src/a.rs", "apps/kv/tests/a.rs"] {
            assert!(check(path, "println!();\n").is_empty(), "{path}");
        }
        assert!(
            check("apps/kv/src/a.rs", "a();\n#[cfg(test)]\nmod tests { println!(); }\n").is_empty()
        );
    }
}
