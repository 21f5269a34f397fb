//! TAP devices on a bridge. All of it is in a network namespace that goes away with the cluster, so that
//! nothing of it can meet anything else on the host.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::Context;
use nix::sched::{CloneFlags, setns};

use super::namespace;
use crate::cluster::state::Description;

const BRIDGE: &str = "bridge";

pub(super) fn start(description: &Description) -> anyhow::Result<()> {
    if namespace::make(description)? {
        let name = namespace::name(description);
        namespace::ip(&["-n", &name, "link", "add", BRIDGE, "type", "bridge"])?;
        namespace::ip(&["-n", &name, "link", "set", BRIDGE, "up"])?;
    }
    Ok(())
}

pub(super) fn tap(description: &Description, node: u16) -> anyhow::Result<OwnedFd> {
    let namespace = namespace::name(description);
    let name = format!("node{node}");
    let tap = std::thread::scope(|scope| {
        // A thread can be in another namespace than its program; it does not come back.
        let opened = scope.spawn(|| {
            let file = File::open(namespace::file(description))?;
            setns(file, CloneFlags::CLONE_NEWNET)?;
            open(&name)
        });
        opened.join().expect("opening a device does not panic")
    })?;
    namespace::ip(&["-n", &namespace, "link", "set", &name, "master", BRIDGE, "up"])?;
    Ok(tap)
}

/// Makes a TAP device that lives as long as it is open.
fn open(name: &str) -> anyhow::Result<OwnedFd> {
    let device = File::options().read(true).write(true).open("/dev/net/tun");
    let device = device.context("/dev/net/tun")?;
    // SAFETY: all zeros is a request without a name or flags.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = libc::c_char::try_from(byte)?;
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags)?;
    // SAFETY: the descriptor is open, and the request a whole one that outlives the call.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    if result < 0 {
        return Err(std::io::Error::last_os_error()).context(format!("TAP device {name}"));
    }
    Ok(device.into())
}
