//! Snapshots give back the state at their beginning, and what is no snapshot is refused.

use super::tests::{Bench, origin, write};
use super::*;
use proptest::prelude::*;

/// The whole snapshot that is under way, in parts of a length.
fn rest_of(machine: &mut KvMachine, part_bytes: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        match machine.snapshot_part(part_bytes) {
            SnapshotPart::Bytes(part) => {
                assert!(!part.is_empty() && part.len() <= part_bytes);
                bytes.extend_from_slice(&part);
            }
            SnapshotPart::End => return bytes,
            SnapshotPart::Lost => panic!("the snapshot was given up"),
        }
    }
}

fn restore(bytes: &[u8], part_bytes: usize) -> Result<KvMachine, RestoreError> {
    let mut restore = Restore::default();
    for part in bytes.chunks(part_bytes) {
        restore.take(part)?;
    }
    let machine = restore.finish()?;
    machine.check_invariants();
    Ok(machine)
}

/// One of a few writes to a few keys.
fn any_write() -> impl Strategy<Value = String> {
    let key = 0..24u8;
    prop_oneof![
        6 => (key.clone(), 0..200usize).prop_map(|(key, n)| format!("SET k{key} {}x", "v".repeat(n))),
        2 => (key.clone(), 1..50u64).prop_map(|(key, ms)| format!("SET k{key} soon PX {ms}")),
        3 => key.clone().prop_map(|key| format!("DEL k{key}")),
        2 => key.clone().prop_map(|key| format!("APPEND k{key} tail")),
        1 => (key, 1..50u64).prop_map(|(key, ms)| format!("PEXPIRE k{key} {ms}")),
        1 => Just("FLUSHALL".to_string()),
    ]
}

proptest! {
    /// What is written down is the state at the beginning, whatever happens meanwhile; read back it
    /// is the same machine, and goes on in the same way.
    #[test]
    fn a_snapshot_is_the_state_at_its_beginning(
        before in prop::collection::vec(any_write(), 0..60),
        during in prop::collection::vec((any_write(), 0..300usize), 0..60),
        after in prop::collection::vec(any_write(), 0..10),
        read_bytes in 1..500usize,
    ) {
        let mut bench = Bench::new();
        let mut time_ms = 0;
        for line in &before {
            time_ms += 3;
            bench.write_at(time_ms, &write(line));
        }
        let (digest, applied) = (bench.machine.digest(), bench.machine.applied());
        prop_assert_eq!(bench.machine.begin_snapshot(), applied);
        let mut bytes = Vec::new();
        for (line, part_bytes) in &during {
            time_ms += 3;
            bench.write_at(time_ms, &write(line));
            if let SnapshotPart::Bytes(part) = bench.machine.snapshot_part(*part_bytes + 1) {
                bytes.extend_from_slice(&part);
            } else {
                // It is complete: the rest is nothing.
                bench.machine = restore(&bytes, read_bytes).expect("a whole snapshot");
                prop_assert_eq!(bench.machine.digest(), digest);
                return Ok(());
            }
        }
        bytes.extend(rest_of(&mut bench.machine, 100));
        let mut restored = Bench { machine: restore(&bytes, read_bytes).expect("whole"), sequence: 1 << 32 };
        prop_assert_eq!(restored.machine.digest(), digest);
        prop_assert_eq!(restored.machine.applied(), applied);

        // Twice the same state is twice the same bytes.
        restored.machine.begin_snapshot();
        prop_assert_eq!(&rest_of(&mut restored.machine, 1 << 20), &bytes);

        let mut original = Bench { machine: restore(&bytes, 77).expect("whole"), sequence: 1 << 32 };
        for line in &after {
            let replies = (original.write_at(9, &write(line)), restored.write_at(9, &write(line)));
            prop_assert_eq!(replies.0, replies.1);
        }
    }

    /// Bytes that were changed, cut or made up are refused, or are another whole snapshot.
    #[test]
    fn damage_is_noticed(
        lines in prop::collection::vec(any_write(), 1..20),
        place in any::<prop::sample::Index>(),
        bit in 0..8u8,
        cut in any::<prop::sample::Index>(),
        nonsense in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut bench = Bench::new();
        lines.iter().for_each(|line| drop(bench.write_at(1, &write(line))));
        let digest = bench.machine.digest();
        bench.machine.begin_snapshot();
        let bytes = rest_of(&mut bench.machine, 1000);
        let mut changed = bytes.clone();
        changed[place.index(bytes.len())] ^= 1 << bit;
        // Replies and the position are not part of the fingerprint; the disk has checksums.
        if let Ok(machine) = restore(&changed, 64) {
            prop_assert_eq!(machine.digest(), digest);
        }
        prop_assert!(restore(&bytes[..cut.index(bytes.len())], 64).is_err());
        prop_assert!(restore(&nonsense, 7).is_err());
    }
}

#[test]
fn a_session_goes_with_the_snapshot() {
    let mut bench = Bench::new();
    assert_eq!(bench.at(1, "INCR n"), Reply::Integer(1));
    bench.machine.begin_snapshot();
    let bytes = rest_of(&mut bench.machine, 64);
    let mut restored = restore(&bytes, 5).unwrap();
    let again = tests::payload(1, 0, 1, 2, &write("INCR n"));
    let applied = restored.apply(restored.applied().next(), &again);
    assert_eq!(applied.outcome, Outcome::Repeated(Reply::Integer(1)));
    assert_eq!(applied.request.map(|request| request.origin), Some(origin()));
}

#[test]
fn too_much_change_ends_a_snapshot_and_nothing_else() {
    let mut bench = Bench::new();
    let value = "v".repeat(512 * 1024);
    for key in 0..28 {
        bench.at(1, &format!("SET k{key} {value}"));
    }
    bench.machine.begin_snapshot();
    assert!(matches!(bench.machine.snapshot_part(100), SnapshotPart::Bytes(_)));
    bench.at(1, "FLUSHALL");
    assert_eq!(bench.machine.snapshot_part(100), SnapshotPart::Lost);
    assert_eq!(bench.machine.snapshot_part(100), SnapshotPart::Lost, "it stays so");
    bench.machine.begin_snapshot();
    assert!(restore(&rest_of(&mut bench.machine, 100), 100).unwrap().is_empty());
}
