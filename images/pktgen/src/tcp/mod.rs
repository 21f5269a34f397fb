//! How much TCP carries: a sink that counts what arrives, and a source that sends as much as it can, in the
//! manner of iperf3, whose port is the default.
//!
//! The stack is smoltcp on [`net::device`], as a node's is. It also answers ARP and ping, so that other
//! programs find a station. What counts is what the sink says has *arrived*: when the source has ended its
//! half of the connection, the sink sends a [`Report`] and ends the other half.
//!
//! Whoever connects may be anybody: at most [`SINKS_MAX`] are served at a time, what they send is counted and
//! never kept, and who is silent for [`SILENT_MAX`] is disconnected.

mod pattern;
mod repeats;
mod report;
mod sink;
mod source;

use alloc::vec::Vec;
use core::net::Ipv4Addr;

use base::{Duration, Instant};
use net::device::FrameDevice;
use netio::{OffloadStatus, OffloadUse, Outgoing};
use pool::{Frame, FrameChain};
use smoltcp::iface::{Config, Interface, PollIngressSingleResult, SocketSet};
use smoltcp::socket::tcp::{Socket, State};
use smoltcp::time::Instant as SmolInstant;
use smoltcp::wire::{EthernetAddress, IpCidr, Ipv4Address};

pub use self::repeats::RepeatCounts;
use self::repeats::Repeats;
pub use self::report::Report;
use self::sink::Sink;
use self::source::Source;
pub use self::source::{Ending, Outcome};
use crate::BURST;

/// The port of iperf3.
pub const PORT: u16 = 5201;
/// At most so many connections are served at a time.
pub const SINKS_MAX: usize = 4;
/// How many bytes of a connection are under way at most, at each end: as many as the card has buffers for,
/// which wait for packets …
pub const WINDOW_BYTES: usize = 256 * 1024;
/// … or for segments of 64 KiB.
pub const LARGE_WINDOW_BYTES: usize = 1024 * 1024;
/// Who is silent for this long is disconnected.
pub const SILENT_MAX: Duration = Duration::from_secs(30);
/// How many frames wait to be read at most …
const RECEIVED_MAX: usize = 256;
/// … and to be sent.
const OUTGOING_MAX: usize = 2 * BURST;
/// The network that RFC 2544 sets apart for measurements (appendix C.2.2).
const PREFIX_BITS: u8 = 15;

/// What a sink has counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SinkStatistics {
    /// The port on which it listens, if it does.
    pub port: Option<u16>,
    /// Connections that are open.
    pub connections: usize,
    /// Connections that came to their end.
    pub finished: u64,
    /// The bytes of all connections.
    pub bytes: u64,
}

/// The stack of a station.
pub struct Tcp {
    address: Ipv4Address,
    window_bytes: usize,
    interface: Interface,
    device: FrameDevice,
    sockets: SocketSet<'static>,
    port: Option<u16>,
    sinks: Vec<Sink>,
    source: Option<Source>,
    repeats: Repeats,
    /// What was done for others when the source began.
    before: OffloadUse,
    outcome: Option<Outcome>,
    /// Frames that were dropped because too many waited.
    overrun: u64,
    /// Something has happened since the last poll.
    is_dirty: bool,
    /// When smoltcp, a sink or the source wants to be polled.
    due: Option<Instant>,
}

impl core::fmt::Debug for Tcp {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Tcp").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Tcp {
    /// The stack of the card with this address, by way of `device`. Stations with the same `seed` choose the
    /// same sequence numbers: it must differ from one to the other.
    pub fn new(mac: [u8; 6], mut device: FrameDevice, seed: u64, now: Instant) -> Tcp {
        device.set_room(OUTGOING_MAX);
        let mut config = Config::new(EthernetAddress(mac).into());
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut device, smol_instant(now));
        // The last bytes of both addresses are alike, so that people need not ask for one.
        let address = Ipv4Address::new(198, 18, mac[4], mac[5]);
        interface.update_ip_addrs(|addresses| {
            let cidr = IpCidr::new(address.into(), PREFIX_BITS);
            addresses.push(cidr).expect("there is room for an address");
        });
        let is_large = device.hands_down_large();
        Tcp {
            address,
            window_bytes: if is_large { LARGE_WINDOW_BYTES } else { WINDOW_BYTES },
            interface,
            device,
            sockets: SocketSet::new(Vec::new()),
            port: None,
            sinks: Vec::with_capacity(SINKS_MAX),
            source: None,
            repeats: Repeats::default(),
            before: OffloadUse::default(),
            outcome: None,
            overrun: 0,
            is_dirty: false,
            due: None,
        }
    }

    /// Its address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Counts what is sent to `port`, from now on; connections to another one end.
    pub fn listen(&mut self, port: u16) {
        if self.port == Some(port) {
            return;
        }
        for sink in self.sinks.drain(..) {
            self.sockets.remove(sink.handle());
        }
        self.port = Some(port);
        let window_bytes = self.window_bytes;
        let sink = |_| Sink::new(&mut self.sockets, port, window_bytes);
        self.sinks.extend((0..SINKS_MAX).map(sink));
        self.is_dirty = true;
    }

    /// Sends as much as it can to a sink for so long; what was sent before ends.
    pub fn connect(&mut self, to: Ipv4Addr, port: u16, duration: Duration, now: Instant) {
        self.stop(now);
        self.repeats = Repeats::default();
        self.outcome = None;
        // Below are the ports that others may have reserved (RFC 6335, section 6).
        let local_port = 49_152 + (now.as_micros() % 16_384) as u16;
        let stack = (&mut self.sockets, self.interface.context());
        let (to, window_bytes) = ((to, port), self.window_bytes);
        self.source = Some(Source::new(stack, to, local_port, window_bytes, duration, now));
        self.before = self.device.offload_status().used;
        self.is_dirty = true;
    }

    /// Ends the source's connection, if there is one.
    pub fn stop(&mut self, now: Instant) {
        let Some(source) = self.source.take() else { return };
        let socket = self.sockets.get_mut::<Socket<'_>>(source.handle());
        if !matches!(socket.state(), State::Closed | State::TimeWait) {
            socket.abort();
        }
        // The last word: of an end that was orderly, too.
        self.interface.poll_egress(smol_instant(now), &mut self.device, &mut self.sockets);
        self.sockets.remove(source.handle());
    }

    /// Whether a source runs.
    pub fn is_busy(&self) -> bool {
        self.source.is_some()
    }

    /// Whether somebody is at the other end, or is looked for.
    pub fn is_connected(&self) -> bool {
        self.is_busy() || self.sinks.iter().any(|sink| sink.is_connected(&self.sockets))
    }

    /// What came of the source, once.
    pub fn take_outcome(&mut self) -> Option<Outcome> {
        self.outcome.take()
    }

    /// What the sink has counted.
    pub fn sink_statistics(&self) -> SinkStatistics {
        let mut statistics = SinkStatistics { port: self.port, ..SinkStatistics::default() };
        for sink in &self.sinks {
            statistics.connections += usize::from(sink.is_connected(&self.sockets));
            statistics.finished += sink.finished();
            statistics.bytes += sink.bytes();
        }
        statistics
    }

    /// What the card and the processor did for it.
    pub fn offload_status(&self) -> OffloadStatus {
        self.device.offload_status()
    }

    /// How many bytes were copied from buffer to buffer. The copies between buffers and TCP's windows, one at
    /// each end, are not among them.
    pub fn copied_bytes(&self) -> u64 {
        self.device.copied_bytes()
    }

    /// Frames that were dropped: too many waited, or there was no buffer.
    pub fn overrun(&self) -> u64 {
        self.overrun + self.device.given_up()
    }

    /// Whether a large frame may have to wait for a buffer.
    pub fn is_short_of_buffers(&self) -> bool {
        self.is_busy() && self.device.is_short_of_buffers()
    }

    /// A frame in one buffer; `None` if it is dropped for want of one that holds it.
    pub fn gather(&mut self, frames: FrameChain) -> Option<Frame> {
        self.device.gather(frames)
    }

    /// A frame has arrived; the card may vouch for its checksum.
    pub fn handle_frame(&mut self, frame: Frame, is_vouched_for: bool) {
        if self.device.waiting() >= RECEIVED_MAX {
            self.overrun += 1;
            return;
        }
        self.device.push_received(frame, is_vouched_for);
        self.is_dirty = true;
    }

    /// Does what is due: bounded by the frames that may wait on either side.
    pub fn poll(&mut self, now: Instant) {
        if !self.is_dirty && self.due.is_none_or(|due| now < due) {
            return;
        }
        let at = smol_instant(now);
        self.device.end_burst();
        self.interface.poll_maintenance(at);
        for _ in 0..RECEIVED_MAX {
            let result =
                self.interface.poll_ingress_single(at, &mut self.device, &mut self.sockets);
            match result {
                PollIngressSingleResult::None => break,
                PollIngressSingleResult::PacketProcessed => {}
                // The window is wide when nothing waits to be read.
                PollIngressSingleResult::SocketStateChanged => {
                    self.sinks.iter_mut().for_each(|sink| sink.poll(&mut self.sockets, now));
                }
            }
        }
        self.sinks.iter_mut().for_each(|sink| sink.poll(&mut self.sockets, now));
        self.poll_source(now);
        self.interface.poll_egress(at, &mut self.device, &mut self.sockets);
        self.is_dirty = self.device.waiting() > 0;
        let due = self.interface.poll_at(at, &self.sockets).map(own_instant);
        let sinks = self.sinks.iter().filter_map(|sink| sink.poll_timeout(&self.sockets));
        let source = self.source.as_ref().map(Source::poll_timeout);
        self.due = sinks.chain(due).chain(source).min();
    }

    fn poll_source(&mut self, now: Instant) {
        let Some(source) = &mut self.source else { return };
        let Some(ending) = source.poll(&mut self.sockets, now) else { return };
        let sent = source.sent();
        self.stop(now);
        let repeats = self.repeats.counts();
        let OffloadStatus { negotiated, used, .. } = self.device.offload_status();
        let used = used.since(&self.before);
        self.outcome = Some(Outcome { ending, sent, repeats, negotiated, used });
    }

    /// The next frame to send.
    pub fn poll_transmit(&mut self) -> Option<Outgoing> {
        let outgoing = self.device.poll_transmit()?;
        if self.source.is_some() {
            self.repeats.record(&outgoing.frame);
        }
        // There is room for another, which smoltcp may have kept back.
        self.is_dirty = true;
        Some(outgoing)
    }

    /// When [`Tcp::poll`] wants to be called.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        if self.is_dirty { Some(now) } else { self.due }
    }
}

fn own_instant(at: SmolInstant) -> Instant {
    Instant::from_nanos(u64::try_from(at.total_micros()).unwrap_or(0).saturating_mul(1_000))
}

fn smol_instant(now: Instant) -> SmolInstant {
    SmolInstant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}
