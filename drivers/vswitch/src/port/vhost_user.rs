//! A machine whose rings are shared memory: the vhost-user protocol, and the two rings of one network card.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};

use vhost::VhostUserMemoryRegionBase;
use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserInflight,
    VhostUserLog, VhostUserMemoryRegion, VhostUserProtocolFeatures, VhostUserShMemConfig,
    VhostUserSharedMsg, VhostUserSingleMemoryRegion, VhostUserVirtioFeatures,
    VhostUserVringAddrFlags, VhostUserVringState,
};
use vhost::vhost_user::{
    BackendReqHandler, Error, GpuBackend, Result, VhostUserBackendReqHandlerMut,
};
use virtio_queue::QueueT;
use vm_memory::{GuestAddress, GuestMemoryMmap, GuestRegionMmap};

use super::rings::{self, RING_MAX, Ring};
use super::{Source, Unplug, Watch};
use crate::burst::Burst;
use crate::statistics::Statistics;

/// What the machine receives from.
const RECEIVE: usize = 0;
/// What it transmits to.
const TRANSMIT: usize = 1;

const INDIRECT_DESC: u64 = 1 << 28;
const EVENT_IDX: u64 = 1 << 29;
const VERSION_1: u64 = 1 << 32;

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

    /// The handler waits until a message is complete, and until its answer is taken. Everybody would wait with
    /// it, so both are made sure of first; hypervisors write a message at once.
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

    /// QEMU enables rings before it says which features it wants, which the handler refuses. So these messages
    /// are taken here.
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

    pub(super) fn handle_kick(
        &mut self,
        ring: u8,
        statistics: &mut Statistics,
    ) -> std::result::Result<bool, Unplug> {
        let card = &mut *self.card();
        let Some(kicked) = card.rings.get(usize::from(ring)) else { return Ok(false) };
        kicked.quiet();
        if usize::from(ring) == TRANSMIT {
            return Ok(true);
        }
        card.send_waiting(statistics)?;
        Ok(false)
    }

    pub(super) fn receive(
        &mut self,
        burst: &mut Burst,
        statistics: &mut Statistics,
    ) -> std::result::Result<bool, Unplug> {
        let card = &mut *self.card();
        let ring = &mut card.rings[TRANSMIT];
        match &card.memory {
            Some(memory) if ring.is_running() => ring.receive(memory, burst, statistics),
            Some(_) | None => Ok(false),
        }
    }

    pub(super) fn send(
        &mut self,
        frame: &[u8],
        statistics: &mut Statistics,
    ) -> std::result::Result<bool, Unplug> {
        let card = &mut *self.card();
        let ring = &mut card.rings[RECEIVE];
        let memory = match &card.memory {
            Some(memory) if ring.is_running() => memory,
            Some(_) | None => {
                statistics.dropped.unplugged += 1;
                return Ok(false);
            }
        };
        let is_first = card.waiting.is_empty();
        if !is_first || !ring.send(memory, frame, statistics)? {
            rings::wait(&mut card.waiting, frame, statistics);
        }
        Ok(false)
    }

    pub(super) fn flush(
        &mut self,
        statistics: &mut Statistics,
    ) -> std::result::Result<bool, Unplug> {
        let card = &mut *self.card();
        if let Some(memory) = &card.memory {
            for ring in &mut card.rings {
                ring.flush(memory, statistics)?;
            }
        }
        Ok(false)
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

/// Where a piece of the machine's memory is in its hypervisor's address space.
#[derive(Clone, Copy, Debug)]
struct Mapping {
    user: u64,
    guest: u64,
    bytes: u64,
}

/// One network card, as its hypervisor describes it.
#[derive(Debug)]
struct Card {
    watch: Watch,
    memory: Option<GuestMemoryMmap>,
    mappings: Vec<Mapping>,
    rings: [Ring; 2],
    /// Frames for which the machine has no buffers now.
    waiting: VecDeque<Vec<u8>>,
    has_protocol_features: bool,
}

impl Drop for Card {
    fn drop(&mut self) {
        for ring in &mut self.rings {
            ring.drop_kick(&self.watch);
        }
    }
}

impl Card {
    fn new(watch: Watch) -> Card {
        Card {
            watch,
            memory: None,
            mappings: Vec::new(),
            rings: [Ring::new(), Ring::new()],
            waiting: VecDeque::new(),
            has_protocol_features: false,
        }
    }

    fn ring(&mut self, index: u32) -> Result<&mut Ring> {
        self.rings.get_mut(index as usize).ok_or(Error::InvalidParam)
    }

    fn send_waiting(&mut self, statistics: &mut Statistics) -> std::result::Result<(), Unplug> {
        let ring = &mut self.rings[RECEIVE];
        match &self.memory {
            Some(memory) if ring.is_running() => {
                ring.send_waiting(memory, &mut self.waiting, statistics)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// An address in the hypervisor's address space, as one in the machine's.
    fn to_guest(&self, user: u64) -> Result<GuestAddress> {
        let within = |mapping: &&Mapping| {
            user.checked_sub(mapping.user).is_some_and(|offset| offset < mapping.bytes)
        };
        let mapping = self.mappings.iter().find(within).ok_or(Error::InvalidParam)?;
        let guest = mapping.guest.checked_add(user - mapping.user).ok_or(Error::InvalidParam)?;
        Ok(GuestAddress(guest))
    }

    fn reset(&mut self) {
        for ring in &mut self.rings {
            ring.drop_kick(&self.watch);
            *ring = Ring::new();
        }
        self.waiting.clear();
    }
}

fn unsupported<T>() -> Result<T> {
    Err(Error::InvalidOperation("not offered"))
}

fn refused(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::ReqHandlerError(std::io::Error::other(error))
}

impl VhostUserBackendReqHandlerMut for Card {
    fn set_owner(&mut self) -> Result<()> {
        Ok(())
    }

    fn reset_owner(&mut self) -> Result<()> {
        self.reset();
        Ok(())
    }

    fn reset_device(&mut self) -> Result<()> {
        self.reset();
        Ok(())
    }

    fn get_features(&mut self) -> Result<u64> {
        Ok(VERSION_1
            | EVENT_IDX
            | INDIRECT_DESC
            | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits())
    }

    fn set_features(&mut self, features: u64) -> Result<()> {
        if features & !self.get_features()? != 0 || features & VERSION_1 == 0 {
            return Err(Error::InvalidParam);
        }
        self.has_protocol_features =
            features & VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits() != 0;
        for ring in &mut self.rings {
            ring.queue.set_event_idx(features & EVENT_IDX != 0);
            // Without protocol features a ring starts enabled.
            ring.is_enabled |= !self.has_protocol_features;
        }
        Ok(())
    }

    fn set_mem_table(
        &mut self,
        regions: &[VhostUserMemoryRegion],
        files: Vec<File>,
        postcopy_listening: Option<bool>,
    ) -> Result<Option<Vec<VhostUserMemoryRegionBase>>> {
        if postcopy_listening.is_some() || regions.len() != files.len() {
            return Err(Error::InvalidParam);
        }
        let (mut mapped, mut mappings) = (Vec::new(), Vec::new());
        for (region, file) in regions.iter().zip(files) {
            let guest = GuestAddress(region.guest_phys_addr);
            let piece = GuestRegionMmap::new(region.mmap_region(file)?, guest);
            mapped.push(piece.ok_or(Error::InvalidParam)?);
            mappings.push(Mapping {
                user: region.user_addr,
                guest: region.guest_phys_addr,
                bytes: region.memory_size,
            });
        }
        self.memory = Some(GuestMemoryMmap::from_regions(mapped).map_err(refused)?);
        self.mappings = mappings;
        Ok(None)
    }

    fn set_vring_num(&mut self, index: u32, num: u32) -> Result<()> {
        let size = u16::try_from(num).map_err(|_| Error::InvalidParam)?;
        if size > RING_MAX {
            return Err(Error::InvalidParam);
        }
        self.ring(index)?.queue.try_set_size(size).map_err(refused)
    }

    fn set_vring_addr(
        &mut self,
        index: u32,
        _flags: VhostUserVringAddrFlags,
        descriptor: u64,
        used: u64,
        available: u64,
        _log: u64,
    ) -> Result<()> {
        let addresses = [descriptor, available, used].map(|address| self.to_guest(address));
        let [descriptor, available, used] = addresses;
        let (descriptor, available, used) = (descriptor?, available?, used?);
        let ring = self.rings.get_mut(index as usize).ok_or(Error::InvalidParam)?;
        ring.queue.try_set_desc_table_address(descriptor).map_err(refused)?;
        ring.queue.try_set_avail_ring_address(available).map_err(refused)?;
        ring.queue.try_set_used_ring_address(used).map_err(refused)?;
        let memory = self.memory.as_ref().ok_or(Error::InvalidParam)?;
        // `SET_VRING_BASE` tells only what is available; what is used stands in the ring itself.
        let index = ring.queue.used_idx(memory, Ordering::Relaxed);
        ring.queue.set_next_used(index.map_err(refused)?.0);
        Ok(())
    }

    fn set_vring_base(&mut self, index: u32, base: u32) -> Result<()> {
        let base = u16::try_from(base).map_err(|_| Error::InvalidParam)?;
        self.ring(index)?.queue.set_next_avail(base);
        Ok(())
    }

    fn get_vring_base(&mut self, index: u32) -> Result<VhostUserVringState> {
        let watch = self.watch.clone();
        let ring = self.ring(index)?;
        ring.queue.set_ready(false);
        ring.drop_kick(&watch);
        let base = ring.queue.next_avail();
        if index as usize == RECEIVE {
            self.waiting.clear();
        }
        Ok(VhostUserVringState::new(index, u32::from(base)))
    }

    fn set_vring_kick(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        let memory = self.memory.as_ref().ok_or(Error::InvalidParam)?;
        let ring = self.rings.get_mut(usize::from(index)).ok_or(Error::InvalidParam)?;
        // A bell starts the ring (vhost-user specification, "Ring states").
        ring.queue.set_ready(true);
        if !ring.queue.is_valid(memory) {
            ring.queue.set_ready(false);
            return Err(Error::InvalidParam);
        }
        ring.set_kick(fd, &self.watch, index).map_err(Error::ReqHandlerError)
    }

    fn set_vring_call(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        self.ring(u32::from(index))?.set_call(fd).map_err(Error::ReqHandlerError)
    }

    fn set_vring_err(&mut self, index: u8, _fd: Option<File>) -> Result<()> {
        // A machine that errs is unplugged, which its hypervisor hears on the socket.
        self.ring(u32::from(index)).map(|_| ())
    }

    fn get_protocol_features(&mut self) -> Result<VhostUserProtocolFeatures> {
        // `REPLY_ACK` is the crate's, which adds it.
        Ok(VhostUserProtocolFeatures::empty())
    }

    fn set_protocol_features(&mut self, features: u64) -> Result<()> {
        let offered = VhostUserProtocolFeatures::REPLY_ACK.bits();
        if features & !offered == 0 { Ok(()) } else { Err(Error::InvalidParam) }
    }

    fn get_queue_num(&mut self) -> Result<u64> {
        Ok(self.rings.len() as u64)
    }

    fn set_vring_enable(&mut self, index: u32, enable: bool) -> Result<()> {
        self.ring(index)?.is_enabled = enable;
        Ok(())
    }

    fn get_config(&mut self, _: u32, _: u32, _: VhostUserConfigFlags) -> Result<Vec<u8>> {
        unsupported()
    }

    fn set_config(&mut self, _: u32, _: &[u8], _: VhostUserConfigFlags) -> Result<()> {
        unsupported()
    }

    fn set_gpu_socket(&mut self, _: GpuBackend) -> Result<()> {
        unsupported()
    }

    fn get_shared_object(&mut self, _: VhostUserSharedMsg) -> Result<File> {
        unsupported()
    }

    fn get_inflight_fd(&mut self, _: &VhostUserInflight) -> Result<(VhostUserInflight, File)> {
        unsupported()
    }

    fn set_inflight_fd(&mut self, _: &VhostUserInflight, _: File) -> Result<()> {
        unsupported()
    }

    fn get_max_mem_slots(&mut self) -> Result<u64> {
        unsupported()
    }

    fn add_mem_region(
        &mut self,
        _: &VhostUserSingleMemoryRegion,
        _: File,
        _: Option<bool>,
    ) -> Result<Option<VhostUserMemoryRegionBase>> {
        unsupported()
    }

    fn remove_mem_region(&mut self, _: &VhostUserSingleMemoryRegion) -> Result<()> {
        unsupported()
    }

    fn set_device_state_fd(
        &mut self,
        _: VhostTransferStateDirection,
        _: VhostTransferStatePhase,
        _: File,
    ) -> Result<Option<File>> {
        unsupported()
    }

    fn check_device_state(&mut self) -> Result<()> {
        unsupported()
    }

    fn get_shmem_config(&mut self) -> Result<VhostUserShMemConfig> {
        unsupported()
    }

    fn set_log_base(&mut self, _: &VhostUserLog, _: File) -> Result<()> {
        unsupported()
    }
}
