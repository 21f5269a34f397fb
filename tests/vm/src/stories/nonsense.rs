//! Clients that speak no protocol.

use redis::Connection;

use crate::cluster::Cluster;
use crate::stories::{Ending, World};
use crate::{client, clock};

/// Everything strange is answered with a reason and counted, while another client is served.
pub fn from_clients(world: &mut World) -> anyhow::Result<Ending> {
    let cluster = world.boot(&["--nodes", "1"])?;
    let mut bystander = cluster.redis(1)?;
    client::set(&mut bystander, "x", "0")?;
    over_resp(&cluster, &mut bystander)?;
    over_http(&cluster, &mut bystander)?;
    Ok(Ending::Good)
}

/// The client that was there all the time notices nothing.
fn is_unharmed(bystander: &mut Connection) -> anyhow::Result<()> {
    let _: u64 = redis::cmd("INCR").arg("x").query(bystander)?;
    Ok(())
}

fn over_resp(cluster: &Cluster, bystander: &mut Connection) -> anyhow::Result<()> {
    let port = cluster.resp_port(1);
    let refused = || client::metric(cluster.http_port(1), "coterie_kv_requests_refused_total");
    let before = refused()?;
    let noise: Vec<u8> = noise(64 * 1024);
    let length = format!("*2\r\n$3\r\nGET\r\n${}\r\n", 2 << 20);
    let large = [length.as_bytes(), &vec![b'x'; 2 << 20], b"\r\n"].concat();
    let attacks: [(&str, &[u8], &str); 6] = [
        ("a bulk of 512 MiB and a byte", b"*2\r\n$3\r\nGET\r\n$536870913\r\n", "bulk length"),
        ("a key of 2 MiB", &large, "-ERR "),
        ("a million words and more", b"*1048577\r\n", "multibulk length"),
        ("no length", b"*1\r\n:1\r\n", "expected '$', got ':'"),
        ("an open quote", b"SET \"a\r\n", "unbalanced quotes"),
        ("an unknown command", b"DANCE\r\n", "unknown command"),
    ];
    for (what, bytes, wanted) in attacks {
        let answer = client::exchange(port, bytes, wanted)?;
        println!("{what}: {answer:?}");
        anyhow::ensure!(answer.contains(wanted), "{what} is answered with {answer:?}");
        is_unharmed(bystander)?;
    }
    client::send_and_leave(port, &noise)?;
    is_unharmed(bystander)?;
    // A client that leaves in the middle of a word.
    client::send_and_leave(port, b"*2\r\n$3\r\nGET\r\n$1000\r\nxxx")?;
    is_unharmed(bystander)?;
    // Pages may be a tenth of a second old.
    clock::wait("five refusals are counted", client::PATIENCE, || Ok(refused()? - before >= 5))?;
    clock::wait("their connections are closed", client::PATIENCE, || {
        Ok(client::metric(cluster.http_port(1), "coterie_connections")? <= 3)
    })
}

fn over_http(cluster: &Cluster, bystander: &mut Connection) -> anyhow::Result<()> {
    let port = cluster.http_port(1);
    let refused = || client::metric(port, "coterie_http_requests_refused_total");
    let before = refused()?;
    let long = [b"GET /".as_slice(), &vec![b'a'; 64 * 1024], b" HTTP/1.1\r\n\r\n"].concat();
    let attacks: [(&str, &[u8], &str); 5] = [
        ("noise", &noise(4096), "HTTP/1.1 400 "),
        ("a strange version", b"GET / \x01\r\n\r\n", "HTTP/1.1 505 "),
        ("a line without end", &long, "HTTP/1.1 4"),
        (
            "a body",
            b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
            "HTTP/1.1 4",
        ),
        ("a strange page", b"GET /../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404 "),
    ];
    for (what, bytes, wanted) in attacks {
        let answer = client::exchange(port, bytes, wanted)?;
        let line = answer.lines().next().unwrap_or_default();
        println!("{what}: {line}");
        anyhow::ensure!(line.starts_with(wanted), "{what} is answered with {answer:?}");
        is_unharmed(bystander)?;
    }
    let counted = refused()? - before;
    anyhow::ensure!(counted >= 3, "{counted} refusals were counted");
    let health = client::page(port, "/healthz")?;
    anyhow::ensure!(health.0 == 200, "the node is not well: {health:?}");
    Ok(())
}

/// The same noise every time (xorshift; Marsaglia, 2003).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}
