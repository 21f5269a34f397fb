//! What a station is told on the kernel's command line.

use core::fmt;

use netio::OffloadSet;

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
        write!(f, "'{word}' is not pktgen.offloads=none, checksums or all")
    }
}

impl Offloading {
    /// Reads `pktgen.offloads=WHAT`. Words that do not begin with `pktgen.` are for others.
    ///
    /// # Errors
    /// The first word that is wrong.
    pub fn parse(line: &str) -> Result<Offloading, UnknownWord<'_>> {
        let own = line.split_whitespace().filter(|word| word.starts_with("pktgen."));
        own.into_iter().try_fold(Offloading::default(), |_, word| {
            match word.strip_prefix("pktgen.offloads=") {
                Some("none") => Ok(Offloading::None),
                Some("checksums") => Ok(Offloading::Checksums),
                Some("all") => Ok(Offloading::All),
                Some(_) | None => Err(UnknownWord(word)),
            }
        })
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
        let parse = |line| Offloading::parse(line);
        assert_eq!(parse("virtio_mmio.device=512@0xfeb00000:5"), Ok(Offloading::None));
        assert_eq!(parse(" a pktgen.offloads=all  b"), Ok(Offloading::All));
        assert_eq!(parse("pktgen.offloads=checksums"), Ok(Offloading::Checksums));
        for wrong in ["pktgen.offloads=some", "pktgen.offloads", "pktgen.mtu=9000"] {
            assert_eq!(parse(wrong), Err(UnknownWord(wrong)));
        }
    }
}
