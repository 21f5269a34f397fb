//! Tells stories one after another, each in a process of its own with a time limit, and tidies up after each.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::Context;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::clock;
use crate::leftovers::{self, CLUSTERS};
use crate::stories::{Ending, Story, World};

/// A story that cannot be told here ends with this status; its last line says why.
const SKIPPED: u8 = 77;
/// Where logs are kept.
const LOGS: &str = "target/vm-test";
/// What a story says of itself.
const STORY_LOG: &str = "story.log";
/// So many lines of that are shown when it fails.
const LINES_SHOWN: usize = 12;

/// How one story went.
enum Verdict {
    Passed,
    Skipped(String),
    Failed(String),
    Interrupted,
}

/// Tells the stories, and says how each went.
///
/// # Errors
/// If that is not possible at all.
pub fn run_all(stories: &[&Story], keep: bool) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::catch()?;
    sweep()?;
    build()?;
    let (mut passed, mut failed) = (0, 0);
    for story in stories {
        let started = clock::now();
        let verdict = run_one(story, keep, &mut signals)?;
        let seconds = started.elapsed().as_secs_f64();
        match verdict {
            Verdict::Passed => {
                passed += 1;
                println!("vm: {} ... ok ({seconds:.1} s)", story.name);
            }
            Verdict::Skipped(reason) => println!("vm: {} ... {reason}", story.name),
            Verdict::Failed(reason) => {
                failed += 1;
                println!("vm: {} ... FAILED ({seconds:.1} s)\n{reason}", story.name);
                println!("    logs: {}", folder(story).display());
            }
            Verdict::Interrupted => {
                println!("vm: {} ... interrupted", story.name);
                failed += 1;
                break;
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What has to be built is built before the first clock runs.
fn build() -> anyhow::Result<()> {
    let image = ["scripts/image", "--quietly"];
    let adversary = ["scripts/image", "--quietly", "--adversary"];
    for words in [&image[..], &adversary, &["scripts/cluster", "list"]] {
        let built = Command::new(words[0]).args(&words[1..]).stdout(Stdio::null()).status();
        let built = built.with_context(|| words[0].to_string())?;
        anyhow::ensure!(built.success(), "{} ended with {built}", words.join(" "));
    }
    Ok(())
}

fn folder(story: &Story) -> PathBuf {
    Path::new(LOGS).join(story.name)
}

/// Clusters of an earlier run that was killed itself, and could not tidy up.
fn sweep() -> anyhow::Result<()> {
    for cluster in leftovers::clusters() {
        if leftovers::process_of(&cluster).is_some_and(|process| !leftovers::is_alive(process)) {
            eprintln!("vm: {cluster} was left by a run that was killed: it is taken down");
            take_down(&cluster)?;
        }
    }
    Ok(())
}

fn run_one(story: &Story, keep: bool, signals: &mut Signals) -> anyhow::Result<Verdict> {
    let folder = folder(story);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("{}", folder.display()))?;
    let log = folder.join(STORY_LOG);
    let name = leftovers::name_of(std::process::id());
    let file = File::create(&log)?;
    let mut telling = Telling {
        child: Command::new(std::env::current_exe()?)
            .args([story.name, "--inside", &name])
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()?,
        is_over: false,
    };
    let mut verdict = watch(&mut telling.child, story, &log, signals)?;
    let is_good = matches!(verdict, Verdict::Passed | Verdict::Skipped(_));
    if keep || !is_good {
        // The machines are still as the story left them; their logs are complete up to now.
        own_clusters().iter().try_for_each(|cluster| keep_logs(cluster, &folder))?;
    }
    let tidied = telling.end();
    if let (Err(error), true) = (tidied, is_good) {
        verdict = Verdict::Failed(format!("    {error:#}"));
    } else if is_good && !keep {
        fs::remove_dir_all(&folder)?;
    }
    Ok(verdict)
}

/// Waits for the end of a story, its time limit, or somebody's impatience.
fn watch(
    child: &mut Child,
    story: &Story,
    log: &Path,
    signals: &mut Signals,
) -> anyhow::Result<Verdict> {
    let started = clock::now();
    loop {
        if let Some(status) = child.try_wait()? {
            let said = fs::read_to_string(log).unwrap_or_default();
            return Ok(match status.code() {
                Some(0) => Verdict::Passed,
                Some(code) if code == i32::from(SKIPPED) => {
                    Verdict::Skipped(said.lines().last().unwrap_or_default().to_string())
                }
                _ => Verdict::Failed(last_lines(&said)),
            });
        }
        if signals.have_come()? {
            return Ok(Verdict::Interrupted);
        }
        if started.elapsed() >= story.limit {
            let said = last_lines(&fs::read_to_string(log).unwrap_or_default());
            let limit = story.limit.as_secs();
            return Ok(Verdict::Failed(format!("{said}\n    not done after {limit} s")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(LINES_SHOWN)..];
    shown.iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

/// A story that is being told. It leaves nothing behind, even if whoever listens panics.
struct Telling {
    child: Child,
    is_over: bool,
}

impl Telling {
    /// Ends the story's process and whatever it has started.
    fn end(mut self) -> anyhow::Result<()> {
        self.is_over = true;
        self.tidy_up()
    }

    fn tidy_up(&mut self) -> anyhow::Result<()> {
        // It may have ended; it is not collected yet, so the number is still its own.
        let _ = self.child.kill();
        let session = self.child.id();
        leftovers::end("end of what the story has started", || leftovers::in_session(session))?;
        self.child.wait()?;
        own_clusters().iter().try_for_each(|cluster| take_down(cluster))
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        if !self.is_over {
            // There is another error under way already.
            let _ = self.tidy_up();
        }
    }
}

fn own_clusters() -> Vec<String> {
    let process = Some(std::process::id());
    let clusters = leftovers::clusters();
    clusters.into_iter().filter(|cluster| leftovers::process_of(cluster) == process).collect()
}

/// Takes a cluster down as people do, and makes sure that nothing of it is left.
fn take_down(cluster: &str) -> anyhow::Result<()> {
    let output =
        Command::new("scripts/cluster").args(["--name", cluster, "down", "--wipe"]).output()?;
    let left = leftovers::in_cluster(cluster);
    leftovers::end("end of what runs in the cluster's folder", || leftovers::in_cluster(cluster))?;
    let folder = Path::new(CLUSTERS).join(cluster);
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "'down --wipe' failed: {}", said.trim());
    anyhow::ensure!(left.is_empty(), "'down --wipe' left processes behind: {left:?}");
    Ok(())
}

/// Copies what the machines and the switch of a cluster have said.
fn keep_logs(cluster: &str, folder: &Path) -> anyhow::Result<()> {
    let from = Path::new(CLUSTERS).join(cluster);
    for entry in fs::read_dir(&from)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let logs: &[&str] = match name.as_str() {
            "switch.log" => &[""],
            name if name.starts_with("node-") => &["serial.log", "qemu.log"],
            _ => &[],
        };
        for log in logs {
            let (source, dashed) = match *log {
                "" => (path.clone(), name.clone()),
                log => (path.join(log), format!("{name}-{log}")),
            };
            // A node that never ran has said nothing.
            let _ = fs::copy(source, folder.join(format!("{cluster}-{dashed}")));
        }
    }
    Ok(())
}

/// Tells one story: this is the process of its own.
///
/// # Errors
/// If the story ends badly.
pub fn tell(story: &Story, cluster: &str) -> anyhow::Result<ExitCode> {
    // In a session of its own, everything that it starts can be found; and without whoever listens it ends.
    nix::unistd::setsid().context("a story is told by the program, not by people")?;
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    SigSet::all().thread_unblock()?;
    let mut world = World::new(cluster);
    match (story.tell)(&mut world)? {
        Ending::Good => Ok(ExitCode::SUCCESS),
        Ending::Skipped(reason) => {
            println!("skipped: {reason}");
            Ok(ExitCode::from(SKIPPED))
        }
    }
}

/// Ctrl-C and the like: noticed where it is safe to stop.
struct Signals(SignalFd);

impl Signals {
    fn catch() -> anyhow::Result<Signals> {
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            mask.add(signal);
        }
        mask.thread_block()?;
        Ok(Signals(SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?))
    }

    fn have_come(&mut self) -> anyhow::Result<bool> {
        Ok(self.0.read_signal()?.is_some())
    }
}
