//! Reliable messages between nodes, on Ethernet frames without a socket in between.
//!
//! To each peer there are two lanes; messages of a lane arrive once and in order, and urgent ones never wait
//! for bulk. A message may be lost when a link starts over: when a node restarts, when a peer was silent for
//! too long, or when a queue is full. Whoever sends must live with that (Raft does).
//!
//! A frame is Ethernet, IPv4, UDP (so that any bridge carries it and any tool shows it), the envelope of
//! [`wire`], and a part of a message. Nobody asks for addresses: they follow from numbers. An idle link sends
//! nothing and has no deadline.
//!
//! Who the peers are may change at any time. A node of the cluster that is no peer and has something to say
//! is a guest: it may be on its way in, or belong to a group that has changed while this node was away, or
//! have been a peer until just now. It has a link until it has been silent for a while. There is room for a
//! few guests; who finds none is refused, and so is a stranger without a message.

mod assembly;
mod frame;
mod guests;
mod lane;
mod peer;
mod rtt;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::fmt;
use core::ops::Bound;

use base::{ClusterId, Instant, NodeId, limits};
use bytes::Bytes;
use pool::{Frame, Pool};
use wire::{Kind, Lane, Packet, Refusal, Repr, ServiceId, TraceContext};

use crate::addresses::node_of_mac;
use guests::Guests;
pub use peer::PeerStatus;
use peer::{Life, Peer};

/// What a node's links are told when they start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// This node.
    pub id: NodeId,
    /// The cluster.
    pub cluster: ClusterId,
    /// The other nodes, to begin with.
    pub peers: Vec<NodeId>,
    /// How often this node has started, at least 1: peers tell by it that it has forgotten their streams.
    pub epoch: u32,
    /// Drawn at this start, not 0: peers tell by it another machine that was given this node's number.
    pub nonce: u32,
    /// The longest packet that the network carries, in bytes.
    pub mtu: usize,
}

/// Why a message is not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendError {
    /// There is no such peer.
    UnknownPeer,
    /// Too much waits for this peer already.
    QueueFull,
    /// The message is longer than [`limits::MESSAGE_MAX_BYTES`], or empty.
    Length,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendError::UnknownPeer => "there is no such peer",
            SendError::QueueFull => "too much waits for this peer",
            SendError::Length => "the message is empty or too long",
        })
    }
}

impl core::error::Error for SendError {}

/// A message that has arrived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// From whom.
    pub from: NodeId,
    /// For which service.
    pub service: ServiceId,
    /// Its trace.
    pub trace: TraceContext,
    /// Its content.
    pub content: Bytes,
}

/// How soon a frame to be sent should leave. Frames of one rank keep their order on the way to the card, or
/// those that were overtaken are taken for lost.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Urgency {
    /// A message that is not sent again, because it is said anew before long: a heartbeat.
    Datagram,
    /// Of the urgent lane: a vote.
    Urgent,
    /// Only what has arrived.
    Acknowledgement,
    /// Of the bulk lane: the log, snapshots, entries of the ledger.
    Bulk,
}

/// What a frame was.
#[derive(Debug)]
pub enum Disposition {
    /// Taken.
    Taken,
    /// The switch says that this peer has lost its link. It may be wrong, or lying.
    Unreachable(NodeId),
    /// Not a frame of a link: it is somebody else's business.
    Foreign(Frame),
    /// It pretended to be one, and was dropped.
    Refused(Refusal),
}

/// What the links count besides what their peers count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Frames that were taken.
    pub received: u64,
    /// Frames that were sent.
    pub sent: u64,
    /// Frames that were refused, in the order of [`Refusal::ALL`].
    pub refused: [u64; Refusal::ALL.len()],
    /// Notices of the switch that a station has lost its link.
    pub notices: u64,
    /// How often a frame could not be sent because no buffer was free.
    pub pool_empty: u64,
}

/// The links of a node to all its peers, and to guests.
#[derive(Debug)]
pub struct Links {
    config: Config,
    pool: Pool,
    /// Peers and guests.
    peers: BTreeMap<NodeId, Peer>,
    /// Which of them are guests.
    guests: Guests,
    /// Where the streams of a new link begin: behind those of all links that were forgotten, so that whoever
    /// remembers one of these sees that it is another.
    first_stream: u32,
    messages: VecDeque<Message>,
    /// The peer after which the next frame is looked for: nobody waits behind a busy one.
    last_served: Option<NodeId>,
    /// If nobody has a frame to send: until when, unless something comes in. Most calls of a node with many
    /// peers concern none of them, and need not ask them all.
    rest: Option<Rest>,
    counters: Counters,
}

/// Nobody has anything to send or to do before a deadline, if there is one.
#[derive(Clone, Copy, Debug)]
struct Rest {
    until: Option<Instant>,
}

impl Rest {
    fn lasts(self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl Links {
    /// Links to the peers that `config` names. Frames are made in buffers of `pool`.
    ///
    /// # Panics
    /// If the epoch or the nonce is 0, or the MTU leaves no room for content.
    pub fn new(config: Config, pool: Pool) -> Links {
        assert!(config.epoch > 0, "a node that runs has started");
        assert!(config.nonce != 0, "a node that runs has drawn a number");
        let content_max = frame::content_max(config.mtu, &pool);
        let own = config.id;
        let peers = config.peers.iter().filter(|peer| **peer != own);
        let first_stream = 1;
        let own_life = Life { epoch: config.epoch, nonce: config.nonce };
        let peer = |peer: &NodeId| (*peer, Peer::new(own_life, first_stream, content_max));
        let peers = peers.map(peer).collect();
        Links {
            config,
            pool,
            peers,
            guests: Guests::default(),
            first_stream,
            messages: VecDeque::new(),
            last_served: None,
            rest: None,
            counters: Counters::default(),
        }
    }

    /// From now on these are the peers. Who was one and is none any more is a guest for a while, so that what
    /// is under way still arrives.
    pub fn set_peers(&mut self, peers: &BTreeSet<NodeId>, now: Instant) {
        self.rest = None;
        let own = self.config.id;
        for peer in peers.iter().filter(|peer| **peer != own) {
            self.guests.remove(*peer);
            self.ensure_link(*peer);
        }
        let leaves = |id: &NodeId| !peers.contains(id) && !self.guests.contains(*id);
        let leaving: Vec<NodeId> = self.peers.keys().copied().filter(leaves).collect();
        for id in leaving {
            if !self.guests.admit(id, now) {
                self.forget(id);
            }
        }
    }

    fn ensure_link(&mut self, id: NodeId) {
        let content_max = frame::content_max(self.config.mtu, &self.pool);
        let own_life = Life { epoch: self.config.epoch, nonce: self.config.nonce };
        let first_stream = self.first_stream;
        self.peers.entry(id).or_insert_with(|| Peer::new(own_life, first_stream, content_max));
    }

    fn forget(&mut self, id: NodeId) {
        if let Some(peer) = self.peers.remove(&id) {
            self.first_stream = self.first_stream.max(peer.next_stream());
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// If it cannot be sent; then nothing has changed.
    pub fn send(
        &mut self,
        to: NodeId,
        service: ServiceId,
        lane: Lane,
        trace: TraceContext,
        content: Bytes,
        now: Instant,
    ) -> Result<(), SendError> {
        if content.is_empty() || content.len() > limits::MESSAGE_MAX_BYTES {
            return Err(SendError::Length);
        }
        let peer = self.peers.get_mut(&to).ok_or(SendError::UnknownPeer)?;
        self.rest = None;
        peer.send(lane, lane::Outgoing { service, trace, content }, now)
    }

    /// Sends a message once: it is not sent again if it is lost, and nobody acknowledges it. For what is said
    /// anew before long; an idle cluster then has half as much to do.
    ///
    /// # Errors
    /// If it cannot be sent, because it does not fit a frame for example; then nothing has changed.
    pub fn send_datagram(
        &mut self,
        to: NodeId,
        service: ServiceId,
        trace: TraceContext,
        content: Bytes,
    ) -> Result<(), SendError> {
        if content.is_empty() || content.len() > frame::content_max(self.config.mtu, &self.pool) {
            return Err(SendError::Length);
        }
        let peer = self.peers.get_mut(&to).ok_or(SendError::UnknownPeer)?;
        self.rest = None;
        peer.send_datagram(lane::Outgoing { service, trace, content });
        Ok(())
    }

    /// How many bytes of messages wait for a peer to take them.
    pub fn queued_bytes(&self, peer: NodeId) -> usize {
        self.peers.get(&peer).map_or(0, Peer::queued_bytes)
    }

    /// A frame has arrived.
    pub fn handle_frame(&mut self, frame: Frame, now: Instant) -> Disposition {
        let Some(content) = frame::content_of(&frame) else {
            return match notice::parse(&frame) {
                Some(station) => self.take_notice(station),
                None => Disposition::Foreign(frame),
            };
        };
        match self.take(content, now) {
            Ok(()) => {
                self.counters.received += 1;
                Disposition::Taken
            }
            Err(refusal) => {
                self.counters.refused[refusal as usize] += 1;
                Disposition::Refused(refusal)
            }
        }
    }

    /// The switch says that a station has lost its link.
    fn take_notice(&mut self, station: [u8; 6]) -> Disposition {
        let peer = node_of_mac(station).filter(|peer| self.peers.contains_key(peer));
        self.counters.notices += 1;
        peer.map_or(Disposition::Taken, Disposition::Unreachable)
    }

    fn take(&mut self, bytes: &[u8], now: Instant) -> Result<(), Refusal> {
        let packet = Packet::new_checked(bytes)?;
        let source = packet.admit(self.config.cluster, self.config.id)?;
        let repr = Repr::parse(&packet)?;
        self.rest = None;
        if !self.peers.contains_key(&source) {
            let has_message = !matches!(repr.kind, Kind::Acknowledgement);
            if !has_message || !self.guests.admit(source, now) {
                return Err(Refusal::Source);
            }
            self.ensure_link(source);
        }
        let peer = self.peers.get_mut(&source).ok_or(Refusal::Source)?;
        peer.handle(&repr, packet.content(), now)?;
        // Out of the frame, and into a message if it is one of several parts.
        self.pool.count_copied(packet.content().len());
        // Not before: a second machine with a guest's number must not keep up the link to the first.
        if self.guests.contains(source) {
            self.guests.note_heard(source, now);
        }
        while let Some(incoming) = peer.poll_incoming() {
            if incoming.is_assembled {
                self.pool.count_copied(incoming.content.len());
            }
            let (service, trace, content) = (incoming.service, incoming.trace, incoming.content);
            self.messages.push_back(Message { from: source, service, trace, content });
        }
        Ok(())
    }

    /// The next message that has arrived.
    pub fn poll_message(&mut self) -> Option<Message> {
        self.messages.pop_front()
    }

    /// The next frame to send, or `None` if there is none, or no buffer for one.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<(Urgency, Frame)> {
        if self.rest.is_some_and(|rest| rest.lasts(now)) {
            return None;
        }
        let next = self.next_to_serve(now, Peer::has_frame);
        if next.is_none() {
            self.rest = Some(Rest { until: self.next_deadline() });
        }
        self.serve(next?, now)
    }

    /// As [`Links::poll_transmit`], but bulk stays: for when there is no room for it.
    pub fn poll_urgent(&mut self, now: Instant) -> Option<(Urgency, Frame)> {
        if self.rest.is_some_and(|rest| rest.lasts(now)) {
            return None;
        }
        let next = self.next_to_serve(now, Peer::has_urgent_frame);
        self.serve(next?, now)
    }

    /// The next frame of a peer that has one.
    fn serve(&mut self, next: NodeId, now: Instant) -> Option<(Urgency, Frame)> {
        let Some(frame) = self.pool.allocate_frame() else {
            self.counters.pool_empty += 1;
            return None;
        };
        let peer = self.peers.get_mut(&next)?;
        self.last_served = Some(next);
        self.counters.sent += 1;
        let (repr, content) = peer.next_frame(&self.config, next, now)?;
        let urgency = match (repr.kind, repr.lane) {
            (Kind::Datagram { .. }, _) => Urgency::Datagram,
            (Kind::Acknowledgement, _) => Urgency::Acknowledgement,
            (Kind::Data { .. }, Lane::Urgent) => Urgency::Urgent,
            (Kind::Data { .. }, Lane::Bulk) => Urgency::Bulk,
        };
        self.pool.count_copied(content.len());
        Some((urgency, frame::build(frame, &repr, &content)))
    }

    /// Whether a frame waits for a buffer or for room; asked after [`Links::poll_transmit`] or
    /// [`Links::poll_urgent`] has given none.
    pub fn is_starved(&self) -> bool {
        self.rest.is_none()
    }

    /// The next peer that has a frame, in turn.
    fn next_to_serve(&self, now: Instant, has_frame: fn(&Peer, Instant) -> bool) -> Option<NodeId> {
        let ready = |(&id, peer): (&NodeId, &Peer)| has_frame(peer, now).then_some(id);
        let Some(last) = self.last_served else { return self.peers.iter().find_map(ready) };
        let behind = self.peers.range((Bound::Excluded(last), Bound::Unbounded)).find_map(ready);
        behind.or_else(|| self.peers.range(..=last).find_map(ready))
    }

    /// A deadline of [`Links::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.rest.is_some_and(|rest| rest.lasts(now)) {
            return;
        }
        self.rest = None;
        while let Some(guest) = self.guests.take_silent(now) {
            self.forget(guest);
        }
        self.peers.values_mut().for_each(|peer| peer.handle_timeout(now));
    }

    /// When [`Links::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.rest.map_or_else(|| self.next_deadline(), |rest| rest.until)
    }

    fn next_deadline(&self) -> Option<Instant> {
        let peers = self.peers.values().filter_map(Peer::poll_timeout).min();
        Instant::earliest([peers, self.guests.poll_timeout()])
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// How the links to the peers and to guests are doing.
    pub fn status(&self, now: Instant) -> impl Iterator<Item = (NodeId, PeerStatus)> {
        let status = move |peer: &Peer, id| PeerStatus {
            is_guest: self.guests.contains(id),
            ..peer.status(now)
        };
        self.peers.iter().map(move |(id, peer)| (*id, status(peer, *id)))
    }

    /// Asserts what must hold between calls.
    ///
    /// # Panics
    /// If something does not: a bug.
    pub fn check_invariants(&self) {
        self.peers.values().for_each(Peer::check_invariants);
        self.guests.check_invariants();
        assert!(
            self.guests.ids().all(|guest| self.peers.contains_key(&guest)),
            "a guest has a link"
        );
        if let Some(rest) = self.rest {
            assert_eq!(rest.until, self.next_deadline(), "nobody's deadline is slept through");
        }
    }
}
