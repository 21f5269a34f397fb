//! One client's connection: bytes in, bytes out.
//!
//! The TCP layer owns the socket and calls [`receive`](Connection::receive) with what came. A
//! connection takes no more bytes than the service takes commands, so that a client who sends
//! faster than it is served is slowed down by TCP itself, and memory stays bounded.

use core::net::SocketAddr;

use base::Instant;

use crate::command::Command;
use crate::output::OutputQueue;
use crate::resp::{Parsed, Parser, Reply};
use crate::service::{ClientId, KvService};

/// Words with which a web browser begins that was lured into talking to this port. It must not
/// succeed in smuggling a command in its body, so the connection is closed, as Redis does.
const BROWSER_WORDS: [&[u8]; 2] = [b"post", b"host:"];

/// A client's connection.
#[derive(Debug)]
pub struct Connection {
    client: ClientId,
    parser: Parser,
    output: OutputQueue,
    /// No reply follows.
    is_closing: bool,
}

impl Connection {
    /// A connection from `address`, whose client is known to the service from now on.
    ///
    /// # Panics
    /// If the client's number is in use.
    pub fn open(
        client: ClientId,
        address: SocketAddr,
        service: &mut KvService,
        now: Instant,
    ) -> Connection {
        service.open(client, address, now);
        let output = OutputQueue::default();
        Connection { client, parser: Parser::new(), output, is_closing: false }
    }

    /// Takes bytes from the front of `input`; answers how many. The rest is to be offered again,
    /// when [`wants_input`](Self::wants_input) says so.
    pub fn receive(&mut self, mut input: &[u8], service: &mut KvService, now: Instant) -> usize {
        let length = input.len();
        while !input.is_empty() && self.wants_input(service) {
            let fed = self.parser.feed(input);
            input = &input[fed.consumed..];
            if let Some(parsed) = fed.parsed {
                self.handle(parsed, service, now);
            }
        }
        service.handle_input_buffered(self.client, self.parser.buffered_bytes());
        length - input.len()
    }

    /// Whether [`receive`](Self::receive) would take bytes now.
    pub fn wants_input(&self, service: &KvService) -> bool {
        !self.is_closing && service.wants_input(self.client)
    }

    /// The client will send no more. It still gets its replies.
    pub fn receive_end(&mut self, service: &mut KvService, now: Instant) {
        service.finish(self.client, now);
    }

    /// A reply for this client came out of the service.
    pub fn deliver(&mut self, reply: &Reply) {
        self.output.push(reply);
    }

    /// No reply follows: see [`is_finished`](Self::is_finished).
    pub fn handle_close(&mut self) {
        self.is_closing = true;
    }

    /// The next bytes to send; empty if there are none.
    pub fn transmit(&self) -> &[u8] {
        self.output.next()
    }

    /// The first `count` bytes of [`transmit`](Self::transmit) were sent.
    ///
    /// # Panics
    /// If there were not so many.
    pub fn sent(&mut self, count: usize, service: &mut KvService, now: Instant) {
        self.output.advance(count);
        service.handle_sent(self.client, count, now);
    }

    /// Whether everything was sent and nothing follows: the socket may be closed.
    pub fn is_finished(&self) -> bool {
        self.is_closing && self.output.is_empty()
    }

    /// The socket is closed: the service forgets the client.
    pub fn close(self, service: &mut KvService, now: Instant) {
        service.close(self.client, now);
    }

    fn handle(&mut self, parsed: Parsed, service: &mut KvService, now: Instant) {
        let outcome = match parsed {
            Parsed::Words(words)
                if BROWSER_WORDS.iter().any(|word| words[0].eq_ignore_ascii_case(word)) =>
            {
                service.finish(self.client, now);
                Ok(())
            }
            Parsed::Words(words) => match Command::parse(&words) {
                Ok(command) => service.submit(self.client, command, now),
                Err(error) => service.refuse(self.client, error.reply(), now),
            },
            Parsed::Refused(refusal) => service.refuse(self.client, Reply::from(refusal), now),
            Parsed::Failed(error) => {
                let refused = service.refuse(self.client, Reply::from(error), now);
                service.finish(self.client, now);
                refused
            }
        };
        outcome.expect("the service wanted input");
    }
}
