//! What one peer may cost: one message for each view, number and phase, and so many requests. At the limit,
//! above it, and far above it.

use base::{Duration, Instant, NodeId, limits};
use bft::{Batch, BftNode, Message, Output, PhaseState, Sequence, ViewNumber, Vote};
use bytes::Bytes;
use crypto::{Digest, Signature};
use sim::liars::cluster::Cluster;
use sim::liars::faults::Network;
use sim::liars::machine;

/// How often a peer speaks: as it may, once too often, and as a flood does.
const OFTEN: [u64; 3] = [1, 2, 20_000];

fn peer() -> NodeId {
    NodeId::new(2).unwrap()
}

/// A signature that is none, unlike all others.
fn made_up(number: u64) -> Signature {
    let mut bytes = [7; crypto::SIGNATURE_BYTES];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Signature(bytes)
}

/// A vote for something else each time, with a signature that is none.
fn vote_for_anything(phase: PhaseState, sequence: Sequence, number: u64) -> Message {
    let (digest, signature) = (Digest::of(&number.to_le_bytes()), made_up(number));
    Message::Vote(Vote { phase, view: ViewNumber(0), sequence, digest, signature })
}

/// The primary has proposed, and nobody has answered.
fn proposed() -> Cluster {
    let mut cluster = Cluster::new(4, 3, Network::calm());
    cluster.submit(0);
    let end = cluster.now + Duration::from_millis(100);
    let is_proposed = |cluster: &Cluster| {
        let phase = cluster.node(0).log().phase(Sequence(1), ViewNumber(0));
        phase == Some(PhaseState::Prepare)
    };
    assert!(cluster.run_until(end, is_proposed));
    cluster
}

/// Gives the first replica messages of one peer, and then lets the group go on: it decides in good time.
fn flooded(messages: impl Iterator<Item = Message>) -> bft::Counters {
    let mut cluster = proposed();
    let now = cluster.now;
    let node = cluster.copies[0].node.as_mut().unwrap();
    let before = node.status().counters;
    for message in messages {
        node.handle_message(peer(), message, now);
        node.check_invariants();
    }
    let mut counters = node.status().counters;
    counters.verified -= before.verified;
    counters.received -= before.received;
    cluster.expect_everything(Duration::from_secs(1));
    assert_eq!(cluster.node(0).status().view, ViewNumber(0), "nobody was suspected");
    counters
}

/// Of two votes in one place both are verified, which is one offence; after so many the peer is muted.
const VERIFIED_MAX: u64 = 2 * limits::BFT_BAD_SIGNATURES_MAX as u64;

#[test]
fn votes_of_one_phase() {
    let digest = Batch::new(vec![machine::request(0)]).digest();
    for phase in [PhaseState::Prepare, PhaseState::Commit] {
        for often in OFTEN {
            let (view, sequence) = (ViewNumber(0), Sequence(1));
            let vote = |number| Vote { phase, view, sequence, digest, signature: made_up(number) };
            let counters = flooded((0..often).map(|number| Message::Vote(vote(number))));
            assert_eq!(counters.received, often);
            let expected = if often == 1 { 0..=0 } else { 2..=VERIFIED_MAX };
            assert!(expected.contains(&counters.verified), "{phase} {often}: {counters:?}");
        }
    }
}

/// Votes for other batches than the one that was proposed take no room at all.
#[test]
fn votes_for_other_batches() {
    for often in OFTEN {
        let vote = |number| vote_for_anything(PhaseState::Prepare, Sequence(1), number);
        let counters = flooded((0..often).map(vote));
        assert!(counters.verified <= VERIFIED_MAX, "{often}: {counters:?}");
        assert_eq!(counters.bad_signatures, counters.verified, "nobody is convicted by a forgery");
    }
}

#[test]
fn votes_on_a_checkpoint() {
    for often in OFTEN {
        let vote = |number| vote_for_anything(PhaseState::Checkpoint, Sequence(8), number);
        let counters = flooded((0..often).map(vote));
        assert!(counters.verified <= VERIFIED_MAX, "{often}: {counters:?}");
    }
}

#[test]
fn words_of_a_view_that_is_left() {
    for often in OFTEN {
        let leaving = |number: u64| Message::Leaving {
            view: ViewNumber(1 + number),
            content: Digest::of(&number.to_le_bytes()),
            signature: made_up(number),
        };
        let counters = flooded((0..often).map(leaving));
        assert!(counters.verified <= VERIFIED_MAX, "{often}: {counters:?}");
    }
}

/// What a peer says is lost while it is not listened to, its votes with the rest: so it is asked last from
/// then on, and nothing waits for it.
#[test]
fn who_floods_is_asked_last() {
    for floods in [false, true] {
        let mut cluster = proposed();
        let now = cluster.now;
        let node = cluster.copies[0].node.as_mut().unwrap();
        for number in 0..u64::from(limits::BFT_BAD_SIGNATURES_MAX) * u64::from(floods) {
            let vote = vote_for_anything(PhaseState::Prepare, Sequence(1), number);
            node.handle_message(peer(), vote, now);
        }
        cluster.expect_everything(Duration::from_secs(1));
        cluster.run(Duration::from_millis(limits::BFT_ALLOWANCE_EVERY_MS));
        cluster.crash(1);
        let began = cluster.now;
        cluster.submit(0);
        cluster.expect_everything(Duration::from_secs(1));
        let has_waited = cluster.now.since(began) > cluster.config.fast_patience;
        assert_eq!(has_waited, !floods, "{}", cluster.now.since(began));
    }
}

/// Questions are answered so often in a span, and not more.
#[test]
fn questions() {
    for often in OFTEN.into_iter().chain([u64::from(limits::BFT_ANSWERS_MAX) + 1]) {
        let mut cluster = proposed();
        let now = cluster.now;
        let node = cluster.copies[0].node.as_mut().unwrap();
        sent(node);
        (0..often).for_each(|_| node.handle_message(peer(), Message::AskPosition, now));
        let is_answer = |message: &Message| matches!(message, Message::Position { .. });
        let answers = sent(node).iter().filter(|message| is_answer(message)).count() as u64;
        assert_eq!(answers, often.min(limits::BFT_ANSWERS_MAX.into()));
    }
}

/// Everything that a replica would send now.
fn sent(node: &mut BftNode) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some(output) = node.poll_output() {
        match output {
            Output::Send { message, .. } => messages.push(message),
            Output::Persist(persist) => node.handle_persisted(persist.ticket, Instant::ORIGIN),
            _ => {}
        }
    }
    messages
}

/// One that has left its view says so to whoever has not heard of it, and so often: two liars that repeat
/// what they hear would have each other speak without end.
#[test]
fn old_words_to_one_that_has_left_its_view() {
    for often in OFTEN {
        let plain = Network { stable_from: Instant::from_millis(60_000), ..Network::calm() };
        let mut cluster = Cluster::new(4, 3, plain);
        cluster.part(vec![0, 0, 0, 1]);
        cluster.submit(3);
        cluster.run(Duration::from_secs(3));
        let (now, node) = (cluster.now, cluster.copies[3].node.as_mut().unwrap());
        assert!(!node.status().is_active);
        sent(node);
        let (view, executed) = (ViewNumber(0), Sequence(0));
        let old = Message::Status { view, is_active: true, executed };
        (0..often).for_each(|_| node.handle_message(peer(), old.clone(), now));
        let said = sent(node).len() as u64;
        assert_eq!(said, often.min(limits::BFT_ANSWERS_MAX.into()));
    }
}

/// A primary that proposes one thing on and on has it signed so often.
#[test]
fn one_proposal_on_and_on() {
    for often in OFTEN {
        let mut cluster = Cluster::new(4, 3, Network::calm());
        let (now, primary) = (cluster.now, NodeId::new(1).unwrap());
        let leader = cluster.copies[0].node.as_mut().unwrap();
        leader.propose(machine::request(0), now).unwrap();
        let proposal =
            sent(leader).into_iter().find(|one| matches!(one, Message::PrePrepare { .. }));
        let proposal = proposal.expect("it is proposed");
        let backup = cluster.copies[1].node.as_mut().unwrap();
        for _ in 0..often {
            backup.handle_message(primary, proposal.clone(), now);
        }
        let most = u64::from(limits::BFT_ANSWERS_MAX) + 1;
        assert_eq!(backup.status().counters.signed, often.min(most));
        assert_eq!(sent(backup).len() as u64, often.min(most));
    }
}

/// A peer has so many requests waiting, and those of others still have room.
#[test]
fn requests_of_one_peer() {
    let most = limits::BFT_PENDING_PER_PEER_MAX as u64;
    for often in [most, most + 1, 20 * most] {
        let mut cluster = Cluster::new(4, 3, Network::calm());
        let now = cluster.now;
        // A backup, which orders nothing by itself.
        let node = cluster.copies[2].node.as_mut().unwrap();
        for number in 0..often {
            let request = Bytes::copy_from_slice(&number.to_le_bytes());
            node.handle_message(peer(), Message::Request(request), now);
        }
        node.check_invariants();
        assert_eq!(node.status().waiting as u64, most);
        assert!(node.propose(machine::request(0), now).is_ok(), "its own clients have room");
        let other = NodeId::new(4).unwrap();
        node.handle_message(other, Message::Request(machine::request(1)), now);
        assert_eq!(node.status().waiting as u64, most + 2);
    }
}
