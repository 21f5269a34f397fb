//! The shell of a station.

use alloc::string::String;
use alloc::vec::Vec;

use base::{Duration, Instant};
use shell::{Command, CommandTable, Console, Line, Match, Record, Report, Value};

use crate::echo::SAMPLES_MAX;
use crate::station::{Finished, Role, Station};
use crate::trial::{Outcome, Plan};
use crate::{FLOWS_MAX, SIZES};

const SECONDS_MAX: u64 = 3_600;

/// What the shell can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum CommandId {
    Generate,
    Search,
    Echo,
    Become(Role),
    Stop,
    Status,
    Result,
    PowerOff,
}

const PLAN: &str = "MAC [size=64] [seconds=1] [rate=FRAMES/S] [flows=1]";

const COMMANDS: CommandTable<CommandId> = CommandTable::new(&[
    Command::new(
        "generate",
        CommandId::Generate,
        PLAN,
        "send frames to a station, then ask what arrived",
    ),
    Command::new(
        "search",
        CommandId::Search,
        "MAC [size=64] [seconds=1] [flows=1]",
        "look for the highest rate without loss (RFC 2544)",
    ),
    Command::new(
        "echo",
        CommandId::Echo,
        "MAC [size=64] [count=1000]",
        "take the time of single frames, there and back",
    ),
    Command::new(
        "sink",
        CommandId::Become(Role::Sink),
        "",
        "count what comes, and send echoes back",
    ),
    Command::new(
        "flowsink",
        CommandId::Become(Role::FlowSink),
        "",
        "as a sink, and keep account of each flow",
    ),
    Command::new(
        "forward",
        CommandId::Become(Role::Forwarder),
        "",
        "send every frame back, its addresses exchanged",
    ),
    Command::new("stop", CommandId::Stop, "", "end what was begun"),
    Command::new("status", CommandId::Status, "", "what this station does and has counted"),
    Command::new("result", CommandId::Result, "", "what came of the last measurement"),
    Command::new("poweroff", CommandId::PowerOff, "", "end the machine"),
]);

/// A console with these commands.
pub fn console() -> Console {
    Console::new("pktgen> ".into(), |line| COMMANDS.complete(line))
}

/// Executes a line. True if the machine is to end.
#[must_use]
pub fn execute(line: &Line, console: &mut Console, station: &mut Station, now: Instant) -> bool {
    let (id, answer, status) = match COMMANDS.find(&line.text) {
        Match::Blank => (None, Ok(String::new()), 0),
        Match::Help(text) => (None, Ok(text), 0),
        Match::Unknown(text) => (None, Err(text), 2),
        Match::Command { id, arguments, is_json } => {
            let answer = perform(id, &arguments, station, now).map(|report| match is_json {
                true => report.to_json() + "\n",
                false => report.to_text(),
            });
            (Some(id), answer.map_err(|text| text + ". " + &COMMANDS.usage(|other| other == id)), 1)
        }
    };
    match answer {
        Ok(text) => console.answer(&line.source, &text, 0),
        Err(text) => console.answer(&line.source, &alloc::format!("error: {text}\n"), status),
    }
    id == Some(CommandId::PowerOff)
}

fn perform(
    id: CommandId,
    arguments: &[Vec<u8>],
    station: &mut Station,
    now: Instant,
) -> Result<Report, String> {
    let mut words = Words::new(arguments)?;
    let began = || Report::Text("It has begun; 'result' tells what came of it.\n".into());
    let report = match id {
        CommandId::Generate => {
            let plan = words.plan()?;
            words.end()?;
            station.start_trial(&plan, now);
            began()
        }
        CommandId::Search => {
            let plan = words.plan()?;
            words.end()?;
            station.start_search(&plan, now);
            began()
        }
        CommandId::Echo => {
            let (to, size) = (words.station()?, words.size()?);
            let count = words.number("count", 1..=SAMPLES_MAX.into())?.unwrap_or(1_000);
            words.end()?;
            station.start_echo(to, size, u32::try_from(count).expect("it is within bounds"));
            began()
        }
        CommandId::Become(role) => {
            words.end()?;
            station.set_role(role, [now.as_nanos(), 0]);
            status(station)
        }
        CommandId::Stop => {
            station.stop();
            status(station)
        }
        CommandId::Status => status(station),
        CommandId::Result if station.is_busy() => return Err("it is not over yet".into()),
        CommandId::Result => match station.finished() {
            Some(finished) => result(finished, station),
            None => return Err("nothing was measured yet".into()),
        },
        CommandId::PowerOff => Report::Text("The machine ends.\n".into()),
    };
    Ok(report)
}

fn status(station: &Station) -> Report {
    let role = match station.role() {
        Role::Sink => "sink",
        Role::FlowSink => "flowsink",
        Role::Forwarder => "forwarder",
    };
    let mac = station.mac().map(|byte| alloc::format!("{byte:02x}")).join(":");
    let (counters, arrivals) = (station.counters(), station.meter().latest());
    let (pool, costs) = (station.pool().statistics(), station.costs());
    Report::Record(
        Record::default()
            .with("mac", Value::text(mac))
            .with("role", role)
            .with("busy", station.is_busy())
            .with("received", counters.received)
            .with("returned", counters.returned)
            .with("foreign", counters.foreign)
            .with("run_frames", arrivals.frames)
            .with("run_bytes", station.meter().bytes())
            .with("run_reordered", arrivals.reordered)
            .with("run_pps", arrivals.per_second() as u64)
            .with("flows", station.flows())
            .with("packet_ns_p50", costs.map(|(p50, _)| u64::from(p50 / 10)))
            .with("packet_ns_p99", costs.map(|(_, p99)| u64::from(p99 / 10)))
            .with("buffers", pool.buffers)
            .with("buffers_free", pool.free)
            .with("pool_exhausted", pool.exhausted)
            .with("copied_bytes", pool.copied_bytes),
    )
}

fn result(finished: &Finished, station: &Station) -> Report {
    let record = match finished {
        Finished::Trial(outcome) => trial(Record::default(), outcome),
        Finished::Search(search, last) => trial(
            Record::default()
                .with("zero_loss_pps", search.best())
                .with("trials", u64::from(search.trials())),
            last,
        ),
        Finished::Echo(spans) => Record::default()
            .with("echoes", spans.count)
            .with("lost", u64::from(spans.lost))
            .with("rtt_ns_p50", u64::from(spans.p50_ns))
            .with("rtt_ns_p99", u64::from(spans.p99_ns))
            .with("rtt_ns_max", u64::from(spans.max_ns)),
    };
    let costs = station.costs();
    Report::Record(
        record
            .with("packet_ns_p50", costs.map(|(p50, _)| u64::from(p50 / 10)))
            .with("packet_ns_p99", costs.map(|(_, p99)| u64::from(p99 / 10))),
    )
}

/// Of a search these are the figures of the last trial.
fn trial(record: Record, outcome: &Outcome) -> Record {
    let arrivals = outcome.arrivals;
    record
        .with("sent", outcome.sent)
        .with("sent_pps", outcome.per_second() as u64)
        .with("delivered", arrivals.map(|arrivals| arrivals.frames))
        .with("delivered_pps", arrivals.map(|arrivals| arrivals.per_second() as u64))
        .with("lost", outcome.lost())
        .with("reordered", arrivals.map(|arrivals| arrivals.reordered))
}

/// The words behind a command: one is a station, the others are NAME=NUMBER.
struct Words<'a> {
    words: Vec<&'a str>,
}

impl<'a> Words<'a> {
    fn new(arguments: &'a [Vec<u8>]) -> Result<Words<'a>, String> {
        let words = arguments.iter().map(|word| core::str::from_utf8(word));
        let words = words.collect::<Result<_, _>>();
        words.map(|words| Words { words }).map_err(|_| "a word is not UTF-8".into())
    }

    fn station(&mut self) -> Result<[u8; 6], String> {
        let place = self.words.iter().position(|word| !word.contains('='));
        let word = place.map(|place| self.words.remove(place)).ok_or("no station was named")?;
        parse_mac(word).ok_or_else(|| alloc::format!("'{word}' is no address as 02:77:00:00:00:01"))
    }

    fn number(
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

    fn size(&mut self) -> Result<usize, String> {
        let (least, most) = SIZES.into_inner();
        let size = self.number("size", least as u64..=most as u64)?;
        Ok(size.map_or(least, |size| usize::try_from(size).expect("it is within bounds")))
    }

    fn plan(&mut self) -> Result<Plan, String> {
        Ok(Plan {
            to: self.station()?,
            size: self.size()?,
            duration: Duration::from_secs(self.number("seconds", 1..=SECONDS_MAX)?.unwrap_or(1)),
            per_second: self.number("rate", 1..=1_000_000_000)?,
            flows: self
                .number("flows", 1..=FLOWS_MAX.into())?
                .map_or(1, |flows| u16::try_from(flows).expect("it is within bounds")),
        })
    }

    fn end(self) -> Result<(), String> {
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
        assert_eq!(plan, Plan { to, size: 128, duration, per_second: Some(5), flows: 1024 });
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, error) in [
            ("size=64", "no station was named"),
            ("02:77", "'02:77' is no address as 02:77:00:00:00:01"),
            ("02:77:00:00:00:01 size=63", "size is a number from 64 to 1518"),
            ("02:77:00:00:00:01 flows=1025", "flows is a number from 1 to 1024"),
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
}
