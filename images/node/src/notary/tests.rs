//! A group of notaries: their disks, which forget what was not flushed, and the wires between them.

mod elsewhere;
#[cfg(feature = "adversary")]
mod flood;
mod room;

use alloc::collections::{BTreeMap, VecDeque};

use base::{ClusterId, Duration, Prng};
use block::{Operation, SECTOR_BYTES};
use kv::command::Ledger as Command;
use kv::service::ClientId;
use pool::PAGE_BYTES;
use serde_json::Value;

use super::identity::tests::{file, id};
use super::*;

/// 64 MiB.
const SECTORS: u64 = 128 * 1024;

/// What was written is durable when it was flushed.
#[derive(Default)]
struct Disk {
    durable: BTreeMap<u64, [u8; SECTOR_BYTES]>,
    written: BTreeMap<u64, [u8; SECTOR_BYTES]>,
    requests: VecDeque<BlockRequest>,
}

impl Disk {
    fn crash(&mut self) {
        self.written.clear();
        self.requests.clear();
    }

    fn finish(&mut self) -> Option<BlockCompletion> {
        let BlockRequest { tag, operation, mut buffer } = self.requests.pop_front()?;
        let bytes = buffer.as_deref_mut().unwrap_or_default();
        match operation {
            Operation::Read { sector, sectors } => {
                let rooms = bytes.chunks_exact_mut(SECTOR_BYTES).take(sectors as usize);
                for (at, room) in (sector..).zip(rooms) {
                    let found = self.written.get(&at).or_else(|| self.durable.get(&at));
                    room.copy_from_slice(found.unwrap_or(&[0; SECTOR_BYTES]));
                }
            }
            Operation::Write { sector, sectors } => {
                let (sectors, []) = bytes[..sectors as usize * SECTOR_BYTES].as_chunks() else {
                    panic!("whole sectors are written");
                };
                self.written.extend((sector..).zip(sectors.iter().copied()));
            }
            Operation::Flush => self.durable.extend(core::mem::take(&mut self.written)),
        }
        Some(BlockCompletion { tag, operation, buffer, result: Ok(()) })
    }

    /// Spoils the sectors of this part that hold these bytes; answers how many.
    fn spoil(&mut self, part: Part, bytes: &[u8]) -> usize {
        let place =
            |sector: &[u8; SECTOR_BYTES]| sector.windows(bytes.len()).position(|at| at == bytes);
        let sectors = self.durable.range_mut(part.first()..part.first() + part.sectors());
        let held = sectors.filter_map(|(_, sector)| Some((place(sector)?, sector)));
        held.map(|(at, sector)| sector[at] ^= 1).count()
    }
}

struct World {
    notaries: Vec<Option<Notary>>,
    disks: Vec<Disk>,
    wires: VecDeque<(u16, u16, Bytes)>,
    /// How many messages, from whom to whom.
    sent: BTreeMap<(u16, u16), u64>,
    replies: BTreeMap<Question, Reply>,
    notes: Vec<String>,
    now: Instant,
    prng: Prng,
    asked: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let mut world = World {
            notaries: (0..4).map(|_| None).collect(),
            disks: (0..4).map(|_| Disk::default()).collect(),
            wires: VecDeque::new(),
            sent: BTreeMap::new(),
            replies: BTreeMap::new(),
            notes: Vec::new(),
            now: Instant::from_millis(1),
            prng: Prng::new(seed),
            asked: 0,
        };
        (1..=4).for_each(|node| world.start(node, true));
        world.run(50);
        world
    }

    fn start(&mut self, node: u16, may_format: bool) {
        let mut file = file(node as u8, 4);
        let identity = Identity::take(id(node), ClusterId(1), &mut file).unwrap();
        let blocks = [4, 4].map(|count| Pool::on_heap(count, 4 * PAGE_BYTES));
        let disk = (Region::of(SECTORS), blocks, may_format);
        let seed = self.prng.next_u64();
        let notary = Notary::new((id(node), ClusterId(1)), identity, disk, seed);
        self.notaries[usize::from(node) - 1] = Some(notary.unwrap());
    }

    fn crash(&mut self, node: u16) {
        self.notaries[usize::from(node) - 1] = None;
        self.disks[usize::from(node) - 1].crash();
    }

    fn of(&self, node: u16) -> &Notary {
        self.notaries[usize::from(node) - 1].as_ref().expect("it runs")
    }

    fn length(&self, node: u16) -> u64 {
        self.of(node).ledger().map_or(0, Ledger::length)
    }

    fn ask(&mut self, node: u16, command: Command) -> Question {
        self.asked += 1;
        let question = Question::new(ClientId(self.asked), 0);
        let notary = self.notaries[usize::from(node) - 1].as_mut().expect("it runs");
        notary.handle_question(question, command, self.now);
        question
    }

    fn append(&mut self, node: u16, entry: &str) -> Question {
        self.ask(node, Command::Append(Bytes::copy_from_slice(entry.as_bytes())))
    }

    /// Asks, and runs until there is an answer.
    fn answer(&mut self, node: u16, command: Command) -> Reply {
        let question = self.ask(node, command);
        for _ in 0..5_000 {
            self.run(1);
            if let Some(reply) = self.replies.remove(&question) {
                return reply;
            }
        }
        panic!("no answer: {:?}", self.notes);
    }

    /// Lets so many milliseconds pass.
    fn run(&mut self, millis: u64) {
        for _ in 0..millis {
            for place in 0..4 {
                self.step(place);
            }
            let due: Vec<_> = self.wires.drain(..).collect();
            for (from, to, content) in due {
                let to = usize::from(to) - 1;
                if let Some(notary) = &mut self.notaries[to] {
                    notary.handle_message(id(from), content);
                }
                self.step(to);
            }
            self.now += Duration::from_millis(1);
        }
    }

    /// Turns of the node's loop, until it has nothing more to do now: a turn verifies few signatures.
    fn step(&mut self, place: usize) {
        self.turn(place);
        let is_due = |world: &World| {
            let due = world.notaries[place].as_ref().and_then(Notary::poll_timeout);
            due.is_some_and(|at| at <= world.now)
        };
        while is_due(self) {
            self.turn(place);
        }
    }

    fn turn(&mut self, place: usize) {
        let (now, from) = (self.now, place as u16 + 1);
        let Some(notary) = &mut self.notaries[place] else { return };
        if notary.poll_timeout().is_some_and(|at| at <= now) {
            notary.handle_timeout(now);
        }
        loop {
            while let Some(output) = notary.poll_output(now) {
                notary.check_invariants();
                match output {
                    NotaryOutput::Disk(request) => self.disks[place].requests.push_back(request),
                    NotaryOutput::Send { to, content } => {
                        *self.sent.entry((from, to.get())).or_default() += 1;
                        self.wires.push_back((from, to.get(), content));
                    }
                    #[cfg(feature = "adversary")]
                    NotaryOutput::SendUnbidden { to, content } => {
                        self.wires.push_back((from, to.get(), content));
                    }
                    NotaryOutput::Reply(question, reply) => {
                        assert!(self.replies.insert(question, reply).is_none(), "one answer");
                    }
                    NotaryOutput::Note(_, text) => self.notes.push(format!("{from}: {text}")),
                }
            }
            // Some of what the disk is asked for is done now, the rest later.
            if self.prng.chance(1, 4) {
                return;
            }
            let Some(completion) = self.disks[place].finish() else { return };
            assert!(notary.handle_completion(completion, now).is_ok(), "it is the ledger's");
        }
    }

    fn proof(&mut self, node: u16, position: u64) -> Value {
        match self.answer(node, Command::Proof(position)) {
            Reply::Bulk(text) => serde_json::from_slice(&text).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

fn position(reply: &Reply) -> i64 {
    match reply {
        Reply::Array(parts) => match parts[..] {
            [Reply::Integer(position), ..] => position,
            _ => panic!("{reply:?}"),
        },
        _ => panic!("{reply:?}"),
    }
}

/// Entries of all nodes' clients, and power failures of all nodes at once: what was answered is there, at the
/// position that was answered, at every node, with the same proof; and no position is given twice.
#[test]
fn what_was_answered_survives_a_power_failure() {
    let mut answered: BTreeMap<i64, String> = BTreeMap::new();
    let mut world = World::new(1);
    for round in 0..6 {
        let entries: Vec<(u16, String)> =
            (0..8).map(|at| (1 + at % 4, format!("entry {at} of round {round}"))).collect();
        let questions: Vec<_> =
            entries.iter().map(|(node, entry)| world.append(*node, entry)).collect();
        let span = world.prng.between(5, 40);
        world.run(if round == 5 { 2_000 } else { span });
        for (question, (_, entry)) in questions.iter().zip(&entries) {
            if let Some(reply) = world.replies.remove(question) {
                assert_eq!(answered.insert(position(&reply), entry.clone()), None);
            }
        }
        (1..=4).for_each(|node| world.crash(node));
        (1..=4).for_each(|node| world.start(node, false));
        world.run(1_500);
    }
    assert!(answered.len() >= 8, "{}", answered.len());
    for (position, entry) in answered {
        let position = position.cast_unsigned();
        let reply = Reply::Bulk(entry.clone().into());
        let proofs: Vec<Value> = (1..=4).map(|node| world.proof(node, position)).collect();
        for (node, proof) in (1..=4).zip(&proofs) {
            assert_eq!(world.answer(node, Command::Get(position)), reply);
            assert_eq!((&proof["entry"], &proof["seq"]), (&entry.clone().into(), &position.into()));
            assert_eq!(proof["digest"], proofs[0]["digest"], "one chain");
            assert_eq!(proof["batch"], proofs[0]["batch"]);
        }
    }
    assert_eq!(world.answer(1, Command::Get(0)), Reply::Nil);
    assert_eq!(world.answer(1, Command::Proof(1_000)), Reply::Nil);
}

/// A node that has lost what it signed signs nothing, says so, and follows the others all the same. When what
/// it may have signed is settled it signs again, and a start later does not go back to that.
#[test]
fn a_node_with_a_damaged_record_abstains() {
    let mut world = World::new(2);
    for at in 0..6 {
        world.answer(1, Command::Append(Bytes::from(format!("an entry, number {at}"))));
    }
    world.run(100);
    let [signed, _] = Region::of(SECTORS).parts();
    let spoil = |disk: &mut Disk| disk.spoil(signed, b"an entry, number 2") > 0;
    let node = (2..=4).find(|node| spoil(&mut world.disks[usize::from(*node) - 1])).unwrap();
    world.crash(node);
    world.start(node, false);
    world.run(300);
    let is_abstaining = |world: &World| world.of(node).bft().unwrap().status().is_abstaining;
    assert!(is_abstaining(&world));
    assert!(format!("{:?}", world.of(node).show_status()).contains("abstaining"));
    let name = format!("{node}: ");
    assert!(world.notes.iter().any(|note| note.starts_with(&name) && note.contains("damaged")));
    let other = if node == 2 { 3 } else { 2 };
    for at in 0..6 {
        world.answer(other, Command::Append(Bytes::from(format!("a later entry, number {at}"))));
    }
    world.run(3_000);
    let status = world.of(node).bft().unwrap().status();
    assert_eq!((world.length(node), status.counters.signed), (12, 0), "{status:?}");
    // Nobody knows which views it has left: it signs in one that is surely later, and so must they be.
    for at in 0..150 {
        if at % 40 == 20 {
            let primary = world.of(other).bft().unwrap().status().primary.get();
            world.crash(primary);
            world.append(if primary == other { 1 } else { other }, "for another primary");
            world.run(1_000);
            world.start(primary, false);
            world.run(3_000);
        }
        world.answer(other, Command::Append(Bytes::from(format!("entry {at}"))));
    }
    world.run(1_000);
    for _ in 0..2 {
        assert!(!is_abstaining(&world), "{:?}", world.of(node).bft().unwrap().status());
        assert_eq!(world.length(node), world.length(1));
        world.crash(node);
        world.start(node, false);
        world.run(1_000);
    }
}

/// An entry that is damaged is no vote that is forgotten.
#[test]
fn a_node_with_a_damaged_entry_has_it_from_the_others() {
    let mut world = World::new(6);
    for at in 0..6 {
        world.answer(1, Command::Append(Bytes::from(format!("an entry, number {at}"))));
    }
    world.run(100);
    let [_, entries] = Region::of(SECTORS).parts();
    world.crash(2);
    assert!(world.disks[1].spoil(entries, b"an entry, number 2") > 0);
    for _ in 0..2 {
        world.start(2, false);
        world.run(1_000);
        assert!(!world.of(2).bft().unwrap().status().is_abstaining);
        assert_eq!(world.of(2).ledger(), world.of(1).ledger());
        for at in 0..6 {
            let entry = Bytes::from(format!("an entry, number {at}"));
            assert_eq!(world.answer(2, Command::Get(at + 1)), Reply::Bulk(entry));
        }
        world.crash(2);
    }
}

/// An empty part of a disk that may not be formatted ends the ledger on that node, and nothing else.
#[test]
fn a_disk_that_is_lost_ends_the_ledger_there() {
    let mut world = World::new(5);
    world.crash(2);
    world.disks[1] = Disk::default();
    world.start(2, false);
    world.run(50);
    assert!(world.of(2).reason().is_some_and(|reason| reason.contains("empty")));
    let Reply::Error(text) = world.answer(2, Command::Get(1)) else { panic!("it has none") };
    assert!(String::from_utf8_lossy(&text).contains("takes no part in the ledger"));
    assert_eq!(position(&world.answer(3, Command::Append(Bytes::from_static(b"x")))), 1);
}

/// A client signs for itself: its entry is in the ledger once, whatever nodes it is brought to.
#[test]
fn a_client_signs_for_itself() {
    let mut world = World::new(9);
    let keyring = world.of(1).keyring.clone();
    let key = SigningKey::take(&mut [70; 32]);
    let client = key.verifying_key().to_bytes();
    let signed = |sequence: u64, entry: &'static str| {
        let entry = Bytes::from_static(entry.as_bytes());
        let author = ledger::Author::Client(client);
        let entries = alloc::vec![entry.clone()];
        let sealed = ledger::Request { author, serial: sequence, entries }.seal(&key, &keyring);
        let signature = sealed[sealed.len() - 64..].try_into().unwrap();
        kv::command::SignedEntry { entry, client, sequence, signature }
    };
    let command = |signed| Command::AppendSigned(alloc::boxed::Box::new(signed));
    // To all nodes at once: all of them are told, some where it is and some that it was there before.
    let questions: Vec<_> =
        (1..=4).map(|node| world.ask(node, command(signed(1, "at all of them")))).collect();
    world.run(2_000);
    for question in questions {
        let reply = world.replies.remove(&question).expect("everybody is answered");
        match reply {
            Reply::Error(text) => assert!(text.starts_with(b"REPEATED"), "{text:?}"),
            reply => assert_eq!(position(&reply), 1),
        }
    }
    let reply = world.answer(3, command(signed(9, "later")));
    assert_eq!((position(&reply), world.length(1)), (2, 2));
    let refusals = [
        (signed(9, "later"), "REPEATED "),
        (signed(9, "other"), "REPEATED "),
        (kv::command::SignedEntry { sequence: 10, ..signed(11, "x") }, "ERR the signature"),
        (kv::command::SignedEntry { client: [0; 32], ..signed(11, "x") }, "ERR the client's key"),
    ];
    (1..=4).for_each(|node| world.crash(node));
    (1..=4).for_each(|node| world.start(node, false));
    world.run(1_000);
    for (signed, refusal) in refusals {
        let Reply::Error(text) = world.answer(2, command(signed)) else { panic!("{refusal}") };
        assert!(String::from_utf8_lossy(&text).starts_with(refusal), "{text:?}");
    }
    let proof = world.proof(4, 2);
    assert_eq!((&proof["entry"], &proof["serial"]), (&"later".into(), &9.into()));
    assert_eq!(
        (&proof["gateway"], proof["client"].as_str().map(str::len)),
        (&Value::Null, Some(64))
    );
}

/// A node that lies in any way is outvoted, as the primary and as a backup; where its own signatures prove
/// that it lies, the others name it.
#[cfg(feature = "adversary")]
#[test]
fn a_node_that_lies_is_outvoted_and_named() {
    use bft::Lie;
    for lie in Lie::ALL {
        for liar in [1, 3] {
            let mut world = World::new(6);
            let now = world.now;
            world.notaries[usize::from(liar) - 1].as_mut().unwrap().set_lie(Some(lie), now);
            let honest: Vec<u16> = (1..=4).filter(|node| *node != liar).collect();
            for at in 0..18 {
                // Who has brought nothing about is not asked for a while; then it lies again.
                world.run(if at == 9 { limits::BFT_DOUBT_MS } else { 0 });
                let entry = Bytes::from(format!("entry {at}"));
                world.answer(honest[at % 3], Command::Append(entry));
            }
            let now = world.now;
            world.notaries[usize::from(liar) - 1].as_mut().unwrap().set_lie(None, now);
            world.run(2_000);
            let head = |node: &u16| world.of(*node).ledger().map(|one| (one.length(), one.head()));
            let heads: Vec<_> = honest.iter().map(head).collect();
            assert!(heads.windows(2).all(|two| two[0] == two[1]), "{lie} {liar}: {heads:?}");
            let named: Vec<u32> =
                honest.iter().map(|node| world.of(*node).bft().unwrap().liars().proven.0).collect();
            let others = !(1 << (liar - 1));
            assert!(named.iter().all(|named| named & others == 0), "{lie} {liar}: {named:?}");
            if lie == Lie::Equivocate && liar == 1 {
                assert!(named.iter().any(|named| *named != 0), "{lie} {liar}");
            }
        }
    }
}

/// The chain is proven while the node works; what is damaged is named.
#[test]
fn the_chain_is_proven_in_passing() {
    let mut world = World::new(10);
    for at in 0..40 {
        world.answer(1 + at % 4, Command::Append(Bytes::from(format!("an entry, number {at}"))));
    }
    world.run(500);
    let verify = |world: &mut World, node: u16, is_anew: bool| {
        let now = world.now;
        world.notaries[usize::from(node) - 1].as_mut().unwrap().verify(is_anew, now);
        let shown = |world: &World| format!("{:?}", world.of(node).show_verification());
        assert!(shown(world).contains("running"), "{}", shown(world));
        world.run(1_000);
        shown(world)
    };
    let shown = verify(&mut world, 3, false);
    assert!(
        shown.contains("verified") && shown.contains(&format!("{}", world.length(3))),
        "{shown}"
    );
    let [_, entries] = Region::of(SECTORS).parts();
    assert!(world.disks[2].spoil(entries, b"an entry, number 25") > 0);
    let shown = verify(&mut world, 3, true);
    assert!(shown.contains("failed") && shown.contains("block 26 does not verify"), "{shown}");
    assert!(verify(&mut world, 2, false).contains("verified"));
}
