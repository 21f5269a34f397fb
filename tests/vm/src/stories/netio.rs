//! What `netio` says of a node's frames, at its shell, and what it can be told.

use anyhow::Context;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::stories::{Ending, World};
use crate::{client, clock};

/// The class of Redis, in `netio packets`.
const REDIS: u64 = 5;
/// What is read at a megabit a second: it takes two seconds.
const LONG_BYTES: usize = 250_000;
/// It takes at least so long when it is kept back: what a class may send at once goes first.
const KEPT_BACK_S: f64 = 1.0;

/// Every view shows what has happened, and a class that is bounded sends no more than that.
pub fn numbers(world: &mut World) -> anyhow::Result<Ending> {
    let cluster = world.boot(&[])?;
    cluster.write(1, "long", &"x".repeat(LONG_BYTES))?;
    cluster.expect(&[1], "long", &"x".repeat(LONG_BYTES))?;
    status(&cluster)?;
    packets(&cluster)?;
    flows(&cluster)?;
    offloads(&cluster)?;
    stats(&cluster)?;
    shape(&cluster)?;
    // For people there are the same columns.
    let table = cluster.run(&["sh", "1", "netio packets"])?;
    for word in ["buffers_free", "heartbeats", "redis", "shape_mbit"] {
        anyhow::ensure!(table.replace(' ', "_").contains(word), "no {word} in:\n{table}");
    }
    Ok(Ending::Good)
}

fn view(cluster: &Cluster, name: &str) -> anyhow::Result<Value> {
    let text = cluster.run(&["sh", "1", &format!("netio {name} --json")])?;
    serde_json::from_str(&text).with_context(|| format!("netio {name}: {text}"))
}

/// The rows of a listing that are about this.
fn rows<'a>(listing: &'a Value, column: &str, value: &str) -> Vec<&'a Value> {
    listing.as_array().into_iter().flatten().filter(|row| row[column] == value).collect()
}

fn row<'a>(listing: &'a Value, column: &str, value: &str) -> anyhow::Result<&'a Value> {
    rows(listing, column, value).first().copied().with_context(|| format!("{value}: {listing}"))
}

fn status(cluster: &Cluster) -> anyhow::Result<()> {
    let status = view(cluster, "status")?;
    anyhow::ensure!(status["path"] == "dpdk", "the path: {status}");
    anyhow::ensure!(status["packet_ns_p50"].as_u64() > Some(0), "a packet costs: {status}");
    let ring = &row(&status["cards"], "card", "cluster")?["receive_ring"];
    anyhow::ensure!(*ring == 256, "the ring: {status}");
    let link = &row(&status["cards"], "card", "cluster")?["link"];
    anyhow::ensure!(link == "up", "the link: {status}");
    for source in ["device_interrupts", "timer_interrupts"] {
        anyhow::ensure!(status[source].as_u64() > Some(0), "{source}: {status}");
    }
    Ok(())
}

/// Buffers are there, none was copied between nodes' links, and classes have sent what is theirs.
fn packets(cluster: &Cluster) -> anyhow::Result<()> {
    let packets = view(cluster, "packets")?;
    let (all, free) = (packets["buffers"].as_u64(), packets["buffers_free"].as_u64());
    anyhow::ensure!(all >= Some(512) && free > Some(0) && free < all, "the pool: {packets}");
    anyhow::ensure!(packets["pool_empty"] == 0, "the pool was empty: {packets}");
    let classes = &packets["classes"];
    for name in ["heartbeats", "acknowledgements", "log"] {
        let rows = rows(classes, "name", name);
        let is_sent =
            rows.iter().any(|it| it["card"] == "cluster" && it["sent"].as_u64() > Some(0));
        anyhow::ensure!(is_sent, "{name} on the cluster's card: {packets}");
    }
    let redis = row(classes, "name", "redis")?;
    anyhow::ensure!(redis["card"] == "outside" && redis["class"] == REDIS, "Redis: {packets}");
    anyhow::ensure!(redis["sent_bytes"].as_u64() > Some(LONG_BYTES as u64), "Redis: {packets}");
    Ok(())
}

/// The client's conversation is among them, and those with both other nodes.
fn flows(cluster: &Cluster) -> anyhow::Result<()> {
    let flows = view(cluster, "flows")?;
    let list = &flows["flows"];
    let ends = |row: &Value, what: &str| {
        let end = |name: &str| row[name].as_str().is_some_and(|end| end.contains(what));
        (end("source") || end("destination")) && row["packets"].as_u64() > Some(0)
    };
    anyhow::ensure!(rows(list, "protocol", "tcp").iter().any(|it| ends(it, ":6379")), "{flows}");
    for node in ["10.77.0.2", "10.77.0.3"] {
        anyhow::ensure!(rows(list, "protocol", "udp").iter().any(|it| ends(it, node)), "{flows}");
    }
    let active = flows["active"].as_u64();
    anyhow::ensure!(active >= Some(3) && active <= flows["room"].as_u64(), "{flows}");
    Ok(())
}

/// Both cards have a line for each, whether they offer it or not; a node asks for none.
fn offloads(cluster: &Cluster) -> anyhow::Result<()> {
    let offloads = view(cluster, "offloads")?;
    for card in ["cluster", "outside"] {
        let rows = rows(&offloads, "card", card);
        let names: Vec<_> = rows.iter().filter_map(|row| row["offload"].as_str()).collect();
        for name in ["transmit_checksum", "receive_tso_ipv4", "mergeable_buffers"] {
            anyhow::ensure!(names.contains(&name), "no {name} of {card}: {offloads}");
        }
        // A card does not tell the families of IP apart when it counts.
        let is_counted = |row: &Value| row["used"].is_u64() || row["used"].is_null();
        let are_flags = rows.iter().all(|row| row["offered"].is_boolean() && is_counted(row));
        anyhow::ensure!(are_flags, "{offloads}");
    }
    Ok(())
}

fn stats(cluster: &Cluster) -> anyhow::Result<()> {
    let stats = view(cluster, "stats")?;
    for figure in ["received_frames", "sent_frames", "kicks", "interrupts_armed", "polls"] {
        for card in ["cluster", "outside"] {
            let count = row(&stats, "figure", figure)?[card].as_u64();
            anyhow::ensure!(count > Some(0), "{figure} of {card}: {stats}");
        }
    }
    for figure in ["dropped_bad_length", "dropped_bad_header", "pool_empty", "dropped_queue_full"] {
        let row = row(&stats, "figure", figure)?;
        anyhow::ensure!(row["cluster"] == 0 && row["outside"] == 0, "{figure}: {stats}");
    }
    Ok(())
}

/// Redis is bounded, and not any more.
fn shape(cluster: &Cluster) -> anyhow::Result<()> {
    let shape_of_redis = || -> anyhow::Result<Value> {
        Ok(row(&view(cluster, "packets")?["classes"], "name", "redis")?["shape_mbit"].clone())
    };
    let kept_back = || -> anyhow::Result<Option<u64>> {
        Ok(row(&view(cluster, "stats")?, "figure", "kept_back_by_shape")?["outside"].as_u64())
    };
    anyhow::ensure!(shape_of_redis()?.is_null() && kept_back()? == Some(0), "it was bounded");
    cluster.run(&["sh", "1", "netio shape 5 1"])?;
    anyhow::ensure!(shape_of_redis()? == 1, "it is not bounded");
    let seconds = reads_in(cluster)?;
    anyhow::ensure!(seconds > KEPT_BACK_S, "{LONG_BYTES} bytes at 1 Mbit/s took {seconds} s");
    anyhow::ensure!(kept_back()? > Some(0), "nothing was kept back");
    cluster.run(&["sh", "1", "netio shape 5 off"])?;
    anyhow::ensure!(shape_of_redis()?.is_null(), "it is bounded still");
    let seconds = reads_in(cluster)?;
    anyhow::ensure!(seconds < KEPT_BACK_S, "{LONG_BYTES} bytes without a bound took {seconds} s");
    for wrong in ["netio shape 8 100", "netio shape 5 0", "netio shape 5", "netio shapes"] {
        cluster.run_in_vain(&["sh", "1", wrong])?;
    }
    Ok(())
}

/// How many seconds the long value takes.
fn reads_in(cluster: &Cluster) -> anyhow::Result<f64> {
    let mut connection = cluster.redis(1)?;
    let started = clock::now();
    let value = client::get(&mut connection, "long")?;
    anyhow::ensure!(value.is_some_and(|value| value.len() == LONG_BYTES), "it is not whole");
    Ok(started.elapsed().as_secs_f64())
}
