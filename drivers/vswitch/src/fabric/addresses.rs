//! Which address is behind which port, learnt from what ports send.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::{Destination, PortId};
use crate::{ADDRESS_AGE_SECONDS, ADDRESSES_MAX};

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// Whether it names a group of stations, all of them included.
    pub fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[derive(Clone, Copy, Debug)]
struct Station {
    port: PortId,
    heard: Duration,
    /// Its machine is gone, and it has not been heard since.
    is_gone: bool,
}

/// The addresses that were heard lately.
#[derive(Debug, Default)]
pub struct AddressTable {
    stations: BTreeMap<MacAddress, Station>,
    /// When old addresses were looked for last.
    swept: Duration,
}

impl AddressTable {
    const AGE: Duration = Duration::from_secs(ADDRESS_AGE_SECONDS);
    /// A flood of made-up addresses must not cost a walk through the table for each.
    const SWEEP_EVERY: Duration = Duration::from_secs(1);

    /// Learns from a frame that came from `port` at `now` (since the switch started), and says where it goes.
    ///
    /// # Panics
    /// If the frame is shorter than its header.
    pub fn route(&mut self, port: PortId, frame: &[u8], now: Duration) -> Destination {
        let address = |from: usize| {
            let bytes = frame[from..from + 6].try_into();
            MacAddress(bytes.expect("six bytes"))
        };
        let (destination, source) = (address(0), address(6));
        if source.is_group() || source == destination {
            return Destination::Senseless;
        }
        self.learn(source, port, now);
        if destination.is_group() {
            return Destination::Flood;
        }
        match self.stations.get(&destination) {
            Some(station) if now.saturating_sub(station.heard) > Self::AGE => Destination::Flood,
            Some(station) if station.port == port => Destination::Stay,
            Some(station) => Destination::Port(station.port),
            None => Destination::Flood,
        }
    }

    fn learn(&mut self, source: MacAddress, port: PortId, now: Duration) {
        let station = Station { port, heard: now, is_gone: false };
        if let Some(known) = self.stations.get_mut(&source) {
            *known = station;
            return;
        }
        if self.stations.len() < ADDRESSES_MAX {
            self.stations.insert(source, station);
            return;
        }
        // A full table forgets whom it has not heard for long, and learns nobody if there is none.
        if now.saturating_sub(self.swept) < Self::SWEEP_EVERY {
            return;
        }
        self.swept = now;
        self.stations.retain(|_, station| now.saturating_sub(station.heard) <= Self::AGE);
        if self.stations.len() < ADDRESSES_MAX {
            self.stations.insert(source, station);
        }
    }

    /// The machine at `port` is gone. Answers which stations are with it, each once until it is heard again.
    ///
    /// What is sent to them still goes to that port, where nobody is: flooded, it would keep all other
    /// machines busy just when they settle who does the work of the lost one.
    pub fn lose(&mut self, port: PortId) -> Vec<MacAddress> {
        let present = self
            .stations
            .iter_mut()
            .filter(|(_, station)| station.port == port && !station.is_gone);
        let leave = |(address, station): (&MacAddress, &mut Station)| {
            station.is_gone = true;
            *address
        };
        present.map(leave).collect()
    }

    /// Forgets what is behind a port.
    pub fn forget(&mut self, port: PortId) {
        self.stations.retain(|_, station| station.port != port);
    }

    /// All addresses with their ports, and when they were heard last.
    pub fn iter(&self) -> impl Iterator<Item = (MacAddress, PortId, Duration)> {
        self.stations.iter().map(|(address, station)| (*address, station.port, station.heard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: PortId = PortId(1);
    const THERE: PortId = PortId(2);

    fn frame(destination: u8, source: u8) -> Vec<u8> {
        let address = |last| [2, 0, 0, 0, 0, last];
        [address(destination).as_slice(), &address(source), &[8, 0]].concat()
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_address_is_learnt_and_moves_and_is_forgotten() {
        let mut table = AddressTable::default();
        assert_eq!(table.route(HERE, &frame(2, 1), at(0)), Destination::Flood);
        assert_eq!(table.route(THERE, &frame(1, 2), at(0)), Destination::Port(HERE));
        assert_eq!(table.route(HERE, &frame(2, 1), at(0)), Destination::Port(THERE));
        assert_eq!(table.route(THERE, &frame(2, 3), at(0)), Destination::Stay);
        // The first station is now there as well.
        assert_eq!(table.route(THERE, &frame(2, 1), at(1)), Destination::Stay);
        assert_eq!(table.route(HERE, &frame(1, 4), at(301)), Destination::Port(THERE));
        assert_eq!(table.route(HERE, &frame(1, 4), at(302)), Destination::Flood);
        table.forget(HERE);
        assert_eq!(table.route(THERE, &frame(4, 1), at(302)), Destination::Flood);
    }

    #[test]
    fn who_is_gone_is_told_once_and_still_has_its_place() {
        let mut table = AddressTable::default();
        let lost = MacAddress([2, 0, 0, 0, 0, 1]);
        table.route(HERE, &frame(2, 1), at(0));
        assert_eq!((table.lose(HERE), table.lose(THERE)), (vec![lost], vec![]));
        assert_eq!(table.lose(HERE), []);
        assert_eq!(table.route(THERE, &frame(1, 2), at(1)), Destination::Port(HERE));
        table.route(HERE, &frame(2, 1), at(2));
        assert_eq!(table.lose(HERE), [lost]);
    }

    #[test]
    fn groups_are_flooded_and_never_learnt() {
        let mut table = AddressTable::default();
        let mut broadcast = frame(2, 1);
        broadcast[..6].fill(0xff);
        assert_eq!(table.route(HERE, &broadcast, at(0)), Destination::Flood);
        broadcast.rotate_left(6);
        broadcast[..6].fill(0xff);
        broadcast[6] = 1;
        assert_eq!(table.route(HERE, &broadcast, at(0)), Destination::Senseless);
        assert_eq!(table.route(HERE, &frame(1, 1), at(0)), Destination::Senseless);
        assert_eq!(table.iter().count(), 1);
    }

    #[test]
    fn the_table_has_a_largest_size() {
        let mut table = AddressTable::default();
        for number in 0..u32::try_from(ADDRESSES_MAX).unwrap() * 4 {
            let mut flood = frame(1, 0);
            flood[6] = 4;
            flood[8..12].copy_from_slice(&number.to_be_bytes());
            table.route(HERE, &flood, at(0));
            assert!(table.stations.len() <= ADDRESSES_MAX);
        }
        // Once they are old, there is room again.
        table.route(THERE, &frame(1, 9), at(400));
        assert_eq!(table.iter().count(), 1);
    }
}
