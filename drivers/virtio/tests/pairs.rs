//! Cards with several pairs of queues: each on a core of its own, and the queue for commands.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use netio::limits::INDIRECTION_ENTRIES;
use netio::{MICROSOFT_KEY, Steering};
use pool::{Frame, PAGE_BYTES, Pool};
use virtio::fake::{FakeDoorbell, FakeNetwork, FakeOptions, FakeTransport, PACKED, allocate};
use virtio::net::{CardConfig, CardPair, LinkState, NetConfig, Rss, Spreading, Started};
use virtio::queue::QueueError;
use virtio::{InitError, VirtioCard};

type Card = VirtioCard<FakeTransport>;
type Pair = CardPair<FakeDoorbell>;

/// 16 to receive, and those that have left until so many have that it is worth looking.
const BUFFERS: usize = 96;
const DEPTH: u16 = 16;
const CONFIG: CardConfig = CardConfig {
    pair: NetConfig { queue_size_max: 32, receive_buffers: DEPTH, ..NetConfig::DEFAULT },
    rss: None,
};
/// How often a worker looks for its frames until it says that they do not come.
const TURNS_MAX: u32 = 20_000_000;
const OK: u8 = 0;
const REFUSED: u8 = 1;
const RSS: u64 = 1 << 60;

fn pools(count: usize) -> Vec<Pool> {
    (0..count).map(|_| Pool::on_heap(BUFFERS, PAGE_BYTES)).collect()
}

fn frame(pool: &Pool, bytes: &[u8]) -> Frame {
    let mut frame = pool.allocate_frame().unwrap();
    frame.append_copy(bytes);
    frame
}

/// Says that it is over, also when a test fails: nobody waits for it then.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Runs `work` while the card answers every command on its last queue with `answer`. Returns the commands,
/// too.
fn with_commands<R>(
    network: &FakeNetwork,
    queue: u16,
    answer: u8,
    work: impl FnOnce() -> R,
) -> (R, Vec<Vec<u8>>) {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let served = scope.spawn(|| {
            let mut commands = Vec::new();
            while !is_over.load(Ordering::Acquire) {
                commands.extend(network.serve_control(queue, answer));
                thread::yield_now();
            }
            commands
        });
        let over = Over(&is_over);
        let result = work();
        drop(over);
        (result, served.join().unwrap())
    })
}

fn start_with(
    options: FakeOptions,
    config: CardConfig,
    pools: &[Pool],
    answer: u8,
) -> (Result<Started<FakeTransport>, InitError>, FakeNetwork, Vec<Vec<u8>>) {
    let control = options.queue_sizes.len() as u16 - 1;
    let (transport, network) = FakeNetwork::new(options);
    let start = || VirtioCard::start(transport, config, pools, allocate);
    let (started, commands) = with_commands(&network, control, answer, start);
    (started, network, commands)
}

fn start(pairs: u16, rings: u64) -> (Card, Vec<Pair>, FakeNetwork, Vec<Pool>) {
    let mut options = FakeNetwork::options_with_pairs(pairs);
    options.features |= rings;
    let pools = pools(usize::from(pairs));
    let (started, network, _) = start_with(options, CONFIG, &pools, OK);
    let (card, pairs) = started.unwrap();
    (card, pairs, network, pools)
}

#[test]
fn p16_commands_go_to_the_queue_behind_all_pairs_that_the_card_has() {
    for rings in [0, PACKED] {
        let mut options = FakeNetwork::options_with_pairs(8);
        options.features |= rings;
        let pools = pools(3);
        let (started, network, commands) = start_with(options, CONFIG, &pools, OK);
        let (card, pairs) = started.unwrap();
        assert_eq!(commands, [[4, 0, 3, 0]], "VQ_PAIRS_SET, 3");
        assert_eq!((pairs.len(), card.spreading()), (3, Spreading::Automatic));
        assert_eq!(network.device().kicks(16), 1);
        assert_eq!((card.mac().0[5], card.mtu(), card.link()), (1, 1500, LinkState::Up));
        for (pair, pool) in pairs.iter().zip(&pools) {
            assert_eq!(pair.statistics().receive_buffers, DEPTH);
            assert_eq!(pool.free(), BUFFERS - usize::from(DEPTH), "each has its own pool");
        }
    }
}

#[test]
fn a_card_with_one_pair_is_told_nothing() {
    // It has one only; it has no commands; one only is wanted.
    let without_commands = || {
        let mut options = FakeNetwork::options_with_pairs(4);
        options.features &= !(1 << 17);
        options
    };
    let cases = [
        (FakeNetwork::options(), 4),
        (without_commands(), 4),
        (FakeNetwork::options_with_pairs(4), 1),
    ];
    for (options, wanted) in cases {
        let pools = pools(wanted);
        let (started, network, commands) = start_with(options, CONFIG, &pools, REFUSED);
        let (card, pairs) = started.unwrap();
        assert_eq!((pairs.len(), card.spreading()), (1, Spreading::None));
        assert!(commands.is_empty());
        assert_eq!(network.device().accepted_features() & (1 << 17 | 1 << 22), 0);
    }
}

#[test]
fn a_card_that_hashes_is_told_the_key_and_the_table() {
    let steering = Steering::new(3);
    let rss = Rss { key: MICROSOFT_KEY, table: *steering.indirection() };
    let mut options = FakeNetwork::options_with_pairs(4);
    options.features |= RSS;
    options.configuration.resize(24, 0);
    options.configuration[17] = 40;
    options.configuration[18..20].copy_from_slice(&128_u16.to_le_bytes());
    options.configuration[20..24].copy_from_slice(&0b1_1101_1111_u32.to_le_bytes());
    let config = CardConfig { rss: Some(rss), ..CONFIG };
    let (started, _, commands) = start_with(options.clone(), config, &pools(3), OK);
    let (card, pairs) = started.unwrap();
    assert_eq!((pairs.len(), card.spreading()), (3, Spreading::Rss));
    let command = &commands[0];
    assert_eq!(commands.len(), 1);
    assert_eq!(command[..2], [4, 1]);
    assert_eq!(command[2..6], [0b01_1111, 0, 0, 0], "what both know");
    assert_eq!(command[6..10], [127, 0, 0, 0], "the mask, and where the rest goes");
    let table: Vec<u16> = command[10..10 + 2 * INDIRECTION_ENTRIES]
        .chunks(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .collect();
    assert!(table.iter().enumerate().all(|(entry, pair)| usize::from(*pair) == entry % 3));
    let rest = &command[10 + 2 * INDIRECTION_ENTRIES..];
    assert_eq!(rest[..3], [3, 0, 40], "transmit queues, bytes of the key");
    assert_eq!(rest[3..], MICROSOFT_KEY);
    drop((card, pairs));

    // It has fewer pairs than there are in the table: they share what the others would have had.
    let mut fewer = options.clone();
    fewer.configuration[8] = 2;
    fewer.queue_sizes.truncate(5);
    let (started, _, commands) = start_with(fewer, config, &pools(3), OK);
    assert_eq!(started.unwrap().1.len(), 2);
    let entry = |entry: usize| commands[0][10 + 2 * entry];
    assert_eq!([0, 1, 2, 3, 4, 5].map(entry), [0, 1, 0, 0, 1, 0]);

    // Nobody asked, or it cannot: flows are spread as the card likes.
    let (started, ..) = start_with(options.clone(), CONFIG, &pools(3), OK);
    assert_eq!(started.unwrap().0.spreading(), Spreading::Automatic);
    // It says that it can, and cannot.
    options.configuration[17] = 39;
    let (started, ..) = start_with(options, config, &pools(3), OK);
    assert_eq!(started.unwrap_err(), InitError::Configuration);
}

#[test]
fn a_card_that_refuses_or_says_nothing_is_not_used() {
    let pools = pools(2);
    let free = |pools: &[Pool]| pools.iter().all(|pool| pool.free() == BUFFERS);
    let options = FakeNetwork::options_with_pairs(2);
    let (started, network, _) = start_with(options.clone(), CONFIG, &pools, REFUSED);
    assert_eq!(started.unwrap_err(), InitError::ControlRefused);
    assert!(network.device().status().is_empty() && free(&pools), "it was reset");

    let (transport, network) = FakeNetwork::new(options.clone());
    let started = VirtioCard::start(transport, CONFIG, &pools, allocate);
    assert_eq!(started.unwrap_err(), InitError::ControlSilent);
    assert!(network.device().status().is_empty() && free(&pools));

    type Change = fn(&mut FakeOptions);
    let refusals: [(Change, InitError); 4] = [
        (|it| it.queue_sizes.truncate(3), InitError::NoQueue(3)),
        (|it| it.queue_sizes.truncate(4), InitError::NoQueue(4)),
        (|it| it.configuration[9] = 0xff, InitError::Configuration),
        (|it| it.configuration[8] = 0, InitError::Configuration),
    ];
    for (refusal, error) in refusals {
        let mut options = options.clone();
        refusal(&mut options);
        let (transport, _network) = FakeNetwork::new(options);
        let started = VirtioCard::start(transport, CONFIG, &pools, allocate);
        assert_eq!(started.unwrap_err(), error);
        assert!(free(&pools));
    }
}

#[test]
fn each_pair_works_on_a_thread_of_its_own() {
    const FRAMES: u64 = 20_000;
    for rings in [0, PACKED] {
        let (card, pairs, network, pools) = start(3, rings);
        let is_over = AtomicBool::new(false);
        let pairs: Vec<Pair> = thread::scope(|scope| {
            let over = Over(&is_over);
            scope.spawn(|| {
                while !is_over.load(Ordering::Acquire) {
                    for number in 0..3 {
                        network.pair(number).echo();
                    }
                }
            });
            let workers: Vec<_> = pairs
                .into_iter()
                .zip(&pools)
                .map(|(mut pair, pool)| {
                    scope.spawn(move || {
                        work(&mut pair, pool, FRAMES);
                        pair
                    })
                })
                .collect();
            let pairs = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
            drop(over);
            pairs
        });
        for (number, pair) in (0..).zip(&pairs) {
            let statistics = pair.statistics();
            assert_eq!((statistics.sent_frames, statistics.received_frames), (FRAMES, FRAMES));
            let device = network.device();
            assert_eq!(statistics.kicks, device.kicks(2 * number) + device.kicks(2 * number + 1));
            assert!(device.kicks(2 * number + 1) > 0);
        }
        drop(card);
        drop(pairs);
        assert!(pools.iter().all(|pool| pool.free() == BUFFERS));
    }
}

/// Sends numbered frames of this pair, and waits for each to come back.
fn work(pair: &mut Pair, pool: &Pool, frames: u64) {
    let (mut sent, mut received) = (0_u64, 0_u64);
    for _ in 0..TURNS_MAX {
        if received == frames {
            return;
        }
        let mut outgoing = VecDeque::new();
        while sent < frames && sent < received + 8 {
            let number = sent << 8 | u64::from(pair.number());
            outgoing.push_back(frame(pool, &[&number.to_le_bytes()[..], &[0; 52]].concat()));
            sent += 1;
        }
        pair.send_burst(&mut outgoing);
        assert!(outgoing.is_empty());
        let number = pair.number();
        pair.receive_burst(8, |frame| {
            assert_eq!(frame[..8], (received << 8 | u64::from(number)).to_le_bytes());
            received += 1;
        });
        thread::yield_now();
    }
    panic!("pair {} stands still", pair.number());
}

#[test]
fn a_lie_on_one_pair_leaves_the_others_alone_until_the_restart() {
    for rings in [0, PACKED] {
        let (mut card, mut pairs, network, pools) = start(3, rings);
        network.device().with_ring(2, |ring| {
            ring.raw_complete(31, 60);
            ring.announce();
        });
        assert_eq!(pairs[1].receive_burst(8, drop), 0);
        assert_eq!(pairs[1].fault(), Some(QueueError::NotOutstanding));
        // On a packed ring the lie has overwritten a buffer that the card had not taken.
        let is_split = rings != PACKED;
        assert_eq!(network.pair(1).deliver(&[vec![1; 60]]), usize::from(is_split));
        assert_eq!(pairs[1].receive_burst(8, drop), 0, "it is never believed again");
        for number in [0, 2] {
            assert_eq!(network.pair(number).deliver(&[vec![7; 60]]), 1);
            let pair = &mut pairs[usize::from(number)];
            assert_eq!((pair.receive_burst(8, drop), pair.fault()), (1, None));
        }

        pairs[0].send_burst(&mut VecDeque::from([frame(&pools[0], &[1; 60])]));
        network.device().demand_reset();
        assert!(card.needs_reset());
        let (restarted, commands) = with_commands(&network, 6, OK, || card.restart(&mut pairs));
        assert_eq!((restarted, commands), (Ok(()), vec![vec![4, 0, 3, 0]]));
        for (number, pair) in (0..).zip(&mut pairs) {
            assert_eq!((pair.fault(), pair.statistics().transmit_buffers), (None, 0));
            assert_eq!(pools[usize::from(number)].free(), BUFFERS - usize::from(DEPTH));
            let mut outgoing = VecDeque::from([frame(&pools[usize::from(number)], &[9; 60])]);
            pair.send_burst(&mut outgoing);
            assert_eq!(network.pair(number).echo(), 1);
            assert_eq!(pair.receive_burst(8, drop), 1);
        }
        // The card goes first: what its pairs hold comes back with them.
        drop(card);
        pairs.pop();
        assert_eq!(pools[2].free(), BUFFERS);
        drop(pairs);
        assert!(pools.iter().all(|pool| pool.free() == BUFFERS));
    }
}

#[test]
fn a_pair_that_goes_before_its_card_keeps_what_the_card_may_write_to() {
    let (card, mut pairs, network, pools) = start(2, 0);
    drop(pairs.pop());
    assert_eq!(network.pair(1).deliver(&[vec![1; 60]]), 1, "it still does");
    assert_eq!(pools[1].free(), BUFFERS - usize::from(DEPTH));
    drop(card);
    assert_eq!(network.pair(0).deliver(&[vec![1; 60]]), 0, "the card is stopped");
    drop(pairs);
    assert_eq!([pools[0].free(), pools[1].free()], [BUFFERS, BUFFERS - usize::from(DEPTH)]);
}

#[test]
#[should_panic(expected = "all of its pairs")]
fn a_card_is_not_restarted_under_a_pair_that_is_elsewhere() {
    let (mut card, mut pairs, _network, _pools) = start(2, 0);
    let _elsewhere = pairs.pop();
    let _ = card.restart(&mut pairs);
}

#[test]
fn a_pair_that_the_card_has_not_moved_is_notified_again_by_itself() {
    for rings in [0, PACKED] {
        let (card, mut pairs, network, pools) = start(2, rings);
        let kicks = || [0, 1, 2, 3].map(|queue| network.device().kicks(queue));
        let start = kicks();
        let more = |more: [u64; 4]| [0, 1, 2, 3].map(|queue| start[queue] + more[queue]);
        pairs[1].send_burst(&mut VecDeque::from([frame(&pools[1], &[1; 60])]));
        assert_eq!(kicks(), more([0, 0, 0, 1]));
        pairs[1].remind();
        assert_eq!(kicks(), more([0, 0, 1, 2]), "the frame is still there, and nothing has come");
        assert_eq!(network.pair(1).echo(), 1);
        assert_eq!(pairs[1].receive_burst(8, drop), 1);
        let kicked = kicks();
        pairs[1].remind();
        assert_eq!(kicks(), kicked, "it works");
        drop((card, pairs));
    }
}
