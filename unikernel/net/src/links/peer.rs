//! The link to one peer: whose life and whose stream is it, and is the peer there at all?

use alloc::collections::VecDeque;

use base::{Duration, Instant, NodeId};
use bytes::Bytes;
use wire::{Kind, Lane, Refusal, Repr};

use super::assembly::{Incoming, Part};
use super::lane::{LaneState, Outgoing, Turn};
use super::rtt::Rtt;
use super::{Config, SendError};

/// A peer that has not answered so often in a row is silent: what waits for it is dropped.
const SILENT_AFTER: u32 = 8;

/// How many datagrams may wait; of more the oldest are dropped, for newer ones say more.
const DATAGRAMS_MAX: usize = 16;

/// One start of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Life {
    /// How often it has started.
    pub(super) epoch: u32,
    /// What it has drawn then.
    pub(super) nonce: u32,
}

/// How a link is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerStatus {
    /// It is no peer, and has a link only for a while.
    pub is_guest: bool,
    /// How often the peer has started, if it was ever heard.
    pub epoch: Option<u32>,
    /// How long ago it was heard.
    pub silent: Option<Duration>,
    /// The smoothed round-trip time.
    pub rtt: Option<Duration>,
    /// Frames on their way.
    pub in_flight: usize,
    /// Messages that wait.
    pub queued: usize,
    /// Frames that were sent again.
    pub resent: u64,
    /// Frames that arrived again.
    pub duplicates: u64,
    /// Frames of another machine that has the peer's number, and has started as often.
    pub twins: u64,
    /// Frames and messages that were dropped when the link started over or the peer was silent.
    pub dropped: u64,
}

/// The link to one peer.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    own_life: Life,
    /// Our stream to it; another one begins when what was on its way is given up.
    stream: u32,
    /// The life and the stream that it was last heard with.
    identity: Option<(Life, u32)>,
    /// Messages that are not sent again.
    datagrams: VecDeque<Outgoing>,
    urgent: LaneState,
    bulk: LaneState,
    rtt: Rtt,
    incoming: VecDeque<Incoming>,
    heard: Option<Instant>,
    dropped: u64,
    twins: u64,
}

impl Peer {
    pub(super) fn new(own_life: Life, stream: u32, content_max: usize) -> Peer {
        Peer {
            own_life,
            stream,
            identity: None,
            datagrams: VecDeque::new(),
            urgent: LaneState::new(content_max),
            bulk: LaneState::new(content_max),
            rtt: Rtt::default(),
            incoming: VecDeque::new(),
            heard: None,
            dropped: 0,
            twins: 0,
        }
    }

    pub(super) fn send(
        &mut self,
        lane: Lane,
        message: Outgoing,
        _now: Instant,
    ) -> Result<(), SendError> {
        match lane {
            Lane::Urgent => self.urgent.enqueue(message),
            Lane::Bulk => self.bulk.enqueue(message),
        }
    }

    pub(super) fn queued_bytes(&self) -> usize {
        self.urgent.queued_bytes() + self.bulk.queued_bytes()
    }

    pub(super) fn send_datagram(&mut self, message: Outgoing) {
        if self.datagrams.len() == DATAGRAMS_MAX {
            self.datagrams.pop_front();
            self.dropped += 1;
        }
        self.datagrams.push_back(message);
    }

    pub(super) fn poll_incoming(&mut self) -> Option<Incoming> {
        self.incoming.pop_front()
    }

    /// A frame of the peer's has arrived.
    pub(super) fn handle(
        &mut self,
        repr: &Repr,
        content: &[u8],
        now: Instant,
    ) -> Result<(), Refusal> {
        let own = self.own_life;
        let is_for_twin = repr.peer_epoch == own.epoch && repr.peer_nonce != own.nonce;
        if repr.peer_epoch > own.epoch || is_for_twin {
            return Err(Refusal::Superseded);
        }
        if repr.peer_epoch != 0 && repr.peer_epoch < own.epoch {
            // It speaks to an earlier life of this node, and should hear of the present one.
            self.urgent.acknowledge_soon();
            return Err(Refusal::Stale);
        }
        self.recognise(repr)?;
        self.heard = Some(now);
        let lane = match repr.lane {
            Lane::Urgent => &mut self.urgent,
            Lane::Bulk => &mut self.bulk,
        };
        if repr.acknowledged_stream == self.stream {
            lane.handle_acknowledgement(repr.wanted, repr.selective, &mut self.rtt, now);
        }
        match repr.kind {
            Kind::Acknowledgement => Ok(()),
            Kind::Datagram { service, trace } => {
                let content = Bytes::copy_from_slice(content);
                self.incoming.push_back(Incoming { service, trace, content, is_assembled: false });
                Ok(())
            }
            Kind::Data { service, sequence, is_first, is_last, message_length, place, trace } => {
                let content = Bytes::copy_from_slice(content);
                let part =
                    Part { service, trace, is_first, is_last, message_length, place, content };
                let incoming = &mut self.incoming;
                lane.handle_part(sequence, part, now, |message| incoming.push_back(message))
            }
        }
    }

    /// Whether this is the life and the stream that we know, or a later one. Of two machines that have the
    /// number, and have started as often, the one is believed that was heard first.
    fn recognise(&mut self, repr: &Repr) -> Result<(), Refusal> {
        let life = Life { epoch: repr.epoch, nonce: repr.nonce };
        let Some((known, known_stream)) = self.identity else {
            self.identity = Some((life, repr.stream));
            return Ok(());
        };
        if life.epoch == known.epoch && life.nonce != known.nonce {
            self.twins += 1;
            return Err(Refusal::Twin);
        }
        let (heard, last) = ((life.epoch, repr.stream), (known.epoch, known_stream));
        if heard < last {
            return Err(Refusal::Stale);
        }
        self.identity = Some((life, repr.stream));
        if heard > last {
            self.urgent.restart_receiving();
            self.bulk.restart_receiving();
        }
        if life.epoch > known.epoch {
            // It has started again, and knows nothing of our stream.
            self.start_over();
        }
        Ok(())
    }

    /// Where another link may begin that must not be mistaken for this one.
    pub(super) fn next_stream(&self) -> u32 {
        self.stream.saturating_add(1)
    }

    fn start_over(&mut self) {
        self.stream += 1;
        self.dropped += self.urgent.restart_sending() + self.bulk.restart_sending();
    }

    pub(super) fn has_frame(&self, now: Instant) -> bool {
        self.has_urgent_frame(now) || self.bulk.has_frame(now)
    }

    /// Whether [`Peer::next_frame`] gives one that is not bulk.
    pub(super) fn has_urgent_frame(&self, now: Instant) -> bool {
        !self.datagrams.is_empty() || self.urgent.has_frame(now)
    }

    /// The next frame, as envelope and content: of the urgent lane, if it has one.
    pub(super) fn next_frame(
        &mut self,
        config: &Config,
        destination: NodeId,
        now: Instant,
    ) -> Option<(Repr, Bytes)> {
        let datagram = self.datagrams.pop_front();
        let (lane, state) = if datagram.is_some() || self.urgent.has_frame(now) {
            (Lane::Urgent, &mut self.urgent)
        } else {
            (Lane::Bulk, &mut self.bulk)
        };
        let turn = match datagram {
            Some(datagram) => Turn::Datagram(datagram),
            None => state.next_turn(&self.rtt, now)?,
        };
        let (wanted, selective) = state.acknowledge();
        let unknown = (Life { epoch: 0, nonce: 0 }, 0);
        let (peer, acknowledged_stream) = self.identity.unwrap_or(unknown);
        let (kind, content) = match turn {
            Turn::Acknowledgement => (Kind::Acknowledgement, Bytes::new()),
            Turn::Datagram(Outgoing { service, trace, content }) => {
                (Kind::Datagram { service, trace }, content)
            }
            Turn::Data { sequence, part } => {
                let kind = Kind::Data {
                    service: part.service,
                    sequence,
                    is_first: part.is_first,
                    is_last: part.is_last,
                    message_length: part.message_length,
                    place: part.place,
                    trace: part.trace,
                };
                (kind, part.content)
            }
        };
        let repr = Repr {
            cluster: config.cluster,
            source: config.id,
            destination,
            epoch: self.own_life.epoch,
            stream: self.stream,
            peer_epoch: peer.epoch,
            nonce: self.own_life.nonce,
            peer_nonce: peer.nonce,
            lane,
            acknowledged_stream,
            wanted,
            selective,
            length: u16::try_from(content.len()).expect("parts are shorter than a frame"),
            kind,
        };
        Some((repr, content))
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let was_late = self.urgent.handle_timeout(&mut self.rtt, now)
            | self.bulk.handle_timeout(&mut self.rtt, now);
        if was_late && self.rtt.backoff() >= SILENT_AFTER {
            self.dropped += self.urgent.drop_queue() + self.bulk.drop_queue();
            self.start_over();
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        Instant::earliest([self.urgent.poll_timeout(), self.bulk.poll_timeout()])
    }

    pub(super) fn status(&self, now: Instant) -> PeerStatus {
        PeerStatus {
            is_guest: false,
            epoch: self.identity.map(|(life, _)| life.epoch),
            silent: self.heard.map(|heard| now.since(heard)),
            rtt: self.rtt.smoothed(),
            in_flight: self.urgent.in_flight() + self.bulk.in_flight(),
            queued: self.urgent.queued() + self.bulk.queued(),
            resent: self.urgent.resent + self.bulk.resent,
            duplicates: self.urgent.duplicates + self.bulk.duplicates,
            dropped: self.dropped,
            twins: self.twins,
        }
    }

    pub(super) fn check_invariants(&self) {
        self.urgent.check_invariants();
        self.bulk.check_invariants();
    }
}
