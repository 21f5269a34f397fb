//! The layers and the habits of this repository, checked: `xtask tidy`, and a test of this crate.
//!
//! Manifests and sources are read as text; nothing is built. What is found names the place and what to do
//! instead. Each check has a test with an example that breaks it.
//!
//! | module | question |
//! |---|---|
//! | `tree`, `manifest`, `source` | what is in the repository? |
//! | `layers` | does each crate lie in a layer, and name only crates of its own or an earlier one? |
//! | `outside` | who may name which crate that is not ours, and why? |
//! | `safety` | where may `unsafe` be, and is it explained? what does without the standard library? |
//! | `habits` | is the text as we write it? |
//! | `cores` | does what must be reproducible stay away from clocks and random order? |
//! | `readme` | does the front door say what is there? |

mod cores;
mod habits;
mod layers;
mod manifest;
mod outside;
mod readme;
mod safety;
mod source;
mod tree;

use std::fmt;
use std::process::ExitCode;

use manifest::Manifests;
use tree::Tree;

/// Something to be put right.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Finding {
    file: String,
    /// From 1 on.
    line: usize,
    /// What is wrong, and what to do instead.
    advice: String,
}

impl Finding {
    fn new(file: &str, line: usize, advice: impl Into<String>) -> Finding {
        Finding { file: file.into(), line, advice: advice.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.file, self.line, self.advice)
    }
}

/// Prints what is to be put right. The exit status says whether there is anything.
pub fn main() -> anyhow::Result<ExitCode> {
    let findings = check(&Tree::of_repository()?)?;
    for finding in &findings {
        println!("{finding}");
    }
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check(tree: &Tree) -> anyhow::Result<Vec<Finding>> {
    let manifests = Manifests::read(tree)?;
    let mut findings = Vec::new();
    layers::check(&manifests, &mut findings);
    outside::check(&manifests, &mut findings);
    safety::check(tree, &manifests, &mut findings);
    habits::check(tree, &mut findings);
    cores::check(tree, &mut findings);
    readme::check(tree, &mut findings);
    findings.sort();
    Ok(findings)
}

/// What the tests of the checks have in common.
#[cfg(test)]
mod testing {
    use super::{Finding, Manifests, Tree};

    /// Runs a check of files, and gives what it found as `file:line: advice`.
    pub(super) fn found(
        files: &[(&str, &str)],
        check: impl FnOnce(&Tree, &Manifests, &mut Vec<Finding>),
    ) -> Vec<String> {
        let tree = Tree::new(files.iter().map(|&(path, text)| (path.into(), text.into())));
        let manifests = Manifests::read(&tree).unwrap();
        let mut findings = Vec::new();
        check(&tree, &manifests, &mut findings);
        findings.iter().map(Finding::to_string).collect()
    }

    /// That exactly one thing was found, at a place, and is described by a phrase.
    #[track_caller]
    pub(super) fn assert_one(found: &[String], place: &str, phrase: &str) {
        assert!(
            matches!(found, [one] if one.starts_with(&format!("{place}: ")) && one.contains(phrase)),
            "expected one finding at {place} with '{phrase}', got {found:#?}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_tidy() {
        let findings = check(&Tree::of_repository().unwrap()).unwrap();
        let lines: Vec<_> = findings.iter().map(Finding::to_string).collect();
        assert!(lines.is_empty(), "{} findings:\n{}", lines.len(), lines.join("\n"));
    }
}
