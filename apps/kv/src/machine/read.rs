//! What each read answers.

use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use base::limits;
use bytes::Bytes;

use super::KvMachine;
use crate::command::{Read, Scan};
use crate::glob::{Exhausted, Matcher};
use crate::resp::Reply;

impl Read {
    /// About how much work the read is, in look-ups of one key.
    pub fn cost(&self) -> usize {
        match self {
            Read::Get(_) | Read::StrLen(_) | Read::Ttl(_) | Read::PTtl(_) | Read::Type(_) => 1,
            Read::DbSize => 1,
            Read::Exists(keys) | Read::MGet(keys) => keys.len(),
            Read::Scan(scan) => scan.count,
            Read::Keys(_) => limits::KV_KEYS_LISTED_MAX,
        }
    }
}

impl KvMachine {
    /// Answers a read from the state as it is. `now_ms` is the reader's estimate of the cluster's
    /// time, for times to live; what is visible depends on the machine's clock alone.
    pub fn read(&self, read: &Read, now_ms: u64) -> Reply {
        match read {
            Read::Get(key) => {
                self.value(key).map_or(Reply::Nil, |value| Reply::Bulk(value.clone()))
            }
            Read::Exists(keys) => {
                Reply::count(keys.iter().filter(|key| self.value(key).is_some()).count())
            }
            Read::StrLen(key) => Reply::count(self.value(key).map_or(0, Bytes::len)),
            Read::MGet(keys) => self.get_several(keys),
            Read::Ttl(key) => self.ttl(key, now_ms, |ttl_ms| ttl_ms.saturating_add(500) / 1000),
            Read::PTtl(key) => self.ttl(key, now_ms, |ttl_ms| ttl_ms),
            Read::Type(key) => Reply::Simple(self.value(key).map_or("none", |_| "string")),
            Read::Keys(pattern) => self.keys(pattern),
            Read::Scan(scan) => self.scan(scan),
            Read::DbSize => Reply::count(self.len()),
        }
    }

    fn value(&self, key: &Bytes) -> Option<&Bytes> {
        self.keyspace.get(key, self.clock_ms).map(|item| &item.value)
    }

    fn get_several(&self, keys: &[Bytes]) -> Reply {
        let values: Vec<Option<&Bytes>> = keys.iter().map(|key| self.value(key)).collect();
        let total: usize = values.iter().flatten().map(|value| value.len()).sum();
        if total > limits::KV_REPLY_MAX_BYTES {
            let text = format!(
                "ERR the values have {total} bytes, a reply at most {}: ask for fewer keys",
                limits::KV_REPLY_MAX_BYTES
            );
            return Reply::Error(Bytes::from(text));
        }
        let reply =
            |value: Option<&Bytes>| value.map_or(Reply::Nil, |value| Reply::Bulk(value.clone()));
        Reply::Array(values.into_iter().map(reply).collect())
    }

    fn ttl(&self, key: &Bytes, now_ms: u64, unit: fn(u64) -> u64) -> Reply {
        match self.keyspace.get(key, self.clock_ms).map(|item| item.deadline_ms) {
            None => Reply::Integer(-2),
            Some(None) => Reply::Integer(-1),
            Some(Some(deadline_ms)) => {
                let left_ms = deadline_ms.saturating_sub(now_ms.max(self.clock_ms));
                Reply::Integer(i64::try_from(unit(left_ms)).unwrap_or(i64::MAX))
            }
        }
    }

    fn keys(&self, pattern: &[u8]) -> Reply {
        if self.len() > limits::KV_KEYS_LISTED_MAX {
            let text = format!(
                "ERR KEYS lists at most {} keys and there are {}: use SCAN",
                limits::KV_KEYS_LISTED_MAX,
                self.len()
            );
            return Reply::Error(Bytes::from(text));
        }
        let mut matcher = Matcher::new(limits::KV_PATTERN_STEPS_MAX);
        let mut found = Vec::new();
        for (_, key) in self.keyspace.scan(0, self.clock_ms) {
            match matcher.matches(pattern, key) {
                Ok(true) => found.push(Reply::Bulk(key.clone())),
                Ok(false) => {}
                Err(Exhausted) => {
                    return Reply::error(
                        "ERR the pattern is too much work for so many keys: use SCAN",
                    );
                }
            }
        }
        Reply::Array(found)
    }

    /// Looks at `count` keys, and then at those that lie at the very same place as the next cursor
    /// would have to; fewer if the pattern is too much work.
    fn scan(&self, scan: &Scan) -> Reply {
        let mut matcher = Matcher::new(limits::KV_PATTERN_STEPS_MAX);
        let mut found = Vec::new();
        let mut next = 0;
        let mut place_before = None;
        for (seen, (place, key)) in self.keyspace.scan(scan.cursor, self.clock_ms).enumerate() {
            // A cursor tells places apart, not keys: a scan may only stop between two places.
            let may_stop = place_before.is_some_and(|before| before != place);
            let verdict =
                scan.pattern.as_ref().map_or(Ok(true), |pattern| matcher.matches(pattern, key));
            if may_stop && (seen >= scan.count || verdict == Err(Exhausted)) {
                next = place;
                break;
            }
            place_before = Some(place);
            // Exhausted within one place: the key is named, so that no match is ever missed.
            if scan.strings && verdict != Ok(false) {
                found.push(Reply::Bulk(key.clone()));
            }
        }
        Reply::Array(vec![Reply::from(next.to_string()), Reply::Array(found)])
    }
}
