//! Which address is behind which port, learnt from what ports send.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{Destination, PortId};
use crate::{ADDRESS_AGE_SECONDS, ADDRESSES_PER_PORT_MAX};

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

impl FromStr for MacAddress {
    type Err = anyhow::Error;

    /// Six bytes in hexadecimal with colons between them.
    fn from_str(text: &str) -> anyhow::Result<MacAddress> {
        let byte = |digits: &str| {
            let is_byte =
                digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            is_byte.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
        };
        let bytes: Option<Vec<u8>> = text.split(':').map(byte).collect();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(MacAddress).ok_or_else(|| anyhow::anyhow!("an address is like 02:77:00:00:00:01"))
    }
}

#[derive(Clone, Copy, Debug)]
struct Station {
    port: PortId,
    heard: Duration,
    /// Its machine is gone, and it has not been heard since.
    is_gone: bool,
    /// It belongs to its port, whoever else says that it is there, for as long as there is the port.
    is_pinned: bool,
}

/// What the table knows of a port.
#[derive(Clone, Copy, Debug, Default)]
struct Behind {
    /// How many stations were learnt there.
    learnt: usize,
    /// One station is pinned there, and no other is heard.
    has_pin: bool,
}

/// Where a frame goes, and what its sender's address has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    /// Where it goes.
    pub to: Destination,
    /// Its source is behind its port as far as the table knows. Otherwise there are too many addresses
    /// behind it, or it goes nowhere.
    pub is_learnt: bool,
}

/// The addresses that were heard lately, at most [`ADDRESSES_PER_PORT_MAX`] behind each port: a machine that
/// makes addresses up keeps nobody's from being learnt but those of its own port.
#[derive(Debug, Default)]
pub struct AddressTable {
    stations: BTreeMap<MacAddress, Station>,
    ports: BTreeMap<PortId, Behind>,
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
    pub fn route(&mut self, port: PortId, frame: &[u8], now: Duration) -> Route {
        let address = |from: usize| {
            let bytes = frame[from..from + 6].try_into();
            MacAddress(bytes.expect("six bytes"))
        };
        let (destination, source) = (address(0), address(6));
        if source.is_group() || source == destination {
            return Route { to: Destination::Senseless, is_learnt: false };
        }
        match self.learn(source, port, now) {
            Some(is_learnt) => Route { to: self.destination(destination, port, now), is_learnt },
            None => Route { to: Destination::Spoofed, is_learnt: false },
        }
    }

    fn destination(&self, address: MacAddress, port: PortId, now: Duration) -> Destination {
        if address.is_group() {
            return Destination::Flood;
        }
        match self.stations.get(&address) {
            Some(station) if station.is_old(now) => Destination::Flood,
            Some(station) if station.port == port => Destination::Stay,
            Some(station) => Destination::Port(station.port),
            None => Destination::Flood,
        }
    }

    /// Whether there was room for the source; `None` if it cannot be behind that port.
    fn learn(&mut self, source: MacAddress, port: PortId, now: Duration) -> Option<bool> {
        let known = self.stations.get_mut(&source);
        if let Some(known) = known.filter(|known| known.port == port) {
            (known.heard, known.is_gone) = (now, false);
            return Some(true);
        }
        let is_pinned = self.stations.get(&source).is_some_and(|known| known.is_pinned);
        if is_pinned || self.behind(port).has_pin {
            return None;
        }
        let has_room = self.behind(port).learnt < ADDRESSES_PER_PORT_MAX || self.sweep(port, now);
        if has_room {
            self.place(source, Station { port, heard: now, is_gone: false, is_pinned: false });
        }
        Some(has_room)
    }

    fn behind(&self, port: PortId) -> Behind {
        self.ports.get(&port).copied().unwrap_or_default()
    }

    fn place(&mut self, address: MacAddress, station: Station) {
        self.ports.entry(station.port).or_default().learnt += 1;
        if let Some(before) = self.stations.insert(address, station) {
            self.ports.entry(before.port).or_default().learnt -= 1;
        }
    }

    /// Forgets who has not been heard for long. True if there is room behind this port then.
    fn sweep(&mut self, port: PortId, now: Duration) -> bool {
        if now.saturating_sub(self.swept) < Self::SWEEP_EVERY {
            return false;
        }
        self.swept = now;
        let AddressTable { stations, ports, .. } = self;
        stations.retain(|_, station| {
            if station.is_old(now) {
                ports.entry(station.port).or_default().learnt -= 1;
            }
            !station.is_old(now)
        });
        self.behind(port).learnt < ADDRESSES_PER_PORT_MAX
    }

    /// Pins a station to a new port: it is there whatever others send, and that port sends as nobody else.
    ///
    /// # Errors
    /// If it names a group, or is pinned already.
    pub fn pin(&mut self, port: PortId, address: MacAddress, now: Duration) -> anyhow::Result<()> {
        anyhow::ensure!(!address.is_group(), "{address} names a group of stations");
        let is_pinned = self.stations.get(&address).is_some_and(|station| station.is_pinned);
        anyhow::ensure!(!is_pinned, "{address} is pinned to another port");
        // Nobody need be told that it is gone before it was heard.
        self.place(address, Station { port, heard: now, is_gone: true, is_pinned: true });
        self.ports.entry(port).or_default().has_pin = true;
        Ok(())
    }

    /// The station that is pinned to a port may move as any other, and others may be there.
    pub fn unpin(&mut self, port: PortId) {
        self.ports.entry(port).or_default().has_pin = false;
        let of_port = self.stations.values_mut().filter(|station| station.port == port);
        of_port.for_each(|station| station.is_pinned = false);
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
        self.ports.remove(&port);
    }

    /// All addresses with their ports, and when they were heard last.
    pub fn iter(&self) -> impl Iterator<Item = (MacAddress, PortId, Duration)> {
        self.stations.iter().map(|(address, station)| (*address, station.port, station.heard))
    }
}

impl Station {
    fn is_old(&self, now: Duration) -> bool {
        !self.is_pinned && now.saturating_sub(self.heard) > AddressTable::AGE
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

    fn to(table: &mut AddressTable, port: PortId, frame: &[u8], seconds: u64) -> Destination {
        table.route(port, frame, at(seconds)).to
    }

    /// From one of many stations to one that nobody knows.
    fn from(number: u32) -> Vec<u8> {
        let mut frame = frame(1, 0);
        frame[6] = 4;
        frame[8..12].copy_from_slice(&number.to_be_bytes());
        frame
    }

    #[test]
    fn an_address_is_learnt_and_moves_and_is_forgotten() {
        let mut table = AddressTable::default();
        assert_eq!(to(&mut table, HERE, &frame(2, 1), 0), Destination::Flood);
        assert_eq!(to(&mut table, THERE, &frame(1, 2), 0), Destination::Port(HERE));
        assert_eq!(to(&mut table, HERE, &frame(2, 1), 0), Destination::Port(THERE));
        assert_eq!(to(&mut table, THERE, &frame(2, 3), 0), Destination::Stay);
        // The first station is now there as well.
        assert_eq!(to(&mut table, THERE, &frame(2, 1), 1), Destination::Stay);
        assert_eq!(to(&mut table, HERE, &frame(1, 4), 301), Destination::Port(THERE));
        assert_eq!(to(&mut table, HERE, &frame(1, 4), 302), Destination::Flood);
        table.forget(HERE);
        assert_eq!(to(&mut table, THERE, &frame(4, 1), 302), Destination::Flood);
    }

    #[test]
    fn who_is_gone_is_told_once_and_still_has_its_place() {
        let mut table = AddressTable::default();
        let lost = MacAddress([2, 0, 0, 0, 0, 1]);
        to(&mut table, HERE, &frame(2, 1), 0);
        assert_eq!((table.lose(HERE), table.lose(THERE)), (vec![lost], vec![]));
        assert_eq!(table.lose(HERE), []);
        assert_eq!(to(&mut table, THERE, &frame(1, 2), 1), Destination::Port(HERE));
        to(&mut table, HERE, &frame(2, 1), 2);
        assert_eq!(table.lose(HERE), [lost]);
    }

    #[test]
    fn groups_are_flooded_and_never_learnt() {
        let mut table = AddressTable::default();
        let mut broadcast = frame(2, 1);
        broadcast[..6].fill(0xff);
        assert_eq!(to(&mut table, HERE, &broadcast, 0), Destination::Flood);
        broadcast.rotate_left(6);
        broadcast[..6].fill(0xff);
        broadcast[6] = 1;
        assert_eq!(to(&mut table, HERE, &broadcast, 0), Destination::Senseless);
        assert_eq!(to(&mut table, HERE, &frame(1, 1), 0), Destination::Senseless);
        assert_eq!(table.iter().count(), 1);
    }

    #[test]
    fn a_port_has_so_many_addresses_and_takes_no_place_of_others() {
        let most = u32::try_from(ADDRESSES_PER_PORT_MAX).unwrap();
        let mut table = AddressTable::default();
        for number in 0..most * 1_000 {
            let route = table.route(HERE, &from(number), at(0));
            assert_eq!(
                (route.to, route.is_learnt),
                (Destination::Flood, number < most),
                "{number}"
            );
        }
        assert_eq!(table.iter().count(), ADDRESSES_PER_PORT_MAX);
        // Who is known stays known, and others are learnt behind other ports.
        assert!(table.route(HERE, &from(most - 1), at(1)).is_learnt);
        assert!(table.route(THERE, &frame(1, 2), at(1)).is_learnt);
        assert_eq!(to(&mut table, HERE, &frame(2, 3), 1), Destination::Port(THERE));
        // One that moves makes room where it was, and needs some where it is.
        assert!(table.route(THERE, &from(0), at(2)).is_learnt);
        assert!(table.route(HERE, &frame(1, 2), at(2)).is_learnt);
        assert!(!table.route(HERE, &frame(1, 3), at(2)).is_learnt);
    }

    #[test]
    fn old_addresses_make_room() {
        let most = u32::try_from(ADDRESSES_PER_PORT_MAX).unwrap();
        let mut table = AddressTable::default();
        (0..most).for_each(|number| assert!(table.route(HERE, &from(number), at(0)).is_learnt));
        assert!(!table.route(HERE, &from(most), at(300)).is_learnt);
        assert!(table.route(HERE, &from(most), at(302)).is_learnt);
        assert_eq!(table.iter().count(), 1);
    }

    #[test]
    fn a_pinned_station_cannot_be_stolen_and_its_port_is_nobody_else() {
        let mut table = AddressTable::default();
        let station = MacAddress([2, 0, 0, 0, 0, 1]);
        // Somebody was there before.
        assert_eq!(to(&mut table, THERE, &frame(9, 1), 0), Destination::Flood);
        table.pin(HERE, station, at(0)).unwrap();
        assert_eq!(table.lose(HERE), [], "it has not been heard");
        assert_eq!(to(&mut table, THERE, &frame(9, 1), 0), Destination::Spoofed);
        assert_eq!(to(&mut table, HERE, &frame(9, 7), 0), Destination::Spoofed);
        assert_eq!(to(&mut table, THERE, &frame(7, 2), 0), Destination::Flood, "7 was not learnt");
        assert_eq!(to(&mut table, HERE, &frame(2, 1), 0), Destination::Port(THERE));
        assert_eq!(to(&mut table, THERE, &frame(1, 2), 9_999), Destination::Port(HERE));
        assert_eq!(table.lose(HERE), [station]);
        assert!(table.pin(THERE, station, at(0)).is_err());
        assert!(table.pin(THERE, MacAddress([3, 0, 0, 0, 0, 1]), at(0)).is_err());
        table.unpin(HERE);
        assert_eq!(to(&mut table, HERE, &frame(9, 7), 9_999), Destination::Flood);
        assert_eq!(to(&mut table, THERE, &frame(7, 1), 9_999), Destination::Port(HERE));
        table.forget(THERE);
        table.pin(HERE, station, at(0)).unwrap();
        // Without its port it is free.
        table.forget(HERE);
        assert_eq!(to(&mut table, THERE, &frame(9, 1), 9_999), Destination::Flood);
        table.pin(PortId(3), station, at(0)).unwrap();
    }

    #[test]
    fn addresses_are_read_as_they_are_written() {
        let station = MacAddress([2, 0x77, 0, 0, 0xfe, 1]);
        assert_eq!(station.to_string().parse::<MacAddress>().unwrap(), station);
        for wrong in
            ["", "02:77:00:00:00", "02:77:00:00:00:01:02", "2:77:0:0:0:1", "+2:77:00:00:00:01"]
        {
            assert!(wrong.parse::<MacAddress>().is_err(), "{wrong}");
        }
    }
}
