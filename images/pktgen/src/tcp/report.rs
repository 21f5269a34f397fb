//! What a sink tells a source at the end.

/// The first bytes of a report; the last is its version.
const MAGIC: [u8; 8] = *b"tcpsink\x01";

/// What has arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// How many bytes.
    pub bytes: u64,
    /// From the first to the last, in nanoseconds.
    pub span_ns: u64,
    /// How many runs of bytes were not what the source sends in their place.
    pub misplaced: u64,
}

impl Report {
    /// How long it is on the wire.
    pub const BYTES: usize = 32;

    /// How many bits arrived in a second.
    pub fn bits_per_second(&self) -> f64 {
        if self.span_ns == 0 { 0.0 } else { self.bytes as f64 * 8e9 / self.span_ns as f64 }
    }

    pub(super) fn emit(&self) -> [u8; Report::BYTES] {
        let mut bytes = [0; Report::BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.bytes.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.span_ns.to_be_bytes());
        bytes[24..].copy_from_slice(&self.misplaced.to_be_bytes());
        bytes
    }

    /// `None` if it is none.
    pub(super) fn parse(bytes: &[u8]) -> Option<Report> {
        let bytes: &[u8; Report::BYTES] = bytes.try_into().ok()?;
        let (words, _) = bytes.as_chunks::<8>();
        let number = |index: usize| u64::from_be_bytes(words[index]);
        let report = Report { bytes: number(1), span_ns: number(2), misplaced: number(3) };
        (words[0] == MAGIC).then_some(report)
    }
}

#[cfg(test)]
mod tests {
    use base::Prng;

    use super::*;

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let report = Report { bytes: 250_000_000, span_ns: 1_000_000_000, misplaced: 3 };
        assert!((report.bits_per_second() - 2e9).abs() < 1.0);
        assert_eq!(Report::default().bits_per_second().to_bits(), 0);
        let bytes = report.emit();
        assert_eq!(Report::parse(&bytes), Some(report));
        assert_eq!(Report::parse(&bytes[1..]), None);
        let mut other = bytes;
        other[7] = 2;
        assert_eq!(Report::parse(&other), None);
    }

    #[test]
    fn whatever_is_read_is_what_is_there() {
        let mut prng = Prng::new(3);
        let mut read = 0;
        for _ in 0..20_000 {
            let length = if prng.chance(1, 2) { Report::BYTES as u64 } else { prng.below(80) };
            let mut bytes: Vec<u8> = (0..length).map(|_| prng.next_u64() as u8).collect();
            if bytes.len() >= MAGIC.len() && prng.chance(1, 2) {
                bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
            }
            if let Some(report) = Report::parse(&bytes) {
                assert_eq!(report.emit()[..], bytes);
                assert!(report.bits_per_second() >= 0.0);
                read += 1;
            }
        }
        assert!(read > 1_000, "{read}");
    }
}
