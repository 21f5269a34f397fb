//! What leaves first: eight strict priorities between the stack and the ring, each shaped if so wanted.
//!
//! A frame of class 0 leaves before any of class 1, and so on: a heartbeat does not wait behind a snapshot.
//! Whoever is first can starve the rest, so that is counted, and a shape on the higher classes prevents it.

mod bucket;
#[cfg(test)]
mod tests;

use alloc::collections::VecDeque;
use core::array;

use self::bucket::Bucket;
pub use self::bucket::Shape;
use crate::limits::{CLASS_FRAMES, CLASS_FRAMES_MAX, CLASSES, STARVED_AFTER_NS};
use crate::packet::NetworkPacket;

/// A class of traffic: 0 goes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Class(u8);

impl Class {
    /// What keeps the cluster alive: heartbeats, votes.
    pub const FIRST: Class = Class(0);
    /// What can wait: bulk transfers.
    pub const LAST: Class = Class(CLASSES as u8 - 1);

    /// All of them, the first first.
    pub fn all() -> impl Iterator<Item = Class> {
        (0..CLASSES as u8).map(Class)
    }

    /// The class of that number, or `None` if there is none.
    pub const fn new(number: u8) -> Option<Class> {
        if (number as usize) < CLASSES { Some(Class(number)) } else { None }
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self.0
    }

    fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// How a class is treated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClassConfig {
    /// How many packets wait at most; more are refused. At most [`CLASS_FRAMES_MAX`].
    pub frames_max: usize,
    /// How fast it may send, if not as fast as it can.
    pub shape: Option<Shape>,
}

impl Default for ClassConfig {
    fn default() -> ClassConfig {
        ClassConfig { frames_max: CLASS_FRAMES, shape: None }
    }
}

/// Why a frame was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefusalCause {
    /// As many frames of its class wait as may.
    QueueFull,
    /// It is longer than the burst of its class: it could never be sent.
    LongerThanBurst,
}

/// A packet that was not taken. To drop this is to drop its frame.
#[derive(Debug)]
pub struct Refusal {
    /// The packet.
    pub packet: NetworkPacket,
    /// Why.
    pub cause: RefusalCause,
}

/// What became of a class's frames since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClassStatistics {
    /// How many frames wait, now.
    pub waiting: usize,
    /// Frames that left.
    pub sent_frames: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Frames that were refused: too many waited.
    pub refused_full: u64,
    /// Frames that were refused: longer than the burst.
    pub refused_long: u64,
    /// Frames that the shape kept back when nothing else would have. Each is counted once, however often it
    /// is looked at while it waits.
    pub shaped: u64,
    /// How often a frame that might have left was passed over for one of a higher class.
    pub passed_over: u64,
    /// How often that went on for [`STARVED_AFTER_NS`] without a frame of this class leaving. Such a spell is
    /// counted once, while it lasts.
    pub starved: u64,
    /// The longest that a frame waited before it left, in nanoseconds.
    pub longest_wait_ns: u64,
}

/// A spell in which others went first.
#[derive(Clone, Copy, Debug)]
struct Spell {
    since_ns: u64,
    is_counted: bool,
}

#[derive(Debug)]
struct Queue {
    /// Its capacity is reserved at the start, so that it never allocates again.
    packets: VecDeque<NetworkPacket>,
    frames_max: usize,
    bucket: Option<Bucket>,
    /// The first packet was counted as kept back by the shape.
    is_shaped_counted: bool,
    spell: Option<Spell>,
    statistics: ClassStatistics,
}

/// The queues of all classes.
#[derive(Debug)]
pub struct Classes {
    queues: [Queue; CLASSES],
    /// Bit I is set if frames of class I wait.
    waiting: u8,
}

impl Classes {
    /// Empty queues with full buckets; `configs[I]` is for class I.
    ///
    /// # Panics
    /// If a class may have no frame, or more than [`CLASS_FRAMES_MAX`].
    pub fn new(configs: [ClassConfig; CLASSES], now_ns: u64) -> Classes {
        Classes { queues: array::from_fn(|index| Queue::new(configs[index], now_ns)), waiting: 0 }
    }

    /// Lets a packet wait for its turn.
    ///
    /// # Errors
    /// The packet, if it cannot: counted, and nothing else is changed.
    pub fn enqueue(&mut self, packet: NetworkPacket) -> Result<(), Refusal> {
        let class = packet.class;
        self.queues[class.index()].push(packet)?;
        self.waiting |= 1 << class.0;
        Ok(())
    }

    /// How many packets of a class wait.
    pub fn waiting(&self, class: Class) -> usize {
        self.queues[class.index()].packets.len()
    }

    /// Shapes a class anew, or no more. False, and nothing is changed, if a packet waits that is longer than
    /// the burst: it could never be sent.
    #[must_use = "a shape may be refused"]
    pub fn set_shape(&mut self, class: Class, shape: Option<Shape>, now_ns: u64) -> bool {
        let queue = &mut self.queues[class.index()];
        let burst_bytes = shape.map_or(u64::MAX, |shape| shape.burst_bytes());
        let fits = queue.packets.iter().all(|packet| packet.frame.len() as u64 <= burst_bytes);
        if fits {
            queue.bucket = shape.map(|shape| Bucket::new(shape, now_ns));
        }
        fits
    }

    /// How a class is shaped.
    pub fn shape(&self, class: Class) -> Option<Shape> {
        self.queues[class.index()].bucket.map(|bucket| bucket.shape())
    }

    /// The packet whose turn it is: the first of the highest class that may send.
    pub fn dequeue(&mut self, now_ns: u64) -> Option<NetworkPacket> {
        let mut rest = self.waiting;
        while rest != 0 {
            let index = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            if !self.queues[index].may_send(now_ns) {
                self.queues[index].be_shaped();
                continue;
            }
            let packet = self.queues[index].pop(now_ns);
            if self.queues[index].packets.is_empty() {
                self.waiting &= !(1 << index);
            }
            self.pass_over(rest, now_ns);
            return Some(packet);
        }
        None
    }

    /// When [`Classes::dequeue`] has a frame, in nanoseconds: the past if it has one already, and `None` if
    /// none waits.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.queues.iter().filter_map(Queue::ready_at).min()
    }

    /// How many frames wait.
    pub fn len(&self) -> usize {
        self.queues.iter().map(|queue| queue.packets.len()).sum()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// What was counted so far for a class.
    pub fn statistics(&self, class: Class) -> ClassStatistics {
        let queue = &self.queues[class.index()];
        ClassStatistics { waiting: queue.packets.len(), ..queue.statistics }
    }

    /// Notes for the classes of `lower` that a frame went before theirs.
    fn pass_over(&mut self, mut lower: u8, now_ns: u64) {
        while lower != 0 {
            let queue = &mut self.queues[lower.trailing_zeros() as usize];
            lower &= lower - 1;
            // One that its own shape keeps back is not kept back by others.
            if queue.may_send(now_ns) {
                queue.be_passed_over(now_ns);
            }
        }
    }
}

impl Queue {
    fn new(config: ClassConfig, now_ns: u64) -> Queue {
        let is_bounded = (1..=CLASS_FRAMES_MAX).contains(&config.frames_max);
        assert!(is_bounded, "1 to CLASS_FRAMES_MAX frames of a class wait");
        Queue {
            packets: VecDeque::with_capacity(config.frames_max),
            frames_max: config.frames_max,
            bucket: config.shape.map(|shape| Bucket::new(shape, now_ns)),
            is_shaped_counted: false,
            spell: None,
            statistics: ClassStatistics::default(),
        }
    }

    fn push(&mut self, packet: NetworkPacket) -> Result<(), Refusal> {
        let burst_bytes = self.bucket.map_or(u64::MAX, |bucket| bucket.shape().burst_bytes());
        if packet.frame.len() as u64 > burst_bytes {
            self.statistics.refused_long += 1;
            return Err(Refusal { packet, cause: RefusalCause::LongerThanBurst });
        }
        if self.packets.len() == self.frames_max {
            self.statistics.refused_full += 1;
            return Err(Refusal { packet, cause: RefusalCause::QueueFull });
        }
        self.packets.push_back(packet);
        Ok(())
    }

    /// Whether there is a frame, and the shape lets it leave.
    fn may_send(&mut self, now_ns: u64) -> bool {
        let Some(first) = self.packets.front() else { return false };
        let Some(bucket) = &mut self.bucket else { return true };
        bucket.refill(now_ns);
        bucket.affords(first.frame.len())
    }

    /// Takes the first frame, which may leave.
    fn pop(&mut self, now_ns: u64) -> NetworkPacket {
        let packet = self.packets.pop_front().expect("a packet may leave");
        let bytes = packet.frame.len();
        if let Some(bucket) = &mut self.bucket {
            bucket.pay(bytes);
        }
        self.is_shaped_counted = false;
        self.spell = None;
        let statistics = &mut self.statistics;
        statistics.sent_frames += 1;
        statistics.sent_bytes += bytes as u64;
        let waited_ns = now_ns.saturating_sub(packet.since_ns);
        statistics.longest_wait_ns = statistics.longest_wait_ns.max(waited_ns);
        packet
    }

    fn be_shaped(&mut self) {
        self.statistics.shaped += u64::from(!self.is_shaped_counted);
        self.is_shaped_counted = true;
    }

    fn be_passed_over(&mut self, now_ns: u64) {
        self.statistics.passed_over += 1;
        let spell = self.spell.get_or_insert(Spell { since_ns: now_ns, is_counted: false });
        if !spell.is_counted && now_ns.saturating_sub(spell.since_ns) >= STARVED_AFTER_NS {
            spell.is_counted = true;
            self.statistics.starved += 1;
        }
    }

    fn ready_at(&self) -> Option<u64> {
        let first = self.packets.front()?;
        let bucket_ready = |bucket: &Bucket| bucket.ready_at(first.frame.len());
        Some(self.bucket.as_ref().map_or(first.since_ns, bucket_ready))
    }
}
