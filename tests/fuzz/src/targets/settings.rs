//! The kernel's command line.

use base::limits;
use node::{Outside, Settings};

pub(super) fn run(bytes: &[u8]) {
    let Ok(line) = std::str::from_utf8(bytes) else { return };
    match Settings::parse(line) {
        Ok(settings) => {
            assert!(settings.peers.contains(&settings.id));
            assert!(settings.peers.len() <= limits::CLUSTER_NODES_MAX);
            assert!(settings.peers.is_sorted_by(|one, next| one < next));
            assert_eq!(Settings::parse(&write(&settings)), Ok(settings));
        }
        Err(error) => {
            let text = error.to_string();
            assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?} on one line");
        }
    }
}

fn write(settings: &Settings) -> String {
    let peers: Vec<_> = settings.peers.iter().map(|peer| peer.to_string()).collect();
    let dotted = |[a, b, c, d]: [u8; 4]| format!("{a}.{b}.{c}.{d}");
    let outside = match settings.outside {
        None => "none".into(),
        Some(Outside { address, prefix, gateway }) => {
            let gateway = gateway.map_or(String::new(), |gateway| format!(",{}", dotted(gateway)));
            format!("{}/{prefix}{gateway}", dotted(address))
        }
    };
    format!(
        "coterie.id={} coterie.cluster={:x} coterie.peers={} coterie.outside={outside} \
         coterie.disk={} coterie.wall_ms={}",
        settings.id,
        settings.cluster.0,
        peers.join(","),
        if settings.without_flush { "noflush" } else { "flush" },
        settings.wall_ms
    )
}
