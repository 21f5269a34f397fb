//! The commands that concern the connection or the node, and their sub-commands.

use bytes::Bytes;

use super::parse::integer;
use super::{CommandError, Local};
use crate::resp::parse_i64;

pub(super) fn ping(args: &[Bytes]) -> Result<Local, CommandError> {
    match args {
        [] => Ok(Local::Ping(None)),
        [text] => Ok(Local::Ping(Some(text.clone()))),
        _ => Err(CommandError::Arity("ping")),
    }
}

/// There are no passwords: the user `default` may come with any, as in Redis.
pub(super) fn auth(args: &[Bytes]) -> Result<Local, CommandError> {
    match args {
        [_password] => Err(CommandError::NoPasswordSet),
        [user, _password] if &user[..] == b"default" => Ok(Local::ClientAccepted),
        [_user, _password] => Err(CommandError::WrongPassword),
        _ => Err(CommandError::Syntax),
    }
}

/// `HELLO [version [AUTH user password] [SETNAME name]]`.
pub(super) fn hello(args: &[Bytes]) -> Result<Local, CommandError> {
    let [version, options @ ..] = args else {
        return Ok(Local::Hello(None));
    };
    match parse_i64(version) {
        Some(2) => {}
        Some(_) => return Err(CommandError::ProtocolVersion),
        None => return Err(CommandError::ProtocolNumber),
    }
    let mut name = None;
    let mut rest = options;
    loop {
        rest = match rest {
            [] => return Ok(Local::Hello(name)),
            [option, user, password, behind @ ..] if option.eq_ignore_ascii_case(b"auth") => {
                auth(&[user.clone(), password.clone()])?;
                behind
            }
            [option, wanted, behind @ ..] if option.eq_ignore_ascii_case(b"setname") => {
                name = Some(client_name(wanted)?);
                behind
            }
            [option, ..] => return Err(CommandError::HelloOption(option.clone())),
        };
    }
}

pub(super) fn command(args: &[Bytes]) -> Result<Local, CommandError> {
    let Some((name, rest)) = args.split_first() else {
        return Ok(Local::Commands);
    };
    match &name.to_ascii_lowercase()[..] {
        b"count" => exact(rest, 0, "command|count").map(|()| Local::CommandCount),
        b"list" if rest.is_empty() => Ok(Local::CommandList),
        b"list" => Err(CommandError::Syntax),
        b"info" => Ok(Local::CommandInfo(rest.to_vec())),
        b"docs" => Ok(Local::CommandDocs(rest.to_vec())),
        _ => Err(CommandError::UnknownSubcommand { command: "command", name: name.clone() }),
    }
}

pub(super) fn config(name: &Bytes, args: &[Bytes]) -> Result<Local, CommandError> {
    match &name.to_ascii_lowercase()[..] {
        b"get" if args.is_empty() => Err(CommandError::Arity("config|get")),
        b"get" => Ok(Local::ConfigGet(args.to_vec())),
        b"set" | b"resetstat" | b"rewrite" => Err(CommandError::ConfigReadOnly),
        _ => Err(CommandError::UnknownSubcommand { command: "config", name: name.clone() }),
    }
}

pub(super) fn client(name: &Bytes, args: &[Bytes]) -> Result<Local, CommandError> {
    match &name.to_ascii_lowercase()[..] {
        b"id" => exact(args, 0, "client|id").map(|()| Local::ClientId),
        b"info" => exact(args, 0, "client|info").map(|()| Local::ClientInfo),
        b"list" if args.is_empty() => Ok(Local::ClientList),
        b"list" => Err(CommandError::Syntax),
        b"getname" => exact(args, 0, "client|getname").map(|()| Local::ClientGetName),
        b"setname" => {
            exact(args, 1, "client|setname")?;
            client_name(&args[0]).map(Local::ClientSetName)
        }
        b"setinfo" => exact(args, 2, "client|setinfo").map(|()| Local::ClientAccepted),
        b"no-evict" => exact(args, 1, "client|no-evict").and_then(|()| on_or_off(&args[0])),
        b"no-touch" => exact(args, 1, "client|no-touch").and_then(|()| on_or_off(&args[0])),
        _ => Err(CommandError::UnknownSubcommand { command: "client", name: name.clone() }),
    }
}

fn on_or_off(word: &Bytes) -> Result<Local, CommandError> {
    if word.eq_ignore_ascii_case(b"on") || word.eq_ignore_ascii_case(b"off") {
        return Ok(Local::ClientAccepted);
    }
    Err(CommandError::Syntax)
}

/// A connection's name stands in one line of a list, between spaces: printable characters only, and
/// few.
fn client_name(word: &Bytes) -> Result<Bytes, CommandError> {
    if !word.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        return Err(CommandError::ClientName);
    }
    super::parse::key(word)
}

fn exact(args: &[Bytes], count: usize, command: &'static str) -> Result<(), CommandError> {
    if args.len() == count { Ok(()) } else { Err(CommandError::Arity(command)) }
}

/// `SELECT index`.
pub(super) fn select(word: &Bytes) -> Result<Local, CommandError> {
    match integer(word)? {
        0 => Ok(Local::Select),
        _ => Err(CommandError::DbIndex),
    }
}
