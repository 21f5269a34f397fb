//! What `COMMAND` tells about the commands, from their table.

use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::command::{self, Keys, Spec, TABLE};
use crate::resp::Reply;

/// `COMMAND COUNT`.
pub fn count() -> Reply {
    Reply::count(TABLE.len())
}

/// `COMMAND LIST`.
pub fn list() -> Reply {
    Reply::Array(TABLE.iter().map(|spec| Reply::text(spec.name)).collect())
}

/// `COMMAND INFO` of these names, nil for those that there are not; of all commands if no name is
/// given.
pub fn info(names: &[Bytes]) -> Reply {
    if names.is_empty() {
        return Reply::Array(TABLE.iter().map(describe).collect());
    }
    let one = |name: &Bytes| command::find(name).map_or(Reply::Nil, describe);
    Reply::Array(names.iter().map(one).collect())
}

/// `COMMAND DOCS` of these names, without those that there are not; of all commands if no name is
/// given.
pub fn docs(names: &[Bytes]) -> Reply {
    let specs: Vec<&Spec> = if names.is_empty() {
        TABLE.iter().collect()
    } else {
        names.iter().filter_map(|name| command::find(name)).collect()
    };
    Reply::Array(specs.iter().flat_map(|spec| [Reply::text(spec.name), document(spec)]).collect())
}

/// Name, arity, flags, first key, last key, step; then categories, tips, key specifications,
/// sub-commands.
fn describe(spec: &Spec) -> Reply {
    let (first, last, step) = match spec.keys {
        Keys::None => (0, 0, 0),
        Keys::First => (1, 1, 1),
        Keys::All => (1, -1, 1),
        Keys::Pairs => (1, -1, 2),
    };
    Reply::Array(vec![
        Reply::text(spec.name),
        Reply::Integer(spec.arity),
        Reply::Array(spec.flags.iter().copied().map(Reply::Simple).collect()),
        Reply::Integer(first),
        Reply::Integer(last),
        Reply::Integer(step),
        Reply::Array(vec![]),
        Reply::Array(vec![]),
        Reply::Array(vec![]),
        Reply::Array(vec![]),
    ])
}

fn document(spec: &Spec) -> Reply {
    let fields = [("summary", spec.summary), ("since", spec.since), ("group", spec.group)];
    Reply::Array(
        fields.iter().flat_map(|(name, text)| [Reply::text(name), Reply::text(text)]).collect(),
    )
}
