//! What each write does, and what it answers.

use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::vec::Vec;

use base::limits;
use bytes::Bytes;

use super::KvMachine;
use super::keyspace::cost;
use crate::command::{ExpireCondition, Expiry, NOT_INTEGER, Set, SetAnswer, SetCondition, Write};
use crate::resp::{Reply, parse_i64};

/// The answer to a write for which there is no room. The data stays as it was.
pub const OUT_OF_MEMORY: Reply =
    Reply::error("OOM command not allowed when used memory > 'maxmemory'.");

const OVERFLOW: Reply = Reply::error("ERR increment or decrement would overflow");
const STRING_TOO_LONG: Reply =
    Reply::error("ERR string exceeds maximum allowed size (proto-max-bulk-len)");

impl KvMachine {
    /// Executes a write at the machine's clock.
    pub(super) fn execute(&mut self, write: &Write) -> Reply {
        match write {
            Write::Set(set) => self.set(set),
            Write::GetDel(key) => self.take(key).map_or(Reply::Nil, Reply::Bulk),
            Write::Del(keys) => {
                Reply::count(keys.iter().filter(|key| self.take(key).is_some()).count())
            }
            Write::Add { key, delta } => self.add(key, *delta),
            Write::Append { key, tail } => self.append(key, tail),
            Write::MSet(pairs) => self.set_several(pairs),
            Write::Expire { key, ttl_ms, condition } => self.expire(key, *ttl_ms, *condition),
            Write::Persist(key) => self.persist(key),
            Write::Flush => {
                self.keyspace.clear();
                Reply::Ok
            }
        }
    }

    /// Whether a write would find no room; asked ahead of the log, by a node whose state may lag
    /// behind.
    pub fn lacks_room_for(&self, write: &Write) -> bool {
        match write {
            Write::Set(set) => !self.has_room(&[(&set.key, set.value.len())]),
            Write::Append { key, tail } => {
                let length =
                    self.keyspace.get(key, self.clock_ms).map_or(0, |item| item.value.len());
                !self.has_room(&[(key, length + tail.len())])
            }
            Write::MSet(pairs) => !self.has_room(&lengths(pairs)),
            Write::Add { key, delta: _ } => !self.has_room(&[(key, 1)]),
            Write::GetDel(_)
            | Write::Del(_)
            | Write::Expire { .. }
            | Write::Persist(_)
            | Write::Flush => false,
        }
    }

    /// Whether these keys, all different, may get values of these lengths. What does not grow
    /// always may.
    fn has_room(&self, items: &[(&Bytes, usize)]) -> bool {
        let (mut grown, mut freed) = (0, 0);
        for (key, value_bytes) in items {
            grown += cost(key.len(), *value_bytes);
            freed += self
                .keyspace
                .get(key, self.clock_ms)
                .map_or(0, |item| cost(key.len(), item.value.len()));
        }
        grown <= freed || self.memory_bytes() + (grown - freed) <= limits::KV_MEMORY_MAX_BYTES
    }

    /// Removes a key and answers its value, if it was visible.
    fn take(&mut self, key: &Bytes) -> Option<Bytes> {
        let visible = self.keyspace.get(key, self.clock_ms).is_some();
        self.keyspace.remove(key).filter(|_| visible).map(|item| item.value)
    }

    fn set(&mut self, set: &Set) -> Reply {
        let item = self.keyspace.get(&set.key, self.clock_ms);
        let previous = item.map(|item| item.value.clone());
        let kept_ms = item.and_then(|item| item.deadline_ms);
        let holds = match set.condition {
            SetCondition::Always => true,
            SetCondition::Absent => previous.is_none(),
            SetCondition::Present => previous.is_some(),
        };
        if holds {
            if !self.has_room(&[(&set.key, set.value.len())]) {
                return OUT_OF_MEMORY;
            }
            let deadline_ms = match set.expiry {
                Expiry::Never => None,
                Expiry::Keep => kept_ms,
                Expiry::After(ttl_ms) => Some(self.clock_ms.saturating_add(ttl_ms)),
            };
            self.keyspace.put(&set.key, &set.value, deadline_ms);
        }
        match set.answer {
            SetAnswer::Previous => previous.map_or(Reply::Nil, Reply::Bulk),
            SetAnswer::Done if holds => Reply::Ok,
            SetAnswer::Done => Reply::Nil,
        }
    }

    fn set_several(&mut self, pairs: &[(Bytes, Bytes)]) -> Reply {
        if !self.has_room(&lengths(pairs)) {
            return OUT_OF_MEMORY;
        }
        for (key, value) in pairs {
            self.keyspace.put(key, value, None);
        }
        Reply::Ok
    }

    fn add(&mut self, key: &Bytes, delta: i64) -> Reply {
        let item = self.keyspace.get(key, self.clock_ms);
        let deadline_ms = item.and_then(|item| item.deadline_ms);
        let Some(number) = item.map_or(Some(0), |item| parse_i64(&item.value)) else {
            return NOT_INTEGER;
        };
        let Some(sum) = number.checked_add(delta) else {
            return OVERFLOW;
        };
        let text = sum.to_string();
        if !self.has_room(&[(key, text.len())]) {
            return OUT_OF_MEMORY;
        }
        self.keyspace.put(key, text.as_bytes(), deadline_ms);
        Reply::Integer(sum)
    }

    fn append(&mut self, key: &Bytes, tail: &Bytes) -> Reply {
        let item = self.keyspace.get(key, self.clock_ms);
        let deadline_ms = item.and_then(|item| item.deadline_ms);
        let head = item.map_or(Bytes::new(), |item| item.value.clone());
        let length = head.len() + tail.len();
        if length > limits::VALUE_MAX_BYTES {
            return STRING_TOO_LONG;
        }
        if !self.has_room(&[(key, length)]) {
            return OUT_OF_MEMORY;
        }
        self.keyspace.put(key, &[&head[..], &tail[..]].concat(), deadline_ms);
        Reply::count(length)
    }

    fn expire(&mut self, key: &Bytes, ttl_ms: i64, condition: ExpireCondition) -> Reply {
        let Some(item) = self.keyspace.get(key, self.clock_ms) else {
            return Reply::Integer(0);
        };
        let deadline_ms = self.clock_ms.saturating_add_signed(ttl_ms);
        let later = item.deadline_ms.is_some_and(|before_ms| deadline_ms > before_ms);
        let earlier = item.deadline_ms.is_none_or(|before_ms| deadline_ms < before_ms);
        let holds = match condition {
            ExpireCondition::Always => true,
            ExpireCondition::NoDeadline => item.deadline_ms.is_none(),
            ExpireCondition::Deadline => item.deadline_ms.is_some(),
            // Without a deadline nothing is later, so both of these ask for one.
            ExpireCondition::Later | ExpireCondition::DeadlineLater => later,
            ExpireCondition::Earlier => earlier,
            ExpireCondition::DeadlineEarlier => earlier && item.deadline_ms.is_some(),
        };
        if !holds {
            return Reply::Integer(0);
        }
        if ttl_ms <= 0 {
            self.keyspace.remove(key);
        } else {
            self.keyspace.set_deadline(key, Some(deadline_ms));
        }
        Reply::Integer(1)
    }

    fn persist(&mut self, key: &Bytes) -> Reply {
        match self.keyspace.get(key, self.clock_ms) {
            Some(item) if item.deadline_ms.is_some() => {
                self.keyspace.set_deadline(key, None);
                Reply::Integer(1)
            }
            Some(_) | None => Reply::Integer(0),
        }
    }
}

/// The last length for each key: `MSET` may name a key twice, and the last value stays.
fn lengths(pairs: &[(Bytes, Bytes)]) -> Vec<(&Bytes, usize)> {
    let last: BTreeMap<&Bytes, usize> =
        pairs.iter().map(|(key, value)| (key, value.len())).collect();
    last.into_iter().collect()
}
