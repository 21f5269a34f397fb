//! Writes: many at once for a while, or until the first is accepted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use redis::Connection;

use crate::cluster::client;
use crate::{clock, interrupt};

/// Nobody waits longer for a reply.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a load has shown.
#[derive(Debug)]
pub struct Load {
    /// Writes that were acknowledged, per second.
    pub per_second: f64,
    /// How long each took, in milliseconds.
    pub latencies_ms: Vec<f64>,
    /// Writes that were refused or not answered.
    pub failed: usize,
}

fn set(connection: &mut Connection, key: &str, value: &str) -> bool {
    redis::cmd("SET").arg(key).arg(value).query::<String>(connection).is_ok_and(|ok| ok == "OK")
}

/// One connection after another: a user network of QEMU accepts one at a time.
fn connect(port: u16, count: usize) -> anyhow::Result<Vec<Connection>> {
    (0..count).map(|_| client::redis(port, PATIENCE)).collect()
}

/// Writes of 16 bytes over `connections` connections, each as soon as the one before is acknowledged.
///
/// # Errors
/// If the node cannot be reached.
pub fn writes(port: u16, connections: usize, span: Duration) -> anyhow::Result<Load> {
    let connections = connect(port, connections)?;
    let is_over = AtomicBool::new(false);
    let started = clock::now();
    let (latencies_ms, failed) = std::thread::scope(|scope| {
        let write = |(number, connection): (usize, Connection)| {
            let is_over = &is_over;
            scope.spawn(move || write_until(connection, number, is_over))
        };
        let writers: Vec<_> = connections.into_iter().enumerate().map(write).collect();
        std::thread::sleep(span);
        is_over.store(true, Ordering::Relaxed);
        let (mut all, mut failed) = (Vec::new(), 0);
        for writer in writers {
            let (latencies, refused) = writer.join().expect("writing does not panic");
            all.extend(latencies);
            failed += refused;
        }
        (all, failed)
    });
    let per_second = latencies_ms.len() as f64 / (clock::now() - started).as_secs_f64();
    Ok(Load { per_second, latencies_ms, failed })
}

fn write_until(
    mut connection: Connection,
    number: usize,
    is_over: &AtomicBool,
) -> (Vec<f64>, usize) {
    let (mut latencies, mut failed) = (Vec::new(), 0);
    let mut count = 0u64;
    while !is_over.load(Ordering::Relaxed) {
        let key = format!("bench:{number}:{}", count % 100);
        let started = clock::now();
        if set(&mut connection, &key, &format!("{count:016}")) {
            latencies.push((clock::now() - started).as_secs_f64() * 1_000.0);
        } else {
            failed += 1;
        }
        count += 1;
    }
    (latencies, failed)
}

/// So many connections fill a node, each with so many writes at a time, over so many keys.
const FILL_CONNECTIONS: usize = 16;
const FILL_PIPELINE: u64 = 64;
const FILL_KEYS: u64 = 20_000;

/// So many writes of 16 bytes, as fast as they are taken.
///
/// # Errors
/// If the node cannot be reached, or refuses one.
pub fn fill(port: u16, writes: u64) -> anyhow::Result<()> {
    let connections = connect(port, FILL_CONNECTIONS)?;
    let (next, told) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let fill = |mut connection: Connection| {
            let (next, told) = (&next, &told);
            scope.spawn(move || -> anyhow::Result<()> {
                loop {
                    let first = next.fetch_add(FILL_PIPELINE, Ordering::Relaxed);
                    if first >= writes {
                        return Ok(());
                    }
                    interrupt::check()?;
                    fill_some(&mut connection, first..writes.min(first + FILL_PIPELINE))?;
                    let tenth = first * 10 / writes;
                    if told.fetch_max(tenth, Ordering::Relaxed) < tenth {
                        eprintln!("{first} of {writes} entries are written");
                    }
                }
            })
        };
        let writers: Vec<_> = connections.into_iter().map(fill).collect();
        writers.into_iter().try_for_each(|writer| writer.join().expect("filling does not panic"))
    })
}

fn fill_some(connection: &mut Connection, numbers: std::ops::Range<u64>) -> anyhow::Result<()> {
    let mut pipeline = redis::pipe();
    for number in numbers {
        let (key, value) = (format!("fill:{}", number % FILL_KEYS), format!("{number:016}"));
        pipeline.cmd("SET").arg(key).arg(value).ignore();
    }
    Ok(pipeline.query(connection)?)
}

/// What a stream of writes is given before and after what happens to it.
const CALM: Duration = Duration::from_millis(500);

/// Writes one after another over one connection while something happens; the longest time between two that
/// were acknowledged.
///
/// # Errors
/// If the node cannot be reached, or what happens fails.
pub fn longest_gap(
    port: u16,
    happens: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Duration> {
    let mut connection = client::redis(port, PATIENCE)?;
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let (mut last, mut longest) = (None, Duration::ZERO);
            while !is_over.load(Ordering::Relaxed) {
                if set(&mut connection, "gap", "x") {
                    let now = clock::now();
                    longest = longest.max(last.map_or(Duration::ZERO, |last| now - last));
                    last = Some(now);
                }
            }
            longest
        });
        std::thread::sleep(CALM);
        let result = happens();
        std::thread::sleep(CALM);
        is_over.store(true, Ordering::Relaxed);
        let longest = writer.join().expect("writing does not panic");
        result.map(|()| longest)
    })
}

/// Connections to several nodes, ready for [`Probe::first_accepted`].
pub struct Probe(Vec<Connection>);

/// One write is tried after another, this far apart.
const PROBE_EVERY: Duration = Duration::from_millis(10);

impl Probe {
    /// So many connections to each port.
    ///
    /// # Errors
    /// If a node cannot be reached.
    pub fn new(ports: &[u16], each: usize) -> anyhow::Result<Probe> {
        let mut of_ports = Vec::new();
        for port in ports {
            of_ports.push(connect(*port, each)?.into_iter());
        }
        // One of each port in turn.
        let mut connections = Vec::new();
        for _ in 0..each {
            connections.extend(of_ports.iter_mut().filter_map(Iterator::next));
        }
        Ok(Probe(connections))
    }

    /// Writes over one connection after another until one is acknowledged; how long that took since `since`.
    ///
    /// # Errors
    /// If none is.
    pub fn first_accepted(self, since: Instant) -> anyhow::Result<Duration> {
        let (sender, receiver) = mpsc::channel();
        for (number, mut connection) in self.0.into_iter().enumerate() {
            let sender = sender.clone();
            std::thread::spawn(move || {
                if set(&mut connection, &format!("probe:{number}"), "x") {
                    // The first is listened to; nobody is there for the others.
                    let _ = sender.send(clock::now());
                }
            });
            if let Ok(at) = receiver.recv_timeout(PROBE_EVERY) {
                return Ok(at - since);
            }
        }
        Ok(receiver.recv_timeout(PATIENCE)? - since)
    }
}

/// Connects and writes again and again, to nodes that are just starting; how long the first acknowledged
/// write took since `since`.
///
/// # Errors
/// If none is acknowledged within a minute.
pub fn first_write(ports: &[u16], every: Duration, since: Instant) -> anyhow::Result<Duration> {
    let (sender, receiver) = mpsc::channel();
    for port in ports.iter().cycle() {
        anyhow::ensure!(clock::now() - since < Duration::from_secs(60), "no write is accepted");
        let (sender, port) = (sender.clone(), *port);
        std::thread::spawn(move || {
            let connection = client::redis(port, PATIENCE);
            if connection.is_ok_and(|mut connection| set(&mut connection, "first", "x")) {
                // The first is listened to; nobody is there for the others.
                let _ = sender.send(clock::now());
            }
        });
        if let Ok(at) = receiver.recv_timeout(every) {
            return Ok(at - since);
        }
    }
    anyhow::bail!("there are no ports")
}
