//! A machine that sends frames over a Unix socket, each behind its length.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use vmm_sys_util::epoll::EventSet;

use super::{Source, Unplug, Watch};
use crate::frame::{Deframer, LENGTH_BYTES, NoLength, Packet, with_packet};
use crate::statistics::Statistics;
use crate::{BURST_FRAMES, FRAME_MAX_BYTES, FRAME_MIN_BYTES};

/// How much may wait for a machine that does not read.
const OUTPUT_MAX_BYTES: usize = 1024 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Stream {
    socket: UnixStream,
    watch: Watch,
    input: Deframer,
    output: Vec<u8>,
    /// How much of `output` is written.
    written: usize,
    is_waiting_for_room: bool,
}

impl Stream {
    pub(super) fn new(socket: UnixStream, watch: Watch) -> Result<Stream, Unplug> {
        socket.set_nonblocking(true)?;
        watch.add(socket.as_raw_fd(), Source::Session)?;
        Ok(Stream {
            socket,
            watch,
            input: Deframer::default(),
            output: Vec::new(),
            written: 0,
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
        // A machine that sends faster than others take waits in its socket, not here.
        if self.input.is_ready() {
            return Ok(true);
        }
        match self.socket.read(self.input.room()) {
            Ok(0) => Err(Unplug::Left),
            Ok(count) => {
                self.input.note(count);
                Ok(true)
            }
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
            let taken = self.input.take().map_err(|NoLength(length)| {
                Unplug::Fault(format!("a frame of {length} bytes was announced"))
            })?;
            let Some(frame) = taken else { return Ok(count > 0) };
            match frame.len() {
                ..FRAME_MIN_BYTES => statistics.refused.runt += 1,
                length @ FRAME_MIN_BYTES..=FRAME_MAX_BYTES => {
                    statistics.copied += length as u64;
                    with_packet(frame, |packet| forward(packet, statistics));
                }
                _ => statistics.refused.oversized += 1,
            }
        }
        Ok(true)
    }

    pub(super) fn send(&mut self, packet: &Packet<'_, '_>, statistics: &mut Statistics) {
        if self.waiting() + LENGTH_BYTES + packet.len() > OUTPUT_MAX_BYTES {
            statistics.dropped.backlog += 1;
            return;
        }
        let length = u32::try_from(packet.len()).expect("frames are short");
        self.output.extend(length.to_be_bytes());
        packet.content.append_to(&mut self.output);
        statistics.frames_out += 1;
        statistics.bytes_out += packet.len() as u64;
        statistics.copied += packet.len() as u64;
    }

    /// How much waits for the machine.
    fn waiting(&self) -> usize {
        self.output.len() - self.written
    }

    /// So much more is written. What waits is moved to the front when there is no more of it than of what is
    /// written, so that a byte is moved once on average.
    fn note_written(&mut self, count: usize) {
        self.written += count;
        if self.written >= self.waiting() {
            self.output.drain(..self.written);
            self.written = 0;
        }
    }

    pub(super) fn flush(&mut self) -> Result<bool, Unplug> {
        while self.waiting() > 0 {
            match self.socket.write(&self.output[self.written..]) {
                Ok(count) => self.note_written(count),
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
        let is_waiting = self.waiting() > 0;
        if is_waiting != self.is_waiting_for_room {
            self.watch.set_writable(self.socket.as_raw_fd(), Source::Session, is_waiting)?;
            self.is_waiting_for_room = is_waiting;
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vmm_sys_util::epoll::Epoll;

    use super::*;
    use crate::fabric::PortId;
    use crate::frame::INPUT_BYTES;

    /// A port's end of a connection, and its machine's.
    fn connect() -> (Stream, UnixStream) {
        let (here, there) = UnixStream::pair().unwrap();
        there.set_nonblocking(true).unwrap();
        let watch = Watch::new(Arc::new(Epoll::new().unwrap()), PortId(0));
        (Stream::new(here, watch).unwrap(), there)
    }

    /// Writes until the other side takes no more; how much that was.
    fn flood(machine: &mut UnixStream) -> usize {
        let frames = [&60_u32.to_be_bytes()[..], &[7; 60]].concat().repeat(1_000);
        let mut total = 0;
        while let Ok(count) = machine.write(&frames[total % 64..]) {
            total += count;
        }
        total
    }

    #[test]
    fn a_machine_that_sends_faster_than_others_take_waits_in_its_socket() {
        let (mut port, mut machine) = connect();
        let mut statistics = Statistics::default();
        // What a socket holds, and then what was read of it.
        let at_once = flood(&mut machine);
        let mut later = 0;
        for _ in 0..100 {
            assert!(port.handle(EventSet::IN, &mut statistics).unwrap());
            later += flood(&mut machine);
        }
        assert!(later <= INPUT_BYTES.max(at_once), "{later} bytes were read");
        // None is lost.
        let mut frames = 0;
        while port.handle(EventSet::IN, &mut statistics).unwrap() {
            port.receive(&mut statistics, |packet, _| frames += packet.len() / 60).unwrap();
        }
        assert_eq!(frames, (at_once + later) / 64);
    }

    #[test]
    fn what_waits_for_a_machine_is_bounded_and_arrives_in_order() {
        let (mut port, mut machine) = connect();
        let mut statistics = Statistics::default();
        let (mut sent, mut received) = (0_u32, Vec::new());
        for _ in 0..50 {
            while statistics.dropped.backlog == 0 {
                let mut frame = [7; 1_000];
                frame[..4].copy_from_slice(&sent.to_be_bytes());
                with_packet(&mut frame, |packet| port.send(packet, &mut statistics));
                sent += u32::from(statistics.dropped.backlog == 0);
                port.flush().unwrap();
            }
            assert!(port.output.capacity() <= 4 * OUTPUT_MAX_BYTES, "{}", port.output.capacity());
            statistics.dropped.backlog = 0;
            let mut some = vec![0; 100_000];
            let count = machine.read(&mut some).unwrap();
            received.extend_from_slice(&some[..count]);
        }
        loop {
            port.flush().unwrap();
            let mut some = vec![0; 100_000];
            let Ok(count) = machine.read(&mut some) else { break };
            received.extend_from_slice(&some[..count]);
        }
        assert_eq!(received.len(), sent as usize * 1_004);
        for (number, frame) in received.chunks(1_004).enumerate() {
            assert_eq!(frame[4..8], u32::try_from(number).unwrap().to_be_bytes());
        }
    }
}
