//! The end that counts.

use alloc::vec;
use alloc::vec::Vec;

use base::Instant;
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};

use super::report::Report;
use super::{SILENT_MAX, pattern};

/// One connection after the other on one port.
#[derive(Debug)]
pub(super) struct Sink {
    handle: SocketHandle,
    port: u16,
    period: Vec<u8>,
    /// Of this connection.
    report: Report,
    first: Option<Instant>,
    /// When something was heard last, while there is a connection.
    heard: Option<Instant>,
    finished: u64,
    /// Of all connections before this one.
    bytes_before: u64,
}

impl Sink {
    pub(super) fn new(sockets: &mut SocketSet<'static>, port: u16, window_bytes: usize) -> Sink {
        let receive = SocketBuffer::new(vec![0; window_bytes]);
        let send = SocketBuffer::new(vec![0; Report::BYTES]);
        let mut socket = Socket::new(receive, send);
        // An odd large segment at the end of a window would wait for another, which waits for its answer.
        socket.set_ack_delay(None);
        socket.listen(port).expect("a fresh socket can listen, and the command was checked");
        Sink {
            handle: sockets.add(socket),
            port,
            period: pattern::period(),
            report: Report::default(),
            first: None,
            heard: None,
            finished: 0,
            bytes_before: 0,
        }
    }

    pub(super) fn handle(&self) -> SocketHandle {
        self.handle
    }

    pub(super) fn is_connected(&self, sockets: &SocketSet<'static>) -> bool {
        sockets.get::<Socket<'_>>(self.handle).is_active()
    }

    /// How many connections came to their end.
    pub(super) fn finished(&self) -> u64 {
        self.finished
    }

    /// How many bytes have come by all connections.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes_before + self.report.bytes
    }

    /// When somebody has been silent for too long.
    pub(super) fn poll_timeout(&self, sockets: &SocketSet<'static>) -> Option<Instant> {
        let heard = self.heard.filter(|_| self.is_connected(sockets));
        heard.map(|heard| heard + SILENT_MAX)
    }

    /// Takes what has come, and answers who has ended.
    pub(super) fn poll(&mut self, sockets: &mut SocketSet<'static>, now: Instant) {
        let socket = sockets.get_mut::<Socket<'_>>(self.handle);
        match socket.state() {
            // Somebody may have begun to connect, and thought better of it.
            State::Listen => return self.begin_anew(),
            State::Closed => {
                self.begin_anew();
                socket.listen(self.port).expect("it is closed");
                return;
            }
            _ => {}
        }
        let heard = *self.heard.get_or_insert(now);
        while socket.can_recv() {
            // What waits lies in two runs at most: the buffer is a ring.
            let received = socket.recv(|run| {
                self.count(run, now);
                (run.len(), ())
            });
            received.expect("it can be received from");
        }
        if socket.state() == State::CloseWait {
            let answer = self.report.emit();
            // The answer fits: nothing was sent before.
            let sent = socket.send_slice(&answer);
            debug_assert_eq!(sent, Ok(Report::BYTES));
            socket.close();
            self.finished += 1;
        } else if self.heard == Some(heard) && now >= heard + SILENT_MAX {
            socket.abort();
        }
    }

    fn count(&mut self, run: &[u8], now: Instant) {
        let report = &mut self.report;
        report.misplaced += u64::from(!pattern::is_in_place(&self.period, report.bytes, run));
        report.bytes += run.len() as u64;
        let first = *self.first.get_or_insert(now);
        report.span_ns = now.since(first).as_nanos();
        self.heard = Some(now);
    }

    fn begin_anew(&mut self) {
        self.bytes_before += self.report.bytes;
        self.report = Report::default();
        (self.first, self.heard) = (None, None);
    }
}
