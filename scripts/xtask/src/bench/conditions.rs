//! Under which conditions a figure was measured.

use std::process::Command;

use super::figures::Figures;

fn first_line(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.ok().and_then(|text| text.lines().next().map(String::from)).unwrap_or("unknown".into())
}

/// Notes the machine, the programs and the state of the source.
pub fn note(figures: &mut Figures) {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.and_then(|rest| rest.split(": ").nth(1)).unwrap_or("unknown");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    figures.condition("processor", format!("{model}, {cores} cores"));
    figures.condition("qemu", first_line("qemu-system-x86_64", &["--version"]));
    let root = std::env::var("COTERIE_ROOT").unwrap_or_else(|_| ".".into());
    let commit = first_line("git", &["-C", &root, "rev-parse", "--short", "HEAD"]);
    let changed = !first_line("git", &["-C", &root, "status", "--porcelain"]).contains("unknown");
    figures.condition("commit", if changed { format!("{commit}, with changes") } else { commit });
}
