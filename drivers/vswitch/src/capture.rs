//! What a port sees, in a file that Wireshark and tcpdump open (pcap, nanosecond resolution).
//!
//! Checksums that a sender has left to its card are filled in, for a file cannot say that they are not there
//! yet. Large segments stay whole, as on a Linux host.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::clock;

const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
const LINKTYPE_ETHERNET: u32 = 1;
/// No frame is longer: tcpdump's own default, for a large segment is longer than 64 KiB with its header.
const SNAPLEN: u32 = 262_144;
const _: () = assert!(crate::LARGE_MAX_BYTES <= SNAPLEN as usize);

/// A file being written.
#[derive(Debug)]
pub struct Capture {
    file: BufWriter<File>,
    frames: u64,
}

impl Capture {
    /// Begins a file; one that is there is overwritten.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn begin(path: &Path) -> io::Result<Capture> {
        let mut file = BufWriter::new(File::create(path)?);
        for word in [MAGIC_NANOSECONDS, 4 << 16 | 2, 0, 0, SNAPLEN, LINKTYPE_ETHERNET] {
            file.write_all(&word.to_le_bytes())?;
        }
        file.flush()?;
        Ok(Capture { file, frames: 0 })
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add(&mut self, frame: &[u8]) -> io::Result<()> {
        let now = clock::since_1970();
        let length = u32::try_from(frame.len()).expect("frames are short");
        // The format's seconds end in the year 2106.
        let seconds = u32::try_from(now.as_secs()).unwrap_or(u32::MAX);
        for word in [seconds, now.subsec_nanos(), length, length] {
            self.file.write_all(&word.to_le_bytes())?;
        }
        self.frames += 1;
        self.file.write_all(frame)
    }

    /// Brings everything to the file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    /// How many frames were added.
    pub fn frames(&self) -> u64 {
        self.frames
    }
}
