//! What a flood costs those that it is meant for.

use bft::Lie;

use super::*;

const LIAR: u16 = 4;
const HONEST: [u16; 3] = [1, 2, 3];
const ENTRIES: u64 = 20;

/// What honest replicas have verified, and sent the liar.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Cost {
    verified: u64,
    to_liar: u64,
    millis: u64,
}

fn verified(world: &World, node: u16) -> u64 {
    world.of(node).bft().unwrap().status().counters.verified
}

/// Entries through all honest nodes; the liar does this meanwhile. The most that one of the honest has to do.
fn appending(lie: Option<Lie>) -> Cost {
    let mut world = World::new(3);
    let now = world.now;
    world.notaries[usize::from(LIAR) - 1].as_mut().unwrap().set_lie(lie, now);
    let (before, sent) = (HONEST.map(|node| verified(&world, node)), world.sent.clone());
    for at in 0..ENTRIES {
        let node = HONEST[at as usize % HONEST.len()];
        let reply = world.answer(node, Command::Append(Bytes::from(format!("entry {at}"))));
        assert_eq!(position(&reply), at as i64 + 1);
        world.run(20);
    }
    let most = |of: &dyn Fn(usize) -> u64| (0..HONEST.len()).map(of).max().unwrap();
    let to_liar = |node| world.sent.get(&(node, LIAR)).copied().unwrap_or_default();
    let before_to = |node| sent.get(&(node, LIAR)).copied().unwrap_or_default();
    Cost {
        verified: most(&|at| verified(&world, HONEST[at]) - before[at]),
        to_liar: most(&|at| to_liar(HONEST[at]) - before_to(HONEST[at])),
        millis: world.now.since(now).as_millis(),
    }
}

/// The stated bound, as work: whatever one peer sends, a replica verifies so many signatures in vain in a
/// span and sends so many answers, and decides as soon as without.
#[test]
fn a_flood_costs_no_more_than_it_may() {
    let (calm, flooded) = (appending(None), appending(Some(Lie::Flood)));
    assert!(flooded.verified > calm.verified, "there was a flood: {flooded:?} and {calm:?}");
    let spans = flooded.millis / limits::BFT_ALLOWANCE_EVERY_MS + 1;
    // The last message before the peer is muted may have a certificate, and so may the last answer.
    let in_vain = u64::from(limits::BFT_BAD_SIGNATURES_MAX)
        + limits::BFT_WASTED_CHECKS_MAX
        + limits::BFT_REPLICAS_MAX as u64;
    assert!(flooded.verified <= calm.verified + spans * in_vain, "{flooded:?} and {calm:?}");
    let answers = u64::from(limits::BFT_ANSWERS_MAX) + limits::BFT_FETCH_BATCHES_MAX as u64 + 1;
    assert!(flooded.to_liar <= calm.to_liar + spans * answers, "{flooded:?} and {calm:?}");
    assert!(flooded.millis <= calm.millis + calm.millis / 4, "{flooded:?} and {calm:?}");
}
