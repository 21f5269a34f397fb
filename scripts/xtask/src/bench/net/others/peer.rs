//! The other end of a station's TCP on this host: what `images/pktgen/src/tcp` says of its protocol.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, ensure};
use base::Prng;

use crate::{clock, interrupt};

/// What a source sends, again and again.
const PERIOD_BYTES: usize = 4096;
const SEED: u64 = 0x7c70_5369_6e6b_0001;
/// How much is read or written at once: whole periods.
const CHUNK_BYTES: usize = 16 * PERIOD_BYTES;
const MAGIC: [u8; 8] = *b"tcpsink\x01";
/// How long a report is.
pub(super) const REPORT_BYTES: usize = 32;

/// How long the other end may take to connect, or to say something.
const CONNECTS_WITHIN: Duration = Duration::from_secs(10);
const SPEAKS_WITHIN: Duration = Duration::from_secs(20);

/// What a sink says of the bytes that have arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Report {
    pub(super) bytes: u64,
    /// Runs of bytes that were not what a source sends in their place.
    pub(super) misplaced: u64,
}

impl Report {
    pub(super) fn parse(bytes: &[u8]) -> anyhow::Result<Report> {
        let is_report = bytes.len() == REPORT_BYTES && bytes[..8] == MAGIC;
        ensure!(is_report, "this is no report of a sink: {}", bytes.escape_ascii());
        let number = |start: usize| {
            bytes[start..start + 8].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
        };
        Ok(Report { bytes: number(8), misplaced: number(24) })
    }

    fn emit(self) -> Vec<u8> {
        // Nobody asks how long it took.
        let numbers = [self.bytes, 0, self.misplaced];
        let numbers = numbers.into_iter().flat_map(u64::to_be_bytes);
        MAGIC.into_iter().chain(numbers).collect()
    }
}

/// So many periods that a chunk that begins anywhere in the first is in them.
fn pattern() -> Vec<u8> {
    let mut prng = Prng::new(SEED);
    let period: Vec<u8> =
        (0..PERIOD_BYTES / 8).flat_map(|_| prng.next_u64().to_le_bytes()).collect();
    period.repeat(CHUNK_BYTES / PERIOD_BYTES + 1)
}

/// Sends so many chunks to a sink, and returns what it reports.
pub(super) fn send(to: SocketAddr, chunks: u64) -> anyhow::Result<Report> {
    let mut stream = TcpStream::connect_timeout(&to, CONNECTS_WITHIN)?;
    stream.set_read_timeout(Some(SPEAKS_WITHIN))?;
    stream.set_write_timeout(Some(SPEAKS_WITHIN))?;
    let pattern = pattern();
    for _ in 0..chunks {
        interrupt::check()?;
        stream.write_all(&pattern[..CHUNK_BYTES]).context("the sink takes no more")?;
    }
    stream.shutdown(Shutdown::Write)?;
    let mut report = Vec::new();
    stream.read_to_end(&mut report).context("the sink does not report")?;
    Report::parse(&report)
}

/// How many bytes those are.
pub(super) fn bytes_of(chunks: u64) -> u64 {
    chunks * CHUNK_BYTES as u64
}

/// Waits for a source, takes all that it sends, looks at every byte of it, and reports.
pub(super) fn receive(listener: &TcpListener) -> anyhow::Result<Report> {
    let mut stream = accept(listener)?;
    stream.set_read_timeout(Some(SPEAKS_WITHIN))?;
    let (pattern, mut chunk) = (pattern(), vec![0; CHUNK_BYTES]);
    let mut report = Report { bytes: 0, misplaced: 0 };
    loop {
        interrupt::check()?;
        let count = stream.read(&mut chunk).context("the source says nothing")?;
        if count == 0 {
            break;
        }
        let start = (report.bytes % PERIOD_BYTES as u64) as usize;
        report.misplaced += u64::from(chunk[..count] != pattern[start..start + count]);
        report.bytes += count as u64;
    }
    stream.write_all(&report.emit())?;
    Ok(report)
}

fn accept(listener: &TcpListener) -> anyhow::Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let give_up = clock::now() + CONNECTS_WITHIN;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        interrupt::check()?;
        ensure!(clock::now() < give_up, "the source does not connect");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_and_a_sink_understand_each_other() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let sink = std::thread::spawn(move || receive(&listener).unwrap());
        let report = send(address, 3).unwrap();
        assert_eq!(report, Report { bytes: bytes_of(3), misplaced: 0 });
        assert_eq!(sink.join().unwrap(), report);
    }

    #[test]
    fn what_moved_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.write_all(&pattern()[1..100]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(receive(&listener).unwrap(), Report { bytes: 99, misplaced: 1 });
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let report = Report { bytes: 250_000_000, misplaced: 3 };
        assert_eq!(Report::parse(&report.emit()).unwrap(), report);
        assert!(Report::parse(&report.emit()[1..]).is_err());
    }
}
