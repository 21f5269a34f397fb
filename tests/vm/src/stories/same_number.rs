//! x
use crate::stories::{Ending, World};
/// x
pub fn impostor(_world: &mut World) -> anyhow::Result<Ending> {
    Ok(Ending::Skipped("x"))
}
