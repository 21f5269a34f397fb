//! What follows a command.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use base::Duration;

use crate::probe::SEQUENCES;
use crate::trial::Plan;
use crate::{FLOWS_MAX, SIZES, tcp};

const SECONDS_MAX: u64 = 3_600;
/// A shorter trial says nothing.
const MILLIS_MIN: u64 = 10;
const RATE_MAX: u64 = 1_000_000_000;
const _: () = assert!(SECONDS_MAX * RATE_MAX < SEQUENCES, "frames of a run are numbered");
/// A source sends for so long, unless something else is said.
const TCP_SECONDS: Duration = Duration::from_secs(10);

/// Words as they are read: those that are expected are taken away.
pub(super) struct Words<'a> {
    words: Vec<&'a str>,
}

impl<'a> Words<'a> {
    pub(super) fn new(arguments: &'a [Vec<u8>]) -> Result<Words<'a>, String> {
        let words = arguments.iter().map(|word| core::str::from_utf8(word));
        let words = words.collect::<Result<_, _>>();
        words.map(|words| Words { words }).map_err(|_| "a word is not UTF-8".into())
    }

    pub(super) fn station(&mut self) -> Result<[u8; 6], String> {
        let word = self.positional().ok_or("no station was named")?;
        parse_mac(word).ok_or_else(|| alloc::format!("'{word}' is no address as 02:77:00:00:00:01"))
    }

    pub(super) fn number(
        &mut self,
        name: &str,
        range: core::ops::RangeInclusive<u64>,
    ) -> Result<Option<u64>, String> {
        let is_it = |word: &&str| word.split_once('=').is_some_and(|(before, _)| before == name);
        let Some(place) = self.words.iter().position(is_it) else { return Ok(None) };
        let word = self.words.remove(place);
        let number = word.split_once('=').and_then(|(_, number)| number.parse().ok());
        let number = number.filter(|number| range.contains(number));
        let (least, most) = range.into_inner();
        number.map(Some).ok_or_else(|| alloc::format!("{name} is a number from {least} to {most}"))
    }

    pub(super) fn size(&mut self) -> Result<usize, String> {
        let (least, most) = SIZES.into_inner();
        let size = self.number("size", least as u64..=most as u64)?;
        Ok(size.map_or(least, |size| usize::try_from(size).expect("it is within bounds")))
    }

    pub(super) fn plan(&mut self) -> Result<Plan, String> {
        let (size, per_second) = (self.size()?, self.number("rate", 1..=RATE_MAX)?);
        Ok(Plan { size, per_second, ..self.plan_of_all_sizes()? })
    }

    /// A plan without a size and a rate of its own.
    pub(super) fn plan_of_all_sizes(&mut self) -> Result<Plan, String> {
        Ok(Plan {
            to: self.station()?,
            size: *SIZES.start(),
            duration: self.duration()?,
            per_second: None,
            flows: self
                .number("flows", 1..=FLOWS_MAX.into())?
                .map_or(1, |flows| u16::try_from(flows).expect("it is within bounds")),
            first_flow: 0,
            lane: 0,
        })
    }

    /// How long a trial is: a second, unless something else is said.
    fn duration(&mut self) -> Result<Duration, String> {
        let seconds = self.number("seconds", 1..=SECONDS_MAX)?.map(Duration::from_secs);
        let millis = self.number("ms", MILLIS_MIN..=SECONDS_MAX * 1_000)?;
        match (seconds, millis.map(Duration::from_millis)) {
            (Some(_), Some(_)) => Err("seconds and ms are both how long it takes".into()),
            (seconds, millis) => Ok(seconds.or(millis).unwrap_or(Duration::from_secs(1))),
        }
    }

    /// The next word without a name, if there is one.
    fn positional(&mut self) -> Option<&'a str> {
        let place = self.words.iter().position(|word| !word.contains('='))?;
        Some(self.words.remove(place))
    }

    pub(super) fn address(&mut self) -> Result<Ipv4Addr, String> {
        let word = self.positional().ok_or("no address was given")?;
        let address = word.parse::<Ipv4Addr>().ok().filter(|address| {
            !address.is_unspecified() && !address.is_multicast() && !address.is_broadcast()
        });
        address.ok_or_else(|| alloc::format!("'{word}' is no address as 198.18.0.2"))
    }

    /// A port, or that of iperf3.
    pub(super) fn port(&mut self) -> Result<u16, String> {
        let Some(word) = self.positional() else { return Ok(tcp::PORT) };
        let port = word.parse().ok().filter(|port| *port > 0);
        port.ok_or_else(|| alloc::format!("'{word}' is no port from 1 to 65535"))
    }

    /// How long, or a few seconds.
    pub(super) fn seconds(&mut self) -> Result<Duration, String> {
        let Some(word) = self.positional() else { return Ok(TCP_SECONDS) };
        let seconds = word.parse().ok().filter(|seconds| (1..=SECONDS_MAX).contains(seconds));
        seconds
            .map(Duration::from_secs)
            .ok_or_else(|| alloc::format!("seconds are a number from 1 to {SECONDS_MAX}"))
    }

    pub(super) fn end(self) -> Result<(), String> {
        match self.words.first() {
            Some(word) => Err(alloc::format!("'{word}' means nothing here")),
            None => Ok(()),
        }
    }
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<Vec<u8>> {
        line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn a_plan_is_read_in_any_order() {
        let line = words("size=128 02:77:00:00:00:1f flows=1024 rate=5 seconds=2");
        let mut words = Words::new(&line).unwrap();
        let plan = words.plan().unwrap();
        assert!(words.end().is_ok());
        let to = [2, 0x77, 0, 0, 0, 0x1f];
        let duration = Duration::from_secs(2);
        let whole = Plan { to, size: 128, duration, per_second: Some(5), flows: 1024, ..plan };
        assert_eq!((plan, plan.first_flow, plan.lane), (whole, 0, 0));
    }

    #[test]
    fn all_sizes_have_none_of_their_own() {
        let line = words("02:77:00:00:00:01 ms=100 flows=7 size=64");
        let mut words = Words::new(&line).unwrap();
        let plan = words.plan_of_all_sizes().unwrap();
        assert_eq!((plan.duration, plan.flows), (Duration::from_millis(100), 7));
        assert_eq!(words.end().unwrap_err(), "'size=64' means nothing here");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, error) in [
            ("size=64", "no station was named"),
            ("02:77", "'02:77' is no address as 02:77:00:00:00:01"),
            ("02:77:00:00:00:01 size=63", "size is a number from 64 to 1518"),
            ("02:77:00:00:00:01 flows=1025", "flows is a number from 1 to 1024"),
            ("02:77:00:00:00:01 seconds=1 ms=1000", "seconds and ms are both how long it takes"),
            ("02:77:00:00:00:01 rate=fast", "rate is a number from 1 to 1000000000"),
        ] {
            let line = words(line);
            assert_eq!(Words::new(&line).unwrap().plan().unwrap_err(), error);
        }
        let line = words("02:77:00:00:00:01 colour=3");
        let mut words = Words::new(&line).unwrap();
        words.plan().unwrap();
        assert_eq!(words.end().unwrap_err(), "'colour=3' means nothing here");
    }

    #[test]
    fn a_sink_is_an_address_a_port_and_a_time() {
        let read = |line: &str| {
            let line = words(line);
            let mut words = Words::new(&line).unwrap();
            let read = (words.address()?, words.port()?, words.seconds()?);
            words.end().map(|()| read)
        };
        let address = Ipv4Addr::new(198, 18, 0, 2);
        assert_eq!(read("198.18.0.2"), Ok((address, tcp::PORT, TCP_SECONDS)));
        assert_eq!(read("198.18.0.2 80 7"), Ok((address, 80, Duration::from_secs(7))));
        for (line, error) in [
            ("198.18.0", "'198.18.0' is no address as 198.18.0.2"),
            ("224.0.0.1", "'224.0.0.1' is no address as 198.18.0.2"),
            ("198.18.0.2 0", "'0' is no port from 1 to 65535"),
            ("198.18.0.2 80 3601", "seconds are a number from 1 to 3600"),
            ("198.18.0.2 80 1 1", "'1' means nothing here"),
        ] {
            assert_eq!(read(line).unwrap_err(), error);
        }
    }
}
