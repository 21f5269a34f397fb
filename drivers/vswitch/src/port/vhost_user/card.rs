//! One network card of a machine: its memory and its rings, as its hypervisor describes them.

use std::fs::File;

use vhost::VhostUserMemoryRegionBase;
use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserInflight,
    VhostUserLog, VhostUserMemoryRegion, VhostUserProtocolFeatures, VhostUserShMemConfig,
    VhostUserSharedMsg, VhostUserSingleMemoryRegion, VhostUserVirtioFeatures,
    VhostUserVringAddrFlags, VhostUserVringState,
};
use vhost::vhost_user::{Error, GpuBackend, Result, VhostUserBackendReqHandlerMut};

use virtio::net::{Checksum, Header, SegmentKind};

use super::super::memory::Memory;
use super::super::pair::Pair;
use super::super::queue::{Addresses, Queue};
use super::super::spread::Spread;
use super::super::{Unplug, Watch};
use crate::PAIRS_MAX;
use crate::frame::Packet;
use crate::statistics::Statistics;

/// Features of a network card (Virtio 1.3, section 5.1.3): what we do for the machine …
const CSUM: u64 = 1;
const HOST_TSO4: u64 = 1 << 11;
const HOST_TSO6: u64 = 1 << 12;
const HOST_ECN: u64 = 1 << 13;
/// … and what it does for us.
const GUEST_CSUM: u64 = 1 << 1;
const GUEST_TSO4: u64 = 1 << 7;
const GUEST_TSO6: u64 = 1 << 8;
const GUEST_ECN: u64 = 1 << 9;
const MRG_RXBUF: u64 = 1 << 15;
/// Several pairs of queues; the queue for commands is the hypervisor's.
const CTRL_VQ: u64 = 1 << 17;
const MQ: u64 = 1 << 22;
/// Of any device (section 6).
const INDIRECT_DESC: u64 = 1 << 28;
const EVENT_IDX: u64 = 1 << 29;
const VERSION_1: u64 = 1 << 32;

const OFFERED: u64 = CSUM
    | HOST_TSO4
    | HOST_TSO6
    | HOST_ECN
    | GUEST_CSUM
    | GUEST_TSO4
    | GUEST_TSO6
    | GUEST_ECN
    | MRG_RXBUF
    | CTRL_VQ
    | MQ
    | INDIRECT_DESC
    | EVENT_IDX
    | VERSION_1
    | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();

/// One network card, as its hypervisor describes it.
#[derive(Debug)]
pub(super) struct Card {
    watch: Watch,
    memory: Option<Memory>,
    pub(super) pairs: Vec<Pair>,
    spread: Spread,
    features: u64,
}

impl Drop for Card {
    fn drop(&mut self) {
        let Card { pairs, watch, .. } = self;
        pairs.iter_mut().flat_map(Pair::queues).for_each(|queue| queue.drop_kick(watch));
    }
}

impl Card {
    pub(super) fn new(watch: Watch) -> Card {
        Card { watch, memory: None, pairs: Card::fresh_pairs(), spread: Spread::new(), features: 0 }
    }

    fn fresh_pairs() -> Vec<Pair> {
        (0..PAIRS_MAX).map(|_| Pair::new()).collect()
    }

    /// The queues in the order of their numbers: of each pair first the one that the machine receives from.
    pub(super) fn queues(&mut self) -> impl Iterator<Item = &mut Queue> {
        self.pairs.iter_mut().flat_map(Pair::queues)
    }

    /// A queue by its number.
    pub(super) fn queue(&mut self, index: u32) -> Option<&mut Queue> {
        let [receive, transmit] = self.pairs.get_mut(index as usize / 2)?.queues();
        Some(if index.is_multiple_of(2) { receive } else { transmit })
    }

    fn known_queue(&mut self, index: u32) -> Result<&mut Queue> {
        self.queue(index).ok_or(Error::InvalidParam)
    }

    fn reset(&mut self) {
        let watch = self.watch.clone();
        self.queues().for_each(|queue| queue.drop_kick(&watch));
        self.pairs = Card::fresh_pairs();
    }

    /// Whether the machine takes a frame of which so much is left to do.
    pub(super) fn accepts(&self, header: &Header) -> bool {
        let has = |feature: u64| self.features & feature != 0;
        let is_checked = !matches!(header.checksum, Checksum::Partial(_));
        let is_short = header.segmentation.is_none_or(|it| {
            let kind = match it.kind {
                SegmentKind::Tcp4 => GUEST_TSO4,
                SegmentKind::Tcp6 => GUEST_TSO6,
            };
            has(kind) && (!it.has_ecn || has(GUEST_ECN))
        });
        is_short && (is_checked || has(GUEST_CSUM))
    }

    /// Whether part of the machine's memory turned out to be gone.
    pub(super) fn has_lost_memory(&self) -> bool {
        self.memory.as_ref().is_some_and(Memory::is_lost)
    }

    /// How many pairs the machine uses, from the first on.
    fn active(&self) -> usize {
        self.pairs.iter().take_while(|pair| pair.receive.is_running()).count()
    }

    /// See [`super::Session::receive`].
    pub(super) fn receive(
        &mut self,
        statistics: &mut Statistics,
        mut forward: impl FnMut(&Packet<'_, '_>, &mut Statistics),
    ) -> std::result::Result<bool, Unplug> {
        let active = self.active();
        self.spread.set_pairs(active.max(1));
        let mut has_something = false;
        for (number, pair) in self.pairs.iter_mut().enumerate() {
            has_something |= pair.send_waiting(statistics)?;
            has_something |= pair.transmit.receive(statistics, |packet, statistics| {
                if active > 1 {
                    self.spread.note_sent(number, packet);
                }
                forward(packet, statistics);
            })?;
        }
        Ok(has_something)
    }

    /// See [`super::Session::flush`].
    pub(super) fn flush(&mut self, statistics: &mut Statistics) {
        let is_spread = self.active() > 1;
        for (number, pair) in self.pairs.iter_mut().enumerate() {
            pair.queues().into_iter().for_each(|queue| queue.flush(statistics));
            if is_spread {
                self.spread.mark(number, &*pair);
            }
        }
    }

    /// See [`super::Session::send`].
    pub(super) fn send(
        &mut self,
        packet: &Packet<'_, '_>,
        statistics: &mut Statistics,
    ) -> std::result::Result<bool, Unplug> {
        let pair = match self.active() {
            0 => {
                statistics.dropped.unplugged += 1;
                return Ok(false);
            }
            1 => 0,
            pairs => {
                self.spread.set_pairs(pairs);
                self.spread.pair_for(packet, &self.pairs)
            }
        };
        self.pairs[pair].send(packet, statistics)
    }
}

fn unsupported<T>() -> Result<T> {
    Err(Error::InvalidOperation("not offered"))
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
        Ok(OFFERED)
    }

    fn set_features(&mut self, features: u64) -> Result<()> {
        if features & !OFFERED != 0 || features & VERSION_1 == 0 {
            return Err(Error::InvalidParam);
        }
        self.features = features;
        let has_protocol_features =
            features & VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits() != 0;
        for queue in self.queues() {
            queue.set_features(features & EVENT_IDX != 0, features & MRG_RXBUF != 0);
            // Without protocol features a ring starts enabled.
            queue.is_enabled |= !has_protocol_features;
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
        let memory = Memory::map(regions, files)?;
        self.queues().for_each(|queue| queue.set_memory(&memory));
        self.memory = Some(memory);
        Ok(None)
    }

    fn set_vring_num(&mut self, index: u32, num: u32) -> Result<()> {
        if self.known_queue(index)?.set_size(num) { Ok(()) } else { Err(Error::InvalidParam) }
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
        let memory = self.memory.clone().ok_or(Error::InvalidParam)?;
        let to_guest = |user| memory.to_guest(user).ok_or(Error::InvalidParam);
        let to = Addresses {
            descriptors: to_guest(descriptor)?,
            available: to_guest(available)?,
            used: to_guest(used)?,
        };
        if self.known_queue(index)?.set_addresses(&memory, to) {
            Ok(())
        } else {
            Err(Error::InvalidParam)
        }
    }

    fn set_vring_base(&mut self, index: u32, base: u32) -> Result<()> {
        let base = u16::try_from(base).map_err(|_| Error::InvalidParam)?;
        self.known_queue(index)?.set_base(base);
        Ok(())
    }

    fn get_vring_base(&mut self, index: u32) -> Result<VhostUserVringState> {
        let watch = self.watch.clone();
        let base = match index % 2 {
            0 => {
                let pair = self.pairs.get_mut(index as usize / 2).ok_or(Error::InvalidParam)?;
                pair.stop_receiving(&watch)
            }
            _ => self.known_queue(index)?.stop(&watch),
        };
        Ok(VhostUserVringState::new(index, u32::from(base)))
    }

    fn set_vring_kick(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        let watch = self.watch.clone();
        // A bell starts the ring (vhost-user specification, "Ring states").
        self.known_queue(index.into())?.set_kick(fd, &watch, index).map_err(Error::ReqHandlerError)
    }

    fn set_vring_call(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        self.known_queue(index.into())?.set_call(fd).map_err(Error::ReqHandlerError)
    }

    fn set_vring_err(&mut self, index: u8, _fd: Option<File>) -> Result<()> {
        // A machine that errs is unplugged, which its hypervisor hears on the socket.
        self.known_queue(index.into()).map(|_| ())
    }

    fn get_protocol_features(&mut self) -> Result<VhostUserProtocolFeatures> {
        // `REPLY_ACK` is the crate's, which adds it.
        Ok(VhostUserProtocolFeatures::MQ)
    }

    fn set_protocol_features(&mut self, features: u64) -> Result<()> {
        let offered = VhostUserProtocolFeatures::REPLY_ACK | VhostUserProtocolFeatures::MQ;
        if features & !offered.bits() == 0 { Ok(()) } else { Err(Error::InvalidParam) }
    }

    fn get_queue_num(&mut self) -> Result<u64> {
        // Of pairs, says QEMU, and so does DPDK.
        Ok(PAIRS_MAX as u64)
    }

    fn set_vring_enable(&mut self, index: u32, enable: bool) -> Result<()> {
        self.known_queue(index)?.is_enabled = enable;
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
