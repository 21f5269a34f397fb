//! One network card of a machine: its memory and its two rings, as its hypervisor describes them.

use std::fs::File;

use vhost::VhostUserMemoryRegionBase;
use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserInflight,
    VhostUserLog, VhostUserMemoryRegion, VhostUserProtocolFeatures, VhostUserShMemConfig,
    VhostUserSharedMsg, VhostUserSingleMemoryRegion, VhostUserVirtioFeatures,
    VhostUserVringAddrFlags, VhostUserVringState,
};
use vhost::vhost_user::{Error, GpuBackend, Result, VhostUserBackendReqHandlerMut};

use super::super::Watch;
use super::super::backlog::Backlog;
use super::super::memory::Memory;
use super::super::queue::{Addresses, Queue};

/// What the machine receives from.
pub(super) const RECEIVE: usize = 0;
/// What it transmits to.
pub(super) const TRANSMIT: usize = 1;

const INDIRECT_DESC: u64 = 1 << 28;
const EVENT_IDX: u64 = 1 << 29;
const VERSION_1: u64 = 1 << 32;

/// One network card, as its hypervisor describes it.
#[derive(Debug)]
pub(super) struct Card {
    watch: Watch,
    pub(super) memory: Option<Memory>,
    pub(super) queues: [Queue; 2],
    /// Frames for which the machine has no buffers now.
    pub(super) waiting: Backlog,
    has_protocol_features: bool,
}

impl Drop for Card {
    fn drop(&mut self) {
        for queue in &mut self.queues {
            queue.drop_kick(&self.watch);
        }
    }
}

impl Card {
    pub(super) fn new(watch: Watch) -> Card {
        Card {
            watch,
            memory: None,
            queues: [Queue::new(), Queue::new()],
            waiting: Backlog::default(),
            has_protocol_features: false,
        }
    }

    fn queue(&mut self, index: u32) -> Result<&mut Queue> {
        self.queues.get_mut(index as usize).ok_or(Error::InvalidParam)
    }

    fn reset(&mut self) {
        for queue in &mut self.queues {
            queue.drop_kick(&self.watch);
            *queue = Queue::new();
        }
        self.waiting.clear();
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
        for queue in &mut self.queues {
            queue.set_events(features & EVENT_IDX != 0);
            // Without protocol features a ring starts enabled.
            queue.is_enabled |= !self.has_protocol_features;
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
        self.queues.iter_mut().for_each(|queue| queue.set_memory(&memory));
        self.memory = Some(memory);
        Ok(None)
    }

    fn set_vring_num(&mut self, index: u32, num: u32) -> Result<()> {
        if self.queue(index)?.set_size(num) { Ok(()) } else { Err(Error::InvalidParam) }
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
        let memory = self.memory.as_ref().ok_or(Error::InvalidParam)?;
        let to_guest = |user| memory.to_guest(user).ok_or(Error::InvalidParam);
        let to = Addresses {
            descriptors: to_guest(descriptor)?,
            available: to_guest(available)?,
            used: to_guest(used)?,
        };
        let queue = self.queues.get_mut(index as usize).ok_or(Error::InvalidParam)?;
        if queue.set_addresses(memory, to) { Ok(()) } else { Err(Error::InvalidParam) }
    }

    fn set_vring_base(&mut self, index: u32, base: u32) -> Result<()> {
        let base = u16::try_from(base).map_err(|_| Error::InvalidParam)?;
        self.queue(index)?.set_base(base);
        Ok(())
    }

    fn get_vring_base(&mut self, index: u32) -> Result<VhostUserVringState> {
        let watch = self.watch.clone();
        let base = self.queue(index)?.stop(&watch);
        if index as usize == RECEIVE {
            self.waiting.clear();
        }
        Ok(VhostUserVringState::new(index, u32::from(base)))
    }

    fn set_vring_kick(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        let queue = self.queues.get_mut(usize::from(index)).ok_or(Error::InvalidParam)?;
        // A bell starts the ring (vhost-user specification, "Ring states").
        queue.set_kick(fd, &self.watch, index).map_err(Error::ReqHandlerError)
    }

    fn set_vring_call(&mut self, index: u8, fd: Option<File>) -> Result<()> {
        self.queue(u32::from(index))?.set_call(fd).map_err(Error::ReqHandlerError)
    }

    fn set_vring_err(&mut self, index: u8, _fd: Option<File>) -> Result<()> {
        // A machine that errs is unplugged, which its hypervisor hears on the socket.
        self.queue(u32::from(index)).map(|_| ())
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
        Ok(self.queues.len() as u64)
    }

    fn set_vring_enable(&mut self, index: u32, enable: bool) -> Result<()> {
        self.queue(index)?.is_enabled = enable;
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
