//! Tests of the codec of commands.

use super::*;
use crate::Command;
use proptest::prelude::*;

fn write(line: &str) -> Write {
    let words: Vec<Bytes> =
        line.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
    match Command::parse(&words) {
        Ok(Command::Write(write)) => write,
        other => panic!("{line} is {other:?}"),
    }
}

fn encode(write: &Write) -> Bytes {
    let mut bytes = Vec::new();
    write.encode(&mut bytes);
    Bytes::from(bytes)
}

const WRITES: &[&str] = &[
    "SET k v",
    "SET k v NX GET PX 17",
    "SET k v XX KEEPTTL",
    "GETDEL k",
    "DEL a b c",
    "INCRBY k -9",
    "APPEND k tail",
    "MSET a 1 b 2",
    "EXPIRE k -1",
    "EXPIRE k 10 NX",
    "PEXPIRE k 10 XX",
    "PEXPIRE k 10 GT",
    "PEXPIRE k 10 LT",
    "PEXPIRE k 10 XX GT",
    "PEXPIRE k 10 XX LT",
    "PERSIST k",
    "FLUSHALL",
];

#[test]
fn every_write_comes_back_and_no_part_of_one_is_one() {
    for line in WRITES {
        let (write, bytes) = (write(line), encode(&write(line)));
        assert_eq!(Write::decode(&bytes), Ok(write), "{line}");
        for length in 0..bytes.len() {
            assert_eq!(Write::decode(&bytes.slice(..length)), Err(DecodeError), "{line}");
        }
        let longer = Bytes::from([&bytes[..], b"x"].concat());
        assert_eq!(Write::decode(&longer), Err(DecodeError), "{line}");
    }
}

#[test]
fn keys_and_values_are_held_to_their_limits() {
    let at = Write::Append {
        key: Bytes::from(vec![b'k'; limits::KEY_MAX_BYTES]),
        tail: Bytes::from(vec![b'v'; limits::VALUE_MAX_BYTES]),
    };
    assert_eq!(Write::decode(&encode(&at)), Ok(at));
    let key = Bytes::from(vec![b'k'; limits::KEY_MAX_BYTES + 1]);
    assert_eq!(Write::decode(&encode(&Write::Persist(key))), Err(DecodeError));
    let tail = Bytes::from(vec![b'v'; limits::VALUE_MAX_BYTES + 1]);
    let above = Write::Append { key: Bytes::new(), tail };
    assert_eq!(Write::decode(&encode(&above)), Err(DecodeError));
    assert_eq!(Write::decode(&encode(&Write::Del(vec![]))), Err(DecodeError));
    let keys = vec![Bytes::new(); limits::COMMAND_WORDS_MAX + 1];
    assert_eq!(Write::decode(&encode(&Write::Del(keys))), Err(DecodeError));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..60),
        tag in 0u8..12,
    ) {
        if let Some(first) = bytes.first_mut() {
            *first = tag;
        }
        let bytes = Bytes::from(bytes);
        if let Ok(write) = Write::decode(&bytes) {
            prop_assert_eq!(encode(&write), bytes);
        }
    }
}
