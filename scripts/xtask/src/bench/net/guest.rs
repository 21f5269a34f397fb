//! What a machine boots, how it is run, and how it is plugged in.

use std::ffi::OsString;
use std::path::Path;

use anyhow::Context;

/// The packet generator for machines with several processors; `scripts/image --smp` builds it.
pub(super) const SMP_IMAGE: &str = "coterie-pktgen-smp";

/// How machines are run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pace {
    /// As fast as it goes.
    Free,
    /// A nanosecond of the machine's time for each instruction: its times are instruction counts.
    Counted,
}

/// What a machine boots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Guest<'a> {
    /// Our packet generator.
    Ours(Pace),
    /// That for several processors, with so many, and as many pairs of queues.
    Several(usize),
    /// The same, whose card takes over this of TCP (`pktgen.offloads`).
    Offloading(&'a str),
    /// The same, whose card has rings of this size.
    Ringed(u16),
    /// The same, whose card has packed rings.
    Packed,
    /// Linux: it sends to this address if there is one, else it counts what arrives.
    Linux(Option<&'a str>),
    /// Linux: it takes what a source of TCP sends, and sends the beginning of that to the sink there.
    LinuxTcp(&'a str),
}

/// How a machine's card meets what joins the machines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Backend {
    /// Over shared rings.
    VhostUser,
    /// QEMU copies each frame through a Unix socket.
    Stream,
    /// QEMU copies each frame through a TAP device, on a bridge of the kernel.
    Tap,
}

impl Guest<'_> {
    pub(super) fn memory_mib(self) -> usize {
        match self {
            Guest::Ours(_) | Guest::Several(_) | Guest::Offloading(_) | Guest::Packed => 64,
            Guest::Ringed(_) | Guest::Linux(_) | Guest::LinuxTcp(_) => 128,
        }
    }

    pub(super) fn processors(self) -> usize {
        match self {
            Guest::Several(processors) => processors,
            _ => 1,
        }
    }
}

impl Backend {
    /// What our switch calls it, if it is what joins the machines.
    pub(super) fn port_kind(self) -> Option<&'static str> {
        match self {
            Backend::VhostUser => Some("vhost-user"),
            Backend::Stream => Some("stream"),
            Backend::Tap => None,
        }
    }
}

/// What QEMU is told of what a machine boots.
pub(super) fn kernel(guest: Guest<'_>) -> anyhow::Result<Vec<OsString>> {
    let root = std::env::var_os("COTERIE_ROOT").context("run scripts/bench")?;
    let file = |name: &str| Path::new(&root).join("target").join(name).into_os_string();
    Ok(match guest {
        Guest::Ours(pace) => {
            let mut words = vec!["-kernel".into(), file("coterie-pktgen")];
            if pace == Pace::Counted {
                words.extend(["-icount".into(), "shift=0".into()]);
            }
            words
        }
        Guest::Packed => vec!["-kernel".into(), file("coterie-pktgen")],
        Guest::Several(_) => vec!["-kernel".into(), file(SMP_IMAGE)],
        Guest::Offloading(what) => {
            let line = format!("pktgen.offloads={what}");
            vec!["-kernel".into(), file("coterie-pktgen"), "-append".into(), line.into()]
        }
        Guest::Ringed(size) => {
            let line = format!("pktgen.ring={size}");
            vec!["-kernel".into(), file("coterie-pktgen"), "-append".into(), line.into()]
        }
        Guest::Linux(_) | Guest::LinuxTcp(_) => {
            let word = match guest {
                Guest::Linux(Some(to)) => format!(" to={to}"),
                Guest::LinuxTcp(sink) => format!(" tcp={sink}"),
                _ => String::new(),
            };
            let line = format!("console=ttyS0 quiet net.ifnames=0 mitigations=off{word}");
            let kernel = ["-kernel".into(), file("peers/linux/kernel")];
            let rest =
                ["-initrd".into(), file("peers/linux/initrd"), "-append".into(), line.into()];
            kernel.into_iter().chain(rest).collect()
        }
    })
}

/// The address of a machine's card.
pub(super) fn mac(number: usize) -> String {
    format!("02:77:00:00:00:{number:02x}")
}
