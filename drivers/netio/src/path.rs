//! What carries frames from machine to machine.

use core::fmt;

/// The way that a card's frames take on the host. A card cannot tell: whoever starts the machine says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ZeroCopyPath {
    /// By way of the host's kernel: TAP devices and a bridge. A system call or two per frame.
    Kernel,
    /// By way of sockets between programs of the host: QEMU's stream and datagram backends. System calls for
    /// each frame, or for some frames together.
    Userspace,
    /// Rings in memory that is shared with a switch that looks at them by itself (vhost-user), as DPDK does:
    /// no system call per frame.
    Dpdk,
}

impl ZeroCopyPath {
    /// All of them.
    pub const ALL: [ZeroCopyPath; 3] =
        [ZeroCopyPath::Kernel, ZeroCopyPath::Userspace, ZeroCopyPath::Dpdk];

    /// What it is called: a word in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            ZeroCopyPath::Kernel => "kernel",
            ZeroCopyPath::Userspace => "userspace",
            ZeroCopyPath::Dpdk => "dpdk",
        }
    }

    /// The path of that name, or `None` if there is none.
    pub fn named(name: &str) -> Option<ZeroCopyPath> {
        ZeroCopyPath::ALL.into_iter().find(|path| path.name() == name)
    }
}

impl fmt::Display for ZeroCopyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
