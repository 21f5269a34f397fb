//! The end that sends.

use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use base::{Duration, Instant};
use netio::{OffloadSet, OffloadUse};
use smoltcp::iface::{Context, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer};

use super::pattern;
use super::repeats::RepeatCounts;
use super::report::Report;

/// Who has not answered within this time is not there …
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// … and who has not taken everything, and reported, this long after the last byte never will.
const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// While it sends it fills its buffer whenever something is acknowledged; this is for when nothing is.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How a source's connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// The sink has told what arrived.
    Reported(Report),
    /// Nobody has answered, or has refused.
    Unanswered,
    /// The connection ended while data was being sent.
    Broken,
    /// The other end took the data, and has told nothing that was understood.
    Unreported,
}

/// What came of a source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// How many bytes were given to TCP.
    pub sent: u64,
    /// What was sent again.
    pub repeats: RepeatCounts,
    /// What the card was asked to do …
    pub negotiated: OffloadSet,
    /// … and what it and the processor did meanwhile.
    pub used: OffloadUse,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Connecting,
    Sending,
    Ending,
}

/// A connection to a sink.
#[derive(Debug)]
pub(super) struct Source {
    handle: SocketHandle,
    duration: Duration,
    phase: Phase,
    /// When this phase ends at the latest.
    until: Instant,
    looked: Instant,
    sent: u64,
    /// What has come of the report.
    report: Vec<u8>,
}

impl Source {
    /// Begins to connect.
    pub(super) fn new(
        (sockets, context): (&mut SocketSet<'static>, &mut Context),
        to: (Ipv4Addr, u16),
        local_port: u16,
        window_bytes: usize,
        duration: Duration,
        now: Instant,
    ) -> Source {
        let receive = SocketBuffer::new(vec![0; 2 * Report::BYTES]);
        let periods = window_bytes / pattern::PERIOD_BYTES;
        let send = SocketBuffer::new(pattern::period().repeat(periods));
        let mut socket = Socket::new(receive, send);
        // Only the last segment is short, and it must not wait for an answer.
        socket.set_nagle_enabled(false);
        socket.connect(context, to, local_port).expect("the command was checked");
        Source {
            handle: sockets.add(socket),
            duration,
            phase: Phase::Connecting,
            until: now + ANSWERS_WITHIN,
            looked: now,
            sent: 0,
            report: Vec::with_capacity(Report::BYTES),
        }
    }

    pub(super) fn handle(&self) -> SocketHandle {
        self.handle
    }

    pub(super) fn poll_timeout(&self) -> Instant {
        self.until.min(self.looked + LOOK_EVERY)
    }

    /// How many bytes were given to TCP.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Goes on; says how it ended, when it is over.
    pub(super) fn poll(
        &mut self,
        sockets: &mut SocketSet<'static>,
        now: Instant,
    ) -> Option<Ending> {
        self.looked = now;
        let socket = sockets.get_mut::<Socket<'_>>(self.handle);
        match self.phase {
            Phase::Connecting => self.poll_connecting(socket, now),
            Phase::Sending => self.poll_sending(socket, now),
            Phase::Ending => self.poll_ending(socket, now),
        }
    }

    fn poll_connecting(&mut self, socket: &mut Socket<'_>, now: Instant) -> Option<Ending> {
        if socket.may_send() {
            self.phase = Phase::Sending;
            self.until = now + self.duration;
            return self.poll_sending(socket, now);
        }
        let is_over = now >= self.until || !socket.is_open();
        is_over.then_some(Ending::Unanswered)
    }

    fn poll_sending(&mut self, socket: &mut Socket<'_>, now: Instant) -> Option<Ending> {
        if !socket.may_send() || !socket.may_recv() {
            // Nobody ends before the source does.
            return Some(Ending::Broken);
        }
        if now >= self.until {
            socket.close();
            self.phase = Phase::Ending;
            self.until = now + ENDS_WITHIN;
            return None;
        }
        loop {
            // Whole periods: what lies there from the beginning is what belongs there.
            let whole = |room: &mut [u8]| {
                let count = room.len() - room.len() % pattern::PERIOD_BYTES;
                (count, count)
            };
            let count = socket.send(whole).expect("it may send");
            self.sent += count as u64;
            if count == 0 {
                return None;
            }
        }
    }

    fn poll_ending(&mut self, socket: &mut Socket<'_>, now: Instant) -> Option<Ending> {
        while socket.can_recv() {
            let report = &mut self.report;
            let received = socket.recv(|run| {
                // One byte more than a report tells that it is none.
                let count = run.len().min(Report::BYTES + 1 - report.len());
                report.extend_from_slice(&run[..count]);
                (run.len(), ())
            });
            received.expect("it can be received from");
        }
        let is_over = now >= self.until || !socket.may_recv();
        let report = || Report::parse(&self.report);
        is_over.then(|| report().map_or(Ending::Unreported, Ending::Reported))
    }
}
