//! The shell of a station.

mod rfc2544;
mod stats;
mod status;
mod tcp;
mod words;

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use base::Instant;
use shell::{Command, CommandTable, Console, Line, Match, Record, Report};

use crate::echo::SAMPLES_MAX;
use crate::station::{Finished, Role, Station};
use crate::trial::Outcome;
use words::Words;

/// What the shell can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum CommandId {
    Generate,
    Search,
    Rfc2544,
    Echo,
    Become(Role),
    TcpSink,
    TcpSource,
    TcpStatus,
    Stop,
    Status,
    Pairs,
    Stats,
    Result,
    PowerOff,
}

const PLAN: &str = "MAC [size=64] [seconds=1|ms=N] [rate=FRAMES/S] [flows=1]";

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
        "MAC [size=64] [seconds=1|ms=N] [flows=1]",
        "look for the highest rate without loss (RFC 2544)",
    ),
    Command::new(
        "rfc2544",
        CommandId::Rfc2544,
        "MAC [seconds=1|ms=N] [flows=1]",
        "do so for each frame size of RFC 2544, with latencies at 90 % of the rate",
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
    Command::new(
        "tcp sink",
        CommandId::TcpSink,
        "[PORT]",
        "count what is sent by TCP, as iperf3 -s does (another protocol)",
    ),
    Command::new(
        "tcp source",
        CommandId::TcpSource,
        "ADDRESS [PORT] [SECONDS]",
        "send to a sink as much as TCP carries, then ask what arrived",
    ),
    Command::new("tcp status", CommandId::TcpStatus, "", "what the sink counts and the card does"),
    Command::new("stop", CommandId::Stop, "", "end what was begun"),
    Command::new("status", CommandId::Status, "", "what this station does and has counted"),
    Command::new("pairs", CommandId::Pairs, "", "the same for each pair of queues of the card"),
    Command::new("stats", CommandId::Stats, "", "what the card has counted: drops, kicks, polls"),
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
        CommandId::Rfc2544 => {
            let plan = words.plan_of_all_sizes()?;
            words.end()?;
            station.start_survey(&plan, now);
            began()
        }
        CommandId::Echo => {
            let (to, size) = (words.station()?, words.size()?);
            let count = words.number("count", 1..=SAMPLES_MAX.into())?.unwrap_or(1_000);
            words.end()?;
            let count = u32::try_from(count).expect("it is within bounds");
            station.start_echo(to, size, count, now);
            began()
        }
        CommandId::Become(role) => {
            words.end()?;
            station.set_role(role).map_err(|error| error.to_string())?;
            status::all(station)
        }
        CommandId::TcpSink => {
            let port = words.port()?;
            words.end()?;
            station.listen(port);
            tcp::status(station)
        }
        CommandId::TcpSource => {
            let (to, port, duration) = (words.address()?, words.port()?, words.seconds()?);
            words.end()?;
            station.start_tcp(to, port, duration, now);
            began()
        }
        CommandId::TcpStatus => {
            words.end()?;
            tcp::status(station)
        }
        CommandId::Stop => {
            station.stop(now);
            status::all(station)
        }
        CommandId::Status => status::all(station),
        CommandId::Pairs => status::pairs(station),
        CommandId::Stats => stats::all(station),
        CommandId::Result if station.is_any_busy() => return Err("it is not over yet".into()),
        CommandId::Result => match station.finished() {
            Some(finished) => result(finished, station)?,
            None => return Err("nothing was measured yet".into()),
        },
        CommandId::PowerOff => Report::Text("The machine ends.\n".into()),
    };
    Ok(report)
}

fn result(finished: &Finished, station: &Station) -> Result<Report, String> {
    let record = match finished {
        Finished::Trial(outcome) => trial(Record::default(), &station.whole(*outcome)),
        Finished::Search(search, last) => trial(
            Record::default()
                .with("zero_loss_pps", search.best())
                .with("trials", u64::from(search.trials())),
            last,
        ),
        Finished::Survey(rows) if rows[0].is_none() => return Err("nobody has answered".into()),
        Finished::Survey(rows) => return Ok(rfc2544::result(rows)),
        Finished::Tcp(outcome) => return tcp::result(outcome),
        Finished::Echo(spans) => Record::default()
            .with("echoes", spans.count)
            .with("lost", u64::from(spans.lost))
            .with("rtt_ns_p50", u64::from(spans.p50_ns))
            .with("rtt_ns_p99", u64::from(spans.p99_ns))
            .with("rtt_ns_max", u64::from(spans.max_ns)),
    };
    let costs = station.costs();
    Ok(Report::Record(
        record
            .with("packet_ns_p50", costs.map(|(p50, _)| u64::from(p50 / 10)))
            .with("packet_ns_p99", costs.map(|(_, p99)| u64::from(p99 / 10))),
    ))
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
        .with("duplicates", arrivals.map(|arrivals| arrivals.duplicates))
}
