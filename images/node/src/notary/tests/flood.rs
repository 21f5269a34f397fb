//! What a flood costs those that it is meant for.

use bft::Lie;

use super::*;

/// A replica that is the primary of no view that is reached, and the primary.
const LIAR: u16 = 4;
const PRIMARY: u16 = 1;
const ENTRIES: u64 = 20;

/// What honest replicas have verified, and sent the liar.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Cost {
    verified: u64,
    to_liar: u64,
    millis: u64,
    /// The view in the end.
    view: u64,
}

/// Entries through all honest nodes; the liar does this meanwhile. The most that one of the honest has to do.
fn appending(liar: u16, lie: Option<Lie>) -> Cost {
    let mut world = World::new(3);
    let now = world.now;
    let honest: Vec<u16> = (1..=4).filter(|node| *node != liar).collect();
    world.notaries[usize::from(liar) - 1].as_mut().unwrap().set_lie(lie, now);
    let begun: Vec<Cost> = honest.iter().map(|node| cost(&world, *node, liar)).collect();
    for at in 0..ENTRIES {
        let node = honest[at as usize % honest.len()];
        let reply = world.answer(node, Command::Append(Bytes::from(format!("entry {at}"))));
        assert_eq!(position(&reply), at as i64 + 1);
        world.run(20);
    }
    let ended: Vec<Cost> = honest.iter().map(|node| cost(&world, *node, liar)).collect();
    let most = |of: fn(&Cost) -> u64| {
        ended.iter().zip(&begun).map(|(end, begin)| of(end) - of(begin)).max()
    };
    Cost {
        verified: most(|cost| cost.verified).unwrap(),
        to_liar: most(|cost| cost.to_liar).unwrap(),
        millis: world.now.since(now).as_millis(),
        view: ended[0].view,
    }
}

fn cost(world: &World, node: u16, liar: u16) -> Cost {
    let status = world.of(node).bft().unwrap().status();
    let to_liar = world.sent.get(&(node, liar)).copied().unwrap_or_default();
    Cost { verified: status.counters.verified, to_liar, millis: 0, view: status.view.0 }
}

/// The stated bound, as work: whatever one peer sends, a replica verifies so many signatures in vain in a
/// span and sends so many answers, and decides as soon as without.
#[test]
fn a_flood_costs_no_more_than_it_may() {
    let (calm, flooded) = (appending(LIAR, None), appending(LIAR, Some(Lie::Flood)));
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

/// What a primary proposes is lost with its flood: it is left before a request has waited for as long as for
/// one that is silent, and then all is as without it.
#[test]
fn a_primary_that_floods_is_left() {
    let calm = appending(PRIMARY, None);
    let flooded = appending(PRIMARY, Some(Lie::Flood));
    assert!(calm.view == 0 && flooded.view > 0, "{flooded:?} and {calm:?}");
    let change = limits::BFT_PROGRESS_TIMEOUT_MS;
    assert!(flooded.millis <= calm.millis + calm.millis / 4 + change, "{flooded:?} and {calm:?}");
}
