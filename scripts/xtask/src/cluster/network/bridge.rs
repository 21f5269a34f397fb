//! TAP devices on a bridge. All of it is in a network namespace that goes away with the cluster, so that
//! nothing of it can meet anything else on the host.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;

use anyhow::Context;
use nix::sched::{CloneFlags, setns};

use super::namespace;
use crate::cluster::state::Description;

const BRIDGE: &str = "bridge";
const TUN: &str = "/dev/net/tun";

pub(super) fn start(description: &Description) -> anyhow::Result<()> {
    Bridge::make(&namespace::name(description)).map(drop)
}

pub(super) fn tap(description: &Description, node: u16) -> anyhow::Result<OwnedFd> {
    Bridge(namespace::name(description)).tap(&format!("node{node}"))
}

/// A bridge in a network namespace, which may be gone by the time it is used.
#[derive(Debug)]
pub struct Bridge(String);

impl Bridge {
    /// Why there cannot be one here, if so.
    pub fn obstacle() -> Option<String> {
        if !nix::unistd::geteuid().is_root() {
            return Some("TAP devices need root".into());
        }
        if let Err(error) = File::options().read(true).write(true).open(TUN) {
            return Some(format!("{TUN} cannot be opened: {error}"));
        }
        let is_missing = Command::new("ip").arg("-V").output().is_err();
        is_missing.then(|| "the program 'ip' is missing".into())
    }

    /// A bridge in the namespace of this name, which is made if it is not there.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn make(name: &str) -> anyhow::Result<Bridge> {
        if namespace::make(name)? {
            namespace::ip(&["-n", name, "link", "add", BRIDGE, "type", "bridge"])?;
            namespace::ip(&["-n", name, "link", "set", BRIDGE, "up"])?;
        }
        Ok(Bridge(name.into()))
    }

    /// A TAP device on the bridge, which lives as long as it is open.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn tap(&self, device: &str) -> anyhow::Result<OwnedFd> {
        self.taps(device, 1)?.pop().context("a device has a queue")
    }

    /// The same with so many queues, each of which has a descriptor.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn taps(&self, device: &str, queues: usize) -> anyhow::Result<Vec<OwnedFd>> {
        let open = || (0..queues).map(|_| open(device, queues > 1)).collect::<anyhow::Result<_>>();
        let taps = self.within(open)?;
        namespace::ip(&["-n", &self.0, "link", "set", device, "master", BRIDGE, "up"])?;
        Ok(taps)
    }

    /// Gives the host an address on the bridge, in the bridge's namespace.
    ///
    /// # Errors
    /// If that is not possible.
    pub fn add_address(&self, address: &str) -> anyhow::Result<()> {
        namespace::ip(&["-n", &self.0, "address", "add", address, "dev", BRIDGE])
    }

    /// Does something in the bridge's namespace: sockets that are made there stay there.
    ///
    /// # Errors
    /// If the namespace is gone, or that fails.
    pub fn within<T: Send>(
        &self,
        deed: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        std::thread::scope(|scope| {
            // A thread can be in another namespace than its program; it does not come back.
            let done = scope.spawn(|| {
                let file = File::open(namespace::file(&self.0))?;
                setns(file, CloneFlags::CLONE_NEWNET)?;
                deed()
            });
            done.join().expect("what is done there does not panic")
        })
    }

    /// Removes it, with its namespace.
    pub fn remove(&self) {
        namespace::remove(&self.0);
    }
}

/// Makes a TAP device that lives as long as it is open, or opens a queue more of it. The header in front of
/// each frame says what is left to do, so that QEMU's card can offer to leave that to the kernel.
fn open(name: &str, has_several_queues: bool) -> anyhow::Result<OwnedFd> {
    let device = File::options().read(true).write(true).open(TUN).context(TUN)?;
    // SAFETY: all zeros is a request without a name or flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = libc::c_char::try_from(byte)?;
    }
    let several = if has_several_queues { libc::IFF_MULTI_QUEUE } else { 0 };
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR | several;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags)?;
    // SAFETY: the descriptor is open, and the request a whole one that outlives the call.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if result < 0 {
        return Err(std::io::Error::last_os_error()).context(format!("TAP device {name}"));
    }
    Ok(device.into())
}
