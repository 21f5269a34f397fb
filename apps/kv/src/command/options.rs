//! The commands with options: `SET`, `EXPIRE`, `SCAN`, `FLUSHALL`.

use base::limits;
use bytes::Bytes;

use super::parse::{integer, key, value};
use super::{
    CommandError, ExpireCondition, Expiry, Read, Scan, Set, SetAnswer, SetCondition, Write,
};
use crate::resp::parse_u64;

/// Redis refuses a time to live that does not fit behind the present in 63 bits of milliseconds.
/// Our present is known to the leader alone: 2^46 ms (until the year 4199) is set aside for it.
const TTL_MAX_MS: i64 = i64::MAX - (1 << 46);

/// `SET key value [NX | XX] [GET] [EX seconds | PX milliseconds | KEEPTTL]`, options in any order.
pub(super) fn set(args: &[Bytes]) -> Result<Write, CommandError> {
    let mut condition = SetCondition::Always;
    let mut answer = SetAnswer::Done;
    let mut keep = false;
    let mut amount = None;
    let mut rest = &args[2..];
    while let [option, behind @ ..] = rest {
        rest = behind;
        match &option.to_ascii_uppercase()[..] {
            b"NX" if condition != SetCondition::Present => condition = SetCondition::Absent,
            b"XX" if condition != SetCondition::Absent => condition = SetCondition::Present,
            b"GET" => answer = SetAnswer::Previous,
            b"KEEPTTL" if amount.is_none() => keep = true,
            unit @ (b"EX" | b"PX") if amount.is_none() && !keep => {
                let (word, behind) = rest.split_first().ok_or(CommandError::Syntax)?;
                rest = behind;
                amount = Some((word, if unit == b"EX" { 1000 } else { 1 }));
            }
            _ => return Err(CommandError::Syntax),
        }
    }
    let expiry = match amount {
        // A number is looked at when the syntax is found right, as in Redis.
        Some((word, unit_ms)) => Expiry::After(lifetime_ms(word, unit_ms)?),
        None if keep => Expiry::Keep,
        None => Expiry::Never,
    };
    Ok(Write::Set(Set { key: key(&args[0])?, value: value(&args[1])?, condition, expiry, answer }))
}

fn lifetime_ms(word: &Bytes, unit_ms: i64) -> Result<u64, CommandError> {
    let lifetime = integer(word)?
        .checked_mul(unit_ms)
        .filter(|ttl_ms| (1..=TTL_MAX_MS).contains(ttl_ms))
        .ok_or(CommandError::ExpireTime("set"))?;
    Ok(lifetime.unsigned_abs())
}

/// `EXPIRE key amount [NX | XX] [GT | LT]`, of which `NX` stands alone.
pub(super) fn expire(
    args: &[Bytes],
    command: &'static str,
    unit_ms: i64,
) -> Result<Write, CommandError> {
    let (mut nx, mut xx, mut gt, mut lt) = (false, false, false, false);
    for option in &args[2..] {
        match &option.to_ascii_uppercase()[..] {
            b"NX" => nx = true,
            b"XX" => xx = true,
            b"GT" => gt = true,
            b"LT" => lt = true,
            _ => return Err(CommandError::UnsupportedOption(option.clone())),
        }
    }
    let condition = match (nx, xx, gt, lt) {
        (false, false, false, false) => ExpireCondition::Always,
        (true, false, false, false) => ExpireCondition::NoDeadline,
        (false, true, false, false) => ExpireCondition::Deadline,
        (false, false, true, false) => ExpireCondition::Later,
        (false, false, false, true) => ExpireCondition::Earlier,
        (false, true, true, false) => ExpireCondition::DeadlineLater,
        (false, true, false, true) => ExpireCondition::DeadlineEarlier,
        (true, _, _, _) => return Err(CommandError::ExpireNxXxGtLt),
        (false, _, true, true) => return Err(CommandError::ExpireGtLt),
    };
    let ttl_ms = integer(&args[1])?
        .checked_mul(unit_ms)
        .filter(|&ttl_ms| ttl_ms <= TTL_MAX_MS)
        .ok_or(CommandError::ExpireTime(command))?;
    Ok(Write::Expire { key: key(&args[0])?, ttl_ms, condition })
}

/// `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`, options in any order.
pub(super) fn scan(args: &[Bytes]) -> Result<Read, CommandError> {
    // Redis reads the cursor with strtoul, which takes a sign; no client sends one.
    let cursor = parse_u64(&args[0]).ok_or(CommandError::Cursor)?;
    let mut scan = Scan { cursor, pattern: None, count: 10, strings: true };
    let (options, []) = args[1..].as_chunks::<2>() else {
        return Err(CommandError::Syntax);
    };
    for [option, argument] in options {
        match &option.to_ascii_uppercase()[..] {
            b"MATCH" => scan.pattern = Some(key(argument)?),
            b"COUNT" => {
                let count = integer(argument)?;
                let count = usize::try_from(count).ok().filter(|&count| count > 0);
                scan.count = count.ok_or(CommandError::Syntax)?.min(limits::KV_SCAN_COUNT_MAX);
            }
            b"TYPE" => scan.strings = argument.eq_ignore_ascii_case(b"string"),
            _ => return Err(CommandError::Syntax),
        }
    }
    Ok(Read::Scan(scan))
}

/// `FLUSHALL [ASYNC | SYNC]`. Both mean the same here: one entry of the log.
pub(super) fn flush(args: &[Bytes]) -> Result<Write, CommandError> {
    match args {
        [] => Ok(Write::Flush),
        [mode] if mode.eq_ignore_ascii_case(b"async") || mode.eq_ignore_ascii_case(b"sync") => {
            Ok(Write::Flush)
        }
        _ => Err(CommandError::Syntax),
    }
}
