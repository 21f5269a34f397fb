//! Tests of what a node is told.

use super::*;

const GOOD: &str = "coterie.id=2 coterie.cluster=c0ffee coterie.peers=3,1,2";

fn error_of(command_line: &str) -> String {
    Settings::parse(command_line).unwrap_err().to_string()
}

#[test]
fn the_least_that_a_node_must_be_told() {
    let settings = Settings::parse(GOOD).unwrap();
    assert_eq!(settings.id.get(), 2);
    assert_eq!(settings.cluster, ClusterId(0xc0ffee));
    let founders = [1, 2, 3].map(|number| NodeId::new(number).unwrap());
    assert_eq!(settings.beginning, Beginning::Founds(founders.to_vec()));
    assert!(!settings.may_format, "an empty disk is one that has forgotten");
    assert_eq!(settings.outside, Some(OUTSIDE_DEFAULT));
    assert!(!settings.without_flush);
    assert_eq!((settings.reads, settings.has_continuous_clock), (Reads::Index, false));
    assert!(!settings.consensus().lease_reads);
    assert_eq!(settings.ledger, None);
    assert_eq!(settings.ring_size, 256);
}

#[test]
fn everything_that_a_node_can_be_told() {
    let all = "coterie.id=1 coterie.cluster=1 coterie.peers=1 coterie.outside=192.0.2.7/28,192.0.2.1 \
        coterie.disk=noflush coterie.wall_ms=1795516884046 coterie.snapshot=7 \
        coterie.format=yes coterie.reads=lease coterie.clock=continuous coterie.services=raft,bft \
        coterie.path=dpdk coterie.ring=1024 \
        virtio_mmio.device=512@0xfeb00e00:12";
    let settings = Settings::parse(all).unwrap();
    let outside = Outside { address: [192, 0, 2, 7], prefix: 28, gateway: Some([192, 0, 2, 1]) };
    assert_eq!(settings.outside, Some(outside));
    assert!(settings.without_flush && settings.may_format);
    assert_eq!(settings.path, Some(ZeroCopyPath::Dpdk));
    assert_eq!(settings.ring_size, 1024);
    assert_eq!(settings.wall_ms, 1_795_516_884_046);
    assert_eq!((settings.snapshot_entries, settings.ledger), (7, Some(true)));
    assert!(settings.has_continuous_clock && settings.consensus().lease_reads);
}

#[test]
fn every_mistake_is_named() {
    assert_eq!(error_of(""), "setting 'coterie.id=…' is missing");
    assert_eq!(error_of(&(GOOD.to_string() + " quiet")), "unknown setting 'quiet'");
    assert_eq!(error_of(&(GOOD.to_string() + " coterie.ids=3")), "unknown setting 'coterie.ids=3'");
    assert_eq!(
        error_of(&(GOOD.to_string() + " coterie.id=2")),
        "setting 'coterie.id' is given twice"
    );
    assert_eq!(
        error_of("coterie.id=0"),
        "bad setting 'coterie.id=0': the value must be a node number from 1 to 254"
    );
    assert_eq!(
        error_of("coterie.id=4 coterie.cluster=1 coterie.peers=1,2,3"),
        "coterie.peers does not list this node, number 4"
    );
    assert!(error_of("coterie.peers=1,1").contains("different node numbers"));
    assert!(error_of("coterie.cluster=+1").contains("hexadecimal"));
    assert!(error_of("coterie.outside=10.0.2.15/33").contains("PREFIX"));
    assert!(error_of("coterie.services=bft").contains("raft or raft,bft"));
    assert!(error_of("coterie.snapshot=0").contains("at least 1"));
    assert!(error_of("coterie.path=fast").contains("kernel, userspace or dpdk"));
    for size in ["0", "3", "1000", "2048", "65536", "many"] {
        assert!(error_of(&format!("coterie.ring={size}")).contains("a power of two up to 1024"));
    }
    assert!(error_of("coterie.disk=maybe").contains("flush or noflush"));
    assert!(error_of("coterie.format=maybe").contains("yes or no"));
    assert!(error_of("coterie.reads=quickly").contains("index or lease"));
    assert!(error_of("coterie.clock=slow").contains("continuous or unknown"));
    assert!(error_of("coterie.join=0").contains("a node number"));
}

#[test]
fn a_node_founds_a_cluster_or_joins_one() {
    let line = |rest: &str| format!("coterie.id=4 coterie.cluster=1 {rest}");
    let joins = Settings::parse(&line("coterie.join=2")).unwrap();
    assert_eq!(joins.beginning, Beginning::Joins(NodeId::new(2).unwrap()));
    assert_eq!(joins.founders(), []);
    for neither in ["", "coterie.join=2 coterie.peers=2,4"] {
        assert!(error_of(&line(neither)).starts_with("exactly one of 'coterie.peers=…'"));
    }
    assert!(error_of(&line("coterie.join=4")).contains("names this node"));
}

#[test]
fn a_cluster_has_a_largest_size() {
    let peers =
        |count: usize| (1..=count).map(|number| number.to_string()).collect::<Vec<_>>().join(",");
    let line = |count| format!("coterie.id=1 coterie.cluster=1 coterie.peers={}", peers(count));
    assert!(Settings::parse(&line(limits::CLUSTER_NODES_MAX)).is_ok());
    let above = limits::CLUSTER_NODES_MAX + 1;
    assert_eq!(Settings::parse(&line(above)), Err(SettingsError::TooManyPeers(above)));
    assert!(Settings::parse(&line(254)).is_err());
}
