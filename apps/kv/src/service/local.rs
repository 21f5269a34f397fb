//! What the commands that touch no data answer.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use base::limits;
use bytes::Bytes;

use super::client::{Client, Origin, Phase};
use super::{ClientId, KvService, commands, info};
use crate::command::Local;
use crate::glob::Matcher;
use crate::resp::Reply;

/// The version of Redis whose commands and texts these are.
pub(super) const REDIS_VERSION: &str = "7.0.15";

/// What `CONFIG GET` knows: what clients and benchmarks look at.
const SETTINGS: &[(&str, &str)] = &[
    ("appendfsync", "always"),
    ("appendonly", "yes"),
    ("databases", "1"),
    ("maxmemory-policy", "noeviction"),
    ("save", ""),
    ("timeout", "0"),
];

/// And the limits among it.
const LIMITS: &[(&str, usize)] = &[
    ("maxclients", limits::CONNECTIONS_MAX),
    ("maxmemory", limits::KV_MEMORY_MAX_BYTES),
    ("proto-max-bulk-len", limits::VALUE_MAX_BYTES),
];

impl KvService {
    /// Executes a command at once. Its reply still leaves in the order of the client's commands.
    pub(super) fn execute_local(&mut self, id: ClientId, local: Local) -> Reply {
        match local {
            Local::Ping(None) => Reply::Simple("PONG"),
            Local::Ping(Some(text)) | Local::Echo(text) => Reply::Bulk(text),
            Local::Select | Local::ClientAccepted => Reply::Ok,
            Local::Hello(name) => {
                if let Some(name) = name {
                    self.rename(id, name);
                }
                hello(id)
            }
            Local::Quit => {
                if let Some(client) = self.clients.get_mut(&id) {
                    client.phase = Phase::Finishing;
                }
                Reply::Ok
            }
            Local::Reset => {
                self.rename(id, Bytes::new());
                Reply::Simple("RESET")
            }
            Local::Commands => commands::info(&[]),
            Local::CommandCount => commands::count(),
            Local::CommandList => commands::list(),
            Local::CommandInfo(names) => commands::info(&names),
            Local::CommandDocs(names) => commands::docs(&names),
            Local::ConfigGet(patterns) => settings(&patterns),
            Local::Info(sections) => info::render(self, &sections),
            Local::ClientId => Reply::Integer(id.0.cast_signed()),
            Local::ClientInfo => Reply::from(
                self.clients.get(&id).map_or(String::new(), |client| self.line(id, client)),
            ),
            Local::ClientList => Reply::from(
                self.clients.iter().map(|(id, client)| self.line(*id, client)).collect::<String>(),
            ),
            Local::ClientGetName => match self.clients.get(&id) {
                Some(client) if !client.name.is_empty() => Reply::Bulk(client.name.clone()),
                Some(_) | None => Reply::Nil,
            },
            Local::ClientSetName(name) => {
                self.rename(id, name);
                Reply::Ok
            }
        }
    }

    fn rename(&mut self, id: ClientId, name: Bytes) {
        if let Some(client) = self.clients.get_mut(&id) {
            // Copied, so that the name does not keep alive the command it came in.
            client.name = Bytes::copy_from_slice(&name);
        }
    }

    /// The line of one client in `CLIENT LIST`.
    fn line(&self, id: ClientId, client: &Client) -> String {
        let address = match client.origin {
            Origin::Connection(address) => format!("{address}"),
            Origin::Internal => String::from("internal"),
        };
        format!(
            "id={} addr={address} name={} age={} idle={} flags=N db=0 sub=0 psub=0 multi=-1 \
             qbuf={} obl=0 oll={} omem={} tot-mem={} events=r cmd=NULL user=default resp=2\n",
            id.0,
            String::from_utf8_lossy(&client.name),
            self.now.since(client.opened_at).as_millis() / 1000,
            self.now.since(client.active_at).as_millis() / 1000,
            client.input_bytes,
            client.slots.len(),
            client.output_bytes,
            client.buffered_bytes(),
        )
    }
}

/// The greeting, as a flat list of names and values. Every node takes writes, which clients call a
/// master.
fn hello(id: ClientId) -> Reply {
    Reply::Array(vec![
        Reply::text("server"),
        Reply::text("redis"),
        Reply::text("version"),
        Reply::text(REDIS_VERSION),
        Reply::text("proto"),
        Reply::Integer(2),
        Reply::text("id"),
        Reply::Integer(id.0.cast_signed()),
        Reply::text("mode"),
        Reply::text("standalone"),
        Reply::text("role"),
        Reply::text("master"),
        Reply::text("modules"),
        Reply::Array(vec![]),
    ])
}

/// The settings whose name matches one of the patterns, as a flat list of names and values.
fn settings(patterns: &[Bytes]) -> Reply {
    let limits = LIMITS.iter().map(|(name, limit)| (*name, format!("{limit}")));
    let settings = SETTINGS.iter().map(|(name, value)| (*name, String::from(*value)));
    let mut matcher = Matcher::new(limits::KV_PATTERN_STEPS_MAX);
    let mut wanted = |name: &str| {
        let lower = |pattern: &Bytes| pattern.to_ascii_lowercase();
        patterns.iter().any(|pattern| matcher.matches(&lower(pattern), name.as_bytes()) == Ok(true))
    };
    let mut found: Vec<(&str, String)> =
        settings.chain(limits).filter(|(name, _)| wanted(name)).collect();
    found.sort_unstable();
    let flat = found.into_iter().flat_map(|(name, value)| [Reply::text(name), Reply::from(value)]);
    Reply::Array(flat.collect())
}
