//! What a station is told on the kernel's command line.

use core::fmt;

use base::limits::{RING_SIZE, RING_SIZE_MAX, is_ring_size};
use netio::OffloadSet;

/// All that a station is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// What is left to the card.
    pub offloading: Offloading,
    /// How many descriptors each ring has, if the card allows that.
    pub ring_size: u16,
}

/// What the card is to take over of TCP, if it can.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Offloading {
    /// Nothing: frames are complete, and the fastest.
    #[default]
    None,
    /// Checksums, in both directions.
    Checksums,
    /// Checksums, and segments of up to 64 KiB in both directions; they are cut by the processor if the card
    /// cannot.
    All,
}

/// A word that means nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownWord<'a>(pub &'a str);

impl fmt::Display for UnknownWord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.0;
        write!(
            f,
            "'{word}' is neither pktgen.offloads=none, checksums or all, nor pktgen.ring=N, a power of two \
             up to {RING_SIZE_MAX}"
        )
    }
}

impl Settings {
    /// Reads `pktgen.offloads=WHAT` and `pktgen.ring=N`. Words that do not begin with `pktgen.` are for
    /// others.
    ///
    /// # Errors
    /// The first word that is wrong.
    pub fn parse(line: &str) -> Result<Settings, UnknownWord<'_>> {
        let mut settings = Settings { offloading: Offloading::default(), ring_size: RING_SIZE };
        for word in line.split_whitespace().filter(|word| word.starts_with("pktgen.")) {
            match word.split_once('=') {
                Some(("pktgen.offloads", what)) => {
                    settings.offloading = Offloading::named(what).ok_or(UnknownWord(word))?;
                }
                Some(("pktgen.ring", size)) => {
                    let size = size.parse().ok().filter(|size| is_ring_size(*size));
                    settings.ring_size = size.ok_or(UnknownWord(word))?;
                }
                Some(_) | None => return Err(UnknownWord(word)),
            }
        }
        Ok(settings)
    }
}

impl Offloading {
    fn named(name: &str) -> Option<Offloading> {
        match name {
            "none" => Some(Offloading::None),
            "checksums" => Some(Offloading::Checksums),
            "all" => Some(Offloading::All),
            _ => None,
        }
    }

    /// What to ask the card for.
    pub fn wanted(self) -> OffloadSet {
        let (checksums, large) = match self {
            Offloading::None => (false, false),
            Offloading::Checksums => (true, false),
            Offloading::All => (true, true),
        };
        OffloadSet {
            transmit_checksum: checksums,
            receive_checksum: checksums,
            transmit_tso_ipv4: large,
            transmit_tso_ipv6: large,
            receive_tso_ipv4: large,
            receive_tso_ipv6: large,
            mergeable_buffers: large,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_read() {
        let parse = |line| Settings::parse(line).map(|it| (it.offloading, it.ring_size));
        assert_eq!(parse("virtio_mmio.device=512@0xfeb00000:5"), Ok((Offloading::None, 256)));
        assert_eq!(parse(" a pktgen.offloads=all  b"), Ok((Offloading::All, 256)));
        let both = "pktgen.ring=1024 pktgen.offloads=checksums";
        assert_eq!(parse(both), Ok((Offloading::Checksums, 1024)));
        assert_eq!(parse("pktgen.ring=1"), Ok((Offloading::None, 1)));
        for wrong in [
            "pktgen.offloads=some",
            "pktgen.offloads",
            "pktgen.mtu=9000",
            "pktgen.ring=0",
            "pktgen.ring=1000",
            "pktgen.ring=2048",
            "pktgen.ring=65536",
        ] {
            assert_eq!(parse(wrong), Err(UnknownWord(wrong)));
        }
    }
}
