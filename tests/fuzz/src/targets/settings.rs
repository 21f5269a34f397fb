//! The kernel's command line.

use base::limits;
use node::{Beginning, Outside, Settings};

pub(super) fn run(bytes: &[u8]) {
    let Ok(line) = std::str::from_utf8(bytes) else { return };
    match Settings::parse(line) {
        Ok(settings) => {
            match &settings.beginning {
                Beginning::Founds(founders) => {
                    assert!(founders.contains(&settings.id));
                    assert!(founders.len() <= limits::CLUSTER_NODES_MAX);
                    assert!(founders.is_sorted_by(|one, next| one < next));
                }
                Beginning::Joins(member) => assert_ne!(*member, settings.id),
            }
            assert_eq!(Settings::parse(&write(&settings)), Ok(settings));
        }
        Err(error) => {
            let text = error.to_string();
            assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?} on one line");
        }
    }
}

fn write(settings: &Settings) -> String {
    let beginning = match &settings.beginning {
        Beginning::Founds(founders) => {
            let founders: Vec<_> = founders.iter().map(|peer| peer.to_string()).collect();
            format!("peers={}", founders.join(","))
        }
        Beginning::Joins(member) => format!("join={member}"),
    };
    let dotted = |[a, b, c, d]: [u8; 4]| format!("{a}.{b}.{c}.{d}");
    let outside = match settings.outside {
        None => "none".into(),
        Some(Outside { address, prefix, gateway }) => {
            let gateway = gateway.map_or(String::new(), |gateway| format!(",{}", dotted(gateway)));
            format!("{}/{prefix}{gateway}", dotted(address))
        }
    };
    format!(
        "coterie.id={} coterie.cluster={:x} coterie.{beginning} coterie.outside={outside} \
         coterie.format={} coterie.disk={} coterie.snapshot={} coterie.wall_ms={}",
        settings.id,
        settings.cluster.0,
        if settings.may_format { "yes" } else { "no" },
        if settings.without_flush { "noflush" } else { "flush" },
        settings.snapshot_entries,
        settings.wall_ms
    )
}
