//! What happens when there is no more room, and that there is always some for what is not settled.

use super::*;

/// When there is no more room, that is said, and what is there stays.
#[test]
fn a_full_disk_refuses_entries_and_keeps_what_it_has() {
    let mut world = World::new(4);
    let entry = Bytes::from(alloc::vec![7; base::limits::LEDGER_ENTRY_MAX_BYTES]);
    let mut appended = 0;
    let refusal = loop {
        match world.answer(1, Command::Append(entry.clone())) {
            Reply::Error(text) => break String::from_utf8_lossy(&text).into_owned(),
            reply => appended = position(&reply),
        }
        assert!(appended < 400, "the disk is small");
    };
    assert!(refusal.starts_with("MISCONF"), "{refusal}");
    assert!(appended > 5);
    for node in 1..=4 {
        assert_eq!(world.of(node).reason(), None);
        let last = appended.cast_unsigned();
        assert_eq!(world.answer(node, Command::Get(last)), Reply::Bulk(entry.clone()));
    }
    // Nor is anything lost when all machines lose their power, and a full ledger is one after that, too.
    let length = world.length(1);
    (1..=4).for_each(|node| world.crash(node));
    (1..=4).for_each(|node| world.start(node, false));
    world.run(1_000);
    for at in [1, length / 2, length] {
        for node in 1..=4 {
            assert_eq!(world.answer(node, Command::Get(at)), Reply::Bulk(entry.clone()));
            assert_eq!(world.proof(node, at)["seq"], at);
        }
    }
    let Reply::Error(text) = world.answer(2, Command::Append(entry.clone())) else { panic!() };
    assert!(String::from_utf8_lossy(&text).contains("LEDGER is full"));
    let too_long = Bytes::from(alloc::vec![7; base::limits::LEDGER_ENTRY_MAX_BYTES + 1]);
    let Reply::Error(text) = world.answer(1, Command::Append(too_long)) else { panic!("too long") };
    assert!(!text.is_empty());
}

/// A member that lies appends although there is no room. Nobody loses anything by that.
#[test]
fn a_ledger_beyond_its_limit_still_serves_what_it_has() {
    let mut world = World::new(7);
    world.answer(2, Command::Append(Bytes::from_static(b"the first")));
    let keyring = world.of(1).keyring.clone();
    let key = SigningKey::take(&mut [1; 32]);
    let entries = alloc::vec![Bytes::from(alloc::vec![9; 27_000]); 2];
    for serial in 1..1_000 {
        let request = ledger::Request {
            author: ledger::Author::Gateway(id(1)),
            serial: 5_000 + serial,
            entries: entries.clone(),
        };
        let now = world.now;
        let notary = world.notaries[0].as_mut().unwrap();
        let _ = notary.replica.as_mut().unwrap().bft.propose(request.seal(&key, &keyring), now);
        world.run(8);
        if (1..=4).all(|node| world.of(node).replica.as_ref().unwrap().full.is_some()) {
            break;
        }
    }
    let last = world.length(3);
    assert!(last > 300);
    for _ in 0..2 {
        for node in 2..=4 {
            assert_eq!(world.of(node).reason(), None);
            assert!(world.length(node) >= last);
            assert_eq!(world.answer(node, Command::Get(1)), Reply::Bulk("the first".into()));
            assert_eq!(world.answer(node, Command::Get(last)), Reply::Bulk(entries[0].clone()));
            assert_eq!(world.proof(node, last)["seq"], last);
            let Reply::Error(text) = world.answer(node, Command::Append("x".into())) else {
                panic!()
            };
            assert!(String::from_utf8_lossy(&text).contains("LEDGER is full"));
        }
        (1..=4).for_each(|node| world.crash(node));
        (1..=4).for_each(|node| world.start(node, false));
        world.run(1_000);
    }
}

/// What was signed goes round its part of the disk several times, with power failures in between; every entry
/// stays where it was, with its proof.
#[test]
fn what_is_settled_is_given_up_and_every_entry_stays() {
    let mut world = World::new(8);
    let entry = |at: u64| Bytes::from(format!("{at:05}").repeat(1_500));
    let (mut answered, mut signed_bytes) = (0, 0);
    let mut firsts = BTreeMap::new();
    for round in 0..8 {
        for _ in 0..120 {
            answered += 1;
            let reply = world.answer(1 + (answered % 4) as u16, Command::Append(entry(answered)));
            assert_eq!(position(&reply), answered.cast_signed());
            signed_bytes += 7_500;
        }
        for node in 1..=4 {
            let status = world.of(node).signed.store.status();
            assert!(4 * status.body_bytes_used < 3 * status.body_bytes, "{status:?}");
            firsts.insert(node, status.first_index);
        }
        if round % 3 == 2 {
            (1..=4).for_each(|node| world.crash(node));
            (1..=4).for_each(|node| world.start(node, false));
        } else {
            let node = 1 + round % 4;
            world.crash(node);
            world.start(node, false);
        }
        world.run(500);
    }
    let body_bytes = world.of(1).signed.store.status().body_bytes;
    assert!(2 * signed_bytes > 3 * body_bytes, "it went round: {body_bytes}");
    assert!(firsts.values().all(|first| *first > LogIndex(100)), "{firsts:?}");
    for at in (1..=answered).step_by(37) {
        for node in 1..=4 {
            assert_eq!(world.answer(node, Command::Get(at)), Reply::Bulk(entry(at)));
            assert_eq!(world.proof(node, at)["seq"], at);
        }
    }
}
