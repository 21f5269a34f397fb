//! A card with several pairs of queues (Virtio 1.3, section 5.1.6.5.6), one for each core.
//!
//! The card itself stays with whoever started it, and does what is rare: it looks after the link, stops and
//! starts. Each pair is a [`CardPair`] of its own: no lock is between two of them.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};

use pool::{Pool, Region};

use super::card_pair::{Bells, CardPair};
use super::configuration::{self, LinkState, MacAddress, NetConfig};
use super::control::{ControlQueue, Rss};
use super::offloads::{self, Agreement, CardOffloads};
use super::pair::{QueuePair, receive_queue};
use super::receive::Receiver;
use super::transmit::Transmitter;
use crate::device::{Device, InitError};
use crate::transport::{DeviceType, Doorbells, Transport};

/// How many pairs are used at most: a core has one, and `netio` knows of so many cores.
pub const PAIRS_MAX: u16 = netio::limits::CORES_MAX as u16;

/// How flows are spread among pairs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spreading {
    /// There is one pair.
    None,
    /// A flow comes to the pair that last sent something of it, or to any.
    Automatic,
    /// As [`CardConfig::rss`] says.
    Rss,
}

/// How a card with several pairs is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CardConfig {
    /// How each of its pairs is.
    pub pair: NetConfig,
    /// How flows are to be spread, if the card can do that.
    pub rss: Option<Rss>,
}

/// A card, and its pairs in their order.
pub type Started<T> = (VirtioCard<T>, Vec<CardPair<<T as Doorbells>::Doorbell>>);

/// What a card and its driver have agreed on.
#[derive(Debug)]
struct Terms {
    pairs: u16,
    spreading: Spreading,
    hash_types: u32,
}

/// A card, apart from its pairs.
#[derive(Debug)]
pub struct VirtioCard<T: Doorbells> {
    device: Device<T>,
    control: Option<ControlQueue>,
    config: CardConfig,
    terms: Terms,
    mac: MacAddress,
    mtu: u16,
    is_stopped: Arc<AtomicBool>,
}

impl<T: Doorbells> VirtioCard<T> {
    /// Starts the card behind `transport` with as many pairs as there are `pools`, or as it has. Each pair
    /// has a pool of its own. `allocate` gives memory for the rings, of the length that it is asked for or
    /// more.
    ///
    /// # Errors
    /// If the card cannot be used; it is reset then.
    ///
    /// # Panics
    /// If there is no pool, there are more than [`PAIRS_MAX`], or a pool's buffers are too short for a frame.
    pub fn start(
        transport: T,
        config: CardConfig,
        pools: &[Pool],
        mut allocate: impl FnMut(usize) -> Option<Region>,
    ) -> Result<Started<T>, InitError> {
        assert!((1..=usize::from(PAIRS_MAX)).contains(&pools.len()), "each pair has a pool");
        let wanted = pools.len() as u16;
        let mut device = Device::new(transport, DeviceType::Network);
        device.negotiate(|offered| select(offered, &config, wanted))?;
        let terms = Terms::new(&device, wanted)?;
        let mac = configuration::mac(&device)?;
        let shortest = pools.iter().map(Pool::buffer_bytes).min().expect("there is a pool");
        let mtu = configuration::mtu(&device, shortest)?;
        // If something fails the card is dropped first, and then they give their buffers back.
        let mut pairs = Vec::with_capacity(usize::from(terms.pairs));
        let is_stopped = Arc::new(AtomicBool::new(false));
        let mut card = VirtioCard { device, control: None, config, terms, mac, mtu, is_stopped };
        card.set_up(&mut pairs, pools, &mut allocate)?;
        card.open()?;
        pairs.iter_mut().for_each(|it| it.pair.refill(&mut it.bells));
        Ok((card, pairs))
    }

    /// Sets up the queues of all pairs, and that for commands.
    fn set_up(
        &mut self,
        pairs: &mut Vec<CardPair<T::Doorbell>>,
        pools: &[Pool],
        allocate: &mut impl FnMut(usize) -> Option<Region>,
    ) -> Result<(), InitError> {
        for (number, pool) in (0..self.terms.pairs).zip(pools) {
            pairs.push(self.pair(number, pool, allocate)?);
        }
        if let Some(number) = control_queue(&self.device)? {
            self.control = Some(ControlQueue::new(&mut self.device, number, allocate)?);
        }
        Ok(())
    }

    fn pair(
        &mut self,
        number: u16,
        pool: &Pool,
        allocate: &mut impl FnMut(usize) -> Option<Region>,
    ) -> Result<CardPair<T::Doorbell>, InitError> {
        let NetConfig { queue_size_max, receive_buffers, .. } = self.config.pair;
        let agreement = Agreement::new(self.device.features());
        let receive = receive_queue(number);
        let ring = self.device.set_up_queue(receive, queue_size_max, allocate)?;
        let receiver = Receiver::new(ring, pool.clone(), receive_buffers, agreement);
        let ring = self.device.set_up_queue(receive + 1, queue_size_max, allocate)?;
        let transmitter = Transmitter::new(ring, self.mtu, agreement);
        let bells = Bells {
            receive: self.device.transport().doorbell(receive),
            transmit: self.device.transport().doorbell(receive + 1),
            rung: 0,
        };
        let pair = QueuePair::new(number, receiver, transmitter);
        Ok(CardPair { pair, bells, is_stopped: Arc::clone(&self.is_stopped) })
    }

    /// Lets the card work, and tells it how many pairs there are.
    fn open(&mut self) -> Result<(), InitError> {
        self.device.start();
        let Terms { pairs, spreading, hash_types } = self.terms;
        match (&mut self.control, spreading, &self.config.rss) {
            (Some(control), Spreading::Rss, Some(rss)) => {
                control.set_rss(&mut self.device, pairs, rss, hash_types)
            }
            (Some(control), Spreading::Automatic, _) => control.set_pairs(&mut self.device, pairs),
            _ => Ok(()),
        }
    }

    /// The card's address.
    pub fn mac(&self) -> MacAddress {
        self.mac
    }

    /// The longest packet that the network carries, Ethernet header not counted, in bytes.
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// How flows are spread.
    pub fn spreading(&self) -> Spreading {
        self.terms.spreading
    }

    /// What the card can take over and what it was asked to; how often it did, each pair knows.
    pub fn offloads(&self) -> CardOffloads {
        CardOffloads {
            offered: offloads::set_of(self.device.offered()),
            negotiated: offloads::set_of(self.device.features()),
            ..CardOffloads::default()
        }
    }

    /// Asks the card for its link: a slow register access, for once in a while.
    pub fn link(&self) -> LinkState {
        configuration::link(&self.device)
    }

    /// Lets the interrupt line of a card without messages fall, and says whether it was high: then something
    /// has happened to one of the pairs, or to several. Whoever sleeps until the line rises does this first.
    pub fn acknowledge_interrupt(&mut self) -> bool {
        self.device.acknowledge_interrupt()
    }

    /// Whether the card asks to be restarted.
    pub fn needs_reset(&self) -> bool {
        self.device.needs_reset()
    }

    /// Resets the card and starts it as before. What was in the rings is lost, and its buffers come back.
    ///
    /// # Errors
    /// If the card does not start. If it has not even confirmed its reset it keeps the buffers.
    ///
    /// # Panics
    /// Unless all pairs are there, in their order.
    pub fn restart(&mut self, pairs: &mut [CardPair<T::Doorbell>]) -> Result<(), InitError> {
        let numbers = pairs.iter().map(CardPair::number);
        assert!(numbers.eq(0..self.terms.pairs), "a card is restarted with all of its pairs");
        if !self.device.reset() {
            return Err(InitError::ResetIgnored);
        }
        for it in &mut *pairs {
            // SAFETY: the card has just confirmed its reset.
            unsafe { it.pair.detach() };
        }
        if let Some(control) = &mut self.control {
            // SAFETY: as above.
            unsafe { control.detach() };
        }
        let features = self.device.features();
        self.device.negotiate(|offered| offered & features)?;
        if self.device.features() != features {
            return Err(InitError::FeaturesRefused);
        }
        for it in &mut *pairs {
            let receive = receive_queue(it.number());
            self.device.connect(receive, it.pair.receiver.queue())?;
            self.device.connect(receive + 1, it.pair.transmitter.queue())?;
        }
        if let Some(control) = &mut self.control {
            control.connect(&mut self.device)?;
        }
        self.open()?;
        pairs.iter_mut().for_each(|it| it.pair.refill(&mut it.bells));
        Ok(())
    }
}

impl<T: Doorbells> Drop for VirtioCard<T> {
    /// Stops the card. The buffers in a pair come back when that is dropped, after this.
    fn drop(&mut self) {
        if !self.device.reset() {
            return;
        }
        self.is_stopped.store(true, Ordering::Release);
        if let Some(control) = &mut self.control {
            // SAFETY: the card has just confirmed its reset.
            unsafe { control.detach() };
        }
    }
}

impl Terms {
    fn new<T: Transport>(device: &Device<T>, wanted: u16) -> Result<Terms, InitError> {
        let there = configuration::pairs(device)?;
        let pairs = wanted.min(there);
        let (spreading, hash_types) = match configuration::hash_types(device)? {
            _ if pairs == 1 => (Spreading::None, 0),
            None => (Spreading::Automatic, 0),
            Some(types) => (Spreading::Rss, types),
        };
        Ok(Terms { pairs, spreading, hash_types })
    }
}

/// The features to take of those that are offered, for so many pairs.
fn select(offered: u64, config: &CardConfig, wanted: u16) -> u64 {
    let mut features = configuration::select(offered, &config.pair);
    if wanted > 1 {
        features |= configuration::select_pairs(offered, config.rss.is_some());
    }
    features
}

/// The number of the queue for commands: behind those of all pairs that the card has, used or not.
fn control_queue<T: Transport>(device: &Device<T>) -> Result<Option<u16>, InitError> {
    if !device.has(configuration::FEATURE_CONTROL) {
        return Ok(None);
    }
    Ok(Some(receive_queue(configuration::pairs(device)?)))
}
