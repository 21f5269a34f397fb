//! A node that was away for longer than decisions are kept, and what it says of entries that it does not
//! hold.

use super::super::elsewhere::Word;
use super::*;

/// 111 entries, of which node 4 holds the first, and was away for the others.
fn left_behind() -> World {
    let mut world = World::new(3);
    world.answer(4, Command::Append(Bytes::from_static(b"first")));
    world.run(100);
    world.crash(4);
    for at in 0..110 {
        world.answer(1 + at % 3, Command::Append(Bytes::from(format!("entry {at}"))));
    }
    world.start(4, false);
    world.run(3_000);
    assert_eq!(world.length(4), 111);
    assert!(world.of(4).replica.as_ref().unwrap().history.find(5).is_none(), "it was away");
    world
}

fn get(position: u64) -> Command {
    Command::Get(position)
}

/// It takes the state of another, and keeps it; what it does not hold others are asked for.
#[test]
fn a_node_left_behind_takes_the_state() {
    let mut world = left_behind();
    for _ in 0..2 {
        assert_eq!(world.of(4).ledger(), world.of(1).ledger(), "head, length, and who did what");
        assert_eq!(world.answer(4, get(1)), Reply::Bulk("first".into()));
        assert_eq!(world.answer(4, get(5)), Reply::Bulk("entry 3".into()));
        assert_eq!(world.proof(4, 5), world.proof(1, 5));
        assert_eq!(world.answer(4, get(112)), Reply::Nil);
        world.crash(4);
        world.start(4, false);
        world.run(1_000);
    }
    let reply = world.answer(4, Command::Append(Bytes::from_static(b"back")));
    assert_eq!(position(&reply), 112);
    // It passes nothing on that it has not seen.
    assert_eq!(world.answer(1, get(5)), Reply::Bulk("entry 3".into()));
}

/// Any one of the others may be away, and then there are two; one alone may lie.
#[test]
fn one_that_answers_is_too_few() {
    for away in 1..=3 {
        let mut world = left_behind();
        world.crash(away);
        assert_eq!(world.answer(4, get(7)), Reply::Bulk("entry 5".into()), "without {away}");
        world.crash(1 + away % 3);
        let Reply::Error(text) = world.answer(4, get(7)) else { panic!("one is too few") };
        assert!(text.starts_with(b"TRYAGAIN"), "{text:?}");
    }
}

/// A false answer is not believed, nor is one of a node that was not asked, nor a second one of the same.
#[test]
fn one_that_lies_is_not_believed() {
    let mut world = left_behind();
    let question = world.ask(4, get(7));
    world.step(3);
    let text = Some(Bytes::from_static(b"nobody appended this"));
    for liar in [1, 1, 4, 9] {
        let word = Word::Tell { number: 1, text: text.clone() };
        world.notaries[3].as_mut().unwrap().take_word(id(liar), word, world.now);
    }
    world.run(2_000);
    assert_eq!(world.replies.remove(&question), Some(Reply::Bulk("entry 5".into())));
    // Who asks and asks is answered as often as it may ask, and no more.
    let before = world.sent.get(&(1, 3)).copied().unwrap_or_default();
    for number in 0..500 {
        let word = Word::Ask { number, position: 7, with_proof: true };
        world.notaries[0].as_mut().unwrap().take_word(id(3), word, world.now);
    }
    world.run(50);
    let answered = world.sent[&(1, 3)] - before;
    assert!((1..=u64::from(limits::BFT_ANSWERS_MAX) + 5).contains(&answered), "{answered}");
}
