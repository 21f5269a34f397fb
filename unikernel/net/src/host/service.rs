//! What listens on one port, and has its connections.
//!
//! Each port has sockets of its own, so that one whose frames have to wait (its class of traffic may be
//! shaped) keeps no other from sending.

use alloc::vec;
use alloc::vec::Vec;

use base::limits;
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Duration;

/// How many sockets of a port listen at a time.
const LISTENERS: usize = 8;
/// How many bytes of a connection wait to be read …
const RECEIVE_BYTES: usize = 8 * 1024;
/// … and to be sent.
const SEND_BYTES: usize = 16 * 1024;
/// A client that has not answered for so long is gone …
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);
/// … and is asked so often whether it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// One port with its sockets.
pub(super) struct Service {
    pub(super) port: u16,
    pub(super) sockets: SocketSet<'static>,
    /// How many more frames it may make.
    pub(super) room: usize,
    listening: Vec<SocketHandle>,
}

impl Service {
    /// Nobody listens yet.
    pub(super) fn new(port: u16) -> Service {
        let sockets = SocketSet::new(Vec::new());
        Service { port, sockets, room: usize::MAX, listening: Vec::new() }
    }

    pub(super) fn socket(&self, handle: SocketHandle) -> &Socket<'static> {
        self.sockets.get(handle)
    }

    /// Sockets that a client has connected to, and that listen no more. One whose client was not heard again
    /// in time is given up, and was none.
    pub(super) fn accept(&mut self) -> Vec<SocketHandle> {
        let sockets = &self.sockets;
        let is_taken = |handle: &mut SocketHandle| {
            let state = sockets.get::<Socket<'_>>(*handle).state();
            !matches!(state, State::Listen | State::SynReceived)
        };
        let mut taken: Vec<_> = self.listening.extract_if(.., is_taken).collect();
        taken.retain(|handle| !self.bury(*handle));
        taken
    }

    /// Gives a socket up if its connection is over. The wait that TCP asks for at the end is cut short: a
    /// listening socket is worth more here.
    pub(super) fn bury(&mut self, handle: SocketHandle) -> bool {
        let is_over = matches!(self.socket(handle).state(), State::Closed | State::TimeWait);
        if is_over {
            self.sockets.remove(handle);
        }
        is_over
    }

    /// Makes sockets that listen, as many as there may be beside so many connections.
    pub(super) fn replenish(&mut self, connections: usize) {
        let is_free = |handle: &&SocketHandle| self.socket(**handle).state() == State::Listen;
        let free = self.listening.iter().filter(is_free).count();
        let taken = connections + self.listening.len();
        let more =
            limits::CONNECTIONS_MAX.saturating_sub(taken).min(LISTENERS.saturating_sub(free));
        for _ in 0..more {
            let handle = self.sockets.add(listening_socket(self.port));
            self.listening.push(handle);
        }
    }
}

fn listening_socket(port: u16) -> Socket<'static> {
    let receive = SocketBuffer::new(vec![0; RECEIVE_BYTES]);
    let send = SocketBuffer::new(vec![0; SEND_BYTES]);
    let mut socket = Socket::new(receive, send);
    socket.set_nagle_enabled(false);
    socket.set_ack_delay(None);
    socket.set_timeout(Some(CLIENT_TIMEOUT));
    socket.set_keep_alive(Some(KEEP_ALIVE));
    socket.listen(port).expect("a fresh socket can listen on any port but 0");
    socket
}
