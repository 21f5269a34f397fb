//! Disks whose logs are written by the store itself, whole, damaged and forged.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use base::{ClusterId, Instant, LogIndex, NodeId, Prng, Term, limits};
use bft::{Batch, PhaseState, QuorumCertificate, Sequence, ViewNumber, VoterSet};
use block::SECTOR_BYTES;
use crypto::{Digest, Keyring, Signature, SigningKey, Statement};
use ledger::{Archived, Author, Decision, Ledger, Request};
use node::{Identity, Part, Region};
use pool::Pool;
use store::anatomy::{Anatomy, DiskImage, Place};
use store::{Config, Output, Record, Store};

use super::chain::{Audit, audit};
use super::disk::Disk;
use crate::cluster::keys::Public;

const CLUSTER: ClusterId = ClusterId(0xc0ffee);
/// The smallest disk that `scripts/cluster` makes.
const DISK_BYTES: u64 = 16 << 20;
const MEMBERS: u8 = 4;
/// Blocks of each log, one more than up to a checkpoint.
const BLOCKS: u64 = limits::BFT_CHECKPOINT_EVERY + 1;

fn id(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

fn key(number: u8) -> SigningKey {
    SigningKey::take(&mut [number; 32])
}

/// The public keys of four nodes, whose secrets are these numbers and those that follow.
fn public(cluster: ClusterId, first_secret: u8) -> Public {
    let member = |place: u8| (id(u16::from(place) + 1), key(first_secret + place).verifying_key());
    let keyring = Keyring::new(cluster, Identity::EPOCH, (0..MEMBERS).map(member).collect());
    Public { cluster, keyring: keyring.unwrap() }
}

fn keyring() -> Keyring {
    public(CLUSTER, 1).keyring
}

fn certify(phase: PhaseState, sequence: u64, digest: Digest) -> Arc<QuorumCertificate> {
    let statement = Statement {
        protocol: *b"cot-bft\x02",
        group: keyring().group(),
        phase: phase.number(),
        view: 0,
        sequence,
        digest,
    };
    let signatures: Vec<Signature> = [2, 3, 4].map(|member| key(member).sign(&statement)).into();
    let (view, sequence, signers) = (ViewNumber(0), Sequence(sequence), VoterSet(0b1110));
    Arc::new(QuorumCertificate { phase, view, sequence, digest, signers, signatures })
}

/// What an honest node keeps of so many blocks, each of one entry, and the ledger there.
fn log(blocks: u64) -> (Vec<Archived>, Ledger) {
    let (mut ledger, mut log) = (Ledger::new(keyring()), Vec::new());
    for number in 1..=blocks {
        let entries = vec![format!("entry {number}").into_bytes().into()];
        let request = Request { author: Author::Gateway(id(2)), serial: number, entries };
        let batch = Batch::new(vec![request.seal(&key(2), &keyring())]);
        let certificate = certify(PhaseState::Commit, number, batch.digest());
        ledger.apply(Sequence(number), &batch);
        let decision = Decision { batch, certificate };
        log.push(Archived::Decision { decision, is_clean: true });
        if number.is_multiple_of(limits::BFT_CHECKPOINT_EVERY) {
            let state = Digest::of(&ledger.snapshot());
            log.push(Archived::Checkpoint(certify(PhaseState::Checkpoint, number, state)));
        }
    }
    (log, ledger)
}

/// The image of a disk, gone when the test is over.
struct Image(PathBuf);

impl Drop for Image {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl Image {
    fn empty(name: &str) -> Image {
        let process = std::process::id();
        let image = Image(std::env::temp_dir().join(format!("coterie-audit-{name}-{process}")));
        File::create(&image.0).unwrap().set_len(DISK_BYTES).unwrap();
        image
    }

    /// The disk of node 1 with these entries, written record by record.
    fn with(name: &str, log: &[Archived]) -> Image {
        let image = Image::empty(name);
        let mut disk = image.disk();
        let region = Region::of(disk.sectors());
        format(&mut disk, 0, region.sectors_before(), true);
        let mut store = format(&mut disk, entries().first(), entries().sectors(), false);
        for (archived, index) in log.iter().zip(1..) {
            let (kind, payload) = archived.encode();
            let record = Record { index: LogIndex(index), term: Term(1), kind, payload };
            store.persist(index, None, vec![record]).unwrap();
            drive(&mut store, &mut disk, entries().first());
        }
        // The mark is brought up to date when nothing has happened for a while.
        while let Some(at) = store.poll_timeout() {
            store.handle_timeout(at);
            drive(&mut store, &mut disk, entries().first());
        }
        image.write(&disk);
        image
    }

    fn write(&self, disk: &Disk) {
        let file = File::options().write(true).open(&self.0).unwrap();
        for (sector, bytes) in disk.written() {
            file.write_all_at(bytes, sector * SECTOR_BYTES as u64).unwrap();
        }
    }

    fn disk(&self) -> Disk {
        Disk::open(&self.0).unwrap()
    }

    fn audit(&self) -> Audit {
        self.audit_by(&public(CLUSTER, 1))
    }

    fn audit_by(&self, keys: &Public) -> Audit {
        let before = fs::read(&self.0).unwrap();
        let mut last = 0;
        let found = audit(&mut self.disk(), keys, |done, of| {
            assert!(last <= done && done <= of);
            last = done;
        });
        assert!(fs::read(&self.0).unwrap() == before, "an audit changes nothing");
        found.unwrap()
    }

    /// Flips bits of a byte of the log of entries; done twice, it is as it was.
    fn flip(&self, place: Place, bits: u8) {
        let file = File::options().read(true).write(true).open(&self.0).unwrap();
        let at = (entries().first() + place.sector) * SECTOR_BYTES as u64 + place.offset as u64;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ bits], at).unwrap();
    }

    /// The log of entries as it lies there.
    fn look(&self) -> DiskImage {
        let disk = self.disk();
        let read = |sector| disk.front(entries().first() + sector, 1).unwrap().try_into().unwrap();
        Anatomy::without_snapshots(entries().sectors()).unwrap().look(&read).unwrap()
    }
}

fn entries() -> Part {
    Region::of(DISK_BYTES / SECTOR_BYTES as u64).parts()[1]
}

fn format(disk: &mut Disk, first: u64, capacity_sectors: u64, has_snapshots: bool) -> Store {
    let config = Config {
        cluster: CLUSTER,
        node: id(1),
        capacity_sectors,
        wanted_kinds: &[],
        may_format: true,
        has_snapshots,
    };
    let mut store = Store::new(config, Pool::on_heap(4, 1 << 16)).unwrap();
    drive(&mut store, disk, first);
    store
}

fn drive(store: &mut Store, disk: &mut Disk, first: u64) {
    while let Some(output) = store.poll_output() {
        match output {
            Output::Request(request) => {
                let completion = disk.carry_out(first, request).unwrap();
                store.handle_completion(completion, Instant::ORIGIN);
            }
            Output::Failed(failure) => panic!("{failure}"),
            other => drop(other),
        }
    }
}

/// Nothing is proven, for this reason.
fn is_refused(audit: &Audit, reason: &str) {
    let flaw = audit.flaw.as_ref().expect("nothing can be proven");
    assert!(flaw.reason.contains(reason), "{flaw:?}");
    assert_eq!((flaw.block, audit.chain), (None, super::chain::Chain::default()));
}

#[test]
fn a_clean_disk_is_proven() {
    let (log, ledger) = log(BLOCKS);
    let audit = Image::with("clean", &log).audit();
    assert_eq!((&audit.flaw, audit.owner), (&None, Some((id(1), CLUSTER))));
    assert_eq!(audit.chain.records, BLOCKS + 1);
    assert_eq!((audit.chain.blocks, audit.chain.entries), (BLOCKS, BLOCKS));
    assert_eq!((audit.chain.head, audit.chain.checkpoints), (ledger.head(), 1));
    assert_eq!((audit.chain.absent, audit.remarks), (0, Default::default()));
    // One that has nothing yet keeps nothing back.
    let audit = Image::with("fresh", &[]).audit();
    assert_eq!((audit.flaw, audit.chain.blocks), (None, 0));
}

/// Bits that rot: whichever it is, the result is what it was, or the first block that has it is named.
#[test]
fn a_flipped_bit_is_found_wherever_it_matters() {
    let log = log(BLOCKS).0;
    let image = Image::with("rot", &log);
    let whole = image.audit().chain;
    let records = image.look().records;
    assert_eq!(records.len(), log.len());
    // Of a payload there is one copy. The record behind 32 blocks is the checkpoint.
    for (at, block) in [(0, 1), (8, 9), (31, 32), (32, 33), (33, 33)] {
        let (first, last) = records[at].payload.unwrap();
        for place in [first, last] {
            image.flip(place, 1);
            let audit = image.audit();
            let flaw = audit.flaw.expect("it is found");
            assert_eq!(flaw.block, Some(Sequence(block)));
            assert_eq!(flaw.record, Some(LogIndex(at as u64 + 1)));
            assert!(flaw.reason.contains("damaged on the disk (sector "), "{}", flaw.reason);
            assert_eq!((audit.chain.records, audit.chain.blocks), (at as u64, block - 1));
            image.flip(place, 1);
        }
    }
    // Of a header there are two.
    let (slot, copy) = (records[5].slot, records[5].copy);
    image.flip(slot, 4);
    let audit = image.audit();
    assert_eq!((audit.flaw, audit.chain), (None, whole));
    assert_eq!(audit.remarks.headers_from_copies, 1);
    image.flip(copy, 4);
    let flaw = image.audit().flaw.expect("neither can be read");
    assert_eq!((flaw.block, flaw.record), (None, Some(LogIndex(6))));
    image.flip(slot, 4);
    assert_eq!(image.audit().chain, whole);
}

/// The same for any bit of any sector that something was written to.
#[test]
fn no_bit_makes_a_disk_lie() {
    let (log, _) = log(6);
    let image = Image::with("any", &log);
    let whole = image.audit().chain;
    let mut prng = Prng::new(7);
    let mut bytes = vec![0; entries().sectors() as usize * SECTOR_BYTES];
    let file = File::open(&image.0).unwrap();
    file.read_exact_at(&mut bytes, entries().first() * SECTOR_BYTES as u64).unwrap();
    let sectors = bytes.chunks(SECTOR_BYTES).zip(0..);
    let written = sectors.filter(|(bytes, _)| bytes.iter().any(|byte| *byte != 0));
    let (mut harmless, mut found) = (0, 0);
    for (_, sector) in written {
        for _ in 0..4 {
            let place = Place { sector, offset: prng.below(SECTOR_BYTES as u64) as usize };
            let bit = 1 << prng.below(8);
            image.flip(place, bit);
            let audit = image.audit();
            match audit.flaw {
                None => assert_eq!(audit.chain, whole, "{place:?}"),
                Some(_) => assert!(audit.chain.blocks < whole.blocks, "{place:?}"),
            }
            harmless += u32::from(audit.flaw.is_none());
            found += u32::from(audit.flaw.is_some());
            image.flip(place, bit);
        }
    }
    assert!(harmless > 20 && found > 5, "{harmless} {found}");
}

/// What a liar has written with all checksums as they should be.
#[test]
fn forgeries_are_named() {
    let whole = log(BLOCKS).0;
    let flaw = |name: &str, change: &dyn Fn(&mut Vec<Archived>)| {
        let mut log = whole.clone();
        change(&mut log);
        let flaw = Image::with(name, &log).audit().flaw.expect(name);
        (flaw.block.expect("it is a block").0, flaw.record.expect("and a record").0, flaw.reason)
    };
    let expect = |(block, record, reason): (u64, u64, String), wanted: (u64, u64, &str)| {
        assert_eq!((block, record), (wanted.0, wanted.1), "{reason}");
        assert!(reason.contains(wanted.2), "{reason}");
    };
    // Another entry in an old block.
    let other = log_with_other_entry(4);
    expect(flaw("entry", &|log| log[3] = other.clone()), (4, 4, "of another batch"));
    // A signature in its certificate.
    let forged = flaw("signature", &|log| {
        change_certificate(&mut log[3], |certificate| certificate.signatures[1].0[9] ^= 1);
    });
    expect(forged, (4, 4, "the signature of replica 2 does not verify"));
    // A quorum that is none.
    let few = flaw("few", &|log| {
        change_certificate(&mut log[3], |certificate| {
            certificate.signatures.truncate(2);
            certificate.signers = VoterSet(0b0110);
        });
    });
    expect(few, (4, 4, "no quorum"));
    // The digest of the chain that a quorum has signed is another one: this one is of nobody.
    let digest = flaw("digest", &|log| {
        change_certificate(&mut log[32], |certificate| certificate.digest.0[0] ^= 1);
    });
    expect(digest, (32, 33, "does not verify"));
    // A quorum's signatures on a state that does not follow from the entries.
    let state = certify(PhaseState::Checkpoint, 32, Digest::of(b"another chain"));
    let state = flaw("state", &|log| log[32] = Archived::Checkpoint(state.clone()));
    expect(state, (32, 33, "not the one that a quorum has signed"));
    // A block that is left out, and two that are swapped.
    expect(flaw("left-out", &|log| drop(log.remove(6))), (7, 7, "not the one that follows"));
    expect(flaw("swapped", &|log| log.swap(6, 7)), (7, 7, "not the one that follows"));
}

/// The block of this number with an entry of the liar's choice, under the certificate of the honest one.
fn log_with_other_entry(number: u64) -> Archived {
    let Archived::Decision { decision, .. } = log(number).0.pop().unwrap() else {
        panic!("a block")
    };
    let entries = vec![b"a lie".to_vec().into()];
    let request = Request { author: Author::Gateway(id(2)), serial: number, entries };
    let batch = Batch::new(vec![request.seal(&key(2), &keyring())]);
    Archived::Decision { decision: Decision { batch, ..decision }, is_clean: true }
}

fn change_certificate(archived: &mut Archived, change: impl Fn(&mut QuorumCertificate)) {
    match archived {
        Archived::Decision { decision, .. } => change(Arc::make_mut(&mut decision.certificate)),
        Archived::Checkpoint(certificate) => change(Arc::make_mut(certificate)),
        Archived::State { .. } => panic!("there is none"),
    }
}

/// A state in the place of blocks that the node has not seen is proven by its certificate, and counted.
#[test]
fn a_fetched_state_takes_the_place_of_blocks() {
    let (_, ledger) = log(BLOCKS);
    let state = ledger.snapshot();
    let certificate = certify(PhaseState::Checkpoint, BLOCKS, Digest::of(&state));
    let audit = Image::with("fetched", &[Archived::State { certificate, state }]).audit();
    assert_eq!((audit.flaw, audit.chain.absent, audit.chain.head), (None, BLOCKS, ledger.head()));
}

#[test]
fn other_keys_prove_nothing() {
    let image = Image::with("keys", &log(2).0);
    let flaw = image.audit_by(&public(CLUSTER, 5)).flaw.expect("they are not of this group");
    assert_eq!((flaw.block, flaw.record), (Some(Sequence(1)), Some(LogIndex(1))));
    assert!(flaw.reason.contains("does not verify"), "{}", flaw.reason);
    is_refused(&image.audit_by(&public(ClusterId(7), 1)), "the keys are of 0000000000000007");
    let others = (2..=5).map(|one| (id(u16::from(one)), key(one).verifying_key())).collect();
    let keyring = Keyring::new(CLUSTER, Identity::EPOCH, others).unwrap();
    let audit = image.audit_by(&Public { cluster: CLUSTER, keyring });
    is_refused(&audit, "node 1, which has no key");
}

#[test]
fn what_is_no_disk_with_a_ledger_is_refused() {
    is_refused(&Image::empty("empty").audit(), "the disk is empty");

    let image = Image::with("truncated", &log(2).0);
    let file = File::options().write(true).open(&image.0).unwrap();
    for bytes in [DISK_BYTES - 512, DISK_BYTES / 2] {
        file.set_len(bytes).unwrap();
        is_refused(&image.audit(), "not as long as");
    }
    for bytes in [8192, 512, 511, 0] {
        file.set_len(bytes).unwrap();
        is_refused(&image.audit(), "");
    }
    // What was cut off has come back as zeros.
    let image = Image::with("emptied", &log(2).0);
    let file = File::options().write(true).open(&image.0).unwrap();
    file.set_len(entries().first() * SECTOR_BYTES as u64).unwrap();
    file.set_len(DISK_BYTES).unwrap();
    is_refused(&image.audit(), "superblock is damaged");

    let image = Image::empty("garbage");
    let mut prng = Prng::new(3);
    let garbage: Vec<u8> =
        (0..DISK_BYTES / 8).flat_map(|_| prng.next_u64().to_le_bytes()).collect();
    fs::write(&image.0, garbage).unwrap();
    is_refused(&image.audit(), "not the disk of a node");

    // A node whose disk was never divided.
    let image = Image::empty("undivided");
    let mut disk = image.disk();
    let sectors = disk.sectors();
    format(&mut disk, 0, sectors, true);
    image.write(&disk);
    is_refused(&image.audit(), "has no ledger");
}

/// A machine that runs writes to its disk: QEMU keeps a lock meanwhile, on bytes from 100 on.
#[test]
fn a_disk_in_use_is_not_looked_at() {
    let image = Image::empty("in-use");
    let machine = File::options().read(true).write(true).open(&image.0).unwrap();
    let lock = libc::flock {
        l_type: libc::F_RDLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 100,
        l_len: 1,
        l_pid: 0,
    };
    nix::fcntl::fcntl(&machine, nix::fcntl::FcntlArg::F_OFD_SETLK(&lock)).unwrap();
    let error = Disk::open(&image.0).unwrap_err().to_string();
    assert!(error.contains("a machine is using this disk"), "{error}");
    drop(machine);
    Disk::open(&image.0).unwrap();
}
