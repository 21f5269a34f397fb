//! A machine whose rings are shared memory: the messages of the vhost-user protocol.

mod card;

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard};

use vhost::vhost_user::{BackendReqHandler, Error, VhostUserBackendReqHandlerMut};

use card::Card;
use virtio::net::Header;

use super::{Source, Unplug, Watch};
use crate::frame::Packet;
use crate::statistics::Statistics;

/// What every message begins with: request, flags, length of the rest; 32 bits each.
const MESSAGE_HEADER_BYTES: usize = 12;
/// The request that is taken here, and the flags in its header (vhost-user specification, "Header").
const SET_VRING_ENABLE: u32 = 18;
const FLAG_VERSION: u32 = 1;
const FLAG_REPLY: u32 = 1 << 2;
const FLAG_NEED_REPLY: u32 = 1 << 3;
/// How much may wait for a hypervisor to read it.
const ANSWERS_MAX_BYTES: usize = 16 * 1024;

/// A connection with a machine's hypervisor.
pub(super) struct Session {
    handler: BackendReqHandler<Mutex<Card>>,
    socket: UnixStream,
    card: Arc<Mutex<Card>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("card", &self.card).finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn new(socket: UnixStream, watch: Watch) -> std::result::Result<Session, Unplug> {
        socket.set_nonblocking(false)?;
        watch.add(socket.as_raw_fd(), Source::Session)?;
        let card = Arc::new(Mutex::new(Card::new(watch)));
        let handler = BackendReqHandler::from_stream(socket.try_clone()?, card.clone());
        Ok(Session { handler, socket, card })
    }

    /// The handler wants a lock; there is one thread, so it is always free.
    fn card(&self) -> MutexGuard<'_, Card> {
        self.card.lock().expect("nothing panics with the lock held")
    }

    /// The handler waits until a message is complete, and until its answer is taken. Everybody would wait
    /// with it, so both are made sure of first; hypervisors write a message at once.
    fn check_message(&self) -> std::result::Result<[u32; 3], Unplug> {
        let mut header = [0; MESSAGE_HEADER_BYTES];
        let fault = |what: &str| Err(Unplug::Fault(what.into()));
        match peek(&self.socket, &mut header)? {
            0 => return Err(Unplug::Left),
            MESSAGE_HEADER_BYTES => {}
            _ => return fault("it sent half a message"),
        }
        let word = |from: usize| {
            u32::from_ne_bytes(header[from..from + 4].try_into().expect("four bytes"))
        };
        let header = [word(0), word(4), word(8)];
        let length = header[2] as usize;
        if bytes_waiting(&self.socket, libc::FIONREAD)? < MESSAGE_HEADER_BYTES + length {
            return fault("it sent half a message");
        }
        if bytes_waiting(&self.socket, libc::TIOCOUTQ)? > ANSWERS_MAX_BYTES {
            return fault("it does not read its answers");
        }
        Ok(header)
    }

    /// QEMU enables rings before it says which features it wants, which the handler refuses. So these
    /// messages are taken here.
    fn take_ring_enable(&mut self, flags: u32) -> std::result::Result<bool, Unplug> {
        let mut message = [0; MESSAGE_HEADER_BYTES + 8];
        self.socket.read_exact(&mut message)?;
        let word = |from: usize| {
            u32::from_ne_bytes(message[from..from + 4].try_into().expect("four bytes"))
        };
        let (index, is_enabled) = (word(MESSAGE_HEADER_BYTES), word(MESSAGE_HEADER_BYTES + 4) == 1);
        let result = self.card().set_vring_enable(index, is_enabled);
        if flags & FLAG_NEED_REPLY != 0 {
            let status = u64::from(result.is_err());
            let header = [SET_VRING_ENABLE, FLAG_VERSION | FLAG_REPLY, 8].map(u32::to_ne_bytes);
            self.socket.write_all(&[header.concat(), status.to_ne_bytes().into()].concat())?;
        }
        Ok(true)
    }

    pub(super) fn handle_request(&mut self) -> std::result::Result<bool, Unplug> {
        if let [SET_VRING_ENABLE, flags, 8] = self.check_message()? {
            return self.take_ring_enable(flags);
        }
        match self.handler.handle_request() {
            // A ring may have been started with frames in it.
            Ok(()) => Ok(true),
            Err(Error::Disconnected | Error::SocketBroken(_)) => Err(Unplug::Left),
            Err(error @ (Error::ReqHandlerError(_) | Error::InvalidParam)) => {
                // The hypervisor was told, if it wanted to be; it decides what follows.
                eprintln!("vswitch: a request was refused: {error}");
                Ok(false)
            }
            Err(error) => Err(Unplug::Fault(format!("its message makes no sense: {error}"))),
        }
    }

    /// The machine has rung: either way it is looked after now.
    pub(super) fn handle_kick(&mut self, queue: u8) {
        if let Some(kicked) = self.card().queue(queue.into()) {
            kicked.quiet();
        }
    }

    /// Gives frames that the machine has sent to `forward`, a burst of each pair at most, and the machine
    /// those that have waited for it. True if there was anything.
    pub(super) fn receive(
        &mut self,
        statistics: &mut Statistics,
        forward: impl FnMut(&Packet<'_, '_>, &mut Statistics),
    ) -> std::result::Result<bool, Unplug> {
        self.card().receive(statistics, forward)
    }

    /// Asks the machine to ring. True if there is something already.
    pub(super) fn arm(&mut self) -> std::result::Result<bool, Unplug> {
        let mut has_something = false;
        for pair in &mut self.card().pairs {
            has_something |= pair.arm()?;
        }
        Ok(has_something)
    }

    /// Whether the machine takes a frame as it is.
    pub(super) fn accepts(&self, header: &Header) -> bool {
        self.card().accepts(header)
    }

    /// Gives the machine a frame. True if it waits until the machine has a buffer for it.
    pub(super) fn send(
        &mut self,
        packet: &Packet<'_, '_>,
        statistics: &mut Statistics,
    ) -> std::result::Result<bool, Unplug> {
        self.card().send(packet, statistics)
    }

    /// Tells the machine what has happened to its rings.
    pub(super) fn flush(&mut self, statistics: &mut Statistics) {
        self.card().flush(statistics);
    }

    /// Whether part of the machine's memory turned out to be gone.
    pub(super) fn has_lost_memory(&self) -> bool {
        self.card().has_lost_memory()
    }
}

/// Looks at what has arrived without taking it; how many bytes that is. Zero is the end.
fn peek(socket: &UnixStream, room: &mut [u8]) -> std::io::Result<usize> {
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: the descriptor is open, and the room as long as said.
    let count =
        unsafe { libc::recv(socket.as_raw_fd(), room.as_mut_ptr().cast(), room.len(), flags) };
    match usize::try_from(count) {
        Ok(count) => Ok(count),
        Err(_) => {
            let error = std::io::Error::last_os_error();
            // A machine that died with answers unread resets the connection.
            if error.kind() == ErrorKind::ConnectionReset { Ok(0) } else { Err(error) }
        }
    }
}

/// How many bytes wait to be read by us (`FIONREAD`) or by the other side (`TIOCOUTQ`).
fn bytes_waiting(socket: &UnixStream, which: libc::Ioctl) -> std::io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: the descriptor is open, and both requests write one int.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), which, &raw mut count) };
    if result < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(usize::try_from(count).unwrap_or(0))
}
