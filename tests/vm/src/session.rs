//! A person at the serial port of a node, through `scripts/cluster shell`.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;

use crate::clock;
use crate::cluster::Cluster;
use crate::screen::Screen;

/// Nobody waits longer to see something.
const SEEN_WITHIN: Duration = Duration::from_secs(10);
/// The key that detaches: Ctrl-].
const DETACH: &[u8] = b"\x1d";

/// See the module.
pub struct Session {
    child: Child,
    keys: ChildStdin,
    received: Arc<Mutex<Vec<u8>>>,
}

impl Session {
    /// Attaches to a node.
    ///
    /// # Errors
    /// If that is not possible.
    pub fn attach(cluster: &Cluster, node: u16) -> anyhow::Result<Session> {
        let mut command = cluster.command(&["shell", &node.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let keys = child.stdin.take().context("no keyboard")?;
        let mut output = child.stdout.take().context("no screen")?;
        let received = Arc::new(Mutex::new(Vec::new()));
        let shown = Arc::clone(&received);
        // It ends with the child.
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                shown.lock().expect("nobody panics with it").extend_from_slice(&bytes[..count]);
            }
        });
        Ok(Session { child, keys, received })
    }

    /// Presses keys.
    ///
    /// # Errors
    /// If nobody listens any more.
    pub fn press(&mut self, keys: &[u8]) -> anyhow::Result<()> {
        println!("keys: {}", keys.escape_ascii());
        self.keys.write_all(keys)?;
        self.keys.flush()?;
        Ok(())
    }

    /// What is seen now.
    pub fn screen(&self) -> Screen {
        Screen::of(&self.received.lock().expect("nobody panics with it"))
    }

    /// Waits until the screen is as it should be.
    ///
    /// # Errors
    /// If it is not in time: the end of what is seen.
    pub fn see(&self, what: &str, is_right: impl Fn(&Screen) -> bool) -> anyhow::Result<()> {
        clock::wait(what, SEEN_WITHIN, || Ok(is_right(&self.screen()))).map_err(|error| {
            let screen = self.screen();
            let above = screen.above();
            let last = above[above.len().saturating_sub(8)..].join("\n");
            error.context(format!("the screen shows:\n{last}\n{}", screen.line()))
        })
    }

    /// Waits until the line with the cursor is this one.
    ///
    /// # Errors
    /// If it is not in time.
    pub fn see_line(&self, line: &str) -> anyhow::Result<()> {
        self.see(&format!("the line '{line}'"), |screen| screen.line() == line)
    }

    /// Enters what has been typed, and returns the lines that are shown until there is a prompt again.
    ///
    /// # Errors
    /// If there is none in time.
    pub fn enter(&mut self, prompt: &str) -> anyhow::Result<Vec<String>> {
        let before = self.screen().above().len();
        self.press(b"\r")?;
        let is_answered =
            |screen: &Screen| screen.above().len() > before && screen.line() == prompt.trim_end();
        self.see("an answer and a prompt", is_answered)?;
        // The first of them is what was typed.
        Ok(self.screen().above().split_off(before + 1))
    }

    /// Detaches, as people do.
    ///
    /// # Errors
    /// If the shell does not end well.
    pub fn detach(mut self) -> anyhow::Result<()> {
        self.press(DETACH)?;
        let mut ended = None;
        clock::wait("'shell' ends", SEEN_WITHIN, || {
            ended = self.child.try_wait()?;
            Ok(ended.is_some())
        })?;
        anyhow::ensure!(
            ended.is_some_and(|status| status.success()),
            "'shell' ended with {ended:?}"
        );
        Ok(())
    }
}
