//! The bytes on their way to a client: small replies run together, long values by reference.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt::Write;
use core::mem;

use bytes::Bytes;

use crate::resp::Reply;

/// From this length on, a value is sent from where it lies instead of being copied.
const SHARED_MIN_BYTES: usize = 4096;

/// An encoder and queue of replies.
#[derive(Debug, Default)]
pub struct OutputQueue {
    /// What is complete, in order, before `tail`.
    segments: VecDeque<Bytes>,
    tail: Vec<u8>,
    /// How much of the first segment (of `tail`, if there is none) was sent.
    sent: usize,
    /// Invariant: the length of all segments and `tail`, less `sent`.
    length: usize,
}

impl OutputQueue {
    /// How many bytes are to be sent.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether everything was sent.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Appends a reply in RESP2.
    pub fn push(&mut self, reply: &Reply) {
        let before = self.tail.len();
        match reply {
            Reply::Ok => self.tail.extend_from_slice(b"+OK\r\n"),
            Reply::Simple(text) => self.line(b'+', text.bytes()),
            Reply::Error(text) => self.line(b'-', text.iter().copied()),
            Reply::Integer(number) => self.header(':', *number),
            Reply::Nil => self.tail.extend_from_slice(b"$-1\r\n"),
            Reply::Bulk(bytes) => {
                self.header('$', i64::try_from(bytes.len()).expect("values are short"));
                if bytes.len() < SHARED_MIN_BYTES {
                    self.tail.extend_from_slice(bytes);
                } else {
                    self.length += self.tail.len() - before + bytes.len();
                    self.segments.push_back(Bytes::from(mem::take(&mut self.tail)));
                    self.segments.push_back(bytes.clone());
                    self.tail.extend_from_slice(b"\r\n");
                    self.length += 2;
                    return;
                }
                self.tail.extend_from_slice(b"\r\n");
            }
            Reply::Array(replies) => {
                self.header('*', i64::try_from(replies.len()).expect("arrays are short"));
                self.length += self.tail.len() - before;
                return replies.iter().for_each(|reply| self.push(reply));
            }
        }
        self.length += self.tail.len() - before;
    }

    /// The next bytes to send; empty if there are none.
    pub fn next(&self) -> &[u8] {
        &self.segments.front().map_or(&self.tail[..], |segment| &segment[..])[self.sent..]
    }

    /// The first `count` bytes of [`next`](Self::next) were sent.
    ///
    /// # Panics
    /// If there were not so many.
    pub fn advance(&mut self, count: usize) {
        assert!(count <= self.next().len(), "no more is sent than was offered");
        self.sent += count;
        self.length -= count;
        if !self.next().is_empty() {
            return;
        }
        self.sent = 0;
        if self.segments.pop_front().is_none() {
            self.tail.clear();
        }
    }

    fn header(&mut self, kind: char, number: i64) {
        let mut text = Text(&mut self.tail);
        write!(text, "{kind}{number}\r\n").expect("a vector takes all text");
    }

    /// A line may not contain its own end: CR and LF in an error's text become spaces, as in Redis.
    fn line(&mut self, kind: u8, text: impl Iterator<Item = u8>) {
        self.tail.push(kind);
        self.tail.extend(text.map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
        self.tail.extend_from_slice(b"\r\n");
    }
}

struct Text<'a>(&'a mut Vec<u8>);

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(queue: &mut OutputQueue, portion: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while !queue.is_empty() {
            let count = queue.next().len().min(portion);
            assert!(count > 0, "a queue that is not empty offers bytes");
            bytes.extend_from_slice(&queue.next()[..count]);
            queue.advance(count);
        }
        assert!(queue.next().is_empty());
        bytes
    }

    #[test]
    fn every_kind_of_reply() {
        for (reply, text) in [
            (Reply::Ok, "+OK\r\n"),
            (Reply::Simple("PONG"), "+PONG\r\n"),
            (Reply::error("ERR a\r\nb"), "-ERR a  b\r\n"),
            (Reply::Integer(-7), ":-7\r\n"),
            (Reply::text("a\r\nb"), "$4\r\na\r\nb\r\n"),
            (Reply::Nil, "$-1\r\n"),
            (Reply::Integer(0), ":0\r\n"),
            (Reply::Integer(i64::MIN), ":-9223372036854775808\r\n"),
            (Reply::Bulk(Bytes::new()), "$0\r\n\r\n"),
            (Reply::text("0123456789"), "$10\r\n0123456789\r\n"),
            (Reply::Array(vec![]), "*0\r\n"),
            (
                Reply::Array(vec![Reply::Integer(1), Reply::Array(vec![Reply::Nil])]),
                "*2\r\n:1\r\n*1\r\n$-1\r\n",
            ),
        ] {
            let mut queue = OutputQueue::default();
            queue.push(&reply);
            assert_eq!((queue.len(), reply.wire_bytes()), (text.len(), text.len()));
            assert_eq!(String::from_utf8_lossy(&drain(&mut queue, 3)), text);
        }
    }

    #[test]
    fn long_values_lie_between_short_replies_without_being_copied() {
        let value = Bytes::from(vec![b'v'; SHARED_MIN_BYTES]);
        let mut queue = OutputQueue::default();
        let mut expected = Vec::new();
        for _ in 0..3 {
            queue.push(&Reply::Ok);
            queue.push(&Reply::Bulk(value.clone()));
            expected.extend_from_slice(b"+OK\r\n$4096\r\n");
            expected.extend_from_slice(&value);
            expected.extend_from_slice(b"\r\n");
        }
        assert_eq!(queue.len(), expected.len());
        queue.advance(12);
        assert_eq!(queue.next().as_ptr(), value.as_ptr());
        assert_eq!(drain(&mut queue, 1000), expected[12..]);
        queue.push(&Reply::Ok);
        assert_eq!(drain(&mut queue, 1), b"+OK\r\n");
    }
}
