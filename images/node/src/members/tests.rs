//! Who is let in, who is not, and how often somebody asks.

use alloc::vec::Vec;

use base::{Duration, limits};
use raft::{Config, Restored};

use super::*;

fn node(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

/// A member, and consensus at it.
struct At {
    members: Members,
    raft: RaftNode,
    now: Instant,
}

impl At {
    fn new(id: u16, voters: &[u16], beginning: Beginning) -> At {
        let (id, now) = (node(id), Instant::ORIGIN);
        let config = Config::new(id, voters.iter().copied().map(node).collect());
        let raft = RaftNode::new(config, 7, Restored::default(), now).unwrap();
        At { members: Members::new(id, &beginning, 1, now), raft, now }
    }

    fn joining(id: u16, member: u16) -> At {
        At::new(id, &[], Beginning::Joins(node(member)))
    }

    fn founding(id: u16, voters: &[u16]) -> At {
        At::new(id, voters, Beginning::Founds(Vec::new()))
    }

    /// A group of one: it leads, and whatever is proposed is committed.
    fn alone() -> At {
        let mut at = At::founding(1, &[1]);
        at.raft.handle_timeout(at.now);
        at.settle();
        assert!(at.raft.is_leader());
        at
    }

    fn settle(&mut self) {
        while let Some(output) = self.raft.poll_output() {
            match output {
                raft::Output::Persist(persist) => {
                    self.raft.handle_persisted(persist.ticket, self.now);
                }
                raft::Output::Apply(entries) => {
                    self.raft.handle_applied(entries.last().unwrap().index);
                }
                _ => {}
            }
        }
        self.members.look(&mut self.raft, self.now);
    }

    fn hear(&mut self, from: u16, message: Message) {
        self.members.handle_message(node(from), message, &mut self.raft, self.now);
        self.settle();
    }

    fn ask(&mut self, from: u16, asker: u16, wish: Wish) {
        let request = Request { asker: node(asker), number: 9, wish };
        self.hear(from, Message::Ask(request));
    }

    fn pass(&mut self, span: Duration) {
        self.now += span;
        self.members.handle_timeout(&mut self.raft, self.now);
    }

    fn sent(&mut self) -> Vec<(u16, Message)> {
        let mut sent = Vec::new();
        while let Some(output) = self.members.poll_output() {
            if let Output::Send { to, message } = output {
                sent.push((to.get(), message));
            }
        }
        sent
    }

    fn verdict(&mut self) -> Verdict {
        self.answer().0
    }

    fn answer(&mut self) -> (Verdict, Vec<NodeId>) {
        match self.sent().pop() {
            Some((_, Message::Answer { number: 9, verdict, members, .. })) => (verdict, members),
            other => panic!("no answer, but {other:?}"),
        }
    }
}

const EMPTY: Wish = Wish::Join(LogIndex(0));

#[test]
fn a_leader_lets_in_who_asks_and_says_who_else_is_there() {
    let mut at = At::alone();
    at.ask(4, 4, EMPTY);
    assert_eq!(at.answer(), (Verdict::Accepted, [1, 4].map(node).to_vec()));
    assert_eq!(at.raft.configuration().learners, [node(4)]);
    at.ask(4, 4, EMPTY);
    assert_eq!(at.verdict(), Verdict::Accepted, "it may ask again");
}

#[test]
fn a_number_is_not_used_twice() {
    let mut at = At::alone();
    at.ask(4, 4, EMPTY);
    at.ask(1, 1, Wish::Remove(node(4)));
    at.sent();
    assert_eq!(at.raft.final_configuration().retired, [node(4)]);
    at.ask(4, 4, EMPTY);
    assert_eq!(at.verdict(), Verdict::Refused(Reason::Retired), "pitfall 30");
    // Nor by two at a time: a voter has something in its log.
    at.ask(1, 1, EMPTY);
    assert_eq!(at.verdict(), Verdict::Refused(Reason::InUse));
}

/// At the limit, and above it.
#[test]
fn a_cluster_has_a_largest_size() {
    let mut at = At::alone();
    let most = limits::CLUSTER_NODES_MAX as u16;
    for number in 2..=most {
        at.ask(number, number, EMPTY);
        assert_eq!(at.verdict(), Verdict::Accepted, "{number}");
    }
    at.ask(most + 1, most + 1, EMPTY);
    assert_eq!(at.verdict(), Verdict::Refused(Reason::Full));
}

#[test]
fn a_removal_is_refused_for_a_reason() {
    let mut at = At::alone();
    at.ask(1, 1, Wish::Remove(node(9)));
    assert_eq!(at.verdict(), Verdict::Refused(Reason::Unknown));
    at.ask(1, 1, Wish::Remove(node(1)));
    assert_eq!(at.verdict(), Verdict::Refused(Reason::LastVoter));
}

#[test]
fn strangers_remove_nobody_and_speak_for_nobody() {
    let mut at = At::alone();
    at.ask(2, 2, EMPTY);
    at.sent();
    at.ask(9, 9, Wish::Remove(node(2)));
    at.ask(9, 1, Wish::Remove(node(2)));
    at.ask(9, 8, EMPTY);
    assert_eq!(at.sent(), []);
    assert_eq!(at.raft.configuration().learners, [node(2)]);
    let verdict = Verdict::NotYet(Delay::NoLeader);
    let members = Vec::new();
    at.hear(9, Message::Answer { asker: node(2), number: 1, verdict, members });
    assert_eq!(at.sent(), []);
}

#[test]
fn who_does_not_lead_passes_a_question_on_once_and_the_answer_back() {
    let mut at = At::founding(1, &[1, 2, 3]);
    at.ask(4, 4, EMPTY);
    assert_eq!(at.verdict(), Verdict::NotYet(Delay::NoLeader));
    let term = base::Term(1);
    let beat = raft::Message::Heartbeat { term, commit: LogIndex(0), round: 1 };
    at.raft.handle_message(node(2), beat, at.now);
    at.ask(4, 4, EMPTY);
    let request = Request { asker: node(4), number: 9, wish: EMPTY };
    assert_eq!(at.sent(), [(2, Message::Ask(request))]);
    at.ask(3, 4, EMPTY);
    assert_eq!(at.verdict(), Verdict::NotYet(Delay::NoLeader), "it has come a way already");
    let members = [1, 2, 3, 4].map(node).to_vec();
    let answer = Message::Answer { asker: node(4), number: 9, verdict: Verdict::Accepted, members };
    at.hear(2, answer.clone());
    assert_eq!(at.sent(), [(4, answer)]);
}

/// Whoever joins asks the member that it was told of, then all of whom it hears, in turn.
#[test]
fn who_joins_asks_until_somebody_answers() {
    let every = Duration::from_millis(limits::MEMBERS_ASK_EVERY_MS);
    let mut at = At::joining(4, 2);
    let asked = |at: &mut At| {
        at.pass(every);
        at.sent().into_iter().map(|(to, _)| to).collect::<Vec<_>>()
    };
    assert_eq!((asked(&mut at), asked(&mut at)), (vec![2], vec![2]));
    let number = at.members.next_number;
    let members = [1, 2, 3, 4].map(node).to_vec();
    let answer = |number, verdict| Message::Answer {
        asker: node(4),
        number,
        verdict,
        members: members.clone(),
    };
    at.hear(3, answer(number, Verdict::Accepted));
    assert_eq!(at.members.contacts(&at.raft), [node(2)].into(), "nobody has asked node 3");
    at.hear(2, answer(number, Verdict::Accepted));
    let contacts = at.members.contacts(&at.raft);
    assert!([1, 2, 3].map(node).iter().all(|id| contacts.contains(id)), "{contacts:?}");
    assert_eq!(asked(&mut at), [2]);
    let turn: Vec<u16> = (0..3).flat_map(|_| asked(&mut at)).collect();
    assert_eq!(turn, [3, 1, 2], "and never itself");
    // One that knows of no leader may be one that was removed: another is asked next.
    let number = at.members.next_number;
    at.hear(2, answer(number, Verdict::NotYet(Delay::NoLeader)));
    assert_eq!(asked(&mut at), [3]);
    assert_eq!(at.members.standing(&at.raft), Standing::Joining);
}

#[test]
fn who_is_refused_says_why_once_and_stops_if_its_number_is_gone() {
    let mut at = At::joining(4, 2);
    let mut said = |reason: Reason| {
        at.pass(Duration::from_millis(limits::MEMBERS_ASK_EVERY_MS));
        at.sent();
        let number = at.members.next_number;
        let verdict = Verdict::Refused(reason);
        let members = Vec::new();
        at.hear(2, Message::Answer { asker: node(4), number, verdict, members });
        let trouble = at.members.trouble(&at.raft).unwrap_or_default();
        let mut said = Vec::new();
        while let Some(output) = at.members.poll_output() {
            match output {
                Output::Note(_, text) => said.push(text),
                Output::Stop(text) => said.push(format!("stop: {text}")),
                Output::Send { .. } | Output::RemovalEnded { .. } => {}
            }
        }
        (said, trouble)
    };
    let (first, trouble) = said(Reason::Full);
    assert!(first.len() == 1 && first[0].contains("no room") && trouble == first[0]);
    assert!(said(Reason::Full).0.is_empty());
    assert!(said(Reason::InUse).0[0].contains("a member has this number"));
    assert!(said(Reason::Retired).0[0].starts_with("stop: node 4 cannot join"));
}

#[test]
fn a_removal_that_nobody_answers_is_given_up_in_time() {
    let mut at = At::founding(1, &[1, 2, 3]);
    at.members.remove(node(3), &mut at.raft, at.now).unwrap();
    let again = at.members.remove(node(2), &mut at.raft, at.now);
    assert_eq!(again, Err(RemovalError::Busy));
    let mut ended = None;
    for _ in 0..20 {
        at.pass(Duration::from_millis(limits::MEMBERS_ASK_EVERY_MS));
        while let Some(output) = at.members.poll_output() {
            if let Output::RemovalEnded { node, result } = output {
                ended = Some((node, result));
            }
        }
    }
    let no_leader = RemovalError::NotYet(Delay::NoLeader);
    assert_eq!(ended, Some((node(3), Err(no_leader))));
    assert_eq!(at.members.poll_timeout(&at.raft), None);
    let mut outside = At::joining(4, 1);
    let refused = outside.members.remove(node(1), &mut outside.raft, outside.now);
    assert_eq!(refused, Err(RemovalError::NotAMember));
}
