//! A machine that sends frames over a Unix socket, each behind its length (32 bits, big-endian).

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use vmm_sys_util::epoll::EventSet;

use super::{Source, Unplug, Watch};
use crate::frame::{Packet, with_packet};
use crate::statistics::Statistics;
use crate::{BURST_FRAMES, FRAME_MAX_BYTES, FRAME_MIN_BYTES};

const LENGTH_BYTES: usize = 4;
/// How much is read at once.
const READ_BYTES: usize = 256 * 1024;
/// How much may wait for a machine that does not read.
const OUTPUT_MAX_BYTES: usize = 1024 * 1024;
/// A longer frame cannot come from QEMU (its `NET_BUFSIZE`): the lengths are no lengths.
const BELIEVABLE_BYTES: usize = 4096 + 65_536;

/// See the module.
#[derive(Debug)]
pub(super) struct Stream {
    socket: UnixStream,
    watch: Watch,
    input: Vec<u8>,
    /// How much of `input` is dealt with.
    taken: usize,
    output: Vec<u8>,
    is_waiting_for_room: bool,
}

impl Stream {
    pub(super) fn new(socket: UnixStream, watch: Watch) -> Result<Stream, Unplug> {
        socket.set_nonblocking(true)?;
        watch.add(socket.as_raw_fd(), Source::Session)?;
        Ok(Stream {
            socket,
            watch,
            input: Vec::new(),
            taken: 0,
            output: Vec::new(),
            is_waiting_for_room: false,
        })
    }

    pub(super) fn handle(
        &mut self,
        events: EventSet,
        _statistics: &mut Statistics,
    ) -> Result<bool, Unplug> {
        if events.contains(EventSet::OUT) {
            self.flush()?;
        }
        if !events.contains(EventSet::IN) {
            return if events.contains(EventSet::HANG_UP) { Err(Unplug::Left) } else { Ok(false) };
        }
        self.input.drain(..self.taken);
        self.taken = 0;
        let start = self.input.len();
        self.input.resize(start + READ_BYTES, 0);
        let read = self.socket.read(&mut self.input[start..]);
        self.input.truncate(start + read.as_ref().map_or(0, |count| *count));
        match read {
            Ok(0) => Err(Unplug::Left),
            Ok(_) => Ok(true),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                Ok(false)
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Err(Unplug::Left),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives frames that have arrived whole to `forward`, a burst at most. True if there was one.
    pub(super) fn receive(
        &mut self,
        statistics: &mut Statistics,
        mut forward: impl FnMut(&Packet<'_, '_>, &mut Statistics),
    ) -> Result<bool, Unplug> {
        for count in 0..BURST_FRAMES {
            let input = &mut self.input[self.taken..];
            let Some((length, rest)) = input.split_first_chunk_mut::<LENGTH_BYTES>() else {
                return Ok(count > 0);
            };
            let length = u32::from_be_bytes(*length) as usize;
            if length == 0 || length > BELIEVABLE_BYTES {
                return Err(Unplug::Fault(format!("a frame of {length} bytes was announced")));
            }
            let Some(frame) = rest.get_mut(..length) else { return Ok(count > 0) };
            match length {
                ..FRAME_MIN_BYTES => statistics.refused.runt += 1,
                FRAME_MIN_BYTES..=FRAME_MAX_BYTES => {
                    with_packet(frame, |packet| forward(packet, statistics));
                }
                _ => statistics.refused.oversized += 1,
            }
            self.taken += LENGTH_BYTES + length;
        }
        Ok(true)
    }

    pub(super) fn send(&mut self, packet: &Packet<'_, '_>, statistics: &mut Statistics) {
        if self.output.len() + LENGTH_BYTES + packet.len() > OUTPUT_MAX_BYTES {
            statistics.dropped.backlog += 1;
            return;
        }
        let length = u32::try_from(packet.len()).expect("frames are short");
        self.output.extend(length.to_be_bytes());
        packet.content.append_to(&mut self.output);
        statistics.frames_out += 1;
        statistics.bytes_out += packet.len() as u64;
    }

    pub(super) fn flush(&mut self) -> Result<bool, Unplug> {
        while !self.output.is_empty() {
            match self.socket.write(&self.output) {
                Ok(count) => drop(self.output.drain(..count)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
                    ) =>
                {
                    return Err(Unplug::Left);
                }
                Err(error) => return Err(error.into()),
            }
        }
        let is_waiting = !self.output.is_empty();
        if is_waiting != self.is_waiting_for_room {
            self.watch.set_writable(self.socket.as_raw_fd(), Source::Session, is_waiting)?;
            self.is_waiting_for_room = is_waiting;
        }
        Ok(false)
    }
}
