//! An Ethernet switch for virtual machines, as one program without privileges.
//!
//! A machine plugs in with QEMU in one of two ways, and each port takes one of them:
//! - `vhost-user:PATH`: the machine's rings are shared memory, and frames go from one machine's memory to
//!   another's. QEMU: `-chardev socket,id=c,path=PATH -netdev vhost-user,chardev=c,id=n`.
//! - `stream:PATH`: frames go over a Unix socket, each behind its length (32 bits, big-endian).
//!   QEMU: `-netdev stream,id=n,server=off,addr.type=unix,addr.path=PATH`.
//!
//! The switch listens on PATH; a machine that dies and comes back finds its port as it was, and the others
//! notice nothing but a word that it is gone (crate `notice`). What one machine writes into its rings is
//! never believed: it can spoil its own port only. Nor is its hypervisor: memory of which the file has less
//! is refused, and a file that is made shorter later, of whatever kind and with seals or without, costs its
//! machine the port, and nobody else anything.
//!
//! One thread does everything: no locks on the way of a frame. While frames come in quick succession it looks
//! at the rings again and again, without a system call; while they do not, it sleeps in one `epoll` for all
//! sockets and all doorbells. Where the busy machines leave it no processor it never looks in vain: it lets
//! frames gather for some microseconds, or sleeps. The `vhost` crate speaks the protocol. Its companions are
//! not used:
//! `vhost-user-backend` starts a thread for each device, and `virtio-queue` publishes each buffer by itself.
//!
//! - [`fabric`] decides: which port an address is behind, and what goes wrong on the way. Pure.
//! - [`frame`] is what is switched: memory of its sender, copied once.
//! - [`port`] is how frames get in and out.
//! - [`switch`] is the loop that joins them; [`control`] are the commands, [`client`] is who sends them.
//! - [`capture`] writes what a port sees to a file; [`scheduler`] is when the switch gets a processor.

pub mod capture;
pub mod client;
pub mod clock;
pub mod control;
pub mod fabric;
pub mod frame;
pub mod port;
pub mod scheduler;
pub mod statistics;
pub mod switch;

/// The longest frame that is switched: an MTU of 1500, the header, and a VLAN tag.
pub const FRAME_MAX_BYTES: usize = 1500 + 14 + 4;
/// The longest of those that somebody cuts later: IP's longest packet, and the same header.
pub const LARGE_MAX_BYTES: usize = 65_535 + 14 + 4;
/// How many pairs of queues a machine's card may have.
pub const PAIRS_MAX: usize = 8;
/// The shortest frame that is switched: its header.
pub const FRAME_MIN_BYTES: usize = 14;
/// How many frames are taken from a port before others get a turn.
pub const BURST_FRAMES: usize = 256;
/// How many frames wait for a machine that has no buffers, and how many bytes they have; more are dropped. A
/// machine that shares its processor with others may not run for some milliseconds.
pub const BACKLOG_FRAMES: usize = 8_192;
/// See there.
pub const BACKLOG_BYTES: usize = 2 << 20;
/// How many frames may be on delayed ways.
pub const DELAYED_FRAMES: usize = 65_536;
/// How many ports a switch has.
pub const PORTS_MAX: usize = 1_024;
/// How many addresses are remembered behind a port.
pub const ADDRESSES_PER_PORT_MAX: usize = 64;
/// An address that was not heard for this long is forgotten (IEEE 802.1D, table 7-5).
pub const ADDRESS_AGE_SECONDS: u64 = 300;
