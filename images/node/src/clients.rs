//! Clients over TCP: Redis clients on one port, HTTP clients on another, on both cards.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use base::{Instant, NodeId};
use bytes::Bytes;
use kv::service::ClientId;
use kv::{Connection, KvService, Reply};
use net::addresses::{CLUSTER_PREFIX, cluster_ip, cluster_mac, outside_mac};
use net::host::{self, ConnectionId, HostStack};
use net::http::{self, Request, Response};
use pool::{Frame, Pool};

use crate::output::Port;
use crate::settings::{Outside, Settings};
use crate::traffic::Origin;
use crate::web::Answer;

/// Redis's port.
pub const RESP_PORT: u16 = 6379;
/// HTTP's port.
pub const HTTP_PORT: u16 = 80;

const MTU: usize = 1500;
/// A client that does not read its responses gets no more of them.
const OUTPUT_MAX_BYTES: usize = 256 * 1024;

/// The connections of one node.
#[derive(Debug)]
pub(crate) struct Clients {
    /// One for each card.
    stacks: Vec<(Port, HostStack)>,
    connections: BTreeMap<(Port, ConnectionId), Client>,
    places: BTreeMap<ClientId, (Port, ConnectionId)>,
    /// Connections that have something to send, or to which the service has said something.
    touched: BTreeSet<(Port, ConnectionId)>,
    /// Commands that HTTP clients wait for.
    asked: Vec<(Place, Vec<Bytes>)>,
    requests: u64,
    refused: u64,
}

/// What the connections count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientCounts {
    pub(crate) connections: usize,
    pub(crate) http_answered: u64,
    pub(crate) http_refused: u64,
    /// What the stack on each card has counted, if the node has it.
    pub(crate) stacks: [(Port, Option<host::Counters>); 2],
}

#[derive(Debug)]
enum Client {
    Resp(ClientId, Connection),
    Http(HttpClient),
}

#[derive(Debug, Default)]
struct HttpClient {
    input: Vec<u8>,
    output: Vec<u8>,
    is_closing: bool,
    /// The request that is not answered yet; later ones wait.
    waiting: Option<Waiting>,
}

/// What the answer to a request depends on, beside the answer.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    keep_alive: bool,
    is_head: bool,
}

/// Where an HTTP client is.
pub(crate) type Place = (Port, ConnectionId);

impl Clients {
    /// Stacks on the cards that the node has, listening.
    pub(crate) fn new(settings: &Settings, packets: &Pool, seed: u64, now: Instant) -> Clients {
        let mut stacks = Vec::new();
        let ports = || alloc::vec![RESP_PORT, HTTP_PORT];
        let cluster = host::Config {
            mac: cluster_mac(settings.id),
            address: cluster_ip(settings.id),
            prefix: CLUSTER_PREFIX,
            gateway: None,
            ports: ports(),
            mtu: MTU,
        };
        stacks.push((Port::Cluster, HostStack::new(cluster, packets.clone(), seed, now)));
        if let Some(Outside { address, prefix, gateway }) = settings.outside {
            let outside = host::Config {
                mac: outside_mac(settings.id),
                address: address.into(),
                prefix,
                gateway: gateway.map(Into::into),
                ports: ports(),
                mtu: MTU,
            };
            stacks.push((Port::Outside, HostStack::new(outside, packets.clone(), !seed, now)));
        }
        Clients {
            stacks,
            connections: BTreeMap::new(),
            places: BTreeMap::new(),
            touched: BTreeSet::new(),
            asked: Vec::new(),
            requests: 0,
            refused: 0,
        }
    }

    pub(crate) fn handle_frame(&mut self, port: Port, frame: Frame, now: Instant) {
        if let Some(stack) = stack_mut(&mut self.stacks, port) {
            stack.handle_frame(frame, now);
        }
    }

    /// Whether nothing has come from any client since the last [`Clients::work`], and nothing is due.
    pub(crate) fn are_at_rest(&self, now: Instant) -> bool {
        self.stacks.iter().all(|(_, stack)| stack.is_at_rest(now))
    }

    /// When [`Clients::work`] has something to do on one of the cards that `is_open` names.
    pub(crate) fn poll_timeout(
        &self,
        is_open: impl Fn(&Port) -> bool,
        now: Instant,
    ) -> Option<Instant> {
        let open = self.stacks.iter().filter(|(port, _)| is_open(port));
        open.filter_map(|(_, stack)| stack.poll_timeout(now)).min()
    }

    /// These are the nodes of the cluster, besides this one: nobody needs to ask for their addresses.
    pub(crate) fn set_peers(&mut self, peers: impl Iterator<Item = NodeId>) {
        if let Some(stack) = stack_mut(&mut self.stacks, Port::Cluster) {
            stack.set_neighbours(peers.map(|peer| (cluster_ip(peer), cluster_mac(peer))));
        }
    }

    /// So many more frames of each origin may be made for each card from now on.
    pub(crate) fn set_room(&mut self, room: impl Fn(Port, Origin) -> usize) {
        for (port, stack) in &mut self.stacks {
            stack.set_room(|service| room(*port, Origin::of_service(service)));
        }
    }

    /// Whether something waits for [`Clients::set_room`].
    pub(crate) fn are_short_of_room(&self) -> bool {
        self.stacks.iter().any(|(_, stack)| stack.is_short_of_room())
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<(Port, Frame)> {
        self.stacks.iter_mut().find_map(|(port, stack)| Some((*port, stack.poll_transmit()?)))
    }

    /// What was counted so far.
    pub(crate) fn counts(&self) -> ClientCounts {
        let counters = |port| {
            let found = self.stacks.iter().find(|(other, _)| *other == port);
            found.map(|(_, stack)| stack.counters())
        };
        ClientCounts {
            connections: self.connections.len(),
            http_answered: self.requests,
            http_refused: self.refused,
            stacks: [Port::Cluster, Port::Outside].map(|port| (port, counters(port))),
        }
    }

    /// Works on what has arrived, and on what can be sent. There is nothing left to do then before clients or
    /// the service move.
    pub(crate) fn work(
        &mut self,
        kv: &mut KvService,
        next_client: &mut u64,
        answer: impl Fn(&Request) -> Answer,
        now: Instant,
    ) {
        for (port, stack) in &mut self.stacks {
            let port = *port;
            stack.poll(now);
            while let Some(event) = stack.poll_event() {
                match event {
                    host::Event::Accepted(id, HTTP_PORT) => {
                        self.connections.insert((port, id), Client::Http(HttpClient::default()));
                    }
                    host::Event::Accepted(id, _) => {
                        let Some(address) = stack.remote(id) else { continue };
                        *next_client += 1;
                        let client = ClientId(*next_client);
                        let connection = Connection::open(client, address, kv, now);
                        self.connections.insert((port, id), Client::Resp(client, connection));
                        self.places.insert(client, (port, id));
                    }
                    host::Event::Closed(id) => {
                        if let Some(Client::Resp(client, connection)) =
                            self.connections.remove(&(port, id))
                        {
                            self.places.remove(&client);
                            connection.close(kv, now);
                        }
                    }
                }
            }
        }
        let mut places = core::mem::take(&mut self.touched);
        for (port, stack) in &self.stacks {
            places.extend(stack.with_news().map(|id| (*port, id)));
        }
        for place in places {
            let (port, id) = place;
            let Some(stack) = stack_mut(&mut self.stacks, port) else { continue };
            let has_more = match self.connections.get_mut(&place) {
                Some(Client::Resp(_, connection)) => serve_resp(stack, id, connection, kv, now),
                Some(Client::Http(client)) => {
                    let served = serve_http(stack, id, client, &answer);
                    self.requests += served.answered;
                    self.refused += served.refused;
                    self.asked.extend(served.asked.map(|words| (place, words)));
                    !client.output.is_empty()
                }
                None => false,
            };
            if has_more {
                self.touched.insert(place);
            }
        }
        self.stacks.iter_mut().for_each(|(_, stack)| stack.flush(now));
    }

    /// The next reply of a client.
    pub(crate) fn deliver(&mut self, client: ClientId, reply: &Reply) {
        if let Some(Client::Resp(_, connection)) = self.client_mut(client) {
            connection.deliver(reply);
        }
    }

    /// The next command that an HTTP client waits for.
    pub(crate) fn poll_asked(&mut self) -> Option<(Place, Vec<Bytes>)> {
        self.asked.pop()
    }

    /// The answer for an HTTP client that waits for one, if it is still there.
    pub(crate) fn answer(&mut self, place: Place, response: &Response) {
        if let Some(Client::Http(client)) = self.connections.get_mut(&place)
            && let Some(waiting) = client.waiting.take()
        {
            client.put(response, waiting);
            self.requests += 1;
            self.touched.insert(place);
        }
    }

    /// A client gets no more replies.
    pub(crate) fn close(&mut self, client: ClientId) {
        if let Some(Client::Resp(_, connection)) = self.client_mut(client) {
            connection.handle_close();
        }
    }

    /// A client is cut off.
    pub(crate) fn abort(&mut self, client: ClientId) {
        if let Some((port, id)) = self.places.get(&client)
            && let Some(stack) = stack_mut(&mut self.stacks, *port)
        {
            stack.abort(*id);
        }
    }

    /// A client that is to be served next time.
    fn client_mut(&mut self, client: ClientId) -> Option<&mut Client> {
        let place = self.places.get(&client)?;
        self.touched.insert(*place);
        self.connections.get_mut(place)
    }
}

fn stack_mut(stacks: &mut [(Port, HostStack)], port: Port) -> Option<&mut HostStack> {
    stacks.iter_mut().find(|(other, _)| *other == port).map(|(_, stack)| stack)
}

/// Takes commands and sends replies; true if some replies do not go now.
fn serve_resp(
    stack: &mut HostStack,
    id: ConnectionId,
    connection: &mut Connection,
    kv: &mut KvService,
    now: Instant,
) -> bool {
    loop {
        // What has arrived may lie in two pieces.
        while stack.readable(id) > 0 && connection.wants_input(kv) {
            stack.receive(id, |bytes| connection.receive(bytes, kv, now));
        }
        while !connection.transmit().is_empty() {
            let sent = stack.send(id, connection.transmit());
            if sent == 0 {
                break;
            }
            connection.sent(sent, kv, now);
        }
        // Replies that are gone make room for commands that wait.
        if stack.readable(id) == 0 || !connection.wants_input(kv) {
            break;
        }
    }
    if stack.is_finished(id) {
        connection.receive_end(kv, now);
    }
    if connection.is_finished() {
        stack.close(id);
    }
    !connection.transmit().is_empty()
}

impl HttpClient {
    fn put(&mut self, response: &Response, Waiting { keep_alive, is_head }: Waiting) {
        self.output.extend_from_slice(&response.encode(keep_alive, is_head));
        self.is_closing = !keep_alive;
    }
}

/// What came of serving a client: answers and refusals, and a command that it waits for.
#[derive(Debug, Default)]
struct Served {
    answered: u64,
    refused: u64,
    asked: Option<Vec<Bytes>>,
}

/// Answers what a client has asked for.
fn serve_http(
    stack: &mut HostStack,
    id: ConnectionId,
    client: &mut HttpClient,
    answer: impl Fn(&Request) -> Answer,
) -> Served {
    let mut served = Served::default();
    let is_open = |client: &HttpClient| {
        !client.is_closing && client.waiting.is_none() && client.output.len() < OUTPUT_MAX_BYTES
    };
    while is_open(client) && stack.readable(id) > 0 {
        stack.receive(id, |bytes| {
            client.input.extend_from_slice(bytes);
            bytes.len()
        });
    }
    while is_open(client) {
        match http::parse(&client.input) {
            Ok(Some((request, length))) => {
                client.input.drain(..length);
                let waiting =
                    Waiting { keep_alive: request.keep_alive, is_head: request.method == "HEAD" };
                match answer(&request) {
                    Answer::Page(response) => {
                        client.put(&response, waiting);
                        served.answered += 1;
                    }
                    Answer::Ask(words) => {
                        client.waiting = Some(waiting);
                        served.asked = Some(words);
                    }
                }
            }
            Ok(None) => break,
            Err(error) => {
                let response = Response::text(error.status(), &alloc::format!("{error}"));
                client.output.extend_from_slice(&response.encode(false, false));
                client.is_closing = true;
                served.refused += 1;
            }
        }
    }
    let sent = stack.send(id, &client.output);
    client.output.drain(..sent);
    let is_done = client.is_closing || client.waiting.is_none() && stack.is_finished(id);
    if client.output.is_empty() && is_done {
        stack.close(id);
    }
    served
}
