//! A station on a network: what it does with frames that come, and which it sends.

mod jobs;
mod together;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Add;

use base::{Duration, Instant};
use netio::{FlowKey, FlowTable, Outgoing};
use pool::{Frame, FrameChain, Pool, Returns};

use crate::BURST;
use crate::card::Card;
use crate::meter::Meters;
use crate::probe::{Arrivals, Kind, Probe, RunKey};
use crate::tcp::Tcp;
use crate::team::{Asked, Member, Reported};
use crate::template::{Template, clear_stamps};
use crate::trial::{Pools, Runs};
pub use jobs::Finished;
use jobs::Job;

/// An answer is a frame of this size, in bytes with its checksum.
const ANSWER_SIZE: usize = 128;
/// A station that has heard nothing for this long lets its processor sleep.
const AWAKE_FOR: Duration = Duration::from_millis(20);
/// While TCP is connected, after this long already: who waits for an answer by looking again and again keeps
/// the processor from whoever is to answer, where there are fewer than machines.
const AWAKE_FOR_TCP: Duration = Duration::from_micros(50);
/// How many full bursts are remembered.
const COSTS_MAX: usize = 4096;
/// Where in a frame of ours are both addresses of IPv4 and both ports.
const FLOW: core::ops::Range<usize> = 26..38;
/// A flow that is silent for this long is forgotten.
const FLOW_IDLE: Duration = Duration::from_secs(10);

/// What it does with frames that come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It counts them, sends echoes back, and answers questions.
    Sink,
    /// As [`Role::Sink`], and it keeps account of each flow.
    FlowSink,
    /// It sends every frame back to where it came from, its two Ethernet addresses exchanged.
    Forwarder,
}

/// Frames come without their checksums, or several as one: sent back like that they would be wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unfinished;

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "this card leaves checksums to us; only with pktgen.offloads=none frames are forwarded",
        )
    }
}

/// What differs from one boot to the next; whoever has it draws it at random.
#[derive(Clone, Copy, Debug)]
pub struct Seed {
    /// The number before that of the first run: a receiver tells it from what this address sent earlier.
    pub run: u32,
    /// The secret of the hash of flows, which strangers choose.
    pub hash_key: [u64; 2],
}

/// What it has counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Frames that came.
    pub received: u64,
    /// Frames among them that are not of ours: the stack has them.
    pub foreign: u64,
    /// Frames that were sent back.
    pub returned: u64,
    /// Frames for the stack that were dropped: it is the first station's, which did not take them.
    pub overrun: u64,
}

impl Add for Counters {
    type Output = Counters;

    fn add(self, other: Counters) -> Counters {
        Counters {
            received: self.received + other.received,
            foreign: self.foreign + other.foreign,
            returned: self.returned + other.returned,
            overrun: self.overrun + other.overrun,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Station {
    mac: [u8; 6],
    pool: Pool,
    templates: Pool,
    /// The other stations of its card, if there are any.
    team: Option<Member>,
    /// It has ordered something of them, which may sleep.
    is_calling: bool,
    /// What it was told to report for.
    reported: Reported,
    /// Frames that were counted, until the end of the turn.
    counted: Returns,
    role: Role,
    hash_key: [u64; 2],
    tcp: Tcp,
    meters: Meters,
    flows: Option<FlowTable>,
    /// When to look for those that were silent for too long: no later than the first of them was.
    flows_due: Instant,
    job: Option<Job>,
    finished: Option<Finished>,
    runs: Runs,
    counters: Counters,
    card: Card,
    outgoing: VecDeque<Frame>,
    awake_until: Instant,
    /// What a frame of a full burst cost, in tenths of a nanosecond; the oldest are overwritten.
    costs: Vec<u32>,
    next_cost: usize,
}

impl Station {
    /// A sink with nothing to send. What it sends to be counted lies in the buffers of `templates`, which
    /// nobody else has. What is none of its own frames is the affair of `tcp`.
    pub fn new(mac: [u8; 6], pool: Pool, templates: Pool, tcp: Tcp, seed: Seed) -> Station {
        clear_stamps(&templates);
        Station {
            mac,
            pool,
            templates,
            team: None,
            is_calling: false,
            reported: Reported::default(),
            counted: Returns::default(),
            role: Role::Sink,
            hash_key: seed.hash_key,
            tcp,
            meters: Meters::default(),
            flows: None,
            flows_due: Instant::default(),
            job: None,
            finished: None,
            runs: Runs::new(mac, seed.run),
            counters: Counters::default(),
            card: Card::default(),
            outgoing: VecDeque::with_capacity(4 * BURST),
            awake_until: Instant::default(),
            costs: Vec::with_capacity(COSTS_MAX),
            next_cost: 0,
        }
    }

    /// Its address.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// A frame has come.
    #[inline]
    pub fn handle_frame(&mut self, frame: Frame, now: Instant) {
        self.handle(frame, false, now);
    }

    /// A packet has come, perhaps a large one; the card may vouch for its checksum.
    pub fn handle_packet(&mut self, frames: FrameChain, is_vouched_for: bool, now: Instant) {
        if let Some(frame) = self.tcp.gather(frames) {
            self.handle(frame, is_vouched_for, now);
        }
    }

    #[inline]
    fn handle(&mut self, frame: Frame, is_vouched_for: bool, now: Instant) {
        self.counters.received += 1;
        // What a forwarder does is short, and no call.
        match self.role {
            Role::Forwarder => self.send_back(frame),
            Role::Sink | Role::FlowSink => self.take(frame, is_vouched_for, now),
        }
    }

    /// As a sink.
    #[inline(never)]
    fn take(&mut self, frame: Frame, is_vouched_for: bool, now: Instant) {
        if self.role == Role::FlowSink {
            self.account(&frame, now);
        }
        match Probe::parse(&frame) {
            Some(probe) if probe.kind == Kind::Data => {
                self.meters.record(RunKey::of(&frame, &probe), &probe, frame.len(), now);
                self.counted.push(frame.into_buffer());
            }
            Some(probe) => self.handle_probe(frame, probe, now),
            None => {
                self.counters.foreign += 1;
                self.handle_foreign(frame, is_vouched_for);
            }
        }
    }

    /// One that is not only to be counted.
    fn handle_probe(&mut self, frame: Frame, probe: Probe, now: Instant) {
        match probe.kind {
            Kind::Data => {}
            Kind::Echo => self.reply(frame, probe),
            Kind::Question => self.answer(&frame, &probe),
            Kind::Reply => self.handle_reply(&probe, now),
            Kind::Answer => {
                if let Some(arrivals) = Arrivals::parse(&frame) {
                    self.handle_answer(&probe, arrivals);
                }
            }
        }
    }

    fn account(&mut self, frame: &Frame, now: Instant) {
        if let Some((flows, key)) = self.flows.as_mut().zip(FlowKey::of_frame(frame)) {
            flows.record(&key, frame.len(), now.as_nanos());
        }
    }

    fn reply(&mut self, mut frame: Frame, probe: Probe) {
        Probe { kind: Kind::Reply, ..probe }.emit(&mut frame);
        reverse_flow(&mut frame);
        self.send_back(frame);
    }

    #[inline]
    fn send_back(&mut self, mut frame: Frame) {
        if let Some(addresses) = frame.first_chunk_mut::<12>() {
            exchange(addresses);
            self.counters.returned += 1;
            self.outgoing.push_back(frame);
        }
    }

    fn answer(&mut self, question: &Frame, probe: &Probe) {
        let run = RunKey::of(question, probe);
        if !self.have_all_reported(Asked { run, lane: probe.lane }) {
            return;
        }
        let to = question[6..12].try_into().expect("a probe has its header");
        let template = Template::new(self.mac, to, ANSWER_SIZE);
        let probe = Probe { kind: Kind::Answer, ..*probe };
        // Without a buffer there is no answer now; the question comes again.
        if let Some(mut frame) = template.frame(0, &probe, &self.pool) {
            reverse_flow(&mut frame);
            self.meter_of_all(run).arrivals().emit(&mut frame);
            self.outgoing.push_back(frame);
        }
    }

    /// Does what is due. Then [`Station::outgoing`] has what is to be sent.
    pub fn poll(&mut self, now: Instant) {
        self.counted.give_back();
        if now >= self.flows_due {
            self.forget_silent_flows(now);
        }
        self.tcp.poll(now);
        if let Some(outcome) = self.tcp.take_outcome() {
            self.finished = Some(Finished::Tcp(outcome));
        }
        let pools = Pools { templates: &self.templates, others: &self.pool };
        match &mut self.job {
            None => return,
            Some(Job::Trial(trial) | Job::Search(_, _, trial)) => {
                trial.poll(now, pools, &mut self.outgoing);
            }
            Some(Job::Survey(survey)) => survey.poll(now, pools, &mut self.outgoing),
            Some(Job::Echo(echo)) => self.outgoing.extend(echo.poll(now, &self.pool)),
        }
        if let Some(finished) = self.finish(now) {
            (self.finished, self.job) = (Some(finished), None);
        }
    }

    fn forget_silent_flows(&mut self, now: Instant) {
        let oldest = self.flows.as_mut().and_then(|flows| {
            flows.handle_timeout(now.as_nanos());
            flows.poll_timeout()
        });
        // A flow that comes from now on stays for longer than until then.
        self.flows_due = oldest.map_or(now + FLOW_IDLE, Instant::from_nanos);
    }

    /// Frames to send; those that the card does not take stay.
    pub fn outgoing(&mut self) -> &mut VecDeque<Frame> {
        &mut self.outgoing
    }

    /// The next frame of TCP to send.
    pub fn poll_tcp(&mut self) -> Option<Outgoing> {
        self.tcp.poll_transmit()
    }

    /// When [`Station::poll`] wants to be called if nothing comes.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let flows_due = self.flows().filter(|flows| *flows > 0).map(|_| self.flows_due);
        Instant::earliest([self.tcp.poll_timeout(now), flows_due])
    }

    /// A turn of the loop is over: so many frames were taken and given, in so long a time.
    pub fn note_turn(&mut self, frames: usize, span: Duration, now: Instant) {
        if frames > 0 {
            let awake_for = if self.tcp.is_connected() { AWAKE_FOR_TCP } else { AWAKE_FOR };
            self.awake_until = now + awake_for;
        }
        if frames != BURST {
            return;
        }
        let tenths = u32::try_from(span.as_nanos() * 10 / BURST as u64).unwrap_or(u32::MAX);
        match self.costs.get_mut(self.next_cost) {
            Some(cost) => *cost = tenths,
            None => self.costs.push(tenths),
        }
        self.next_cost = (self.next_cost + 1) % COSTS_MAX;
    }

    /// Whether to look again at once, or to sleep until something comes.
    pub fn is_awake(&self, now: Instant) -> bool {
        self.job.is_some() || !self.outgoing.is_empty() || now < self.awake_until
    }

    /// What a frame of a full burst cost, at the median and the 99th percentile, in tenths of a nanosecond.
    pub fn costs(&self) -> Option<(u32, u32)> {
        let mut sorted = self.costs.clone();
        sorted.sort_unstable();
        let rank = |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).max(1) - 1);
        rank(50).copied().zip(rank(99).copied())
    }

    fn take_role(&mut self, role: Role) {
        self.role = role;
        self.flows =
            (role == Role::FlowSink).then(|| FlowTable::new(self.hash_key, FLOW_IDLE.as_nanos()));
        self.counters = Counters::default();
        self.costs.clear();
        self.next_cost = 0;
    }

    /// What it does with frames that come.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Counts what is sent to a port by TCP.
    pub fn listen(&mut self, port: u16) {
        self.tcp.listen(port);
    }

    /// What it knows of TCP.
    pub fn tcp(&self) -> &Tcp {
        &self.tcp
    }

    /// What has arrived.
    pub fn meters(&self) -> &Meters {
        &self.meters
    }

    /// What was counted since the role was given.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The card tells of itself.
    pub fn note_card(&mut self, card: Card) {
        self.card = card;
    }

    /// What the card has told last.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// How many flows are being heard, if it keeps account of them.
    pub fn flows(&self) -> Option<usize> {
        self.flows.as_ref().map(|flows| flows.statistics().active)
    }

    /// Its buffers, without those of templates.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Whether the next burst has to be made of buffers that have left.
    pub fn is_short_of_buffers(&self) -> bool {
        let is_short = self.pool.free() < BURST || self.templates.free() < BURST;
        is_short || self.tcp.is_short_of_buffers()
    }
}

/// Makes it a frame of the other half of its conversation: IPv4 addresses and ports change places, which no
/// checksum notices.
fn reverse_flow(frame: &mut Frame) {
    let Some([addresses @ .., p0, p1, p2, p3]) = frame.get_mut(FLOW) else { return };
    let (from, to) = addresses.split_at_mut(4);
    from.swap_with_slice(to);
    core::mem::swap(p0, p2);
    core::mem::swap(p1, p3);
}

/// Exchanges two addresses, as one number that is turned halfway round: two reads and two writes.
#[inline]
fn exchange(addresses: &mut [u8; 12]) {
    let mut both = [0; 16];
    both[..12].copy_from_slice(addresses);
    let both = u128::from_le_bytes(both);
    let turned = both >> 48 | both << 48;
    addresses.copy_from_slice(&turned.to_le_bytes()[..12]);
}

#[cfg(test)]
mod tests {
    use super::exchange;

    #[test]
    fn addresses_change_places() {
        let mut addresses = [1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16];
        exchange(&mut addresses);
        assert_eq!(addresses, [11, 12, 13, 14, 15, 16, 1, 2, 3, 4, 5, 6]);
    }
}
