//! What a node's disk proves: its log of entries is recovered and read by the store that wrote it, and each
//! record goes through the verifier that `bft verify` uses in a node.

use std::io;

use base::{ClusterId, Instant, LogIndex, NodeId};
use bft::{FaultBound, Quorums, Sequence};
use crypto::Digest;
use ledger::Verifier;
use node::{Part, Region};
use pool::Pool;
use store::anatomy::{self, Owner};
use store::{Config, Damage, Failure, Output, Record, Recovered, Store};

use super::disk::Disk;
use crate::cluster::keys::Public;

/// How much of the log is read at once.
const READ_BYTES: usize = 1 << 20;
/// The store's buffers: how many, and how long.
const BUFFERS: (usize, usize) = (4, 1 << 18);

/// What an audit has found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Audit {
    /// Whose disk it is.
    pub owner: Option<(NodeId, ClusterId)>,
    /// How far the chain is proven.
    pub chain: Chain,
    /// What was not written as it was to be, and needs not be.
    pub remarks: Remarks,
    /// Why not all of it is proven.
    pub flaw: Option<Flaw>,
}

/// A chain that is proven.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Chain {
    /// How many records of the log hold it.
    pub records: u64,
    /// How many blocks it has.
    pub blocks: u64,
    /// How many entries are in them.
    pub entries: u64,
    /// The digest of all of them.
    pub head: Digest,
    /// Of how many checkpoints a quorum's signatures were found.
    pub checkpoints: u64,
    /// In the place of how many blocks there is a proven state.
    pub absent: u64,
}

/// What recovery had to make up for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Remarks {
    /// So many headers could only be read from their copies.
    pub headers_from_copies: usize,
    /// So many records of a write that a crash has torn were left out: nobody was told that they were there.
    pub torn: u64,
}

/// The first thing that does not verify.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flaw {
    /// The block, if it is one.
    pub block: Option<Sequence>,
    /// The record of the log, if it is one.
    pub record: Option<LogIndex>,
    /// What is wrong, as a sentence without its end.
    pub reason: String,
}

impl Flaw {
    /// Nothing can be said of any block.
    fn of_all(reason: impl Into<String>) -> Flaw {
        Flaw { block: None, record: None, reason: reason.into() }
    }
}

/// Proves what is on a disk, as far as it can be proven. `progress` is told how many records are, and of how
/// many.
///
/// # Errors
/// If the image cannot be read; what is wrong with what is in it is part of the answer.
pub fn audit(disk: &mut Disk, keys: &Public, progress: impl FnMut(u64, u64)) -> io::Result<Audit> {
    let mut audit = Audit::default();
    let [_, part] = Region::of(disk.sectors()).parts();
    let owner = match whose(disk, part, keys)? {
        Ok(owner) => owner,
        Err(flaw) => return Ok(Audit { flaw: Some(flaw), ..audit }),
    };
    audit.owner = Some((owner.node, owner.cluster));
    audit.flaw = match Replay::start(disk, part, owner, keys) {
        Ok(replay) => replay.run(&mut audit, progress)?.err(),
        Err(flaw) => Some(flaw),
    };
    Ok(audit)
}

/// Whose log of entries it is, if it is one of the group's.
fn whose(disk: &Disk, part: Part, keys: &Public) -> io::Result<Result<Owner, Flaw>> {
    let owner = anatomy::owner(&disk.front(part.first(), anatomy::FRONT_SECTORS)?);
    let Some(owner) = owner else { return no_ledger(disk).map(|reason| Err(Flaw::of_all(reason))) };
    let (node, cluster) = (owner.node, owner.cluster);
    Ok(if cluster != keys.cluster {
        let other = keys.cluster;
        let reason = format!("the disk is of cluster {cluster}, and the keys are of {other}");
        Err(Flaw::of_all(reason))
    } else if keys.keyring.slot(node).is_none() {
        Err(Flaw::of_all(format!("the disk is of node {node}, which has no key among these")))
    } else {
        Ok(owner)
    })
}

/// Why there is no log of entries where it should be.
fn no_ledger(disk: &Disk) -> io::Result<&'static str> {
    let front = disk.front(0, anatomy::FRONT_SECTORS)?;
    let before = Region::of(disk.sectors()).sectors_before();
    Ok(match anatomy::owner(&front) {
        Some(owner) if owner.capacity_sectors == disk.sectors() => {
            "the node of this disk has no ledger: all of it is the replicated log's"
        }
        Some(owner) if owner.capacity_sectors != before => {
            "the image is not as long as the disk was when it was formatted"
        }
        Some(_) => {
            "there is no log of entries where it should be: its superblock is damaged, with the copy, or the \
             image is not as long as the disk was"
        }
        None if front.iter().all(|byte| *byte == 0) => "the disk is empty",
        None => "this is not the disk of a node",
    })
}

/// What a store has to say.
#[derive(Default)]
struct News {
    recovered: Option<Recovered>,
    records: Vec<Record>,
    damage: Option<Damage>,
    failure: Option<Failure>,
}

/// A store that reads a disk, and the verifier of what it reads.
struct Replay<'a> {
    disk: &'a mut Disk,
    part: Part,
    store: Store,
    verifier: Verifier,
}

impl<'a> Replay<'a> {
    fn start(
        disk: &'a mut Disk,
        part: Part,
        owner: Owner,
        keys: &Public,
    ) -> Result<Replay<'a>, Flaw> {
        let quorums = Quorums::of(keys.keyring.size(), FaultBound::Quarter);
        let quorums = quorums.map_err(|error| Flaw::of_all(error.to_string()))?;
        let store = Store::new(config(part, owner), Pool::on_heap(BUFFERS.0, BUFFERS.1));
        let store = store.map_err(|error| Flaw::of_all(error.to_string()))?;
        let verifier = Verifier::new(keys.keyring.clone(), quorums);
        Ok(Replay { disk, part, store, verifier })
    }

    /// Everything, in its order; the audit knows how far it came.
    fn run(
        mut self,
        audit: &mut Audit,
        mut progress: impl FnMut(u64, u64),
    ) -> io::Result<Result<(), Flaw>> {
        let found = match self.recover()? {
            Ok(found) => found,
            Err(flaw) => return Ok(Err(flaw)),
        };
        audit.remarks = Remarks { headers_from_copies: found.repaired, torn: found.torn };
        let mut next = found.first_index;
        let mut verified = Ok(());
        while verified.is_ok() && next <= found.last_index {
            verified = match self.read(next, found.last_index)? {
                Ok(records) => records.into_iter().try_for_each(|record| {
                    self.take(&record)?;
                    next = record.index.next();
                    Ok(())
                }),
                Err(flaw) => Err(flaw),
            };
            audit.chain = self.chain(next.0 - found.first_index.0);
            progress(next.0 - 1, found.last_index.0);
        }
        Ok(verified)
    }

    /// What the disk says that the log is.
    fn recover(&mut self) -> io::Result<Result<Recovered, Flaw>> {
        let news = self.turn()?;
        let failure = news.failure.map(|failure| self.lost(&failure));
        let flaw = failure.unwrap_or_else(|| Flaw::of_all("the log of entries cannot be read"));
        Ok(news.recovered.ok_or(flaw))
    }

    /// Records from `next` on: one at the least.
    fn read(&mut self, next: LogIndex, last: LogIndex) -> io::Result<Result<Vec<Record>, Flaw>> {
        if self.store.read(0, next, last, READ_BYTES).is_err() {
            return Ok(Err(self.damaged(next, None)));
        }
        let news = self.turn()?;
        Ok(match news.failure {
            Some(failure) => Err(self.lost(&failure)),
            // What is damaged ends an answer, and is the next thing that is asked for.
            None if news.records.is_empty() => Err(self.damaged(next, news.damage)),
            None => Ok(news.records),
        })
    }

    /// Does all that the store wants, and answers what it has to say.
    fn turn(&mut self) -> io::Result<News> {
        let mut news = News::default();
        while let Some(output) = self.store.poll_output() {
            match output {
                Output::Request(request) => {
                    let completion = self.disk.carry_out(self.part.first(), request)?;
                    self.store.handle_completion(completion, Instant::ORIGIN);
                }
                Output::Recovered(recovered) => news.recovered = Some(recovered),
                Output::Read(_, records) => news.records = records,
                Output::Damaged(damage) => news.damage = Some(damage),
                Output::Failed(failure) => news.failure = Some(failure),
                // Nothing is written, verified in passing or repaired, and there are no snapshots.
                Output::Persisted(_)
                | Output::Repaired(_)
                | Output::NotRepaired(_)
                | Output::Scrubbed(_)
                | Output::SnapshotStored { .. }
                | Output::SnapshotDurable(_)
                | Output::SnapshotRead { .. }
                | Output::SnapshotDamaged { .. } => {}
            }
        }
        Ok(news)
    }

    fn take(&mut self, record: &Record) -> Result<(), Flaw> {
        let taken = self.verifier.take(record.kind, &record.payload);
        taken.map_err(|fault| Flaw {
            block: Some(fault.block),
            record: Some(record.index),
            reason: fault.flaw.to_string(),
        })
    }

    fn chain(&self, records: u64) -> Chain {
        let ledger = self.verifier.ledger();
        Chain {
            records,
            blocks: ledger.applied().0,
            entries: ledger.length(),
            head: ledger.head(),
            checkpoints: self.verifier.checkpoints(),
            absent: self.verifier.absent(),
        }
    }

    /// This record is not what was written.
    fn damaged(&self, record: LogIndex, damage: Option<Damage>) -> Flaw {
        let fault = self.verifier.damaged();
        let place = damage.map(|damage| self.part.first() + damage.sector);
        let place = place.map_or_else(String::new, |sector| format!(" (sector {sector})"));
        let reason = format!("{}{place}", fault.flaw);
        Flaw { block: Some(fault.block), record: Some(record), reason }
    }

    /// The log itself cannot be read: no block is known.
    fn lost(&self, failure: &Failure) -> Flaw {
        match failure {
            Failure::Damaged(damage) => Flaw {
                block: None,
                record: Some(damage.index),
                reason: format!("the header of record {} is damaged, with its copy", damage.index),
            },
            Failure::HardStateLost => {
                Flaw::of_all("the mark of where the log ends is damaged, with its copy")
            }
            Failure::Resized => {
                Flaw::of_all("the image is not as long as the disk was when it was formatted")
            }
            other => Flaw::of_all(other.to_string()),
        }
    }
}

fn config(part: Part, owner: Owner) -> Config {
    Config {
        cluster: owner.cluster,
        node: owner.node,
        capacity_sectors: part.sectors(),
        wanted_kinds: &[],
        may_format: false,
        has_snapshots: false,
    }
}
