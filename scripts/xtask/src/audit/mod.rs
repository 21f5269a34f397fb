//! `scripts/audit`: proves what a node keeps of the ledger on its disk, for whoever has the public keys. It
//! needs no node, and changes nothing.

mod chain;
mod disk;
mod report;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use lexopt::prelude::*;

use crate::cluster::keys::Public;
use crate::cluster::launch::Progress;
use disk::Disk;

const HELP: &str = "\
Proves what a node keeps of the ledger on its disk, by the public keys of the ledger's replicas alone.

Usage: scripts/audit DISK-IMAGE --keys FILE [--json]

  DISK-IMAGE   the disk of a machine that is off, target/cluster/NAME/node-1/disk.img: it is only read
  --keys FILE  the replicas' public keys, such as target/cluster/NAME/keys/public
  --json       the result as JSON
  --help       this text

Every block must have a quorum's signatures and follow the one before; every request must have its author's;
and the states at checkpoints must be those that a quorum has signed. Else the first block that does not
verify is named, with the reason. What cannot be seen on one disk is whether the newest blocks were taken off
its end: compare entries and head with those of other disks.

Exit status: 0 if all of it is proven, 1 if not, 2 if the command line is wrong, or keys or image cannot be
read.
";

/// The status of whoever cannot begin.
const CANNOT: u8 = 2;

/// What the command line asks for.
#[derive(Debug)]
struct Wishes {
    image: PathBuf,
    keys: PathBuf,
    is_json: bool,
}

/// Does what the command line says.
///
/// # Errors
/// If the command line is wrong, or nobody takes the result.
pub fn main(arguments: Vec<OsString>) -> anyhow::Result<ExitCode> {
    let Some(wishes) = parse(arguments)? else {
        write!(std::io::stdout(), "{HELP}")?;
        return Ok(ExitCode::SUCCESS);
    };
    let audit = match prove(&wishes) {
        Ok(audit) => audit,
        Err(error) => {
            eprintln!("error: {error:#}");
            return Ok(ExitCode::from(CANNOT));
        }
    };
    match wishes.is_json {
        true => writeln!(std::io::stdout(), "{}", report::to_json(&audit))?,
        false => write!(std::io::stdout(), "{}", report::to_text(&audit))?,
    }
    Ok(if audit.flaw.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn parse(arguments: Vec<OsString>) -> Result<Option<Wishes>, lexopt::Error> {
    let (mut image, mut keys, mut is_json) = (None, None, false);
    let mut parser = lexopt::Parser::from_args(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("help") | Short('h') => return Ok(None),
            Long("json") => is_json = true,
            Long("keys") => keys = Some(PathBuf::from(parser.value()?)),
            Value(path) if image.is_none() => image = Some(PathBuf::from(path)),
            other => return Err(other.unexpected()),
        }
    }
    let image = image.ok_or("the image of a disk is wanted")?;
    let keys = keys.ok_or("the replicas' public keys are wanted: --keys FILE")?;
    Ok(Some(Wishes { image, keys, is_json }))
}

fn prove(wishes: &Wishes) -> anyhow::Result<chain::Audit> {
    let keys = Public::read(&wishes.keys)?;
    let mut disk = Disk::open(&wishes.image)?;
    let mut progress = Progress::new();
    let audit = chain::audit(&mut disk, &keys, |proven, of| {
        progress.show(&format!("{} % of {of} records are proven", proven * 100 / of.max(1)));
    });
    audit.with_context(|| format!("{}", wishes.image.display()))
}
