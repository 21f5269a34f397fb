//! What a node makes of its machine's clock.

use alloc::string::String;

use base::Instant;
use pool::{PAGE_BYTES, Pool};

use super::{Hardware, Node};
use crate::output::Stop;
use crate::settings::Settings;

fn start(settings: &str, has_continuous_clock: bool) -> Result<Node, Stop> {
    let line =
        String::from("coterie.id=1 coterie.cluster=1 coterie.peers=1,2,3 coterie.format=yes ");
    let settings = Settings::parse(&(line + settings)).expect("the settings are good");
    let hardware = Hardware {
        packets: Pool::on_heap(8, PAGE_BYTES),
        blocks: Pool::on_heap(4, 4 * PAGE_BYTES),
        disk_sectors: 2048,
        has_continuous_clock,
    };
    let raft = settings.consensus();
    Node::new(settings, raft, hardware, 1, Instant::ORIGIN)
}

#[test]
fn reads_by_lease_need_a_clock_that_goes_on() {
    let Err(Stop::Settings(reason)) = start("coterie.reads=lease", false) else {
        panic!("such a node may answer from before a pause");
    };
    assert!(reason.contains("coterie.reads=index") && reason.contains("coterie.clock=continuous"));
    assert!(start("coterie.reads=lease coterie.clock=unknown", false).is_err());
    assert!(start("coterie.reads=lease", true).is_ok(), "the machine says so");
    assert!(start("coterie.reads=lease coterie.clock=continuous", false).is_ok(), "somebody does");
    assert!(start("", false).is_ok() && start("coterie.reads=index", false).is_ok());
}
