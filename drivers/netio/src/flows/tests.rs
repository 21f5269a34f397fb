//! The table against a list that is searched from the front.

use std::vec::Vec;

use proptest::prelude::*;

use super::*;

const HASH_KEY: [u64; 2] = [1, 2];
const IDLE_NS: u64 = 100;

/// Odd ones are of IPv6, and differ in their addresses' last bytes, too.
fn key(number: u16) -> FlowKey {
    let [high, low] = number.to_be_bytes();
    let (source, destination) = match number % 2 {
        0 => ([10, 0, high, low].into(), [10, 77, 0, 1].into()),
        _ => ([0xfd77, 0, 0, 0, 0, 0, 0, number].into(), [0xfd77, 0, 0, 0, 0, 0, 0, 1].into()),
    };
    FlowKey { source, destination, protocol: 17, ports: Some((number, 53)) }
}

#[test]
fn the_least_recently_used_flow_makes_room_and_is_counted() {
    let mut table = FlowTable::new(HASH_KEY, IDLE_NS);
    for number in 0..FLOWS_MAX as u16 {
        table.record(&key(number), 60, u64::from(number));
    }
    let full =
        FlowStatistics { active: FLOWS_MAX, inserted: FLOWS_MAX as u64, evicted: 0, expired: 0 };
    assert_eq!(table.statistics(), full);

    table.record(&key(0), 60, 5_000);
    table.record(&key(9_999), 60, 5_001);
    assert_eq!(table.statistics().evicted, 1);
    assert!(table.get(&key(1)).is_none(), "that one had not been used for longest");
    assert_eq!(table.get(&key(0)).map(|flow| (flow.packets, flow.bytes)), Some((2, 120)));
}

#[test]
fn a_silent_flow_is_forgotten_on_time() {
    let mut table = FlowTable::new(HASH_KEY, IDLE_NS);
    table.record(&key(1), 60, 10);
    table.record(&key(2), 60, 50);
    assert_eq!(table.poll_timeout(), Some(110));
    assert_eq!([table.handle_timeout(109), table.handle_timeout(110)], [0, 1]);
    assert_eq!(table.poll_timeout(), Some(150));
    assert!(table.get(&key(1)).is_none() && table.get(&key(2)).is_some());
    assert_eq!(table.statistics().expired, 1);
}

#[test]
fn an_answer_tells_how_long_the_first_frame_since_the_last_one_has_waited() {
    let mut table = FlowTable::new(HASH_KEY, 1_000_000);
    let (question, answer) = (key(1), key(1).reversed());
    for at in [100, 700] {
        table.record(&question, 60, at);
    }
    table.note_answer(&question, 800);
    table.note_answer(&answer, 1_100);
    table.note_answer(&answer, 5_000);
    let latency = |table: &FlowTable| {
        let flow = table.get(&question).expect("it is there");
        (flow.latency.count(), flow.latency.max_ns())
    };
    assert_eq!(latency(&table), (1, 1_000), "one answer, to the first of two frames");
    table.record(&question, 60, 6_000);
    table.note_answer(&answer, 6_200);
    assert_eq!(latency(&table), (2, 1_000));
    assert!(table.get(&answer).is_none(), "to look is not to use");
}

#[test]
fn one_call_forgets_a_bounded_number() {
    let mut table = FlowTable::new(HASH_KEY, IDLE_NS);
    for number in 0..FLOWS_EXPIRED_PER_CALL as u16 + 1 {
        table.record(&key(number), 60, 0);
    }
    assert_eq!(table.handle_timeout(1_000), FLOWS_EXPIRED_PER_CALL);
    assert_eq!(table.poll_timeout(), Some(IDLE_NS), "the rest is due at once");
    assert_eq!(table.handle_timeout(1_000), 1);
}

#[test]
fn a_clock_that_goes_back_disturbs_nothing() {
    let mut table = FlowTable::new(HASH_KEY, IDLE_NS);
    table.record(&key(1), 60, 500);
    table.record(&key(2), 60, 400);
    let seen: Vec<u64> = table.iter().map(|flow| flow.last_seen_ns).collect();
    assert_eq!(seen, [500, 500]);
}

/// Chains that are as short as chance makes them: with the key known, keys could be chosen that share one.
#[test]
fn keys_that_collide_for_one_hash_key_are_spread_by_another() {
    let table = FlowTable::new(HASH_KEY, IDLE_NS);
    let chain = table.index.chain_of(&key(0));
    let colliding: Vec<u16> =
        (0..u16::MAX).filter(|&number| table.index.chain_of(&key(number)) == chain).collect();
    assert!(colliding.len() > 30, "65,535 keys over 1024 chains");
    let other = FlowTable::new([3, 4], IDLE_NS);
    let mut chains: Vec<u16> =
        colliding.iter().map(|&number| other.index.chain_of(&key(number))).collect();
    chains.sort_unstable();
    chains.dedup();
    assert!(chains.len() > colliding.len() * 3 / 4, "{} of {}", chains.len(), colliding.len());
}

/// Anybody can find them, and all that is to be had by it is that the other hash is computed.
#[test]
fn flows_that_share_a_place_in_front_are_told_apart() {
    let front = |number| Summary::of(&key(number)).front();
    let sharing: Vec<u16> = (0..u16::MAX).filter(|&number| front(number) == front(0)).collect();
    assert!(sharing.len() >= 4, "65,535 keys over 8192 places");
    let mut table = FlowTable::with_capacity(2, HASH_KEY, IDLE_NS);
    for now in 0..10 {
        table.record(&key(sharing[0]), 60, now);
        table.record(&key(sharing[1]), 70, now);
    }
    let counts =
        |table: &FlowTable, number| table.get(&key(number)).map(|it| (it.packets, it.bytes));
    assert_eq!(counts(&table, sharing[0]), Some((10, 600)));
    assert_eq!(counts(&table, sharing[1]), Some((10, 700)));
    // One that was evicted begins anew, though another has its place in front.
    table.record(&key(sharing[2]), 60, 10);
    table.record(&key(sharing[0]), 60, 11);
    assert_eq!(counts(&table, sharing[0]), Some((1, 60)));
    assert_eq!((table.statistics().inserted, table.statistics().evicted), (4, 2));
}

#[test]
fn addresses_that_end_alike_are_of_different_flows() {
    let of = |network: u16| FlowKey {
        source: [0xfd77, 0, 0, network, 0, 0, 0, 2].into(),
        destination: [0xfd77, 0, 0, 0, 0, 0, 0, 1].into(),
        protocol: 17,
        ports: Some((4_000, 53)),
    };
    assert_eq!(Summary::of(&of(1)), Summary::of(&of(2)));
    let mut table = FlowTable::new(HASH_KEY, IDLE_NS);
    for now in 0..10 {
        table.record(&of(1), 60, now);
        table.record(&of(2), 70, now);
        table.note_answer(&of(2).reversed(), now + 5);
    }
    let latencies = [1, 2].map(|network| table.get(&of(network)).unwrap().latency.count());
    assert_eq!((latencies, table.statistics().active), ([0, 10], 2));
}

/// Clients and generators take one port after the other: all of a full table are found at once.
#[test]
fn ports_that_follow_each_other_share_no_place_in_front() {
    for (source, destination) in [("10.77.0.1", "10.77.0.2"), ("198.18.0.1", "198.19.0.1")] {
        let of = |port| FlowKey {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol: 17,
            ports: Some((port, 9)),
        };
        let ports = 0x4000..0x4000 + FLOWS_MAX as u16;
        let mut fronts: Vec<usize> = ports.map(|port| Summary::of(&of(port)).front()).collect();
        fronts.sort_unstable();
        fronts.dedup();
        assert_eq!(fronts.len(), FLOWS_MAX);
    }
}

#[test]
fn a_summary_is_turned_round_as_its_key_is() {
    for number in 0..100 {
        let key = key(number);
        assert_eq!(Summary::of(&key).reversed(), Summary::of(&key.reversed()));
        assert_eq!(Summary::of(&key).is_whole(), key.source.is_ipv4());
        let portless = FlowKey { ports: None, ..key };
        let zero = FlowKey { ports: Some((0, 0)), ..key };
        assert_ne!(Summary::of(&portless), Summary::of(&zero));
        assert_eq!(Summary::of(&portless).reversed(), Summary::of(&portless.reversed()));
    }
}

/// A flow, when it was used first and last, its packets and bytes.
type Known = (FlowKey, u64, u64, u64, u64);

/// The most recently used first.
#[derive(Default)]
struct Model {
    flows: Vec<Known>,
    evicted: u64,
    expired: u64,
}

impl Model {
    fn record(&mut self, capacity: usize, key: FlowKey, bytes: u64, now: u64) {
        let known = self.flows.iter().position(|flow| flow.0 == key);
        let (_, first, _, packets, before) =
            known.map_or((key, now, now, 0, 0), |at| self.flows.remove(at));
        if self.flows.len() == capacity {
            self.flows.pop();
            self.evicted += 1;
        }
        self.flows.insert(0, (key, first, now, packets + 1, before + bytes));
    }

    fn expire(&mut self, now: u64) {
        let before = self.flows.len();
        self.flows.retain(|flow| flow.2 + IDLE_NS > now);
        self.expired += (before - self.flows.len()) as u64;
    }
}

#[derive(Clone, Debug)]
enum Step {
    Record { number: u16, bytes: usize, after_ns: u64 },
    Expire { after_ns: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..12_u16, 60..1_500_usize, 0..20_u64)
            .prop_map(|(number, bytes, after_ns)| Step::Record { number, bytes, after_ns }),
        1 => (0..120_u64).prop_map(|after_ns| Step::Expire { after_ns }),
    ]
}

proptest! {
    #[test]
    fn the_table_does_what_a_list_does(
        capacity in 1..10_usize,
        hash_key in any::<[u64; 2]>(),
        steps in proptest::collection::vec(step(), 1..300),
    ) {
        let mut table = FlowTable::with_capacity(capacity, hash_key, IDLE_NS);
        let mut model = Model::default();
        let mut now = 0;
        for step in steps {
            match step {
                Step::Record { number, bytes, after_ns } => {
                    now += after_ns;
                    table.record(&key(number), bytes, now);
                    model.record(capacity, key(number), bytes as u64, now);
                }
                Step::Expire { after_ns } => {
                    now += after_ns;
                    table.handle_timeout(now);
                    model.expire(now);
                }
            }
            let known: Vec<Known> = table
                .iter()
                .map(|it| (it.key, it.first_seen_ns, it.last_seen_ns, it.packets, it.bytes))
                .collect();
            prop_assert_eq!(&known, &model.flows);
            for number in 0..12 {
                let is_known = model.flows.iter().any(|flow| flow.0 == key(number));
                prop_assert_eq!(table.get(&key(number)).is_some(), is_known);
            }
            let statistics = table.statistics();
            prop_assert_eq!(statistics.active, model.flows.len());
            prop_assert_eq!((statistics.evicted, statistics.expired), (model.evicted, model.expired));
            prop_assert_eq!(table.poll_timeout(), model.flows.last().map(|flow| flow.2 + IDLE_NS));
        }
    }
}
