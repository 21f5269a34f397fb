//! One lane of a link, both ways: what is sent again until it is acknowledged, and what is put in order.

use alloc::collections::{BTreeMap, VecDeque};

use base::{Duration, Instant};
use bytes::Bytes;
use wire::{Refusal, ServiceId, TraceContext};

use super::SendError;
use super::assembly::{Assembly, Incoming, Part};
use super::rtt::Rtt;

/// How many frames may be on their way: as many as the selective acknowledgement tells of.
const WINDOW_MAX: usize = 32;
/// How many at the start, and after something was lost: as many as are acknowledged at once.
const WINDOW_MIN: usize = ACKNOWLEDGE_EVERY as usize;
/// A frame is lost when so many later ones have arrived.
const OVERTAKEN_MAX: u32 = 3;
/// How many frames are sent again at once when nothing is heard.
const RESEND_MAX: usize = 4;
/// How long an acknowledgement waits for a frame to travel with: longer than a flush and the way to a
/// processor usually take, for a frame of its own wakes the other machine up for nothing …
const ACKNOWLEDGE_AFTER: Duration = Duration::from_millis(25);
/// … and how many frames it waits for at the most.
const ACKNOWLEDGE_EVERY: u32 = 8;
/// How many messages may wait.
const QUEUE_MAX_MESSAGES: usize = 512;
/// How many bytes of messages may wait; a single longer one may, if nothing else does.
const QUEUE_MAX_BYTES: usize = 4 * 1024 * 1024;

/// A message to be sent.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) service: ServiceId,
    pub(super) trace: TraceContext,
    pub(super) content: Bytes,
}

/// A frame that was sent and is not known to have arrived.
#[derive(Clone, Debug)]
struct InFlight {
    part: Part,
    sent: Instant,
    is_resent: bool,
    is_lost: bool,
    has_arrived: bool,
}

/// What the next frame of a lane carries.
#[derive(Debug)]
pub(super) enum Turn {
    Data { sequence: u32, part: Part },
    Datagram(Outgoing),
    Acknowledgement,
}

/// Frames that are on their way.
#[derive(Clone, Debug)]
struct Sending {
    queue: VecDeque<Outgoing>,
    queued_bytes: usize,
    /// How much of the first message in the queue has been sent.
    place: usize,
    next_sequence: u32,
    /// Consecutive frames; the last has the number `next_sequence - 1`.
    in_flight: VecDeque<InFlight>,
    /// Invariant: how many of them are lost.
    lost: usize,
    window: usize,
    /// When to send again.
    deadline: Option<Instant>,
}

/// Frames that have arrived.
#[derive(Clone, Debug, Default)]
struct Receiving {
    wanted: u32,
    /// Frames that have overtaken the wanted one. Invariant: at most `WINDOW_MAX`, all behind `wanted`.
    early: BTreeMap<u32, Part>,
    assembly: Assembly,
    /// Frames since the last acknowledgement.
    unacknowledged: u32,
    acknowledge_at: Option<Instant>,
    acknowledge_now: bool,
}

/// One lane of a link.
#[derive(Clone, Debug)]
pub(super) struct LaneState {
    content_max: usize,
    sending: Sending,
    receiving: Receiving,
    pub(super) resent: u64,
    pub(super) duplicates: u64,
}

impl LaneState {
    pub(super) fn new(content_max: usize) -> LaneState {
        let sending = Sending {
            queue: VecDeque::new(),
            queued_bytes: 0,
            place: 0,
            next_sequence: 0,
            in_flight: VecDeque::new(),
            lost: 0,
            window: WINDOW_MIN,
            deadline: None,
        };
        let receiving = Receiving::default();
        LaneState { content_max, sending, receiving, resent: 0, duplicates: 0 }
    }

    /// Notes a message to be sent.
    pub(super) fn enqueue(&mut self, message: Outgoing) -> Result<(), SendError> {
        let sending = &mut self.sending;
        let bytes = sending.queued_bytes + message.content.len();
        let is_full = sending.queue.len() >= QUEUE_MAX_MESSAGES || bytes > QUEUE_MAX_BYTES;
        if is_full && !sending.queue.is_empty() {
            return Err(SendError::QueueFull);
        }
        sending.queued_bytes = bytes;
        sending.queue.push_back(message);
        Ok(())
    }

    /// How many bytes of messages wait to be sent.
    pub(super) fn queued_bytes(&self) -> usize {
        self.sending.queued_bytes
    }

    /// Whether there is a frame to send.
    pub(super) fn has_frame(&self, now: Instant) -> bool {
        let sending = &self.sending;
        let has_new = !sending.queue.is_empty() && sending.in_flight.len() < sending.window;
        has_new || sending.lost > 0 || self.must_acknowledge(now)
    }

    fn must_acknowledge(&self, now: Instant) -> bool {
        let receiving = &self.receiving;
        receiving.acknowledge_now || receiving.acknowledge_at.is_some_and(|at| at <= now)
    }

    /// What the next frame carries, if there is one: what was lost, then what is new.
    pub(super) fn next_turn(&mut self, rtt: &Rtt, now: Instant) -> Option<Turn> {
        let find = |sending: &Sending| sending.in_flight.iter().position(|frame| frame.is_lost);
        let is_any_lost = self.sending.lost > 0;
        if let Some(position) = is_any_lost.then(|| find(&self.sending)).flatten() {
            self.resent += 1;
            self.sending.lost -= 1;
            let frame = &mut self.sending.in_flight[position];
            frame.is_lost = false;
            frame.is_resent = true;
            frame.sent = now;
            let part = frame.part.clone();
            return Some(Turn::Data {
                sequence: self.sending.first().wrapping_add(position as u32),
                part,
            });
        }
        if self.sending.in_flight.len() < self.sending.window
            && let Some(part) = self.sending.cut(self.content_max)
        {
            let sequence = self.sending.next_sequence;
            self.sending.next_sequence = sequence.wrapping_add(1);
            let frame = InFlight {
                part: part.clone(),
                sent: now,
                is_resent: false,
                is_lost: false,
                has_arrived: false,
            };
            self.sending.in_flight.push_back(frame);
            self.sending.deadline.get_or_insert(now + rtt.timeout());
            return Some(Turn::Data { sequence, part });
        }
        self.must_acknowledge(now).then_some(Turn::Acknowledgement)
    }

    /// What a frame that leaves now acknowledges.
    pub(super) fn acknowledge(&mut self) -> (u32, u32) {
        let receiving = &mut self.receiving;
        receiving.unacknowledged = 0;
        receiving.acknowledge_at = None;
        receiving.acknowledge_now = false;
        let is_here =
            |bit: &u32| receiving.early.contains_key(&receiving.wanted.wrapping_add(1 + bit));
        let selective = (0..32).filter(is_here).fold(0, |bits, bit| bits | 1 << bit);
        (receiving.wanted, selective)
    }

    /// The peer has everything before `wanted`, and of what follows what `selective` says. Answers whether
    /// that is news.
    pub(super) fn handle_acknowledgement(
        &mut self,
        wanted: u32,
        selective: u32,
        rtt: &mut Rtt,
        now: Instant,
    ) -> bool {
        let sending = &mut self.sending;
        let count = wanted.wrapping_sub(sending.first()) as usize;
        if count > sending.in_flight.len() {
            // An old one, or nonsense.
            return false;
        }
        for frame in sending.in_flight.drain(..count) {
            if !frame.is_resent && !frame.has_arrived {
                rtt.measure(now.since(frame.sent));
            }
        }
        let mut is_news = count > 0;
        for (bit, frame) in sending.in_flight.iter_mut().skip(1).take(32).enumerate() {
            if selective & (1 << bit) != 0 && !frame.has_arrived {
                frame.has_arrived = true;
                frame.is_lost = false;
                is_news = true;
            }
        }
        sending.find_overtaken();
        sending.count_lost();
        if is_news {
            rtt.relax();
            sending.window = (sending.window + count).min(WINDOW_MAX);
        }
        if count > 0 {
            // News of later frames does not put off the first: it might be put off for ever.
            sending.deadline = (!sending.in_flight.is_empty()).then(|| now + rtt.timeout());
        }
        is_news
    }

    /// A frame with a part of a message has arrived.
    pub(super) fn handle_part(
        &mut self,
        sequence: u32,
        part: Part,
        now: Instant,
        mut deliver: impl FnMut(Incoming),
    ) -> Result<(), Refusal> {
        Assembly::check(&part)?;
        let receiving = &mut self.receiving;
        let ahead = sequence.wrapping_sub(receiving.wanted);
        if ahead as usize > WINDOW_MAX {
            // Most likely it has arrived before, and the acknowledgement was lost.
            self.duplicates += 1;
            receiving.acknowledge_now = true;
            return Ok(());
        }
        if ahead > 0 {
            let is_new = receiving.early.insert(sequence, part).is_none();
            self.duplicates += u64::from(!is_new);
            receiving.acknowledge_now = true;
            return Ok(());
        }
        let had_gap = !receiving.early.is_empty();
        let mut next = Some(part);
        while let Some(part) = next {
            if let Some(message) = receiving.assembly.take(part) {
                deliver(message);
            }
            receiving.wanted = receiving.wanted.wrapping_add(1);
            receiving.unacknowledged += 1;
            next = receiving.early.remove(&receiving.wanted);
        }
        receiving.acknowledge_now |= had_gap || receiving.unacknowledged >= ACKNOWLEDGE_EVERY;
        receiving.acknowledge_at.get_or_insert(now + ACKNOWLEDGE_AFTER);
        Ok(())
    }

    /// Sends again what has not been acknowledged in time. Answers whether there was something.
    pub(super) fn handle_timeout(&mut self, rtt: &mut Rtt, now: Instant) -> bool {
        let sending = &mut self.sending;
        if sending.deadline.is_none_or(|deadline| now < deadline) {
            return false;
        }
        rtt.back_off();
        sending.deadline = Some(now + rtt.timeout());
        sending.window = (sending.window / 2).max(WINDOW_MIN);
        let missing = sending.in_flight.iter_mut().filter(|frame| !frame.has_arrived);
        missing.take(RESEND_MAX).for_each(|frame| frame.is_lost = true);
        sending.count_lost();
        true
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        Instant::earliest([self.sending.deadline, self.receiving.acknowledge_at])
    }

    /// Says something to the peer, be it only what has arrived.
    pub(super) fn acknowledge_soon(&mut self) {
        self.receiving.acknowledge_now = true;
    }

    /// Begins a new stream: what was on its way is lost, what waits is not. Answers how many frames and begun
    /// messages are lost.
    pub(super) fn restart_sending(&mut self) -> u64 {
        let sending = &mut self.sending;
        let mut lost = sending.in_flight.len() as u64;
        sending.in_flight.clear();
        sending.lost = 0;
        if sending.place > 0 {
            sending.place = 0;
            lost += 1;
            if let Some(message) = sending.queue.pop_front() {
                sending.queued_bytes -= message.content.len();
            }
        }
        sending.next_sequence = 0;
        sending.window = WINDOW_MIN;
        sending.deadline = None;
        lost
    }

    /// Drops what waits. Answers how many messages that is.
    pub(super) fn drop_queue(&mut self) -> u64 {
        let sending = &mut self.sending;
        let dropped = sending.queue.len() as u64;
        sending.queue.clear();
        sending.queued_bytes = 0;
        sending.place = 0;
        dropped
    }

    /// The peer has begun a new stream.
    pub(super) fn restart_receiving(&mut self) {
        self.receiving = Receiving { acknowledge_now: true, ..Receiving::default() };
        self.receiving.assembly.clear();
    }

    pub(super) fn in_flight(&self) -> usize {
        self.sending.in_flight.len()
    }

    pub(super) fn queued(&self) -> usize {
        self.sending.queue.len()
    }

    pub(super) fn check_invariants(&self) {
        let sending = &self.sending;
        let bytes: usize = sending.queue.iter().map(|message| message.content.len()).sum();
        assert_eq!(bytes, sending.queued_bytes);
        assert!(sending.in_flight.len() <= WINDOW_MAX);
        let lost = sending.in_flight.iter().filter(|frame| frame.is_lost).count();
        assert_eq!(lost, sending.lost, "what is lost is sent again");
        assert!(sending.queue.front().is_none_or(|message| sending.place < message.content.len()));
        assert!(sending.deadline.is_some() || sending.in_flight.is_empty(), "nothing is forgotten");
        let wanted = self.receiving.wanted;
        let is_early = |sequence: &u32| (1..=32).contains(&sequence.wrapping_sub(wanted));
        assert!(self.receiving.early.keys().all(is_early));
    }
}

impl Sending {
    /// The number of the first frame on its way.
    fn first(&self) -> u32 {
        self.next_sequence.wrapping_sub(self.in_flight.len() as u32)
    }

    /// Cuts the next part off the queue.
    fn cut(&mut self, content_max: usize) -> Option<Part> {
        let message = self.queue.front()?;
        let (start, length) = (self.place, message.content.len());
        let end = length.min(start + content_max);
        let part = Part {
            service: message.service,
            trace: message.trace,
            is_first: start == 0,
            is_last: end == length,
            message_length: length as u32,
            place: start as u32,
            content: message.content.slice(start..end),
        };
        self.place = end;
        if part.is_last {
            self.place = 0;
            self.queued_bytes -= length;
            self.queue.pop_front();
        }
        Some(part)
    }

    fn count_lost(&mut self) {
        self.lost = self.in_flight.iter().filter(|frame| frame.is_lost).count();
    }

    /// Frames that enough later ones have overtaken are lost; each is found so once.
    fn find_overtaken(&mut self) {
        let mut later = self.in_flight.iter().filter(|frame| frame.has_arrived).count() as u32;
        for frame in &mut self.in_flight {
            if frame.has_arrived {
                later -= 1;
            } else if later >= OVERTAKEN_MAX && !frame.is_resent {
                frame.is_lost = true;
            }
        }
    }
}
