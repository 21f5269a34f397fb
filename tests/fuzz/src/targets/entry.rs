//! The entries of the log: what a node reads from its disk, and from its peers.

use std::fmt::Debug;

use base::LogIndex;
use bytes::Bytes;
use kv::KvMachine;
use kv::command::Write;
use kv::machine::{Entry, Request};

use crate::input::Input;

const ENTRIES_MAX: usize = 64;

pub(super) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (mut one, mut other) = (KvMachine::new(), KvMachine::new());
    let mut index = LogIndex(0);
    for _ in 0..ENTRIES_MAX {
        if input.is_empty() {
            break;
        }
        let length = usize::from(input.u16());
        let payload = Bytes::copy_from_slice(input.take(length));
        check_write(&payload);
        if let Ok(entry) = Entry::decode(&payload) {
            assert_eq!(encode(&entry), payload, "{entry:?}");
        }
        // What is no entry is applied as well: all nodes must do the same with it.
        index = index.next();
        one.apply(index, &payload);
        other.apply(index, &payload);
        one.check_invariants();
    }
    assert_eq!(one.digest(), other.digest());
    assert_eq!(one.applied(), index);
}

fn check_write(bytes: &Bytes) {
    if let Ok(write) = Write::decode(bytes) {
        assert_same(&encode_write(&write), bytes, &write);
    }
}

fn assert_same(written: &[u8], read: &[u8], value: &impl Debug) {
    assert_eq!(written, read, "{value:?} has one form");
}

fn encode_write(write: &Write) -> Vec<u8> {
    let mut bytes = Vec::new();
    write.encode(&mut bytes);
    bytes
}

fn encode(entry: &Entry) -> Bytes {
    match entry {
        Entry::Tick { time_ms } => Entry::tick(*time_ms),
        Entry::Request { time_ms, request } => {
            let mut bytes = Vec::new();
            let Request { id, after, low_water, write } = request;
            Request::encode(*id, *after, *low_water, &encode_write(write), &mut bytes);
            Entry::request(*time_ms, &bytes)
        }
    }
}
